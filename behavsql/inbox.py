"""`live.inbox`: what any client inserts into the published file, and where it is kept for good.

A row is first in the published file alone. Every build, and every publishing, first adds the rows
it finds there to `warehouse/inbox.parquet` (written beside, flushed, renamed), from which a build
reads them as the source `inbox`, as it reads any other file. A published file holds in its own
`live.inbox` what its `staging.events` was made without: nothing, or what came in while it was made.
So a row is in the archive, or in the published file, or in both, whatever is killed or restored
when; and in both it is one row, since a row is known by all that it says, the moment it was
inserted included. Rows that are equal in all of that count as often as they stand in the one place
where there are more of them.
"""

import glob
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb

from behavsql.config import INBOX, Config
from behavsql.database_file import (
    PRIVATE,
    DamagedError,
    explanation,
    keeping_writers_out,
    open_file,
    sync,
)
from behavsql.errors import LockedError, WarehouseError
from behavsql.privacy import archive
from behavsql.privacy.key import FORM
from behavsql.quoting import literal
from behavsql.source import Columns, Source
from behavsql.warehouse import Warehouse

STEP = "raw.events"  # the step that reads the archive
INSERTED = "inserted"  # the source's `dedupe`: its key, whoever else told it
# Of the archive. In the table the ids have the type that they have in staging.events.
TYPES = {
    "user_id": "varchar", "item_id": "varchar", "event_type": "varchar", "event_at": "timestamp",
    "value": "decimal(18, 4)", "quantity": "decimal(18, 4)", "inserted_at": "timestamp",
}  # fmt: skip
# UTC, whatever the client's time zone, and without an extension.
NOW = "make_timestamp(epoch_us(now()))"
_NAMES = ", ".join(TYPES)


class _InboxColumns(Columns):
    def taken(self) -> set[str]:
        return self.used() | {"inserted_at"}


class InboxSource(Source):
    """The archive as a source of events; its times are dates if those of all other sources are."""

    dedupe: str = INSERTED


def joined(config: Config) -> Config:
    """The config with the archive as its last source; itself where nothing was ever inserted."""
    archive = Warehouse(config.warehouse).inbox
    if not archive.exists():
        return config
    return config.model_copy(update={"source": [*config.source, as_source(config)]})


def as_source(config: Config) -> InboxSource:
    """What is inserted, as the source that builds read."""
    return InboxSource(
        name=INBOX, path=os.path.relpath(Warehouse(config.warehouse).inbox, config.folder),
        default_type=default_type(config),
        columns=_InboxColumns(**{name: name for name in TYPES if name != "inserted_at"}),
    )  # fmt: skip


def default_type(config: Config) -> str:
    """What an inserted row without a type is: what one of the sources is, if they agree on that."""
    types = {source.default_type for source in config.source if source.is_events}
    return types.pop() if len(types) == 1 else Source.model_fields["default_type"].default


