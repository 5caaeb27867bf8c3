"""The functions that recommend, as table macros of the warehouse: they read its tables."""

import duckdb

from behavsql.quoting import literal

_USE = "In an attached file, `use` it first"
COMMENTS = {
    "recommend": "what a user will most likely choose next, best first; popular items for a user "
    f"who is not known: from recommend(17450), or recommend(17450, k := 5). {_USE}",
    "similar_items": "the items that most often follow one item, or are like it where nothing "
    f"follows it yet: from similar_items('85123A', k := 5). {_USE}",
    "recommend_session": "what comes next in a visit under way, whoever it is, given its items in "
    f"order: from recommend_session(['85123A', '22423'], k := 5). {_USE}",
}

# A parameter's name replaces every column of that name, so these begin with _.
_BODIES = {
    "recommend": """
create or replace macro recommend("_user", k := 10) as table
with own as (
    select rank, item_id, score, source, reason
    from predictions.next_item where user_id = "_user" and rank <= k
)
from own
union all
select
    cast(row_number() over (order by popular.rank) as integer) as rank,
    popular.item_id,
    popular.score * rules.boost as score,
    'popular' as source,
    'popular lately; the user is not known, or was not active lately' as reason,
from models.popular_items as popular
inner join predictions.next_item_rules as rules on rules.item_id = popular.item_id
where popular.task = 'next_item' and rules.is_available and rules.boost > 0
    and not exists (from own)
qualify row_number() over (order by popular.rank) <= k
order by rank
""",
    "similar_items": """
create or replace macro similar_items("_item", k := 10) as table
select
    cast(row_number() over (order by source <> 'co-visited', rank) as integer) as rank,
    neighbour_id as item_id,
    score,
    source,
from models.item_neighbours
where task = 'next_item' and item_id = "_item"
qualify row_number() over (order by source <> 'co-visited', rank) <= k
order by rank
""",
    "recommend_session": """
create or replace macro recommend_session("_items", k := 10) as table
with given as (
    select item_id, max(place) as place
    from (select unnest("_items") as item_id, generate_subscripts("_items", 1) as place)
    where item_id is not null
    group by item_id
),
latest as (
    select item_id, row_number() over (order by place desc) as nth from given
),
led as (
    select
        neighbours.neighbour_id as item_id,
        coalesce(
            sum(neighbours.score / latest.nth) filter (where neighbours.source = 'co-visited'),
            sum(neighbours.score / latest.nth)
        ) as score,
        min(neighbours.source) as source,
        min(if(neighbours.source = 'co-visited', 0, 1)) as part,
    from latest
    inner join models.item_neighbours as neighbours on neighbours.item_id = latest.item_id
    where neighbours.task = 'next_item' and latest.nth <= 20
    group by neighbours.neighbour_id
),
behind as (
    select led.*, 0 as popular_rank from led
    union all
    select item_id, 0, 'popular', 2, rank from models.popular_items
    where task = 'next_item' and item_id not in (select item_id from led)
)
select
    cast(row_number() over (order by part, behind.score * rules.boost desc, popular_rank, behind.item_id)
        as integer) as rank,
    behind.item_id,
    behind.score * rules.boost as score,
    source,
from behind
inner join predictions.next_item_rules as rules on rules.item_id = behind.item_id
where rules.is_available and rules.boost > 0
    and behind.item_id not in (select item_id from given)
qualify row_number() over (
    order by part, behind.score * rules.boost desc, popular_rank, behind.item_id) <= k
order by rank
""",
}


def create(con: duckdb.DuckDBPyConnection) -> None:
    """Make the functions, with their comments; they are empty where no item is recommended."""
    for name, body in _BODIES.items():
        con.execute(body)
        con.execute(f"comment on macro table {name} is {literal(COMMENTS[name])}")
