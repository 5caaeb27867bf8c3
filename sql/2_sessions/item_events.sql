-- purpose: how often the user had met the item, and its category, up to each event
-- grain:   user_id, event_id
-- inputs:  sessions.session_events, sessions.item_popularity
-- check:   item_number >= 1 and category_number >= 1
-- version: 1
with

-- Returns and what was done to the user say nothing of interest in an item.
met as (
    select
        events.user_id,
        events.event_id,
        events.event_at,
        events.item_id,
        events.category,
        coalesce(popularity.count_events, 0) as item_popularity,
    from sessions.session_events as events
    left join sessions.item_popularity as popularity
        on popularity.item_id = events.item_id
        and popularity.week_at = time_bucket(interval '7 days', events.event_at)
    where events.item_id is not null
        and events.role not in ('return', 'other')
)

select
    user_id,
    event_id,
    event_at,
    item_id,
    category,
    item_popularity,
    row_number() over same_item as item_number,
    row_number() over same_category as category_number,
from met
window
    same_item as (partition by user_id, item_id order by event_id),
    same_category as (partition by user_id, category order by event_id)
order by user_id, event_id