def create(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    """Make an empty `live.inbox` in the build database, once `staging.events` is there."""
    own = dict(
        con.execute("select column_name, column_type from (describe staging.events)").fetchall()
    )
    defaults = {"event_type": literal(default_type(config)), "inserted_at": NOW}
    # An id written here would stand in the file: nothing but a pseudonym is taken.
    form = f"regexp_matches(user_id, {literal(FORM)})"
    checks = {"user_id": f" check ({form})"} if config.privacy.pseudonyms else {}
    columns = ", ".join(
        f"{name} {own.get(name, type_)}"
        + (f" default {defaults[name]}" if name in defaults else "")
        + checks.get(name, "")
        for name, type_ in TYPES.items()
    )
    con.execute(f"create schema if not exists live; create or replace table live.inbox ({columns})")


def news(count: int) -> dict[str, str]:
    """Step -> why its result is out of date, of that many new rows (see `Warehouse.lost`)."""
    rows = "1 row was" if count == 1 else f"{count:,} rows were"
    return {STEP: f"{rows} inserted into live.inbox"} if count else {}


def absorb(warehouse: Warehouse, say: Callable[[str], None]) -> int:
    """Add what the published file's inbox holds to the archive; how many rows were new.

    LockedError while another process writes there, WarehouseError where the table or the archive
    cannot be read. The inbox of a file that is damaged is passed over, which is said.
    """
    return _of_all(add, warehouse, say)


def waiting(warehouse: Warehouse) -> int:
    """How many rows `absorb` would add; nothing is written. Errors as there."""
    return _of_all(_find, warehouse, lambda _: None)


def _of_all(
    count: Callable[[duckdb.DuckDBPyConnection, Warehouse], int],
    warehouse: Warehouse,
    say: Callable[[str], None],
) -> int:
    rows = 0
    if warehouse.published.exists():
        try:
            with keeping_writers_out(warehouse.published) as con:
                rows += count(con, warehouse)
        except DamagedError:
            say(
                f"{warehouse.published}: live.inbox cannot be read; what was inserted there "
                f"stays in this file"
            )
    for path in _written_later(warehouse):
        with suppress(DamagedError, LockedError), keeping_writers_out(path) as con:
            rows += count(con, warehouse)
    return rows


def _written_later(warehouse: Warehouse) -> list[Path]:
    """Kept versions that were written to after they were replaced.

    A client that opened the published file in the instant before another took its place, and locked
    it in the instant after, inserts into what is a kept version by then.
    """
    return [path for path in warehouse.kept_versions() if path.stat().st_mtime_ns != int(path.stem)]


def add(con: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> int:
    """Add the rows of an attached file's inbox to the archive, in one step; how many were new.

    con: as `keeping_writers_out` gives it. DamagedError where the file cannot be read.
    """
    count = _find(con, warehouse)
    if not count:
        return 0
    half_made = warehouse.work / f"{warehouse.inbox.name}.tmp"
    try:
        con.execute(
            f"copy (select {_NAMES} from (select *, 0 as part from kept union all by name "
            f"select *, 1 as part from news) order by part, place) "
            f"to {literal(str(half_made))} (format parquet)"
        )
    except duckdb.Error as error:
        raise WarehouseError(
            f"{half_made}: cannot be written: {_first(error)}; allowed is room for what was inserted. "
            f"Make room and run the command again: nothing is lost."
        ) from None
    half_made.chmod(PRIVATE)
    sync(half_made)
    os.replace(half_made, warehouse.inbox)
    sync(warehouse.folder)
    return count


def _find(con: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> int:
    """Fill the temporary tables `kept`, the archive, and `news`, inserted and not in it; their number."""
    typed = ", ".join(f"cast({name} as {type_}) as {name}" for name, type_ in TYPES.items())
    same = " and ".join(f"inserted.{name} is not distinct from kept.{name}" for name in TYPES)
    try:
        is_there = con.execute(
            "select 1 from duckdb_tables() where database_name = current_database() "
            "and schema_name = 'live' and table_name = 'inbox'"
        ).fetchall()
        if not is_there or not con.execute("select 1 from live.inbox limit 1").fetchall():
            return 0
        con.execute(
            f"create or replace temp table inserted as select *, row_number() over "
            f"(partition by {_NAMES} order by place) as copy "
            f"from (select {typed}, rowid as place from live.inbox)"
        )
    except (duckdb.BinderException, duckdb.ConversionException) as error:
        raise WarehouseError(
            f"live.inbox: cannot be read: {_first(error)}; allowed are the columns it was published "
            f"with ({_NAMES}). Give them back their names and types."
        ) from None
    except duckdb.Error as error:
        # A disk that does not answer is no damage: the file, put aside for it, would keep the rows.
        raise explanation(warehouse.published, error) from None
    archive.screen(con, warehouse, "inserted")
    _read_archive(con, warehouse.inbox)
    con.execute(
        f"create or replace temp table news as select inserted.* from inserted "
        f"anti join kept on inserted.copy = kept.copy and {same}"
    )
    return con.execute("select count(*) from news").fetchall()[0][0]


def _read_archive(con: duckdb.DuckDBPyConnection, archive: Path) -> None:
    empty = ", ".join(f"cast(null as {type_}) as {name}" for name, type_ in TYPES.items())
    rows = _archived(archive) if archive.exists() else f"(select {empty}, 0 as place where false)"
    try:
        con.execute(
            f"create or replace temp table kept as select {_NAMES}, place, row_number() over "
            f"(partition by {_NAMES} order by place) as copy from {rows}"
        )
    except duckdb.Error as error:
        raise WarehouseError(
            f"{archive}: cannot be read: {_first(error)}; allowed is the file as behavsql wrote it, "
            f"with all that was ever inserted. Put a copy of it back; without one, delete it."
        ) from None


def _archived(archive: Path) -> str:
    """The archive as a FROM clause: the columns, and a row's `place` in it, from 0."""
    path = literal(glob.escape(str(archive)))
    return f"(select {_NAMES}, file_row_number as place from read_parquet({path}, file_row_number = true))"


def refill(candidate: Path, archive: Path) -> None:
    """Give a file that is about to be published, in its inbox, what its events were made without.

    An id that is no number where ids are numbers waits in the archive for the next build. A file
    without the table, of an earlier behavsql, stays without.
    """
    with open_file(candidate) as con:
        types = dict(con.execute(
            "select column_name, data_type from duckdb_columns() where schema_name = 'live' "
            "and table_name = 'inbox' and database_name = current_database()"
        ).fetchall())  # fmt: skip
        if not types.keys() >= TYPES.keys():
            return
        con.execute("delete from live.inbox")
        if archive.exists():
            known = con.execute(
                "select coalesce(max(count_rows), 0) from staging.sources where source = ?", [INBOX]
            ).fetchall()[0][0]
            typed = ", ".join(f"try_cast({name} as {types[name]}) as {name}" for name in TYPES)
            is_whole = " and ".join(
                f"cast(try_cast({name} as {types[name]}) as varchar) is not distinct from {name}"
                for name in ("user_id", "item_id")
            )
            con.execute(
                f"insert into live.inbox by name select {typed} from {_archived(archive)} "
                f"where place >= {int(known)} and {is_whole} order by place"
            )
        con.execute("checkpoint")


def _first(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0].rstrip(" .")
