-- purpose: whether the user does more or less than before: recent rates against longer ones
-- grain:   user_id, cutoff_at
-- inputs:  features.frequency, features.monetary, features.recency
-- params:  bucket
-- check:   active_days_share between 0 and 1
-- version: 1
-- 1 is steady, above 1 rising, 0 silent lately; NULL where there is nothing to compare with.
select
    frequency.user_id,
    frequency.cutoff_at,
    safe_ratio(count_events_7d * 30, count_events_30d * 7) as events_7d_to_30d_ratio,
    safe_ratio(count_events_30d * 3, count_events_90d) as events_30d_to_90d_ratio,
    safe_ratio(count_sessions_30d * 3, count_sessions_90d) as sessions_30d_to_90d_ratio,
    safe_ratio(count_orders_30d * 3, count_orders_90d) as orders_30d_to_90d_ratio,
    safe_ratio(value_30d * 3, value_90d) as value_30d_to_90d_ratio,
    safe_ratio(
        count_events_30d / 30, count_events_lifetime / greatest(days_since_first_event, 30)
    ) as events_30d_to_lifetime_ratio,
    safe_ratio(
        value_90d / 90, value_lifetime / greatest(days_since_first_event, 90)
    ) as value_90d_to_lifetime_ratio,
    count_events_7d - (count_events_30d - count_events_7d) * 7 / 23 as events_7d_change,
    value_30d - (value_90d - value_30d) / 2 as value_30d_change,
    -- Begun days (hours, where a bucket is one) count whole, else two visits an hour apart over
    -- midnight would be a share above 1.
    count_active_days_lifetime / greatest(
        ceil(days_since_first_event * 86400 / epoch(getvariable('bucket'))), 1
    ) as active_days_share,
from features.frequency as frequency
inner join features.monetary as monetary
    on monetary.user_id = frequency.user_id
    and monetary.cutoff_at = frequency.cutoff_at
inner join features.recency as recency
    on recency.user_id = frequency.user_id
    and recency.cutoff_at = frequency.cutoff_at
order by frequency.user_id, frequency.cutoff_at
