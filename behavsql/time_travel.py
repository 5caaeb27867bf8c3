"""The proof that features do not see the future: built again from the past alone, they are the same."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from behavsql import plan, transform
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse

LAST_STAGE = 4


@dataclass(frozen=True)
class Leak:
    """A column whose value at a cutoff changes with events after it."""

    file: str
    column: str
    count_rows: int

    def __str__(self) -> str:
        return (
            f"{self.file}: column {self.column} differs for {self.count_rows:,} rows once events after "
            f"the cutoff are gone; a feature may use the past alone. Mend that column."
        )


def find_leaks(config: Config, catalog: Catalog, cutoff_at: datetime) -> list[Leak]:
    """Rebuild stages 1 to 4 from raw input up to `cutoff_at` and compare every feature file.

    The warehouse must have been built with this config and catalog, and `cutoff_at` be one of its
    cutoffs. Windows and cutoffs stay as resolved: they are settings, not features. A row that is
    only on one side counts as a difference in every column.
    """
    warehouse = Warehouse(config.warehouse)
    con = duckdb.connect()
    try:
        con.execute(f"attach {literal(str(warehouse.build))} as batch (read_only)")
        con.execute(f"attach {literal(str(warehouse.raw))} as whole (read_only)")
        con.execute("attach ':memory:' as raw; set timezone = 'UTC'")
        _truncate(con, cutoff_at)
        transform.prepare(con, catalog)
        bucket = con.execute("select bucket from meta.clock").fetchall()[0][0]
        forever = {"bucket": bucket, "latest_possible_at": datetime(9999, 1, 1)}
        transform.set_params(con, plan.settings_params(config) | forever)
        for file in catalog.files.values():
            if file.stage_number <= LAST_STAGE:
                transform.run_file(con, file)
        return [leak for file in catalog.feature_files() for leak in _compare(con, file, cutoff_at)]
    finally:
        con.close()


def _truncate(con: duckdb.DuckDBPyConnection, cutoff_at: datetime) -> None:
    """The raw tables as they would have been read at the cutoff, and the tasks as resolved."""
    for table in ("lines", "sources", "types", "not_products", "items", "users"):
        con.execute(f"create table raw.{table} as from whole.{table}")
    # Rows without a readable time stay: the cleaning rules meet them then as now.
    con.execute(
        "create table raw.events as select * from whole.events "
        "where event_at <= ? or event_at is null order by rowid", [cutoff_at]
    )  # fmt: skip
    con.execute(
        "update raw.sources set count_rows = (select count(*) from raw.events as events "
        "where events.source = sources.source), first_rowid = coalesce((select min(events.rowid) "
        "from raw.events as events where events.source = sources.source), 0) where kind = 'events'"
    )
    con.execute("create schema meta")
    for table in ("tasks", "clock"):
        con.execute(f"create table meta.{table} as from batch.meta.{table}")


def _compare(con: duckdb.DuckDBPyConnection, file: SqlFile, cutoff_at: datetime) -> list[Leak]:
    name = identifier(file.schema, file.name)
    columns = [
        row[0] for row in con.execute(f"describe {name}").fetchall() if row[0] not in file.grain
    ]
    differs = ", ".join(
        f"count(*) filter (where past.{column} is distinct from batch.{column})"
        for column in map(identifier, columns)
    )
    counts = con.execute(
        f"select {differs} from (select * from {name} where cutoff_at = ?) as past full outer join "
        f"(select * from batch.{name} where cutoff_at = ?) as batch using (user_id, cutoff_at)",
        [cutoff_at, cutoff_at],
    ).fetchall()[0]
    return [Leak(file.where, column, n) for column, n in zip(columns, counts, strict=True) if n]
