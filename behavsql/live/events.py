"""Inserted rows as events: judged, numbered, and what they change of all that is not one user's.

Judged by the query that judges the sources' rows (`accepted` in staging/events.sql). Numbered behind
what else happened at the same instant, in the order of the inserts. An inserted row that tells again
what is known, the same user, time, item and type, is no event.

What an inserted event changes beyond its user's own rows:

    now        the clock moves on with the newest thing that a user did (meta.clock, cutoffs.splits)
    popularity an event counts in sessions.item_popularity from the week after its own. So one
               inserted for a week that is over changes rows of other users, who met its item in the
               four weeks after; they are looked for and count as changed users
    items      nothing: a new item has no category yet, and its first event is nothing a feature reads
"""

import duckdb

from behavsql import inbox
from behavsql.catalog import Catalog, sql_tree
from behavsql.config import INBOX, Config
from behavsql.input import mapping
from behavsql.live.rewriting import Rewriter, replaced
from behavsql.live.statement import CHANGED, FRESH, NotLiveError, Relation, kept, own
from behavsql.quoting import identifier, literal

EVENTS = "staging.events"
POPULARITY = "sessions.item_popularity"
INSERTED = "inserted events"
OVER = "events of past weeks"
LATE = "late events"  # those of them that are new
ADDED = "added popularity"
KEY = ("user_id", "event_at", "item_id", "event_type")
# As in clock.py, which tells the build's own clock.
_CLOCK = f"""
select clock.* replace (
    newest as last_event_at,
    time_bucket(bucket, newest) + bucket - interval '1 microsecond' as as_of,
    time_bucket(bucket, newest) - interval '1 microsecond' as complete_until
)
from (
    select clock.*, greatest(last_event_at, inserted_at) as newest
    from meta.clock as clock
    cross join (
        select max(event_at) as inserted_at from "{INSERTED}" as inserted
        where role not in ('return', 'other')
    ) as inserted
) as clock
"""
# The judge comes after meta.tasks and may close a task; who is asked was decided before.
_SPLITS = """
select
    splits.task,
    clock.as_of as cutoff_at,
    'latest' as split,
    clock.as_of + (splits.window_ends_at - splits.cutoff_at) as window_ends_at,
    clock.complete_until,
from cutoffs.splits as splits
cross join "live clock" as clock
where splits.split = 'latest'
"""
_SOURCES = f"""
select * from staging.sources where source <> '{INBOX}'
union all by name
select '{INBOX}' as source, has_time_of_day, has_dates from meta.clock
"""
_OVER = f"""
select inserted.*
from "{INSERTED}" as inserted
inner join "live clock" as clock
    on inserted.event_at < time_bucket(interval '7 days', clock.as_of)
where inserted.item_id is not null
"""
_CHANGED = f"""
select user_id from "{INSERTED}"
union
select met.user_id from sessions.item_events as met
inner join "{ADDED}" as added
    on added.item_id = met.item_id
    and added.week_at = time_bucket(interval '7 days', met.event_at)
"""
_POPULARITY = f"""
select item_id, week_at, cast(sum(count_events) as bigint) as count_events
from (select * from {POPULARITY} union all select * from "{ADDED}")
group by item_id, week_at
"""


def inbox_relations(
    con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config, rewriter: Rewriter
) -> dict[str, Relation]:
    """What is read in place of tables that an inserted row changes, by their names, and helpers."""
    columns = [row[0] for row in con.execute(f"describe {EVENTS}").fetchall()]
    queries = {
        INSERTED: _inserted(con, catalog, config, rewriter),
        "live clock": _CLOCK,
        "meta.clock": 'select * from "live clock"',
        "cutoffs.splits": _SPLITS,
        "staging.sources": _SOURCES,
        OVER: _OVER,
        LATE: _late(),
        CHANGED: _CHANGED,
        FRESH + EVENTS: _numbered(columns),
    }
    found = {name: own(rewriter, sql, is_small=True) for name, sql in queries.items()}
    found[EVENTS] = kept(rewriter, EVENTS)
    popularity = rewriter.tree_of(catalog.files[POPULARITY])
    found["all added"] = Relation(popularity, {EVENTS: LATE})
    found[ADDED] = own(
        rewriter,
        'select added.* from "all added" as added '
        'inner join "live clock" as clock on added.week_at <= clock.as_of',
        is_small=True,
    )
    found[POPULARITY] = own(rewriter, _POPULARITY)
    return found


