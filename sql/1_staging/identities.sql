-- purpose: which users were seen with which anonymous ids, from when on, and what these did before
-- grain:   anonymous_id, user_id
-- inputs:  raw.events, staging.events
-- check:   known_at is not null
-- check:   first_event_at < known_at
-- scope:   global
-- version: 1
with

seen as (
    select
        anonymous_id,
        user_id,
        min(event_at) as known_at,
    from raw.events
    where is_signed_in and anonymous_id is not null and event_at is not null
    group by anonymous_id, user_id
),

-- What an id did before the day on which somebody was seen with it stands under its own name, and
-- is the past of that user alone: of a second one it tells nothing.
first_seen as (
    select *
    from seen
    qualify row_number() over (partition by anonymous_id order by known_at, user_id) = 1
),

past as (
    select
        first_seen.anonymous_id,
        first_seen.user_id,
        min(events.event_at) as first_event_at,
        count(*) as count_events,
        count(*) filter (events.role = 'view') as count_views,
        count(*) filter (events.role = 'cart') as count_carts,
        count(*) filter (events.role = 'purchase') as count_purchases,
    from first_seen
    inner join staging.events as events
        on cast(events.user_id as varchar) = 'anonymous:' || first_seen.anonymous_id
        and events.event_at < first_seen.known_at
    group by first_seen.anonymous_id, first_seen.user_id
)

select
    seen.anonymous_id,
    seen.user_id,
    seen.known_at,
    past.first_event_at,
    coalesce(past.count_events, 0) as count_events,
    coalesce(past.count_views, 0) as count_views,
    coalesce(past.count_carts, 0) as count_carts,
    coalesce(past.count_purchases, 0) as count_purchases,
from seen
left join past on past.anonymous_id = seen.anonymous_id and past.user_id = seen.user_id
order by seen.anonymous_id, seen.user_id
