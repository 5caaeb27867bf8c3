"""`meta.builds` and `meta.runs`: what was done, from what, and what came of it.

A record holds a step's parts (see changes.py), its inputs (the names of the results it read) and
its results (a name each, see content.py). A step is up to date as long as parts and inputs are
those of its last record.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from behavsql import __version__
from behavsql.config import Config
from behavsql.database_file import open_file
from behavsql.errors import WarehouseError
from behavsql.plan.changes import Parts, digest

_TABLES = """
create schema if not exists meta;
create table if not exists meta.runs (
    run_id bigint, started_at timestamp, finished_at timestamp, status varchar,
    behavsql_version varchar, duckdb_version varchar, settings varchar, step varchar
);
create table if not exists meta.builds (
    build_id bigint, run_id bigint, step varchar, version integer, digest varchar,
    fingerprint varchar, parents varchar, count_rows bigint, seconds double, built_at timestamp,
    parts varchar, inputs varchar, results varchar
);
create table if not exists meta.quality (
    run_id bigint, built_at timestamp, source varchar, rule varchar, count_rows_read bigint,
    count_rows_removed bigint
);
"""
# Warehouses of earlier versions lack these.
_LATER_COLUMNS = {
    "meta.runs": ("step",),
    "meta.builds": ("parts", "inputs", "results"),
}


@dataclass(frozen=True)
class Record:
    """The last success of a step; `parts` is None where an earlier behavsql kept none."""

    parts: Parts | None
    inputs: Mapping[str, str]
    results: Mapping[str, str]


@dataclass
class History:
    """What earlier runs left behind, and what this one does to it."""

    records: dict[str, Record] = field(default_factory=dict)
    stopped: frozenset[str] = (
        frozenset()
    )  # the step in which the last run ended early, see _stopped
    skipped: frozenset[str] = frozenset()  # tasks without labels: disabled, or without their events
    refused: frozenset[str] = frozenset()  # tasks whose labels did not do
    lost: Mapping[str, str] = field(default_factory=dict)  # step -> why its result is not there
    names: dict[str, str] = field(default_factory=dict)  # result -> its name, of all records
    roots: dict[str, str] = field(
        default_factory=dict
    )  # step run now -> the step it runs because of

    def __post_init__(self) -> None:
        for step, record in self.records.items():
            self._name(step, record)

    def add(self, step: str, record: Record) -> None:
        """Take note of a step that has just been done."""
        self.records[step] = record
        self._name(step, record)

    def _name(self, step: str, record: Record) -> None:
        self.names |= record.results
        # A table may differ in its comment alone: publishing reads that too.
        comment = {name: (record.parts or {}).get(name) for name in ("sql", "purpose")}
        self.names[f"made {step}"] = digest(comment, sorted(record.results.items()))


def read(con: duckdb.DuckDBPyConnection, lost: Mapping[str, str] | None = None) -> History:
    """The history of a warehouse, also of one opened read-only; an empty one where there is none."""
    known = _columns(con)
    lost = lost or {}
    if "meta.builds" not in known:
        return History(lost=lost)
    kept = "parts, inputs, results" if "parts" in known["meta.builds"] else "null, null, null"
    rows = con.execute(
        f"select step, {kept} from meta.builds "
        "qualify row_number() over (partition by step order by build_id desc) = 1 order by build_id"
    ).fetchall()
    records = {
        step: Record(
            json.loads(parts) if parts else None,
            json.loads(inputs or "{}"),
            json.loads(results or "{}"),
        )
        for step, parts, inputs, results in rows
    }
    closed = {True: set(), False: set()}
    if "meta.tasks" in known:
        by_labels = "is_judged" if "is_judged" in known["meta.tasks"] else "status = 'refused'"
        for task, is_judged in con.execute(
            f"select task, {by_labels} from meta.tasks where status <> 'ready'"
        ).fetchall():
            closed[is_judged].add(task)
    return History(
        records, _stopped(con, known), frozenset(closed[False]), frozenset(closed[True]), lost
    )


def of_file(path: Path, lost: Mapping[str, str], *, is_needed: bool) -> History:
    """The history of a build file; an empty one where there is none.

    So too where it cannot be read, unless it `is_needed`: then a WarehouseError.
    """
    try:
        if path.exists():
            with open_file(path, read_only=True) as con:
                return read(con, lost)
    except WarehouseError:
        if is_needed:
            raise
    return History(lost=lost)


def _columns(con: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for table, column in con.execute(
        "select schema_name || '.' || table_name, column_name from duckdb_columns() "
        "where schema_name = 'meta' and database_name = current_database()"
    ).fetchall():
        found.setdefault(table, set()).add(column)
    return found


def _stopped(con: duckdb.DuckDBPyConnection, known: Mapping[str, set[str]]) -> frozenset[str]:
    """The step in which the last run ended early; what is NOT_UNDONE, if no run has done it since.

    Any other step is undone where it ends early: these leave a raw file that is half written, or
    functions that are gone.
    """
    if "step" not in known["meta.runs"]:
        return frozenset()
    rows = con.execute(
        "select runs.step from meta.runs as runs left join meta.builds as builds "
        "on builds.step = runs.step and builds.run_id >= runs.run_id "
        "where runs.status <> 'done' and runs.step is not null and builds.step is null "
        "and (runs.step = 'raw.events' or runs.step like 'compile %' or runs.run_id = (select max(run_id) from meta.runs))"
    ).fetchall()
    return frozenset(step for (step,) in rows)


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create both tables, or add what a warehouse of an earlier version lacks."""
    con.execute(_TABLES)
    for table, columns in _LATER_COLUMNS.items():
        for column in columns:
            con.execute(f"alter table {table} add column if not exists {column} varchar")


