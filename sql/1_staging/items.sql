-- purpose: one row per item, with the name and category it was first seen under
-- grain:   item_id
-- inputs:  raw.items, raw.events, staging.events
-- scope:   global
-- version: 3
with

-- First seen, not most frequent: what is known at a cutoff must not change with later events.
named as (
    select
        events.item_id,
        arg_min(raw_events.category, (events.event_at, events.raw_row)) as category,
        arg_min(raw_events.title, (events.event_at, events.raw_row)) as title,
        min(case when raw_events.category is not null then events.event_at end)
            as category_seen_at,
        min(events.event_at) as first_seen_at,
        count(*) as count_events,
    from staging.events as events
    inner join raw.events as raw_events on raw_events.rowid = events.raw_row
    where events.item_id is not null
    group by events.item_id
),

-- A source's later rows about an item are duplicates; several sources complete each other.
first_rows as (
    select *
    from raw.items
    where item_id is not null
    qualify row_number() over (partition by source, item_id order by rowid) = 1
),

described as (
    select
        item_id,
        arg_min(category, source) as category,
        arg_min(title, source) as title,
        arg_min(description, source) as description,
    from first_rows
    group by item_id
)

select
    item_id,
    coalesce(described.category, named.category) as category,
    coalesce(described.title, named.title) as title,
    described.description,
    -- From when on the category is known; NULL: always, from a source that describes items.
    case when described.category is null then named.category_seen_at end as category_known_at,
    named.first_seen_at,
    coalesce(named.count_events, 0) as count_events,
from named
full outer join described using (item_id)
order by item_id
