-- purpose: each user's days with events, in sums that add up over days
-- grain:   user_id, day_at
-- inputs:  sessions.session_events
-- params:  bucket
-- check:   count_events >= 1
-- check:   first_event_at >= day_at
-- version: 2
-- A day is one bucket: an hour where the data spans under 14 days. Everything later reads these
-- rows, not events, so a column here must be known from the events of the day and before.
with

daily as (
    select
        user_id,
        time_bucket(getvariable('bucket'), event_at) as day_at,
        min(event_at) as first_event_at,
        max(event_at) as last_event_at,
        max(event_id) as last_event_id,
        min(event_at) filter (where role not in ('return', 'other')) as first_active_at,
        max(event_at) filter (where role not in ('return', 'other')) as last_active_at,
        max(event_at) filter (where role = 'view') as last_view_at,
        max(event_at) filter (where role = 'click') as last_click_at,
        max(event_at) filter (where role = 'cart') as last_cart_at,
        max(event_at) filter (where role = 'purchase') as last_purchase_at,
        max(event_at) filter (where role = 'return') as last_return_at,
        count(*)::integer as count_events,
        count(*) filter (where role not in ('return', 'other'))::integer as count_active,
        count(*) filter (where role = 'view')::integer as count_views,
        count(*) filter (where role = 'click')::integer as count_clicks,
        count(*) filter (where role = 'cart')::integer as count_carts,
        count(*) filter (where role = 'purchase')::integer as count_purchases,
        count(*) filter (where role = 'return')::integer as count_returns,
        count(*) filter (where role = 'action')::integer as count_actions,
        coalesce(sum(value) filter (where role = 'purchase'), 0) as value,
        coalesce(sum(abs(value)) filter (where role = 'return'), 0) as returned_value,
        coalesce(sum(quantity) filter (where role = 'purchase'), 0) as quantity,
        max(value) filter (where role = 'purchase') as max_value,
        count(*) filter (where event_number = 1)::integer as count_sessions,
        count(*) filter (where event_number = 2)::integer as count_sessions_continued,
        count(*) filter (where becomes_engaged)::integer as count_sessions_engaged,
        -- All lines bought in one session are one order.
        count(*) filter (where is_new_order)::integer as count_orders,
        cast(sum(cast(seconds_since_previous as decimal(18, 6))) as decimal(28, 6))
            as session_seconds,
        count(*) filter (where hour(event_at) < 6)::integer as count_events_night,
        count(*) filter (where hour(event_at) between 6 and 11)::integer as count_events_morning,
        count(*) filter (where hour(event_at) between 12 and 17)::integer as count_events_afternoon,
        count(*) filter (where hour(event_at) >= 18)::integer as count_events_evening,
    from sessions.session_events
    group by user_id, time_bucket(getvariable('bucket'), event_at)
)

select
    daily.*,
    -- Visits are days with activity; the gap looks back only.
    lag(case when count_active > 0 then day_at end ignore nulls) over in_time_order
        as previous_active_day_at,
    lag(case when count_orders > 0 then day_at end ignore nulls) over in_time_order
        as previous_order_day_at,
from daily
window in_time_order as (partition by daily.user_id order by daily.day_at)
order by user_id, day_at
