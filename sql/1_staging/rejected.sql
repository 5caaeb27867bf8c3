-- purpose: every input row that did not become an event, with the rule it broke
-- grain:   source, source_row, rule
-- inputs:  raw.events, raw.sources, raw.types, raw.bots, raw.lines, staging.unused_facts,
--          staging.unused_consents, staging.consents, staging.events
-- params:  min_date, latest_possible_at, max_value, max_quantity, is_granted_unless_told
-- check:   rule is not null and reason is not null
-- scope:   global
-- version: 4
with

judged as (
    select
        events.*,
        events.raw_row - sources.first_rowid + 1 as source_row,
        rejection_rule(
            events.user_id, bots.user_agent, events.robot, events.event_at, events.unread_at,
            events.unread_value, coalesce(types.role, 'action'), events.value, events.quantity,
            events.is_late,
            case when sources.has_dates then getvariable('min_date') end,
            case when sources.has_dates then getvariable('latest_possible_at') end,
            sources.since, sources.until, getvariable('max_value'), getvariable('max_quantity'),
            coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
        ) as rule,
    from raw.events as events
    inner join raw.sources as sources on sources.source = events.source
    left join raw.types as types on types.event_type = lower(events.event_type)
    left join raw.bots as bots on bots.user_agent = events.user_agent
    left join staging.consents as consents
        on consents.user_id = events.user_id and consents.purpose = 'prediction'
        and events.event_at >= consents.from_at and events.event_at < consents.until_at
),

refused as (
    select
        source,
        source_row,
        coalesce(rule, 'duplicate') as rule,
        case coalesce(rule, 'duplicate')
            when 'missing_user' then 'no user id'
            when 'no_consent' then 'the user has not agreed to prediction'
            when 'bot' then 'a crawler: ' || user_agent
            when 'bot_behaviour' then 'a program: ' || robot
            when 'unparsable_time' then 'not a time: ' || unread_at
            when 'missing_time' then 'no time'
            when 'future_time' then 'in the future: ' || event_at
            when 'time_before_min_date' then 'before min_date: ' || event_at
            when 'outside_since_until' then 'outside since and until: ' || event_at
            when 'too_late' then 'came more than late_days after: ' || event_at
            when 'unparsable_value' then 'not a number: ' || unread_value
            when 'negative_value' then 'negative value: ' || value
            when 'absurd_value' then 'beyond max_value or max_quantity: '
                || coalesce(value, 0) || ' for ' || coalesce(quantity, 1)
            when 'duplicate' then 'the same event stands in an earlier row'
        end as reason,
    from judged
    -- What was accepted and is still no event repeats an earlier row.
    where rule is not null
        or raw_row not in (select raw_row from staging.events)
)

select source, source_row, rule, reason from refused
union all
select source, source_row, rule, reason from staging.unused_facts
union all
select source, source_row, rule, reason from staging.unused_consents
union all
select source, source_row, 'malformed_line' as rule, reason from raw.lines
order by source, source_row
