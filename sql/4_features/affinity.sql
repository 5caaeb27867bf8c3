-- purpose: what the user is drawn to: items and categories, how concentrated and how new
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_item_days
-- check:   item_concentration is null or item_concentration between 0 and 1
-- version: 1
with

aged as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.* exclude (user_id),
        days.day_at > cutoffs.cutoff_at - interval '30 days' as in_30d,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_item_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
)

-- A user who met no item has no row; the matrix then holds NULL.
select
    user_id,
    cutoff_at,
    total(count_new_items, true) as count_distinct_items_lifetime,
    total(count_new_categories, true) as count_distinct_categories_lifetime,
    safe_ratio(sum(count_new_items), sum(count_events)) as new_item_share_lifetime,
    safe_ratio(
        sum(count_new_items) filter (where in_30d), sum(count_events) filter (where in_30d)
    ) as new_item_share_30d,
    safe_ratio(max(max_item_number), sum(count_events)) as favourite_item_share,
    cast(max(max_item_number) as double) as count_favourite_item,
    safe_ratio(max(max_category_number), sum(count_events_categorised))
        as favourite_category_share,
    -- Herfindahl's index, the sum of squared shares: 1 means always the same one.
    safe_ratio(sum(sum_squared_items), sum(count_events) * sum(count_events))
        as item_concentration,
    safe_ratio(
        sum(sum_squared_categories),
        sum(count_events_categorised) * sum(count_events_categorised)
    ) as category_concentration,
    arg_max(favourite_category, (max_category_number, favourite_category))
        filter (where favourite_category is not null) as favourite_category,
    safe_ratio(sum(sum_log_popularity), sum(count_events)) as item_popularity_log_mean,
    safe_ratio(
        sum(sum_log_popularity) filter (where in_30d), sum(count_events) filter (where in_30d)
    ) as item_popularity_log_mean_30d,
from aged
group by user_id, cutoff_at
order by user_id, cutoff_at