def begin(con: duckdb.DuckDBPyConnection, config: Config) -> int:
    """Open a run and return its id; one that was killed is marked as such."""
    con.execute("update meta.runs set status = 'stopped' where status = 'running'")
    run_id = con.execute("select coalesce(max(run_id), 0) + 1 from meta.runs").fetchall()[0][0]
    con.execute(
        "insert into meta.runs by name select ? as run_id, now()::timestamp as started_at, "
        "'running' as status, ? as behavsql_version, ? as duckdb_version, ? as settings",
        [run_id, __version__, duckdb.__version__, json.dumps(_settings(config))],
    )  # fmt: skip
    return run_id


def _settings(config: Config) -> dict[str, object]:
    """What is kept of the settings; how few users may be told of, for reports without the config."""
    return config.settings.model_dump(mode="json") | {"privacy_k": config.privacy.k}


def start(con: duckdb.DuckDBPyConnection, run_id: int, step: str) -> None:
    """Say which step is under way, for the next run to know should this one be killed."""
    con.execute("update meta.runs set step = ? where run_id = ?", [step, run_id])


def finish(
    con: duckdb.DuckDBPyConnection, run_id: int, status: str, step: str | None = None
) -> None:
    """Close a run: `done`, or `failed` in a step."""
    con.execute(
        "update meta.runs set finished_at = now()::timestamp, status = ?, step = ? where run_id = ?",
        [status, step, run_id],
    )


def write(
    con: duckdb.DuckDBPyConnection, run_id: int, step: object, record: Record,
    rows: int | None, started: float,
) -> None:  # fmt: skip
    """Record a finished step (plan.Step); the next build compares with it."""
    digested = step.file.digest if step.file else digest(sorted(step.parts.items()))
    fingerprint = digest(sorted(step.parts.items()), sorted(record.inputs.items()))
    con.execute(
        "insert into meta.builds by name select coalesce(max(build_id), 0) + 1 as build_id, "
        "? as run_id, ? as step, ? as version, ? as digest, ? as fingerprint, ? as parents, "
        "? as count_rows, ? as seconds, now()::timestamp as built_at, ? as parts, ? as inputs, "
        "? as results from meta.builds",
        [run_id, step.name, step.file.version if step.file else None, digested, fingerprint,
         json.dumps(step.parents), rows, round(time.perf_counter() - started, 3),
         json.dumps(record.parts), json.dumps(record.inputs), json.dumps(record.results)],
    )  # fmt: skip


def loosen(con: duckdb.DuckDBPyConnection, step: str) -> None:
    """Let a step count as out of date from the next plan on, until it is done again."""
    con.execute("update meta.builds set inputs = '{}' where step = ?", [step])


def forget(con: duckdb.DuckDBPyConnection, history: History, steps: Iterable[str]) -> None:
    """Take back the records of steps whose results are gone."""
    steps = list(steps)
    con.execute("delete from meta.builds where step in (select unnest(?))", [steps])
    for step in steps:
        record = history.records.pop(step, None)
        history.names.pop(f"made {step}", None)
        for part in record.results if record else ():
            history.names.pop(part, None)
