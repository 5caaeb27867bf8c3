"""Text case files: tables in, one real SQL file run, rows out.

    -- A comment. What stands before the first case holds for every case of the file.
    # params                         (name | value; the settings' defaults where nothing is said)
    session_gap | 30 minutes
    # table staging.events           (a header line, then one line a row)
    user_id | event_id | event_at         | role
    1       | 1        | 2024-01-01 10:00 | view

    === the name of a case
    # expect                         (every row, in the order of the grain; some of the columns)
    user_id | event_id | session_id
    1       | 1        | 1704103200

`# table x by column` and `# expect by column` hold the same on its side: a line is a column, then
its value in every row. `# expect error` holds a part of the message instead.

Types are those of a real build; `name type` in a header says another. A column left out is NULL,
or 0 if its name starts with `count_`. Numbers are SQL expressions (`1/3`), `null` is NULL, and
`2024-01-07 end` is the last microsecond of that day. A table of `DERIVED` that is read and not given
is made, by its own file, of those that are.
"""

import json
import math
import re
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb

from behavsql import (
    config,
    generated,
    ingest,
    live,
    model_tables,
    outcomes,
    plan,
    score_history,
    section,
    tasks,
    transform,
)
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.privacy import register
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse

FOLDER = Path(__file__).parent / "sql_cases"
DAYS = "sessions.user_days"
# What features read is often made of two tables that say more: a case may give those instead.
DERIVED = (
    "sessions.user_totals", "sessions.user_events", "cutoffs.known_days", "staging.source_counts",
)  # fmt: skip
_NUMBER = re.compile(r"(INTEGER|BIGINT|HUGEINT|DOUBLE|DECIMAL\(\d+,\d+\))(\[\])?")
_EVENTS = """
    select 1 as user, 'a' as item, word as type, 2.5 as price, 'toys' as category, 'Ball' as title,
        timestamp '2024-01-01' + day * interval '73 hours' as at, 'red' as color,
        case when word = 'refund' then -1 else 1 end as quantity,
        52.5 as lat, 13.4 as lon, 20 as screen, 'c' as cookie,
    from (select unnest(['view', 'click', 'cart', 'purchase', 'refund', 'like', 'mail']) as word,
        generate_subscripts(range(7), 1) as day)
"""
_SOURCES = {
    "events": _EVENTS,
    "items": "select 'a' as item, 'toys' as category, 'Ball' as title, 2.5 as price",
    "users": "select 1 as user, 'Malta' as country",
}


@dataclass
class Grid:
    """A text table: its columns, the types they name themselves, and the cells."""

    columns: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Case:
    """One run of a SQL file."""

    name: str
    params: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Grid] = field(default_factory=dict)
    expect: Grid | None = None
    error: str | None = None


def parse_cases(text: str) -> list[Case]:
    """The cases of a file's text, each with what stands before the first one."""
    shared, *texts = re.split(r"^=== ", text, flags=re.MULTILINE)
    common = Case("")
    _read_sections(common, shared)
    cases = []
    for part in texts:
        name, _, body = part.partition("\n")
        case = Case(name.strip(), dict(common.params), dict(common.tables), common.expect)
        _read_sections(case, body)
        cases.append(case)
    return cases


def _read_sections(case: Case, text: str) -> None:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("--")]
    for part in re.split(r"^# ", "\n".join(lines), flags=re.MULTILINE)[1:]:
        title, *body = part.splitlines()
        on_its_side = title.endswith(" by column")
        words = title.removesuffix(" by column").split()
        cells = [[cell.strip() for cell in line.split("|")] for line in body]
        if title == "expect error":
            case.error = " ".join(body)
        elif words == ["params"]:
            case.params.update({name: value for name, value in cells})
        elif words == ["expect"]:
            case.expect = _grid(cells, on_its_side, title)
        elif words[0] == "table" and len(words) == 2:
            case.tables[words[1]] = _grid(cells, on_its_side, title)
        else:
            raise ValueError(f"{case.name}: unknown section {title!r}")


