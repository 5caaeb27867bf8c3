-- purpose: rows inserted into live.inbox that tell again what an earlier usable row told
-- grain:   raw_row
-- inputs:  raw.events, raw.types, raw.sources, raw.bots, staging.consents
-- params:  min_date, latest_possible_at, max_value, max_quantity, is_granted_unless_told
-- scope:   global
-- version: 3
with

inserted as (
    select events.user_id, events.event_at
    from raw.events as events
    inner join raw.sources as sources on sources.source = events.source
    where sources.dedupe = 'inserted'
),

-- What can be told twice: the rows, whoever told them, of a user and a moment that were inserted.
usable as (
    select
        events.user_id,
        events.event_at,
        events.item_id,
        events.event_type,
        events.raw_row,
        sources.dedupe,
    from raw.events as events
    semi join inserted
        on inserted.user_id = events.user_id and inserted.event_at = events.event_at
    inner join raw.sources as sources on sources.source = events.source
    left join raw.types as types on types.event_type = lower(events.event_type)
    left join raw.bots as bots on bots.user_agent = events.user_agent
    left join staging.consents as consents
        on consents.user_id = events.user_id and consents.purpose = 'prediction'
        and events.event_at >= consents.from_at and events.event_at < consents.until_at
    where rejection_rule(
        events.user_id, bots.user_agent, events.robot, events.event_at, events.unread_at,
        events.unread_value, coalesce(types.role, 'action'), events.value, events.quantity,
        events.is_late,
        case when sources.has_dates then getvariable('min_date') end,
        case when sources.has_dates then getvariable('latest_possible_at') end,
        sources.since, sources.until, getvariable('max_value'), getvariable('max_quantity'),
        coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
    ) is null
),

-- Sources' rows are read before inserted ones, so the latter are the repetition.
numbered as (
    select
        usable.*,
        row_number() over (
            partition by user_id, event_at, item_id, event_type order by raw_row
        ) as occurrence,
    from usable
)

select raw_row
from numbered
where dedupe = 'inserted' and occurrence > 1
order by raw_row
