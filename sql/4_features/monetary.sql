-- purpose: how much the user spent and sent back over 1, 7, 30 and 90 days and ever
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   returned_value_lifetime >= 0
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
    total(value, in_1d) as value_1d,
    total(value, in_7d) as value_7d,
    total(value, in_30d) as value_30d,
    total(value, in_90d) as value_90d,
    total(value, true) as value_lifetime,
    total(returned_value, in_90d) as returned_value_90d,
    total(returned_value, true) as returned_value_lifetime,
    total(quantity, in_30d) as quantity_30d,
    total(quantity, true) as quantity_lifetime,
    safe_ratio(sum(value), sum(count_orders)) as value_per_order_lifetime,
    safe_ratio(
        sum(value) filter (where in_90d), sum(count_orders) filter (where in_90d)
    ) as value_per_order_90d,
    cast(max(max_value) as double) as max_value_lifetime,
    safe_ratio(sum(quantity), sum(count_purchases)) as quantity_per_purchase_lifetime,
    safe_ratio(sum(returned_value), sum(value)) as returned_value_share,
from aged
group by user_id, cutoff_at
order by user_id, cutoff_at
