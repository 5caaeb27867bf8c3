"""Which questions are asked of this data, and over which windows."""

import math
from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import timedelta

import duckdb

from behavsql.catalog import Catalog, SqlFile
from behavsql.clock import DAY, Clock, read_clock
from behavsql.config import Config
from behavsql.metrics import DEFAULT_METRIC
from behavsql.plan.changes import duration
from behavsql.section import parse_duration

LONGEST_STEP = 7 * DAY
STEPS = 24  # cutoffs that a short span is divided into
MAX_HOLDOUT_CUTOFFS = 4

_TABLES = """
create schema if not exists meta;
create or replace table meta.clock (
    bucket interval, first_event_at timestamp, last_event_at timestamp, as_of timestamp,
    complete_until timestamp, has_dates boolean, has_time_of_day boolean
);
create or replace table meta.tasks (
    task varchar, purpose varchar, kind varchar, metric varchar, horizon interval,
    active_within interval, every interval, count_holdout_cutoffs integer,
    max_train_cutoffs integer, horizon_days double, active_within_days double,
    every_days double, status varchar, reason varchar, is_judged boolean
);
"""
WINDOWS = ("horizon", "active_within", "every", "count_holdout_cutoffs")
ITEM = "an item"
CHOICE = "choice"  # the kind whose labels are lists of items; see recommenders/
OUTGROWN = 2  # windows that would be so many times longer or shorter now are spoken of


@dataclass(frozen=True)
class Task:
    """A question that is asked: its label file and its metric."""

    name: str
    kind: str
    metric: str
    horizon: timedelta | None = None  # how far after a cutoff its label looks; None = not known


def resolve(
    con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config, kept: Container[str] = ()
) -> Clock:
    """Write `meta.clock` and `meta.tasks` from the events and the label files' headers.

    kept: tasks whose windows stay as they stand in `meta.tasks`, and with them the clock's bucket;
    every task is asked or skipped by the events as they are now.
    """
    clock, own = read_clock(con), _standing_windows(con, kept)
    fresh, words = clock, _words(con)
    if own:
        bucket = con.execute("select bucket from meta.clock").fetchall()[0][0]
        if bucket < clock.bucket and clock.is_stitched:
            own = {}  # hours would see whose an event is before it is known
        else:
            clock = replace(clock, bucket=bucket)
    rows, outgrown = [], []
    for file in catalog.label_files():
        row = _resolve_task(file, config, clock, words)
        if file.name in own:
            now = _resolve_task(file, config, fresh, words)
            outgrown += _outgrown(file.name, own[file.name], now)
            row |= own[file.name]
        rows.append(row)
    con.execute(_TABLES)
    con.execute(
        "insert into meta.clock values (?, ?, ?, ?, ?, ?, ?)",
        [clock.bucket, clock.first_event_at, clock.last_event_at, clock.as_of,
         clock.complete_until, clock.has_dates, clock.has_time_of_day],
    )  # fmt: skip
    for row in rows:
        columns = row | {f"{name}_days": row[name] / DAY for name in WINDOWS[:3]}
        con.execute(
            f"insert into meta.tasks ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
            list(columns.values()),
        )
    return replace(clock, outgrown=", ".join(outgrown))


def _standing_windows(con: duckdb.DuckDBPyConnection, kept: Container[str]) -> dict[str, dict]:
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'meta' and table_name = 'tasks' "
        "and database_name = current_database()"
    ).fetchall()
    if not known or not kept:
        return {}
    found = con.execute(f"select task, {', '.join(WINDOWS)} from meta.tasks").fetchall()
    return {task: dict(zip(WINDOWS, row, strict=True)) for task, *row in found if task in kept}


def _outgrown(task: str, own: dict, now: dict) -> list[str]:
    """The first window of a task that would be much longer or shorter on the data of today."""
    for name in WINDOWS[:3]:
        ratio = now[name] / own[name]
        if not 1 / OUTGROWN < ratio < OUTGROWN:
            return [f"{task}: {name} {duration(own[name])}, now it would be {duration(now[name])}"]
    return []


def _words(con: duckdb.DuckDBPyConnection) -> tuple[set[str], set[str]]:
    """The roles that occur among the events, `ITEM` if any is about one, and the source's own words in lower case."""
    rows = con.execute(
        "select role, lower(event_type), bool_or(item_id is not null) from staging.events group by all"
    ).fetchall()
    roles = {role for role, *_ in rows} | (
        {ITEM} if any(has_item for *_, has_item in rows) else set()
    )
    return roles, {word for _, word, _ in rows if word is not None}


def _resolve_task(
    file: SqlFile, config: Config, clock: Clock, words: tuple[set[str], set[str]]
) -> dict[str, object]:
    """A row of `meta.tasks` by its columns."""
    name, own, (roles, types) = file.name, config.tasks.get(file.name), words
    horizon = clock.buckets(_scaled(file.horizon, clock.span / 8))
    active_within = clock.buckets(_scaled(file.active_within, clock.span / 4))
    # With one kind of event, silence over purchase's own horizon would be purchase turned round.
    if name == "churn" and len(roles - {"return", "other", ITEM}) == 1:
        horizon, active_within = 3 * horizon, 3 * active_within
    if own:
        horizon = clock.buckets(own.horizon or horizon)
        active_within = clock.buckets(own.active_within or active_within)
    every = clock.buckets(min(LONGEST_STEP, clock.span / STEPS))
    missing = sorted(set(file.roles or ()) - roles)
    status, reason = "ready", None
    if own and not own.enabled:
        status, reason = "skipped", f"disabled in {config.origin}"
    elif missing:
        status, reason = "skipped", f"the data has no {' and no '.join(missing)} event"
    elif file.kind == CHOICE and ITEM not in roles:
        status, reason = "skipped", "the data has no item"
    elif file.types and not types & set(file.types):
        status, reason = "skipped", f"the data has no {file.types[0]} event"
    return {
        "task": name, "kind": file.kind,
        "purpose": file.purpose.replace("the horizon", duration(horizon)),
        "metric": file.metric or DEFAULT_METRIC[file.kind], "horizon": horizon,
        "active_within": active_within, "every": every,
        "count_holdout_cutoffs": min(MAX_HOLDOUT_CUTOFFS, max(1, math.floor(clock.span / every / 8))),
        "max_train_cutoffs": config.settings.max_train_cutoffs, "status": status, "reason": reason,
        "is_judged": False,
    }  # fmt: skip


def _scaled(text: str, most: timedelta) -> timedelta:
    return min(parse_duration(text), most)


def ready(con: duckdb.DuckDBPyConnection) -> list[Task]:
    """The tasks that are asked, in the order of their names."""
    rows = con.execute(
        "select task, kind, metric, horizon from meta.tasks where status = 'ready' order by task"
    ).fetchall()
    return [Task(*row) for row in rows]


def scored(con: duckdb.DuckDBPyConnection) -> list[Task]:
    """Those of them that are answered by a number, not by a choice among items."""
    return [task for task in ready(con) if task.kind != CHOICE]


def closed(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """Task -> (status, reason) of those that are not asked, by name."""
    rows = con.execute(
        "select task, status, reason from meta.tasks where status <> 'ready' order by task"
    ).fetchall()
    return {task: (status, reason) for task, status, reason in rows}
