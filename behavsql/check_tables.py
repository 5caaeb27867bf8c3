"""What `check` asks of the tables of a build: are they there, unique, within their checks, complete."""

from pathlib import Path

import duckdb

from behavsql import transform
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.database_file import DamagedError, explained
from behavsql.errors import SqlFileError
from behavsql.progress import counted
from behavsql.quoting import identifier, literal

# Tables no SQL file makes: the step that makes each, and what makes a row of it unique.
GENERATED = {
    "features.matrix": ("features.matrix", ("user_id", "cutoff_at")),
    "features.latest": ("features.matrix", ("user_id",)),
    "features.sequences": ("features.matrix", ("user_id", "cutoff_at")),
    "features.categories": ("models.latest_bins", ("user_id", "cutoff_at", "feature")),
    "predictions.outcomes": ("predictions.history", ("task", "user_id", "as_of")),
    "models.latest_bins": ("models.latest_bins", ("task", "feature", "bin")),
    "main.customers": ("main.customers", ("user_id",)),
}

# The steps behind the tables in which the ledger is counted anew.
ACCOUNTS = {"raw.events", "staging.ledger", "staging.rejected", "staging.events"}

_LEDGER = """
with
rejected as (select source, count(*) as n from staging.rejected group by source),
events as (select source, count(*) as n from staging.events group by source),
lines as (select source, count(*) as n from raw.lines group by source),
withheld as (select source, sum(count_rows) as n from raw.withheld group by source),
inputs as (
    select source, any_value(kind) as kind, sum(count_rows) as n from raw.sources group by source
),
accounts as (
    select source, max(count_rows_in) as count_in, sum(count_rows_removed) as count_removed,
        max(count_kept) as count_kept
    from staging.ledger group by source
)
select inputs.source, inputs.n + coalesce(lines.n, 0) + coalesce(withheld.n, 0), accounts.count_in,
    accounts.count_removed, coalesce(rejected.n, 0) + coalesce(withheld.n, 0), accounts.count_kept,
    if(inputs.kind = 'events', coalesce(events.n, 0), accounts.count_kept)
from inputs
left join accounts on accounts.source = inputs.source
left join rejected on rejected.source = inputs.source
left join events on events.source = inputs.source
left join lines on lines.source = inputs.source
left join withheld on withheld.source = inputs.source
order by inputs.source
"""


def here(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Every table and view of the build."""
    rows = con.execute(
        "select schema_name || '.' || table_name from duckdb_tables() "
        "where database_name = current_database() union all "
        "select schema_name || '.' || view_name from duckdb_views() "
        "where database_name = current_database()"
    ).fetchall()
    return {name for (name,) in rows}


def first_line(error: duckdb.Error) -> str:
    """What DuckDB says, without its kind and its full stop, to go on in a message.

    >>> first_line(duckdb.Error("Catalog Error: Table with name a does not exist!\\nDid you mean"))
    'Table with name a does not exist'
    """
    return str(error).strip().splitlines()[0].removeprefix("Catalog Error: ").rstrip(".!")


def broken(
    con: duckdb.DuckDBPyConnection, catalog: Catalog, due: set[str]
) -> tuple[str, list[str]]:
    """Tables that are missing, and grains and checks that do not hold; and how many were asked.

    due: steps that are out of date. What they make may be missing, or lack a column by now.
    """
    found_here = here(con)
    asked = _ready(con) if "meta.tasks" in found_here else set()
    found, count = [], 0
    for name, file in catalog.files.items():
        if name in found_here:
            found += _promises(con, file, name in due)
            count += 1
        elif name not in due and (file.schema != "labels" or file.name in asked):
            found.append(_missing(name, name))
    predictions = {f"predictions.{task}": ("main.customers", ("user_id",)) for task in asked
                   if f"predictions.{task}" not in catalog.files}  # fmt: skip
    for name, (step, grain) in (GENERATED | predictions).items():
        if name in found_here:
            found += _unique(con, name, step, grain)
            count += 1
        elif step not in due:
            found.append(_missing(name, step))
    return f"{count} tables and views", found


def _ready(con: duckdb.DuckDBPyConnection) -> set[str]:
    rows = con.execute("select task from meta.tasks where status = 'ready'").fetchall()
    return {task for (task,) in rows}


def _missing(name: str, step: str) -> str:
    return (
        f"{name}: the table is missing, although the build recorded it. "
        f"Run `behavsql build -s {step}+`."
    )


def _promises(con: duckdb.DuckDBPyConnection, file: SqlFile, is_due: bool) -> list[str]:
    try:
        return transform.broken_promises(con, file, identifier(file.schema, file.name))[1]
    except SqlFileError as error:
        return [] if is_due else [str(error)]


def _unique(
    con: duckdb.DuckDBPyConnection, name: str, step: str, grain: tuple[str, ...]
) -> list[str]:
    keys = ", ".join(map(identifier, grain))
    try:
        twice = con.execute(
            f"select {keys}, count(*) as n from {identifier(*name.split('.'))} "
            f"group by {keys} having n > 1 limit 1"
        ).fetchall()
    except duckdb.Error as error:
        return [f"{name}: {first_line(error)}. Run `behavsql build -s {step}+`."]
    if not twice:
        return []
    values = ", ".join(f"{key} = {value!r}" for key, value in zip(grain, twice[0], strict=False))
    return [
        f"{name}: {twice[0][-1]} rows share {values}; the grain allows one. "
        f"Run `behavsql build -s {step}+`."
    ]


def attach_raw(con: duckdb.DuckDBPyConnection, raw: Path) -> list[str] | None:
    """Make the input readable as `raw`; else what is wrong with it, which may be told elsewhere."""
    if not raw.exists():
        return []  # the plan says that it is gone
    try:
        with explained(raw):
            con.execute(f"attach {literal(str(raw))} as raw (read_only)")
    except DamagedError as error:
        return [str(error)]
    return None


def unaccounted(con: duckdb.DuckDBPyConnection) -> tuple[str, list[str]]:
    """Whether each source's rows in equal rows removed and rows kept, counted anew in the tables."""
    try:
        rows = con.execute(_LEDGER).fetchall()
    except duckdb.Error as error:
        return "nothing", [
            f"staging.ledger: {first_line(error)}. Run `behavsql build -s staging+`."
        ]
    return counted(len(rows), "source"), [message for row in rows for message in _gaps(*row)]


def _gaps(
    source: str,
    read: int,
    count_in: int | None,
    removed: int,
    rejected: int,
    kept: int,
    events: int,
) -> list[str]:
    where, fix = f'staging.ledger: source "{source}"', "Run `behavsql build -s staging+`."
    if count_in is None:
        return [f"{where} has no account. {fix}"]
    pairs = (
        (count_in, read, "rows in", "rows were read"),
        (removed, rejected, "rows removed", "are in staging.rejected"),
        (kept, events, "rows kept", "are in staging.events"),
        (count_in - removed, kept, "rows in less those removed", "are called kept"),
    )
    return [
        f"{where} counts {told:,} {what}, but {real:,} {where_real}. {fix}"
        for told, real, what, where_real in pairs
        if told != real
    ]
