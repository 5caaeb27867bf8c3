-- purpose: rows about items and users that are not used: unreadable, contradictory or told before
-- grain:   source, source_row
-- inputs:  raw.items, raw.users, raw.sources, staging.users
-- params:  min_date, latest_possible_at, max_value
-- scope:   global
-- version: 2
with

facts as (
    select
        source, 'item' as thing, cast(item_id as varchar) as id, true as is_known,
        rowid as fact_row, is_dated, valid_from, valid_to, ends_at, unread_at, question, unused_for,
        price, unread_value, hash(ends_at, price, features, category, title, description) as content
    from raw.items
    union all
    select
        source, 'user' as thing, coalesce(cast(raw_users.user_id as varchar), unread_id) as id,
        coalesce(users.count_events, 0) > 0 as is_known,
        raw_users.rowid as fact_row, is_dated, valid_from, valid_to, ends_at, unread_at, question,
        unused_for, price, unread_value, hash(ends_at, raw_users.features) as content
    from raw.users as raw_users
    left join staging.users as users on users.user_id = raw_users.user_id
),

judged as (
    select
        facts.*,
        row_number() over (partition by facts.source order by fact_row) as source_row,
        sources.kind = 'survey' and sources.has_dates as is_answer,
        case
            when id is null then 'missing_' || thing
            when is_dated and not is_known then 'unknown_' || thing
            when unread_at is not null then 'unparsable_time'
            when is_dated and valid_from is null then 'missing_time'
            when is_answer and valid_from > getvariable('latest_possible_at') then 'future_time'
            when is_answer and valid_from < getvariable('min_date') then 'time_before_min_date'
            when ends_at <= valid_from then 'reversed_range'
            when unused_for is not null then unused_for
            when unread_value is not null then 'unparsable_value'
            when price < 0 then 'negative_value'
            when price > getvariable('max_value') then 'absurd_value'
        end as own_rule,
    from facts
    inner join raw.sources as sources on sources.source = facts.source
),

-- Of rows for one moment the first counts. What holds from the start may be described again.
compared as (
    select
        judged.*,
        coalesce(own_rule, case
            when row_number() over same = 1 then null
            when is_dated and content <> first_value(content) over same then 'contradiction'
            else 'duplicate'
        end) as rule,
    from judged
    window same as (
        partition by source, id, valid_from, lower(question), own_rule is null order by fact_row
    )
),

-- Told from rows that begin earlier alone: a later one must not change what was known before it.
placed as (
    select
        compared.* exclude (rule),
        coalesce(rule, if(valid_from < max(valid_to) over before, 'overlapping_range', null)) as rule,
    from compared
    window before as (
        partition by source, id, rule is null order by valid_from, fact_row
        rows between unbounded preceding and 1 preceding
    )
)

select
    source, source_row, fact_row, rule,
    fact_reason(rule, thing, valid_from, valid_to, unread_at, question, unread_value, price)
        as reason,
from placed
where rule is not null
order by source, source_row
