-- purpose: what sources say of items in numbers: vectors of images, sounds or texts
-- grain:   item_id, name
-- inputs:  raw.items, staging.unused_facts
-- scope:   global
-- check:   len(vector) > 0
-- version: 2
with

entries as (
    select
        items.item_id,
        (coalesce(items.valid_from, timestamp '0001-01-01'), items.source, items.rowid) as place,
        unnest(map_entries(items.vectors)) as entry,
    from raw.items as items
    anti join staging.unused_facts as unused
        on unused.source = items.source and unused.fact_row = items.rowid
)

-- What is known first, of several sources the first by name.
select
    item_id,
    entry.key as name,
    entry.value as vector,
    nullif(place[1], timestamp '0001-01-01') as known_at,
from entries
where len(entry.value) > 0 and list_bool_and(list_transform(entry.value, lambda x: isfinite(x)))
qualify row_number() over (partition by item_id, entry.key order by place) = 1
order by item_id, name
