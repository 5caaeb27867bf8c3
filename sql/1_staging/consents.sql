-- purpose: what each user agreed to, purpose by purpose, over all of time; of others see sql/README.md
-- grain:   user_id, purpose, from_at
-- inputs:  raw.consents
-- params:  latest_possible_at, is_granted_unless_told
-- check:   from_at < until_at
-- check:   purpose in ('analytics', 'prediction', 'marketing')
-- version: 1
with

-- A word about all purposes is one about each. Of two at one moment the refusal counts.
told as (
    select
        consents.user_id,
        asked.purpose,
        consents.told_at,
        bool_and(consents.is_granted) as is_granted,
    from raw.consents as consents
    inner join (
        select unnest(['analytics', 'prediction', 'marketing']) as purpose
    ) as asked
        on consents.purpose in (asked.purpose, 'all')
    where consents.user_id is not null
        and consents.is_granted is not null
        and consents.told_at <= getvariable('latest_possible_at')
    group by consents.user_id, asked.purpose, consents.told_at
),

spans as (
    select
        user_id,
        purpose,
        told_at as from_at,
        lead(told_at, 1, timestamp '9999-12-31') over (
            partition by user_id, purpose order by told_at
        ) as until_at,
        is_granted,
    from told
    union all
    select
        user_id,
        purpose,
        timestamp '0001-01-01' as from_at,
        min(told_at) as until_at,
        getvariable('is_granted_unless_told') as is_granted,
    from told
    group by user_id, purpose
),

newest as (
    select user_id, purpose, arg_max(is_granted, told_at) as is_granted_now
    from told
    group by user_id, purpose
)

-- Who takes it back takes it back for what is done from now on, with the past too.
select
    spans.user_id,
    spans.purpose,
    spans.from_at,
    spans.until_at,
    spans.is_granted and newest.is_granted_now as is_granted,
from spans
inner join newest on newest.user_id = spans.user_id and newest.purpose = spans.purpose
order by spans.user_id, spans.purpose, spans.from_at
