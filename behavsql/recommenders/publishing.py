"""What is published of a choice task: lists for everybody, popular items, neighbours of items."""

from typing import TYPE_CHECKING

import duckdb

from behavsql.quoting import literal
from behavsql.recommenders import base, co_visitation, content
from behavsql.recommenders.base import ITEMS, OWN, POPULAR
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.panel import Panel
from behavsql.tasks import Task

if TYPE_CHECKING:
    from behavsql.recommenders.heard import Mix

AT_ONCE = 50_000  # users whose lists are made together: what is held in memory does not grow
LISTED = 40  # items of a list, of which rules and diversity leave the best
POPULAR_KEPT = 1_000
NEIGHBOURS_KEPT = 50

# The ids are of the types that events and items have.
TABLES = {
    "recommended": "user_id, null::integer as place, item_id, null::double as score, "
    "null::varchar as source, item_id as reason_item_id, null::bigint as reason_count",
    "popular_items": "null::integer as rank, item_id, null::double as score",
    "item_neighbours": "item_id, null::integer as rank, item_id as neighbour_id, "
    "null::double as score, null::varchar as source",
}


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables where they are missing, or of ids of another type."""
    for name, columns in TABLES.items():
        con.execute(
            f"create or replace temp table next_empty as select null::varchar as task, {columns} "
            "from staging.items, staging.users limit 0"
        )
        types = {
            table: con.execute(
                "select list((column_name, data_type) order by column_name) from duckdb_columns() "
                "where table_name = ? and schema_name = ? "
                "and database_name in ('temp', current_database())", [table, schema],
            ).fetchall()
            for table, schema in ((name, "models"), ("next_empty", "main"))
        }  # fmt: skip
        if types[name] != types["next_empty"]:
            con.execute(f"create or replace table models.{name} as from next_empty")


def forget(con: duckdb.DuckDBPyConnection, task: str) -> None:
    """Take a task's rows away."""
    for name in TABLES:
        con.execute(f"delete from models.{name} where task = ?", [task])


def publish(
    con: duckdb.DuckDBPyConnection, task: Task, panel: Panel, choices: Choices, mix: "Mix"
) -> int:
    """Fill the tables with what a fitted panel says now; the users that have a list."""
    prepare(con)
    forget(con, task.name)
    _publish_items(con, task, choices)
    sources = " ".join(
        f"when {literal(name)} then {literal(panel.members[name].source)}" for name in mix.members
    )
    users = con.execute(
        "select count(*), coalesce(min(question), 0) from next_questions where split = 'latest'"
    ).fetchall()[0]
    for start in range(users[1], users[1] + users[0], AT_ONCE):
        some = choices.questions("latest", f"question between {start} and {start + AT_ONCE - 1}")
        tables = panel.ask(some, LISTED, only=mix.members)
        said = mix.say(panel, tables, LISTED)
        con.execute(
            f"create or replace temp table next_full as select * exclude member from {said}"
        )
        base.fill(con, "next_full", LISTED, choices.hides_seen)
        _insert(con, task, said, f"case member {sources} else 'popular' end")
    return users[0]


def _insert(con: duckdb.DuckDBPyConnection, task: Task, said: str, source: str) -> None:
    """Add the lists of `next_full`, each place with what speaks for it."""
    con.execute(f"""
        insert into models.recommended
        with listed as (
            select full_list.*, {source} as source, asked.user_id
            from next_full as full_list
            left join {said} as said using (question, item)
            inner join next_questions as asked using (question)
        ),
        led as (
            select listed.question, listed.item,
                arg_max(own.item, (pairs.score / own.nth, -own.nth)) as reason_item,
            from listed
            inner join {OWN} as own on own.question = listed.question
            inner join next_reasons as pairs on pairs.from_item = own.item
                and pairs.item = listed.item and pairs.source = listed.source
            where own.nth <= {co_visitation.READ}
            group by listed.question, listed.item
        )
        select {literal(task.name)} as task, listed.user_id, listed.rank as place, items.item_id,
            listed.score, listed.source, reasons.item_id as reason_item_id,
            own.times as reason_count,
        from listed
        inner join {ITEMS} as items on items.item = listed.item
        left join {OWN} as own on own.question = listed.question and own.item = listed.item
        left join led on led.question = listed.question and led.item = listed.item
        left join {ITEMS} as reasons on reasons.item = led.reason_item
        order by listed.question, listed.rank
    """)


def _publish_items(con: duckdb.DuckDBPyConnection, task: Task, choices: Choices) -> None:
    known = choices.known("latest")
    con.execute(f"create or replace temp table next_pairs as {co_visitation.neighbours(known)}")
    con.execute(
        f"""insert into models.popular_items
            select {literal(task.name)}, rank, item_id, score
            from {POPULAR} inner join {ITEMS} using (item) where rank <= {POPULAR_KEPT}
            order by rank"""
    )
    con.execute(
        f"""insert into models.item_neighbours
            select {literal(task.name)}, ours.item_id, rank, theirs.item_id, score, 'co-visited'
            from next_pairs as pairs
            inner join {ITEMS} as ours on ours.item = pairs.from_item
            inner join {ITEMS} as theirs on theirs.item = pairs.item
            where rank <= {NEIGHBOURS_KEPT}
            order by pairs.from_item, rank"""
    )
    con.execute(
        "create or replace temp table next_reasons as "
        "select 'co-visited' as source, from_item, item, score from next_pairs"
    )
    if choices.has_words:  # what is known of an item that nobody has chosen yet
        con.execute(f"create or replace temp table next_alike as {content.alike()}")
        con.execute(
            "insert into next_reasons select 'similar content', from_item, item, score from next_alike"
        )
        con.execute(
            f"""insert into models.item_neighbours
                select {literal(task.name)}, ours.item_id, rank, theirs.item_id, score,
                    'similar content'
                from next_alike as pairs
                inner join {ITEMS} as ours on ours.item = pairs.from_item
                inner join {ITEMS} as theirs on theirs.item = pairs.item
                anti join next_pairs as led
                    on led.from_item = pairs.from_item and led.item = pairs.item
                where rank <= {content.KEPT}
                order by pairs.from_item, rank"""
        )
