-- purpose: how far the user goes from looking to buying
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- check:   has_open_cart is not null
-- version: 2
select
    known.user_id,
    known.cutoff_at,
    safe_ratio(upto.count_clicks, upto.count_views) as clicks_per_view_lifetime,
    safe_ratio(upto.count_carts, upto.count_views) as carts_per_view_lifetime,
    safe_ratio(upto.count_purchases, upto.count_views) as purchases_per_view_lifetime,
    safe_ratio(upto.count_purchases, upto.count_carts) as purchases_per_cart_lifetime,
    safe_ratio(
        added(upto.count_carts, before_30d.count_carts),
        added(upto.count_views, before_30d.count_views)
    ) as carts_per_view_30d,
    safe_ratio(
        added(upto.count_purchases, before_30d.count_purchases),
        added(upto.count_carts, before_30d.count_carts)
    ) as purchases_per_cart_30d,
    safe_ratio(upto.count_orders, upto.count_sessions) as orders_per_session_lifetime,
    safe_ratio(upto.count_returns, upto.count_purchases) as returns_per_purchase_lifetime,
    safe_ratio(upto.count_purchases, upto.count_events) as purchase_event_share,
    safe_ratio(upto.count_views, upto.count_events) as view_event_share,
    safe_ratio(upto.count_actions, upto.count_events) as action_event_share,
    -- Something was put in the cart and not bought since.
    coalesce(upto.last_cart_at > coalesce(upto.last_purchase_at, timestamp '0001-01-01'), false)
        as has_open_cart,
from cutoffs.known_days as known
inner join sessions.user_totals as upto
    on upto.user_id = known.user_id
    and upto.day_number = known.count_days
left join sessions.user_totals as before_30d
    on before_30d.user_id = known.user_id
    and before_30d.day_number = known.count_days_30d
order by known.user_id, known.cutoff_at
