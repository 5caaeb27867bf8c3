-- purpose: one row per session: entry, exit, length, counts by role, engagement, value
-- grain:   user_id, session_id
-- inputs:  sessions.session_events
-- check:   session_seconds >= 0
-- check:   started_at <= ended_at
-- check:   count_events >= 1
-- version: 1
select
    user_id,
    session_id,
    min(event_at) as started_at,
    max(event_at) as ended_at,
    epoch(max(event_at) - min(event_at)) as session_seconds,
    count(*) as count_events,
    count(*) filter (where role = 'view') as count_views,
    count(*) filter (where role = 'click') as count_clicks,
    count(*) filter (where role = 'cart') as count_carts,
    count(*) filter (where role = 'purchase') as count_purchases,
    count(*) filter (where role = 'return') as count_returns,
    count(*) filter (where role = 'action') as count_actions,
    arg_min(item_id, event_id) as entry_item_id,
    arg_max(item_id, event_id) as exit_item_id,
    arg_min(role, event_id) as entry_role,
    arg_max(role, event_id) as exit_role,
    bool_or(is_engaged_by_now) as is_engaged,
    cast(coalesce(sum(value) filter (where role = 'purchase'), 0) as double) as value,
from sessions.session_events
group by user_id, session_id
order by user_id, session_id
