"""New files added to the `raw` tables, without reading the old ones again."""

import json
from datetime import datetime

import duckdb

from behavsql import ingest
from behavsql.clock import tomorrow
from behavsql.config import INBOX, Config
from behavsql.errors import BehavsqlError, SourceError
from behavsql.input import (
    arrivals,
    bots,
    identities,
    loads,
    refused_lines,
    sources,
    unread_lines,
    weblogs,
)
from behavsql.input.arrivals import Arrivals
from behavsql.input.mapping import day_zone, from_zone, in_zone
from behavsql.input.sources import Scan
from behavsql.privacy import entering, key, register
from behavsql.quoting import identifier, literal
from behavsql.source import Source

ARRIVING = "arriving"  # the temporary table of a source's new rows


class NotAppendable(BehavsqlError):
    """New files that change how old ones are read: all has to be read again."""


def append(
    con: duckdb.DuckDBPyConnection, config: Config, news: Arrivals, late_before: datetime | None
) -> None:
    """Add the new files' rows to `raw`, in one transaction; NotAppendable leaves it as it was.

    late_before: what happened before is noted as too late; not what was inserted, which is wanted.
    """
    known = {
        source: json.loads(text)
        for source, text in con.execute(
            "select source, any_value(columns) from raw.loads group by source"
        ).fetchall()
    }
    secret = register.key_of(config)
    con.execute("begin")
    try:
        with key.installed(con, secret):
            for source in config.source:
                if source.name in news.files:
                    before = None if source.name == INBOX else late_before
                    _append_source(con, config, source, news, known, before)
            if reason := entering.outgrown(con, config):
                raise NotAppendable(reason)
        con.execute("delete from raw.clock")
        con.execute("insert into raw.clock values (?)", [tomorrow()])
        loads.show(con)
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise
    finally:
        refused_lines.forget(con)


def _append_source(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, news: Arrivals,
    known: dict[str, dict[str, str]], late_before: datetime | None,
) -> None:  # fmt: skip
    scan = _scanned(con, config, source, news.files[source.name], known)
    scan = entering.entering(con, config, {source.name: scan}, entering.newest(con))[source.name]
    fields = ingest.attribute_types([
        (other, Scan("", known.get(other.name, scan.types), []))
        for other in config.source if other.is_events
    ])  # fmt: skip
    types = dict(
        con.execute("select column_name, column_type from (describe raw.loaded)").fetchall()
    )
    if "is_place_unread" not in types:
        raise NotAppendable("the sources were read by an earlier behavsql")
    whole = [column for column in ingest.IDS if types[column] == "BIGINT"]
    con.execute(f"create or replace temp table {ARRIVING} as from raw.loaded limit 0")
    for column in ingest.IDS:
        con.execute(f"alter table {ARRIVING} add column is_{column}_lost boolean")
    load = loads.begin(con, source.name, scan.types, late_before)
    ingest.fill(con, source, scan, fields, whole, load, ARRIVING)
    _check(con, source, scan, whole)
    count = con.execute(f"select count(*) from {ARRIVING}").fetchall()[0][0]
    lost = ", ".join(f"is_{column}_lost" for column in ingest.IDS)
    con.execute(f"insert into raw.loaded by name select * exclude ({lost}) from {ARRIVING}")
    con.execute(
        "update raw.lines set source_row = source_row + ? where source = ?", [count, source.name]
    )
    unread_lines.keep(con, source, scan.files, "loaded")
    if source.name not in known:
        ingest.note_inbox(con, source, scan, load, count)
    files = sources.find_files(config, source)
    con.execute(
        "update raw.sources set count_rows = (select count(*) from raw.loaded where source = $name), "
        "files = $files where source = $name",
        {"name": source.name, "files": sources.listed(files)},
    )
    if source.columns.anonymous_id:
        identities.check(con, ARRIVING)
        identities.resolve(con, "raw.loaded", ARRIVING)
    if config.settings.bots == "reject":
        bots.add_bots(con, ARRIVING)
        whose = (
            f"(select user_id from raw.loaded where load = {load} union {identities.moved(con)})"
        )
        weblogs.mark_robots(con, config.source, whose)
    if source.name == INBOX:
        con.execute("delete from raw.files where source = ?", [INBOX])
    arrivals.add(con, config, source.name, scan.files)


def _scanned(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, files: list,
    known: dict[str, dict[str, str]],
) -> Scan:  # fmt: skip
    """The new files as they are read beside the old ones."""
    scan = sources.scan(con, config, source, files)
    if source.name == INBOX:
        return _inserted_since(con, scan)
    together = sources.scan(con, config, source, for_types=True)
    was = known.get(source.name)
    if scan.types != was or together.types != was:
        raise NotAppendable(f"source {source.name}: its columns are not those of before")
    return scan


def _inserted_since(con: duckdb.DuckDBPyConnection, scan: Scan) -> Scan:
    """The archive's rows that were not read yet; they are its last."""
    found = con.execute("select count_rows from raw.sources where source = ?", [INBOX]).fetchall()
    start = found[0][0] if found else 0
    files = literal([str(path) for path in scan.files])
    relation = (
        "(select * exclude (file_row_number) from "
        f"read_parquet({files}, file_row_number = true) where file_row_number >= {start})"
    )
    return Scan(relation, scan.types, scan.files)


def _check(con: duckdb.DuckDBPyConnection, source: Source, scan: Scan, whole: list[str]) -> None:
    """NotAppendable where new rows turn what was told from the old ones."""
    for column in whole:
        if con.execute(f"select 1 from {ARRIVING} where is_{column}_lost limit 1").fetchall():
            raise NotAppendable(
                f"source {source.name}: {column} is no longer a whole number in every row"
            )
    is_empty = not con.execute(f"select 1 from {ARRIVING} limit 1").fetchall()
    if is_empty and not entering.has_withheld(con, source.name):
        raise SourceError(
            f'{scan.files[0]}: source "{source.name}" has a header but no rows; allowed is at least one. '
            f"Check the file, or its delimiter."
        )
    timed = con.execute(
        "select has_time_of_day from raw.sources where source = ?", [source.name]
    ).fetchall()
    if source.name == INBOX or not timed or timed[0][0]:
        return
    zone = day_zone(source, scan.types)
    begins = from_zone(zone, f"date_trunc('day', {in_zone(zone, 'event_at')})")
    if con.execute(f"select 1 from {ARRIVING} where event_at <> {begins} limit 1").fetchall():
        raise NotAppendable(f"source {source.name}: its times were days and are not any more")
    if zone != "UTC":
        day = f"date_trunc('day', {in_zone(zone, 'event_at')})"
        con.execute(f"update {ARRIVING} set event_at = {day}")


def raw_rows_since(con: duckdb.DuckDBPyConnection, load: int) -> str:
    """The condition that a row of raw.events came with this load or a later one."""
    rows = con.execute("select source, first_row from raw.loads where load >= ?", [load]).fetchall()
    told = [
        f"(source = {identifier_literal(source)} and raw_row >= {first})" for source, first in rows
    ]
    return " or ".join(told) or "false"


def identifier_literal(text: str) -> str:
    return literal(text)


__all__ = ["NotAppendable", "append", "identifier", "raw_rows_since"]