def _inserted(
    con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config, rewriter: Rewriter
) -> str:
    """The usable rows of live.inbox, each once, with what staging/events.sql makes of them."""
    file = catalog.files[EVENTS]
    tree = dict(sql_tree.ctes(rewriter.tree_of(file))).get("accepted")
    if tree is None:
        raise NotLiveError(f"{file.where} has no CTE `accepted`, which judges inserted rows")
    tables = {name: rewriter.tree(sql) for name, sql in _raw(con, config).items()}
    return (
        f"select * from ({rewriter.text(replaced(tree, tables))}) "
        f"qualify row_number() over (partition by {', '.join(KEY)} order by raw_row) = 1"
    )


def _raw(con: duckdb.DuckDBPyConnection, config: Config) -> dict[str, str]:
    """The raw tables as they would be with nothing but the inbox in them."""
    types = {row[0]: row[1] for row in con.execute("describe live.inbox").fetchall()}
    parts = mapping.event_columns(inbox.as_source(config), types)
    for name in ("user_id", "item_id"):
        parts[name] = f"cast({parts[name]} as {types[name]})"
    listed = ", ".join(f"{sql} as {name}" for name, sql in parts.items())
    none = "cast(null as varchar)"
    return {
        "raw.events": f"select {listed}, null as attributes, rowid as raw_row, false as is_late from live.inbox",
        "raw.types": "select * from live.types",
        "raw.sources": f"select '{INBOX}' as source, {literal(inbox.INSERTED)} as dedupe, has_dates, "
        "cast(null as timestamp) as since, cast(null as timestamp) as until from meta.clock",
        "raw.bots": f"select {none} as user_agent where false",
        "raw.not_products": f"select {none} as source, "
        f"cast(null as {types['item_id']}) as item_id where false",
        "staging.repeats": "select cast(null as bigint) as raw_row where false",
    }


def _numbered(columns: list[str]) -> str:
    """The events of changed users: staging.events and what was inserted, numbered anew."""
    made = {
        "event_id": "row_number() over in_order",
        "previous_at": "lag(event_at) over in_order",
        "raw_row": "case when not is_new then raw_row end",
    }
    listed = ", ".join(f"{made.get(name, name)} as {identifier(name)}" for name in columns)
    same = ", ".join(
        identifier(name) for name in columns if name not in ("event_id", "previous_at")
    )
    return f"""
        select {listed}
        from (
            select *
            from (
                select *, false as is_new, event_id as place
                from {EVENTS} semi join "{CHANGED}" using (user_id)
                union all by name
                select {same}, true as is_new, raw_row as place from "{INSERTED}"
            )
            qualify not is_new
                or row_number() over (partition by {", ".join(KEY)} order by is_new, place) = 1
        )
        window in_order as (partition by user_id order by event_at, is_new, place)
    """


def _late() -> str:
    """Inserted events of weeks that are over, without those that staging.events has.

    An inner join looks for these first: of what it finds nothing for, most often all there is, it
    reads nothing, where an anti join would read all events.
    """
    key = ", ".join(f"known.{name}" for name in KEY)
    return f"""
        select late.*
        from "{OVER}" as late
        anti join (
            select {key}
            from "{OVER}" as late
            inner join {EVENTS} as known
                on known.user_id = late.user_id
                and known.event_at = late.event_at
                and known.item_id = late.item_id
        ) as known
            on known.user_id = late.user_id
            and known.event_at = late.event_at
            and known.item_id = late.item_id
            and known.event_type is not distinct from late.event_type
    """
