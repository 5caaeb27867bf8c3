-- purpose: which items may be recommended, and how much more or less than they earn
-- grain:   item_id
-- inputs:  staging.items
-- check:   boost >= 0
-- scope:   global
-- version: 1
-- Business rules are written here: a file of this name in a project's own sql/6_predictions takes
-- the place of this one. Out of stock: is_available false. Twice as likely: boost 2. At most
-- `max_per_category` items of one category_of_rule stand in a list; NULL is not counted.
select
    item_id,
    true as is_available,
    cast(1 as double) as boost,
    category as category_of_rule,
from staging.items
order by item_id
