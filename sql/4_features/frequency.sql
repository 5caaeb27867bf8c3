-- purpose: how often the user came and did each kind of thing over 1, 7, 30 and 90 days and ever
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- check:   count_events_7d <= count_events_30d and count_events_30d <= count_events_lifetime
-- version: 2
select
    known.user_id,
    known.cutoff_at,
    added(upto.count_events, before_1d.count_events) as count_events_1d,
    added(upto.count_events, before_7d.count_events) as count_events_7d,
    added(upto.count_events, before_30d.count_events) as count_events_30d,
    added(upto.count_events, before_90d.count_events) as count_events_90d,
    cast(upto.count_events as double) as count_events_lifetime,
    added(upto.count_sessions, before_7d.count_sessions) as count_sessions_7d,
    added(upto.count_sessions, before_30d.count_sessions) as count_sessions_30d,
    added(upto.count_sessions, before_90d.count_sessions) as count_sessions_90d,
    cast(upto.count_sessions as double) as count_sessions_lifetime,
    added(upto.count_views, before_7d.count_views) as count_views_7d,
    added(upto.count_views, before_30d.count_views) as count_views_30d,
    cast(upto.count_views as double) as count_views_lifetime,
    added(upto.count_clicks, before_7d.count_clicks) as count_clicks_7d,
    added(upto.count_clicks, before_30d.count_clicks) as count_clicks_30d,
    cast(upto.count_clicks as double) as count_clicks_lifetime,
    added(upto.count_carts, before_7d.count_carts) as count_carts_7d,
    added(upto.count_carts, before_30d.count_carts) as count_carts_30d,
    cast(upto.count_carts as double) as count_carts_lifetime,
    added(upto.count_orders, before_7d.count_orders) as count_orders_7d,
    added(upto.count_orders, before_30d.count_orders) as count_orders_30d,
    added(upto.count_orders, before_90d.count_orders) as count_orders_90d,
    cast(upto.count_orders as double) as count_orders_lifetime,
    added(upto.count_purchases, before_7d.count_purchases) as count_purchases_7d,
    added(upto.count_purchases, before_30d.count_purchases) as count_purchases_30d,
    added(upto.count_purchases, before_90d.count_purchases) as count_purchases_90d,
    cast(upto.count_purchases as double) as count_purchases_lifetime,
    added(upto.count_returns, before_90d.count_returns) as count_returns_90d,
    cast(upto.count_returns as double) as count_returns_lifetime,
    added(upto.count_actions, before_7d.count_actions) as count_actions_7d,
    added(upto.count_actions, before_30d.count_actions) as count_actions_30d,
    cast(upto.count_actions as double) as count_actions_lifetime,
    added(upto.count_active_days, before_7d.count_active_days) as count_active_days_7d,
    added(upto.count_active_days, before_30d.count_active_days) as count_active_days_30d,
    added(upto.count_active_days, before_90d.count_active_days) as count_active_days_90d,
    cast(upto.count_active_days as double) as count_active_days_lifetime,
from cutoffs.known_days as known
inner join sessions.user_totals as upto
    on upto.user_id = known.user_id
    and upto.day_number = known.count_days
left join sessions.user_totals as before_1d
    on before_1d.user_id = known.user_id
    and before_1d.day_number = known.count_days_1d
left join sessions.user_totals as before_7d
    on before_7d.user_id = known.user_id
    and before_7d.day_number = known.count_days_7d
left join sessions.user_totals as before_30d
    on before_30d.user_id = known.user_id
    and before_30d.day_number = known.count_days_30d
left join sessions.user_totals as before_90d
    on before_90d.user_id = known.user_id
    and before_90d.day_number = known.count_days_90d
order by known.user_id, known.cutoff_at
