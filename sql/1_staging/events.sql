-- purpose: every usable event once, typed, in UTC, sorted by user and time
-- grain:   user_id, event_id
-- inputs:  raw.events, raw.types, raw.sources, raw.not_products
-- params:  min_date, latest_possible_at, max_value, max_quantity
-- check:   user_id is not null and event_at is not null
-- check:   role in ('view', 'click', 'cart', 'purchase', 'return', 'action', 'other')
-- version: 1
with

accepted as (
    select
        events.*,
        events.rowid as raw_row,
        coalesce(types.role, 'action') as role,
        -- Two rows with one fingerprint at one time by one user are one event.
        case sources.dedupe
            when 'row' then hash(
                events.source, events.item_id, events.event_type, events.value,
                events.quantity, events.category, events.title, events.attributes
            )
            when 'key' then hash(events.item_id, events.event_type)
            else events.rowid
        end as fingerprint,
    from raw.events as events
    inner join raw.sources as sources on sources.source = events.source
    left join raw.types as types on types.event_type = lower(events.event_type)
    where rejection_rule(
        events.user_id, events.event_at, events.unread_at, events.unread_value,
        coalesce(types.role, 'action'), events.value, events.quantity,
        case when sources.has_dates then getvariable('min_date') end,
        case when sources.has_dates then getvariable('latest_possible_at') end,
        sources.since, sources.until, getvariable('max_value'), getvariable('max_quantity')
    ) is null
),

-- The earliest input row of its kind stays, so that ties keep the order of the file.
deduplicated as (
    select
        accepted.*,
        row_number() over same_event = 1 as is_first,
    from accepted
    window same_event as (
        partition by accepted.user_id, accepted.event_at, accepted.fingerprint
        order by accepted.raw_row
    )
)

select
    -- The user's n-th event: no shuffle of the input and no later event changes it.
    row_number() over in_time_order as event_id,
    events.user_id,
    events.item_id,
    events.event_type,
    case
        -- First, so that a discount or refunded postage is no return of an item.
        when not_products.item_id is not null then 'other'
        when events.quantity < 0 then 'return'
        else events.role
    end as role,
    events.event_at,
    events.value,
    events.quantity,
    events.source,
    events.raw_row,
from deduplicated as events
left join raw.not_products as not_products
    on not_products.source = events.source
    and not_products.item_id = cast(events.item_id as varchar)
where events.is_first
window in_time_order as (
    partition by events.user_id
    order by events.event_at, events.raw_row
)
order by events.user_id, event_id
