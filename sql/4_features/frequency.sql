-- purpose: how often the user came and did each kind of thing over 1, 7, 30 and 90 days and ever
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   count_events_7d <= count_events_30d and count_events_30d <= count_events_lifetime
-- version: 1
with

aged as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.* exclude (user_id),
        days.day_at > cutoffs.cutoff_at - interval '1 day' as in_1d,
        days.day_at > cutoffs.cutoff_at - interval '7 days' as in_7d,
        days.day_at > cutoffs.cutoff_at - interval '30 days' as in_30d,
        days.day_at > cutoffs.cutoff_at - interval '90 days' as in_90d,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
)

select
    user_id,
    cutoff_at,
    total(count_events, in_1d) as count_events_1d,
    total(count_events, in_7d) as count_events_7d,
    total(count_events, in_30d) as count_events_30d,
    total(count_events, in_90d) as count_events_90d,
    total(count_events, true) as count_events_lifetime,
    total(count_sessions, in_7d) as count_sessions_7d,
    total(count_sessions, in_30d) as count_sessions_30d,
    total(count_sessions, in_90d) as count_sessions_90d,
    total(count_sessions, true) as count_sessions_lifetime,
    total(count_views, in_7d) as count_views_7d,
    total(count_views, in_30d) as count_views_30d,
    total(count_views, true) as count_views_lifetime,
    total(count_clicks, in_7d) as count_clicks_7d,
    total(count_clicks, in_30d) as count_clicks_30d,
    total(count_clicks, true) as count_clicks_lifetime,
    total(count_carts, in_7d) as count_carts_7d,
    total(count_carts, in_30d) as count_carts_30d,
    total(count_carts, true) as count_carts_lifetime,
    total(count_orders, in_7d) as count_orders_7d,
    total(count_orders, in_30d) as count_orders_30d,
    total(count_orders, in_90d) as count_orders_90d,
    total(count_orders, true) as count_orders_lifetime,
    total(count_purchases, in_7d) as count_purchases_7d,
    total(count_purchases, in_30d) as count_purchases_30d,
    total(count_purchases, in_90d) as count_purchases_90d,
    total(count_purchases, true) as count_purchases_lifetime,
    total(count_returns, in_90d) as count_returns_90d,
    total(count_returns, true) as count_returns_lifetime,
    total(count_actions, in_7d) as count_actions_7d,
    total(count_actions, in_30d) as count_actions_30d,
    total(count_actions, true) as count_actions_lifetime,
    total(cast(count_active > 0 as integer), in_7d) as count_active_days_7d,
    total(cast(count_active > 0 as integer), in_30d) as count_active_days_30d,
    total(cast(count_active > 0 as integer), in_90d) as count_active_days_90d,
    total(cast(count_active > 0 as integer), true) as count_active_days_lifetime,
from aged
group by user_id, cutoff_at
order by user_id, cutoff_at
