-- purpose: what sources say of items in numbers: vectors of images, sounds or texts
-- grain:   item_id, name
-- inputs:  raw.items
-- scope:   global
-- check:   len(vector) > 0
-- version: 1
with

entries as (
    select source, rowid as fact_row, item_id, unnest(map_entries(vectors)) as entry
    from raw.items
    where item_id is not null
)

-- A source's later rows about an item are duplicates; of several sources the first by name counts.
select
    item_id,
    entry.key as name,
    entry.value as vector,
from entries
where len(entry.value) > 0 and list_bool_and(list_transform(entry.value, lambda x: isfinite(x)))
qualify row_number() over (partition by item_id, entry.key order by source, fact_row) = 1
order by item_id, name
