"""SQL files -> tables: one file run, its promises enforced, the result recorded."""

import json
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import duckdb

from behavsql import describe
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.errors import SqlFileError
from behavsql.plan import Step
from behavsql.quoting import identifier, literal

_BUILDS = """
create schema if not exists meta;
create table if not exists meta.runs (
    run_id bigint, started_at timestamp, finished_at timestamp, status varchar,
    behavsql_version varchar, duckdb_version varchar, settings varchar
);
create table if not exists meta.builds (
    build_id bigint, run_id bigint, step varchar, version integer, digest varchar,
    fingerprint varchar, parents varchar, count_rows bigint, seconds double, built_at timestamp
);
"""


def prepare(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Create the bookkeeping tables, the schemas and the shared macros."""
    con.execute(_BUILDS)
    for schema in dict.fromkeys(file.schema for file in catalog.files.values()):
        con.execute(f"create schema if not exists {identifier(schema)}")
    for macro in catalog.macros:
        con.execute(macro.sql)
        con.execute(f"comment on macro {identifier(macro.name)} is {literal(macro.comment())}")


def drop_gone(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> list[str]:
    """Drop what SQL files made that are gone now; the tasks whose label file was among them."""
    made = con.execute(
        "select distinct step from meta.builds where version is not null order by step"
    ).fetchall()
    gone = [step for (step,) in made if step not in catalog.files]
    for table in gone:
        for kind in ("table", "view"):
            found = con.execute(
                f"select 1 from duckdb_{kind}s() where schema_name || '.' || {kind}_name = ? "
                "and database_name = current_database()", [table]
            ).fetchall()  # fmt: skip
            if found:
                con.execute(f"drop {kind} {identifier(*table.split('.'))}")
        # With a label file goes its training, or it would count as done once the file is back.
        gone_steps = [table, table.replace("labels.", "train ", 1)]
        con.execute("delete from meta.builds where step in (?, ?)", gone_steps)
    return [table.removeprefix("labels.") for table in gone if table.startswith("labels.")]


def set_params(con: duckdb.DuckDBPyConnection, params: Mapping[str, object]) -> None:
    """Make values readable through `getvariable`; NULL variables would silently empty tables."""
    for name, value in params.items():
        con.execute(f"set variable {identifier(name)} = {_typed(value)}")


def _typed(value: object) -> str:
    if isinstance(value, timedelta):
        return f"to_microseconds({value // timedelta(microseconds=1)})"
    if isinstance(value, datetime):
        return f"timestamp {literal(value.isoformat(sep=' '))}"
    if isinstance(value, date):
        return f"timestamp {literal(f'{value.isoformat()} 00:00:00')}"
    return literal(value)


def run_file(con: duckdb.DuckDBPyConnection, file: SqlFile) -> int:
    """Build one file's table or view, enforce its grain and checks, comment it; the row count.

    Raises SqlFileError naming the file and line: DuckDB's own message and caret, the rows that
    share a grain, or the check that failed and how often. The old table stays in that case, if the
    caller runs this in a transaction.
    """
    name = identifier(file.schema, file.name)
    kind = "view" if file.materialized == "view" else "table"
    try:
        _drop_other_kind(con, file, kind)
        con.execute(f"create or replace {kind} {name} as\n{file.sql}")
    except duckdb.Error as error:
        raise SqlFileError(f"{file.where}: {str(error).strip()}") from None
    rows = _enforce(con, file, name)
    con.execute(f"comment on {kind} {name} is {literal(file.comment())}")
    describe.comment_columns(con, file.schema, file.name)
    return rows


def _drop_other_kind(con: duckdb.DuckDBPyConnection, file: SqlFile, kind: str) -> None:
    """Make room for a table that was a view before, or the other way round."""
    other = "table" if kind == "view" else "view"
    found = con.execute(
        f"select 1 from duckdb_{other}s() where schema_name = ? and {other}_name = ? "
        "and database_name = current_database()", [file.schema, file.name]
    ).fetchall()  # fmt: skip
    if found:
        con.execute(f"drop {other} {identifier(file.schema, file.name)}")


def _enforce(con: duckdb.DuckDBPyConnection, file: SqlFile, name: str) -> int:
    grain = ", ".join(identifier(column) for column in file.grain)
    missing = " or ".join(f"{identifier(column)} is null" for column in file.grain)
    tests = [f"count(*) filter (where not ({check}))" for check in file.checks]
    tests.append(f"count(*) filter (where {missing})")
    try:
        rows, *broken = con.execute(f"select count(*), {', '.join(tests)} from {name}").fetchall()[
            0
        ]
        twice = con.execute(
            f"select {grain}, count(*) as n from {name} group by {grain} having n > 1 limit 1"
        ).fetchall()
    except duckdb.Error as error:
        raise SqlFileError(f"{file.where}:{file.line('check')}: {str(error).strip()}") from None
    for position, (check, count) in enumerate(zip(file.checks, broken, strict=False)):
        if count:
            raise SqlFileError(
                f"{file.where}:{file.line('checks', position)}: check `{check}` fails for {count:,} of "
                f"{rows:,} rows; it must hold for all. Mend the query or the check."
            )
    at = f"{file.where}:{file.line('grain')}"
    if broken[-1]:
        raise SqlFileError(
            f"{at}: {broken[-1]:,} rows have no {' or no '.join(file.grain)}; the grain is never NULL."
        )
    if twice:
        values = ", ".join(
            f"{key} = {value!r}" for key, value in zip(file.grain, twice[0], strict=False)
        )
        raise SqlFileError(
            f"{at}: {twice[0][-1]} rows share {values}; the grain allows one. Aggregate, or name the true grain."
        )
    return rows


def record(
    con: duckdb.DuckDBPyConnection, run_id: int, step: Step, rows: int | None, started: float
) -> None:
    """Write a finished step to `meta.builds`; the next build compares with its fingerprint."""
    version = step.file.version if step.file else None
    digest = step.file.digest if step.file else step.digest
    con.execute(
        "insert into meta.builds select coalesce(max(build_id), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ?, "
        "now()::timestamp from meta.builds",
        [run_id, step.name, version, digest, step.fingerprint, json.dumps(step.parents), rows,
         round(time.perf_counter() - started, 3)],
    )  # fmt: skip
