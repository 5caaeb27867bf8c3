-- purpose: where users were, to a rounded place, and how long they looked at the screen
-- grain:   user_id, event_id
-- inputs:  staging.events, raw.events
-- check:   latitude between -90 and 90 and longitude between -180 and 180
-- check:   km_from_previous >= 0 and screen_seconds >= 0
-- version: 1
with

told as (
    select
        events.user_id,
        events.event_id,
        events.event_at,
        raw_events.latitude,
        raw_events.longitude,
        raw_events.screen_seconds,
    from staging.events as events
    inner join raw.events as raw_events
        on raw_events.user_id = events.user_id
        and raw_events.raw_row = events.raw_row
    where raw_events.latitude is not null or raw_events.screen_seconds is not null
)

select
    user_id,
    event_id,
    event_at,
    latitude,
    longitude,
    screen_seconds,
    -- Metres as decimals: sums of them do not depend on the order of the rows.
    cast(km_between(
        lag(latitude ignore nulls) over in_order, lag(longitude ignore nulls) over in_order,
        latitude, longitude
    ) as decimal(9, 3)) as km_from_previous,
from told
window in_order as (partition by user_id order by event_id)
order by user_id, event_id
