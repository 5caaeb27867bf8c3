-- purpose: how far the user goes from looking to buying
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   has_open_cart is not null
-- version: 1
with

aged as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.* exclude (user_id),
        days.day_at > cutoffs.cutoff_at - interval '30 days' as in_30d,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
)

select
    user_id,
    cutoff_at,
    safe_ratio(sum(count_clicks), sum(count_views)) as clicks_per_view_lifetime,
    safe_ratio(sum(count_carts), sum(count_views)) as carts_per_view_lifetime,
    safe_ratio(sum(count_purchases), sum(count_views)) as purchases_per_view_lifetime,
    safe_ratio(sum(count_purchases), sum(count_carts)) as purchases_per_cart_lifetime,
    safe_ratio(
        sum(count_carts) filter (where in_30d), sum(count_views) filter (where in_30d)
    ) as carts_per_view_30d,
    safe_ratio(
        sum(count_purchases) filter (where in_30d), sum(count_carts) filter (where in_30d)
    ) as purchases_per_cart_30d,
    safe_ratio(sum(count_orders), sum(count_sessions)) as orders_per_session_lifetime,
    safe_ratio(sum(count_returns), sum(count_purchases)) as returns_per_purchase_lifetime,
    safe_ratio(sum(count_purchases), sum(count_events)) as purchase_event_share,
    safe_ratio(sum(count_views), sum(count_events)) as view_event_share,
    safe_ratio(sum(count_actions), sum(count_events)) as action_event_share,
    -- Something was put in the cart and not bought since.
    coalesce(max(last_cart_at) > coalesce(max(last_purchase_at), timestamp '0001-01-01'), false)
        as has_open_cart,
from aged
group by user_id, cutoff_at
order by user_id, cutoff_at
