-- purpose: every usable event once, typed, in UTC, sorted by user and time
-- grain:   user_id, event_id
-- inputs:  raw.events, raw.types, raw.sources, raw.not_products, raw.bots, staging.repeats,
--          staging.consents
-- params:  min_date, latest_possible_at, max_value, max_quantity, is_granted_unless_told
-- check:   user_id is not null and event_at is not null
-- check:   role is not null and previous_at <= event_at
-- version: 5
with

accepted as (
    select
        events.*,
        -- An ENUM, one byte an event. Its order is the one that events of one instant stand in.
        cast(case
            -- First, so that a discount or refunded postage is no return of an item.
            when not_products.item_id is not null then 'other'
            when events.quantity < 0 then 'return'
            else coalesce(types.role, 'action')
        end as enum ('view', 'click', 'cart', 'purchase', 'return', 'action', 'other')) as role,
        sources.dedupe,
    from raw.events as events
    inner join raw.sources as sources on sources.source = events.source
    left join raw.types as types on types.event_type = lower(events.event_type)
    left join raw.bots as bots on bots.user_agent = events.user_agent
    left join staging.consents as consents
        on consents.user_id = events.user_id and consents.purpose = 'prediction'
        and events.event_at >= consents.from_at and events.event_at < consents.until_at
    left join raw.not_products as not_products
        on not_products.source = events.source and not_products.item_id = events.item_id
    where rejection_rule(
        events.user_id, bots.user_agent, events.robot, events.event_at, events.unread_at,
        events.unread_value, coalesce(types.role, 'action'), events.value, events.quantity,
        events.is_late,
        case when sources.has_dates then getvariable('min_date') end,
        case when sources.has_dates then getvariable('latest_possible_at') end,
        sources.since, sources.until, getvariable('max_value'), getvariable('max_quantity'),
        coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
    ) is null and events.raw_row not in (select raw_row from staging.repeats)
),

-- Two rows of one user at one time with one fingerprint are one event. The role leads it, so that
-- of what happens at once a view comes before a purchase; without a rule it is the file's order.
-- What was inserted stands behind all that, as it was inserted.
fingerprinted as (
    select
        accepted.* exclude (
            category, title, user_agent, robot, latitude, longitude, screen_seconds, attributes,
            is_late, dedupe
        ),
        case dedupe
            when 'none' then cast(raw_row as ubigint)
            when 'inserted' then (cast(255 as ubigint) << 56) + cast(raw_row as ubigint)
            else (cast(enum_code(role) as ubigint) << 56) + (case dedupe
                when 'key' then hash(item_id, event_type)
                else hash(source, item_id, event_type, value, quantity, category, title, attributes)
            end >> 8)
        end as fingerprint,
    from accepted
),

-- One sort serves all three: rows that are one event share their rank and follow each other.
placed as (
    select
        fingerprinted.*,
        dense_rank() over (partition by fingerprinted.user_id order by event_at, fingerprint)
            as event_id,
        lag(event_at) over in_time_order as previous_at,
        lag(fingerprint) over in_time_order as previous_fingerprint,
    from fingerprinted
    window in_time_order as (partition by user_id order by event_at, fingerprint, raw_row)
)

select
    user_id, event_id, item_id, event_type, role, event_at, previous_at, value, quantity, source,
    raw_row,
from placed
where previous_at is distinct from event_at or previous_fingerprint is distinct from fingerprint
order by user_id, event_id
