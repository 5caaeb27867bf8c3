-- purpose: each user's days with items, in sums that add up over days
-- grain:   user_id, day_at
-- inputs:  sessions.item_events
-- params:  bucket
-- check:   count_events >= 1
-- version: 2
select
    user_id,
    time_bucket(getvariable('bucket'), event_at) as day_at,
    count(*)::integer as count_events,
    count(*) filter (where item_number = 1)::integer as count_new_items,
    count(*) filter (where category_number = 1 and category is not null)::integer
        as count_new_categories,
    count(category)::integer as count_events_categorised,
    -- Met for the k-th time, an item adds k^2 - (k-1)^2 = 2k - 1: the running sum is the sum of
    -- the squared counts per item, so concentration adds up over days too.
    cast(sum(2 * item_number - 1) as bigint) as sum_squared_items,
    cast(sum(2 * category_number - 1) filter (where category is not null) as bigint)
        as sum_squared_categories,
    max(item_number)::integer as max_item_number,
    max(category_number) filter (where category is not null)::integer as max_category_number,
    arg_max(category, (category_number, category)) filter (where category is not null)
        as favourite_category,
    cast(sum(cast(ln(1 + item_popularity) as decimal(18, 9))) as decimal(28, 9))
        as sum_log_popularity,
from sessions.item_events
group by user_id, time_bucket(getvariable('bucket'), event_at)
order by user_id, day_at
