-- purpose: one row per item, with the name and category it was first seen under
-- grain:   item_id
-- inputs:  raw.items, raw.events, staging.events, staging.unused_facts
-- scope:   global
-- version: 5
with

-- Where the rows say nothing of their items, there is nothing to join.
told as (
    select raw_row, category, title,
    from raw.events
    where category is not null or title is not null
),

-- First seen, not most frequent: what is known at a cutoff must not change with later events.
named as (
    select
        events.item_id,
        arg_min(told.category, (events.event_at, events.raw_row)) as category,
        arg_min(told.title, (events.event_at, events.raw_row)) as title,
        min(case when told.category is not null then events.event_at end)
            as category_seen_at,
        min(events.event_at) as first_seen_at,
        count(*) as count_events,
    from staging.events as events
    left join told on told.raw_row = events.raw_row
    where events.item_id is not null
    group by events.item_id
),

-- Several sources complete each other. Of versions the first counts, for the same reason.
versions as (
    select
        items.*,
        (coalesce(valid_from, timestamp '0001-01-01'), items.source, items.rowid) as place,
    from raw.items as items
    anti join staging.unused_facts as unused
        on unused.source = items.source and unused.fact_row = items.rowid
),

described as (
    select
        item_id,
        arg_min(category, place) as category,
        arg_min(title, place) as title,
        arg_min(description, place) as description,
        min(case when category is not null then place end)[1] as category_told_at,
        greatest(
            min(case when title is not null then place end)[1],
            min(case when description is not null then place end)[1]
        ) as described_at,
    from versions
    group by item_id
),

joined as (
    select
        item_id,
        described.* exclude (item_id),
        named.* exclude (item_id, category, title, count_events),
        named.category as category_seen,
        coalesce(described.title, named.title) as named_title,
        coalesce(named.count_events, 0) as count_events,
        -- The category is what was known first.
        described.category is not null
            and coalesce(category_told_at <= category_seen_at, true) as is_category_told,
    from named
    full outer join described using (item_id)
)

select
    item_id,
    if(is_category_told, category, category_seen) as category,
    named_title as title,
    description,
    -- From when on the category, and title and description, are known; NULL: always.
    nullif(if(is_category_told, category_told_at, category_seen_at), timestamp '0001-01-01')
        as category_known_at,
    nullif(described_at, timestamp '0001-01-01') as described_at,
    first_seen_at,
    count_events,
from joined
order by item_id
