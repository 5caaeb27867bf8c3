-- purpose: how much the user spent and sent back over 1, 7, 30 and 90 days and ever
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- check:   returned_value_lifetime >= 0
-- version: 2
select
    known.user_id,
    known.cutoff_at,
    added(upto.value, before_1d.value) as value_1d,
    added(upto.value, before_7d.value) as value_7d,
    added(upto.value, before_30d.value) as value_30d,
    added(upto.value, before_90d.value) as value_90d,
    cast(upto.value as double) as value_lifetime,
    added(upto.returned_value, before_90d.returned_value) as returned_value_90d,
    cast(upto.returned_value as double) as returned_value_lifetime,
    added(upto.quantity, before_30d.quantity) as quantity_30d,
    cast(upto.quantity as double) as quantity_lifetime,
    safe_ratio(upto.value, upto.count_orders) as value_per_order_lifetime,
    safe_ratio(
        added(upto.value, before_90d.value), added(upto.count_orders, before_90d.count_orders)
    ) as value_per_order_90d,
    cast(upto.max_value as double) as max_value_lifetime,
    safe_ratio(upto.quantity, upto.count_purchases) as quantity_per_purchase_lifetime,
    safe_ratio(upto.returned_value, upto.value) as returned_value_share,
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
