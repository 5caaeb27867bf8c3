-- purpose: rows about consent that are not used: nobody's, of no time, no purpose or an unclear word
-- grain:   source, source_row
-- inputs:  raw.consents
-- params:  latest_possible_at
-- scope:   global
-- version: 1
with

judged as (
    select
        consents.*,
        row_number() over (partition by source order by rowid) as source_row,
        case
            when user_id is null and unread_id is null then 'missing_user'
            when unread_at is not null then 'unparsable_time'
            when told_at is null then 'missing_time'
            when told_at > getvariable('latest_possible_at') then 'future_time'
            when coalesce(purpose, '') not in ('analytics', 'prediction', 'marketing', 'all')
                then 'unknown_purpose'
            when is_granted is null then 'unclear_consent'
        end as rule,
    from raw.consents as consents
)

select
    source,
    source_row,
    rule,
    case rule
        when 'missing_user' then 'no user id'
        when 'unparsable_time' then 'not a time: ' || unread_at
        when 'missing_time' then 'no time'
        when 'future_time' then 'in the future: ' || told_at
        when 'unknown_purpose' then 'not analytics, prediction, marketing or all: '
            || coalesce(purpose, 'nothing')
        else 'neither yes nor no: ' || coalesce(unread_word, 'nothing')
    end as reason,
from judged
where rule is not null
order by source, source_row
