-- purpose: what sources say of each user, as it was known from a moment on: answers, attributes
-- grain:   user_id, known_at
-- inputs:  raw.users, staging.unused_facts
-- version: 1
with

-- A version that ends is over when the next one begins, if that is sooner.
versions as (
    select
        users.user_id,
        coalesce(users.valid_from, timestamp '0001-01-01') as known_at,
        case when users.ends_at < coalesce(lead(users.valid_from) over (
            partition by users.user_id, users.source order by users.valid_from
        ), timestamp 'infinity') then users.ends_at end as ends_at,
        users.features,
    from raw.users as users
    anti join staging.unused_facts as unused
        on unused.source = users.source and unused.fact_row = users.rowid
    where users.features is not null
),

moments as (
    select user_id, known_at, true as is_begin, unnest(features) from versions
    union all
    select user_id, ends_at as known_at, false as is_begin, unnest(features)
    from versions
    where ends_at is not null
),

-- A cell is a list of one value; `_none` stands for no column where no source tells facts.
cells as (
    select columns(lambda name: name <> '_none')
    from moments
),

-- What ends is [NULL]. At one moment what begins counts before what ends.
told as (
    select
        user_id,
        known_at,
        arg_max(
            case
                when is_begin then columns(cells.* exclude (user_id, known_at, is_begin))
                when columns(cells.* exclude (user_id, known_at, is_begin)) is not null then [null]
            end,
            is_begin
        ),
    from cells
    group by user_id, known_at
),

-- Sources are silent of each other's facts: each stays as it was last told.
known as (
    select
        user_id,
        known_at,
        last_value(columns(told.* exclude (user_id, known_at)) ignore nulls) over (
            partition by user_id order by known_at
        ),
    from told
)

select
    user_id,
    known_at,
    columns(known.* exclude (user_id, known_at))[1],
from known
order by user_id, known_at
