"""The proof that features do not see the future: built again from the past alone, they are the same."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from behavsql import plan, transform
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.database_file import explained
from behavsql.interrupts import interruptible
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse, limit

LAST_STAGE = 4
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
        _truncate(con, cutoff_at)
        transform.prepare(con, catalog)
        bucket = con.execute("select bucket from meta.clock").fetchall()[0][0]
        forever = {"bucket": bucket, "latest_possible_at": datetime(9999, 1, 1)}
        transform.set_params(con, plan.settings_params(config) | forever)
        for file in files:
            transform.run_file(con, file)
        return [leak for file in catalog.feature_files() for leak in _compare(con, file, cutoff_at)]


@contextmanager
def _scratch(config: Config) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database on disk, `raw` beside it, and the last build as `batch` and `whole`."""
    warehouse = Warehouse(config.warehouse)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=warehouse.work) as folder:
        con = duckdb.connect(str(Path(folder, "past.duckdb")))
        try:
            for path, name in ((warehouse.build, "batch"), (warehouse.raw, "whole")):
                with explained(path):
                    con.execute(f"attach {literal(str(path))} as {name} (read_only)")
            con.execute(f"attach {literal(str(Path(folder, 'raw.duckdb')))} as raw")
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


def _truncate(con: duckdb.DuckDBPyConnection, cutoff_at: datetime) -> None:
    """The raw tables as they would have been read at the cutoff, and the tasks as resolved."""
    tables = con.execute(
        "select table_name, bool_or(column_name = 'event_at') from duckdb_columns() "
        "where database_name = 'whole' and table_name in "
        "(select table_name from duckdb_tables() where database_name = 'whole') group by table_name"
    ).fetchall()
    for table, has_times in tables:
        # Rows without a readable time stay: the cleaning rules meet them then as now.
        known = (
            f"where event_at <= timestamp '{cutoff_at}' or event_at is null" if has_times else ""
        )
        con.execute(
            f"create table raw.{identifier(table)} as from whole.{identifier(table)} {known}"
        )
    con.execute("create schema meta")
    for table in ("tasks", "clock"):
        con.execute(f"create table meta.{table} as from batch.meta.{table}")


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
