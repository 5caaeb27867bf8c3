-- purpose: rows about items and users that say nothing: without an id, or told by an earlier row
-- grain:   source, source_row
-- inputs:  raw.items, raw.users
-- scope:   global
-- version: 1
with

facts as (
    select source, 'item' as thing, cast(item_id as varchar) as id, rowid as fact_row from raw.items
    union all
    select source, 'user' as thing, cast(user_id as varchar) as id, rowid as fact_row from raw.users
),

numbered as (
    select
        facts.*,
        row_number() over (partition by source order by fact_row) as source_row,
        row_number() over (partition by source, id order by fact_row) as occurrence,
    from facts
)

select
    source,
    source_row,
    case when id is null then 'missing_' || thing else 'duplicate' end as rule,
    case when id is null then 'no ' || thing || ' id'
        else 'an earlier row describes the same ' || thing
    end as reason,
from numbered
where id is null or occurrence > 1
order by source, source_row