def _grid(cells: list[list[str]], on_its_side: bool, title: str) -> Grid:
    if on_its_side:
        cells = [list(column) for column in zip(*cells, strict=True)]
    head, *rows = cells
    if any(len(row) != len(head) for row in rows):
        raise ValueError(f"{title}: a row has not as many cells as the header")
    named = [name.partition(" ") for name in head]
    types = {name: type_ for name, _, type_ in named if type_}
    return Grid([name for name, _, _ in named], types, rows)


@cache
def catalog() -> Catalog:
    return Catalog.load()


@cache
def built_columns() -> dict[str, dict[str, str]]:
    """Every table and view of a whole build of seven events -> its columns with their types."""
    with duckdb.connect(config={"threads": 1}) as con, tempfile.TemporaryDirectory() as folder:
        con.execute("attach ':memory:' as raw")
        for name, query in _SOURCES.items():
            con.execute(f"copy ({query}) to {literal(f'{folder}/{name}.parquet')}")
        project = _project(Path(folder))
        ingest.ingest(con, project)
        transform.prepare(con, catalog())
        transform.set_params(con, _defaults(project))
        for file in catalog().files.values():
            if file.stage_number == 2 and not _exists(con, "meta.tasks"):
                tasks.resolve(con, catalog(), project)
            if file.stage_number == 6 and not _exists(con, "features.matrix"):
                generated.build_matrix(con, catalog(), tasks.ready(con))
                model_tables.prepare(con)
            if file.stage_number == 7 and not _exists(con, "predictions.history"):
                score_history.add(con)
                outcomes.prepare(con)
                generated.build_categories(con, catalog())
            transform.run_file(con, file)
        with live.Views(con, catalog(), project) as views:
            views.create()
        generated.build_predictions(con, catalog(), tasks.ready(con))
        generated.build_customers(con, tasks.ready(con))
        generated.build_lineage(con, plan.make_plan(catalog(), project, {}))
        register.build_audit(con, Warehouse(project.warehouse))
        generated.build_columns(con)
        found: dict[str, dict[str, str]] = {}
        for table, column, type_ in con.execute(
            "select if(database_name = 'raw', 'raw', schema_name) || '.' || table_name, "
            "column_name, data_type from duckdb_columns() where not internal "
            "order by table_oid, column_index"
        ).fetchall():
            found.setdefault(table, {})[column] = type_
        return found


