-- purpose: each user's running totals: all that is known up to and including each of their days
-- grain:   user_id, day_number
-- inputs:  sessions.user_days
-- check:   count_events >= count_days and count_active_days <= count_days
-- version: 1
-- What was done between two moments is one row's total less an earlier row's, so that features of
-- any window take a join of rows and no aggregation.
with

days as (
    select
        user_days.*,
        isodow(day_at) as weekday,
        case when count_active > 0 then day_at end as visited_at,
        case when count_orders > 0 then day_at end as ordered_at,
        -- A gap belongs to the later of its two days, so it is known once that day has come.
        case when count_active > 0 then days_between(previous_active_day_at, day_at) end
            as visit_gap,
        case when count_orders > 0 then days_between(previous_order_day_at, day_at) end
            as order_gap,
    from sessions.user_days as user_days
)

select
    user_id,
    cast(row_number() over so_far as integer) as day_number,
    day_at,
    day_number as count_days,
    cast(count(visited_at) over so_far as integer) as count_active_days,
    cast(sum(count_events) over so_far as integer) as count_events,
    cast(sum(count_views) over so_far as integer) as count_views,
    cast(sum(count_clicks) over so_far as integer) as count_clicks,
    cast(sum(count_carts) over so_far as integer) as count_carts,
    cast(sum(count_orders) over so_far as integer) as count_orders,
    cast(sum(count_purchases) over so_far as integer) as count_purchases,
    cast(sum(count_returns) over so_far as integer) as count_returns,
    cast(sum(count_actions) over so_far as integer) as count_actions,
    cast(sum(count_sessions) over so_far as integer) as count_sessions,
    cast(sum(count_sessions_continued) over so_far as integer) as count_sessions_continued,
    cast(sum(count_sessions_engaged) over so_far as integer) as count_sessions_engaged,
    cast(sum(count_events_night) over so_far as integer) as count_events_night,
    cast(sum(count_events_morning) over so_far as integer) as count_events_morning,
    cast(sum(count_events_afternoon) over so_far as integer) as count_events_afternoon,
    cast(sum(count_events_evening) over so_far as integer) as count_events_evening,
    cast(sum(count_events) filter (where weekday = 1) over so_far as integer) as count_monday,
    cast(sum(count_events) filter (where weekday = 2) over so_far as integer) as count_tuesday,
    cast(sum(count_events) filter (where weekday = 3) over so_far as integer) as count_wednesday,
    cast(sum(count_events) filter (where weekday = 4) over so_far as integer) as count_thursday,
    cast(sum(count_events) filter (where weekday = 5) over so_far as integer) as count_friday,
    cast(sum(count_events) filter (where weekday > 5) over so_far as integer) as count_weekend,
    sum(value) over so_far as value,
    sum(returned_value) over so_far as returned_value,
    sum(quantity) over so_far as quantity,
    max(max_value) over so_far as max_value,
    sum(session_seconds) over so_far as session_seconds,
    days.count_events as count_events_that_day,
    days.session_seconds as session_seconds_that_day,
    min(first_event_at) over so_far as first_event_at,
    max(last_event_at) over so_far as last_event_at,
    max(last_event_id) over so_far as last_event_id,
    max(last_active_at) over so_far as last_active_at,
    max(last_view_at) over so_far as last_view_at,
    max(last_click_at) over so_far as last_click_at,
    max(last_cart_at) over so_far as last_cart_at,
    max(last_purchase_at) over so_far as last_purchase_at,
    max(last_return_at) over so_far as last_return_at,
    max(visited_at) over so_far as visited_at,
    max(ordered_at) over so_far as ordered_at,
    count(visit_gap) over so_far as count_visit_gaps,
    count(order_gap) over so_far as count_order_gaps,
    sum(cast(visit_gap as decimal(18, 6))) over so_far as visit_gap_sum,
    sum(cast(order_gap as decimal(18, 6))) over so_far as order_gap_sum,
    sum(cast(visit_gap * visit_gap as decimal(28, 6))) over so_far as visit_gap_squares,
    sum(cast(order_gap * order_gap as decimal(28, 6))) over so_far as order_gap_squares,
    max(visit_gap) over so_far as visit_gap_max,
    last_value(visit_gap ignore nulls) over so_far as visit_gap_last,
    last_value(order_gap ignore nulls) over so_far as order_gap_last,
from days
window so_far as (partition by days.user_id order by days.day_at)
order by user_id, day_number
