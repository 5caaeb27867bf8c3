-- purpose: the price of each item, as it was known from a moment on
-- grain:   item_id, known_at
-- inputs:  raw.items, staging.unused_facts
-- scope:   global
-- version: 1
with

-- A version that ends is over when the next one begins, if that is sooner.
versions as (
    select
        items.item_id,
        coalesce(items.valid_from, timestamp '0001-01-01') as known_at,
        case when items.ends_at < coalesce(lead(items.valid_from) over (
            partition by items.item_id, items.source order by items.valid_from
        ), timestamp 'infinity') then items.ends_at end as ends_at,
        items.prices,
    from raw.items as items
    anti join staging.unused_facts as unused
        on unused.source = items.source and unused.fact_row = items.rowid
    where items.prices is not null
),

moments as (
    select item_id, known_at, true as is_begin, unnest(prices) from versions
    union all
    select item_id, ends_at as known_at, false as is_begin, unnest(prices)
    from versions
    where ends_at is not null
),

-- A cell is a list of one value; `_none` stands for no column where no source tells prices.
cells as (
    select columns(lambda name: name <> '_none')
    from moments
),

-- What ends is [NULL]. At one moment what begins counts before what ends.
told as (
    select
        item_id,
        known_at,
        arg_max(
            case
                when is_begin then columns(cells.* exclude (item_id, known_at, is_begin))
                when columns(cells.* exclude (item_id, known_at, is_begin)) is not null then [null]
            end,
            is_begin
        ),
    from cells
    group by item_id, known_at
),

-- Sources are silent of each other's facts: each stays as it was last told.
known as (
    select
        item_id,
        known_at,
        last_value(columns(told.* exclude (item_id, known_at)) ignore nulls) over (
            partition by item_id order by known_at
        ),
    from told
)

select
    item_id,
    known_at,
    columns(known.* exclude (item_id, known_at))[1],
from known
order by item_id, known_at
