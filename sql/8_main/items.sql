-- purpose: one row per item with its name, category and how often it was met
-- grain:   item_id
-- inputs:  staging.items
-- materialized: view
-- scope:   global
-- version: 1
select
    item_id,
    title,
    category,
    first_seen_at,
    count_events,
from staging.items
