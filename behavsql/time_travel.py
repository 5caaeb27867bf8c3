"""The proof that features do not see the future: built again from the past alone, they are the same."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from behavsql import plan, transform, verdicts
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.database_file import explained
from behavsql.input import identities
from behavsql.interrupts import interruptible
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse, limit

LAST_STAGE = 4
TIMES = ("event_at", "valid_from")  # raw columns: from when on a row was there to be read
PAST = "raw.duckdb"
SCRATCH = "time-travel-"  # folders in .work that hold the past while it is compared


@dataclass(frozen=True)
class Leak:
    """A column whose value at a cutoff changes with events after it."""

    file: str
    column: str
    count_rows: int
    cutoff_at: datetime

    def __str__(self) -> str:
        return (
            f"{self.file}: column {self.column} differs for {self.count_rows:,} rows once events after "
            f"the cutoff {self.cutoff_at:%Y-%m-%d %H:%M} are gone; a feature may use the past alone. "
            f"Mend that column."
        )


def find_leaks(config: Config, catalog: Catalog, cutoff_at: datetime) -> list[Leak]:
    """Rebuild the features from raw input up to `cutoff_at` and compare every feature file.

    The warehouse must have been built with this config and catalog, and `cutoff_at` be one of its
    cutoffs. Windows and cutoffs stay as resolved: they are settings, not features. A row that is
    only on one side counts as a difference in every column. The past is built in a folder of its
    own in `.work`, within memory_limit and threads, and is gone afterwards.
    """
    files = _needed(catalog)
    with _scratch(config) as con:
        read = {table for file in files for table in file.inputs if table.startswith("raw.")}
        _truncate(con, cutoff_at, read)
        transform.prepare(con, catalog)
        bucket = con.execute("select bucket from meta.clock").fetchall()[0][0]
        forever = {"bucket": bucket, "latest_possible_at": datetime(9999, 1, 1)}
        transform.set_params(con, plan.settings_params(config) | forever)
        for file in files:
            transform.run_file(con, file)
        return [leak for file in catalog.feature_files() for leak in _compare(con, file, cutoff_at)]


@contextmanager
def _scratch(config: Config) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database on disk, `past_raw` beside it, and the last build as `batch` and `raw`."""
    warehouse = Warehouse(config.warehouse)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=warehouse.work) as folder:
        con = duckdb.connect(str(Path(folder, "past.duckdb")))
        try:
            for path, name in ((warehouse.build, "batch"), (warehouse.raw, "raw")):
                with explained(path):
                    con.execute(f"attach {literal(str(path))} as {name} (read_only)")
            con.execute(f"attach {literal(str(Path(folder, PAST)))} as past_raw")
            limit(con, config)
            with interruptible(con):
                yield con
        finally:
            con.close()


def _needed(catalog: Catalog) -> list[SqlFile]:
    """The feature files and all that they read, in build order."""
    needed = {file.table for file in catalog.feature_files()}
    for table in reversed(catalog.order):
        if table in needed:
            needed.update(catalog.parents(table))
    return [file for table, file in catalog.files.items() if table in needed]


def _truncate(con: duckdb.DuckDBPyConnection, cutoff_at: datetime, read: Iterable[str]) -> None:
    """The raw tables as they would have been read at the cutoff, and the tasks as resolved.

    Of events those up to it, of facts those that held by then. A row of facts is known whole from
    when on it holds: its end too, which says nothing before it comes.
    """
    # As `raw`, for raw.events is a view that names its tables so.
    for table in read:
        columns = [row[0] for row in con.execute(f"describe from {table}").fetchall()]
        # Rows without a readable time stay: the cleaning rules meet them then as now.
        known = [
            f"({name} <= timestamp '{cutoff_at}' or {name} is null)"
            for name in TIMES if name in columns
        ]  # fmt: skip
        con.execute(
            f"create table past_{table} as from {table} where {' and '.join(known) or 'true'}"
        )
    path = con.execute(
        "select path from duckdb_databases() where database_name = 'past_raw'"
    ).fetchall()[0][0]
    con.execute(f"detach raw; detach past_raw; attach {literal(path)} as raw")
    if "raw.events" in read:
        identities.resolve(con, "raw.events")
    con.execute("create schema meta")
    for table in ("tasks", "clock"):
        con.execute(f"create table meta.{table} as from batch.meta.{table}")
    verdicts.reopen(con)  # features are made before the verdicts on tasks


def _compare(con: duckdb.DuckDBPyConnection, file: SqlFile, cutoff_at: datetime) -> list[Leak]:
    name = identifier(file.schema, file.name)
    columns = [
        row[0] for row in con.execute(f"describe {name}").fetchall() if row[0] not in file.grain
    ]
    if not columns:  # features.user_facts where no source has facts about users
        return []
    differs = ", ".join(
        f"count(*) filter (where past.{column} is distinct from batch.{column})"
        for column in map(identifier, columns)
    )
    counts = con.execute(
        f"select {differs} from (select * from {name} where cutoff_at = ?) as past full outer join "
        f"(select * from batch.{name} where cutoff_at = ?) as batch using (user_id, cutoff_at)",
        [cutoff_at, cutoff_at],
    ).fetchall()[0]
    return [
        Leak(file.where, column, n, cutoff_at)
        for column, n in zip(columns, counts, strict=True)
        if n
    ]