def _exists(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    schema, name = table.split(".")
    return bool(con.execute(
        "select 1 from duckdb_tables() where schema_name = ? and table_name = ?", [schema, name]
    ).fetchall())  # fmt: skip


def _project(folder: Path) -> config.Config:
    items = {"item_id": "item", "category": "category", "title": "title"}
    events = items | {
        "user_id": "user", "event_type": "type", "event_at": "at", "price": "price",
        "quantity": "quantity", "latitude": "lat", "longitude": "lon", "screen_time": "screen",
        "anonymous_id": "cookie",
    }  # fmt: skip
    people = {
        "kind": "users", "columns": {"user_id": "user"}, "attributes": ["country"],
        "features": ["country"],
    }  # fmt: skip
    sources = [
        {"name": "shop", "path": "events.parquet", "kind": "app", "columns": events},
        {"name": "products", "path": "items.parquet", "kind": "items",
         "columns": items | {"price": "price"}},
        {"name": "people", "path": "users.parquet"} | people,
    ]  # fmt: skip
    return config.from_dict({"source": sources}, folder, "case")


def _defaults(project: config.Config) -> dict[str, object]:
    return plan.settings_params(project) | {
        "latest_possible_at": datetime(2030, 1, 1), "bucket": timedelta(days=1),
    }  # fmt: skip


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """A database with the schemas and macros, in which cases leave nothing behind."""
    con = duckdb.connect(config={"threads": 1})
    con.execute("set timezone = 'UTC'; create schema raw; create schema models")
    transform.prepare(con, catalog())
    return con


def run(file: SqlFile, case: Case) -> tuple[list[tuple], list[tuple]]:
    """(rows the file made, rows the case expects), both of the expected columns in grain order."""
    con = _connection()
    try:
        transform.set_params(con, _defaults(_project(Path())) | _params(case.params))
        derived = [table for table in DERIVED if table in file.inputs and table not in case.tables]
        read = [table for name in derived for table in catalog().files[name].inputs]
        given = dict.fromkeys([*file.inputs, *read])
        unread = case.tables.keys() - given.keys()
        if unread:
            raise ValueError(f"{case.name}: {file.table} does not read {', '.join(sorted(unread))}")
        for table in given.keys() - set(derived):
            con.execute(_create(table, case.tables.get(table, Grid())))
        for table in derived:
            transform.run_file(con, catalog().files[table])
        transform.run_file(con, file)
        return _made_and_expected(con, file, case.expect)
    finally:
        # No transaction to roll back: rowid, which ties hang on, counts from 0 in stored rows only.
        con.execute(f"drop {file.materialized} if exists {identifier(file.schema, file.name)}")
        for table in given:
            kind = catalog().files[table].materialized if table in derived else "table"
            con.execute(f"drop {kind} if exists {identifier(*table.split('.'))}")


def _made_and_expected(
    con: duckdb.DuckDBPyConnection, file: SqlFile, expect: Grid
) -> tuple[list[tuple], list[tuple]]:
    wanted = ", ".join(identifier(column) for column in expect.columns)
    order = ", ".join(identifier(column) for column in file.grain)
    place = identifier(file.schema, file.name)
    made = con.execute(f"select {wanted} from {place} order by {order}")
    types = [str(type_) for _, type_, *_ in made.description]
    rows = made.fetchall()
    expected = []
    for row in expect.rows:
        values = ", ".join(_value(cell, type_) for cell, type_ in zip(row, types, strict=True))
        expected += con.execute(f"select {values}").fetchall()
    return rows, expected


def _params(texts: dict[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, text in texts.items():
        if text in ("true", "false"):
            values[name] = text == "true"
        elif text.startswith("["):
            values[name] = json.loads(text)
        elif re.fullmatch(r"\d{4}-.*", text):
            values[name] = datetime.fromisoformat(text)
        elif re.fullmatch(r"[\d.e]+", text):
            values[name] = float(text)
        else:
            values[name] = section.parse_duration(text)
    return values


def _create(table: str, grid: Grid) -> str:
    """The statements that make an input table with the types of a real build."""
    types = built_columns()[table] | grid.types
    unknown = set(grid.columns) - set(types)
    if unknown:
        raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
    zero = {name for name, type_ in types.items() if name.startswith("count_") or table == DAYS}
    zero -= {name for name in zero if not _NUMBER.fullmatch(types[name])}
    listed = ", ".join(
        f"{identifier(name)} {type_}{' default 0' if name in zero else ''}"
        for name, type_ in types.items()
    )
    place = identifier(*table.split("."))
    made = f"create or replace table {place} ({listed});"
    columns = ", ".join(identifier(column) for column in grid.columns)
    for number, row in enumerate(grid.rows):
        named = zip(row, grid.columns, strict=True)
        values = ", ".join(_value(cell, types[column]) for cell, column in named)
        made += f"insert into {place} ({columns}) values ({values});"
        if table == "raw.events" and "raw_row" not in grid.columns:  # as one source is read
            made += f"update {place} set raw_row = {number} where raw_row is null;"
    return made


def _value(cell: str, type_: str) -> str:
    """A cell as a SQL value of that type."""
    if cell == "null":
        return f"cast(null as {type_})"
    if _NUMBER.fullmatch(type_):
        return f"cast({cell} as {type_})"
    if type_ == "TIMESTAMP":
        cell = re.sub(r" end$", " 23:59:59.999999", cell)
    return f"cast({literal(cell)} as {type_})"


def same(left: object, right: object) -> bool:
    """Equal, and for doubles equal up to the noise of their last digits; lists one by one."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-12)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
