"""Rows that do not enter: of users who were forgotten, and events older than `retention_days`.

They are told from the sources as they are read and stand in no file of ours, not even as rejected
rows; raw.withheld counts them. Rows of a source are numbered without them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import duckdb

from behavsql.clock import tomorrow
from behavsql.config import Config
from behavsql.errors import SourceError
from behavsql.input import landed, mapping, refused_lines, sources
from behavsql.input.identities import PREFIX
from behavsql.input.sources import Scan
from behavsql.privacy import key
from behavsql.privacy.register import Register
from behavsql.quoting import literal
from behavsql.source import Source
from behavsql.warehouse import Warehouse

FORGOTTEN, TOO_OLD = "forgotten", "past_retention"  # rules of the ledger
GONE = "forgotten_users"  # the temporary table of their ids, in the session's memory alone
SLACK = 10  # an update lets events grow older by a tenth of retention_days before all is read again


def entering(
    con: duckdb.DuckDBPyConnection, config: Config, scans: Mapping[str, Scan],
    latest: datetime | None = None,
) -> dict[str, Scan]:  # fmt: skip
    """The scans without the rows that do not enter, which are added to raw.withheld.

    latest: the newest event that was read before.
    """
    told = {source.name: source for source in config.source}
    found = dict(scans)
    is_anybody = _find_forgotten(con, config, scans)
    since = oldest(con, config, scans, latest)
    for name, scan in scans.items():
        source, rules = told[name], {}
        if is_anybody:
            is_event = source.is_events
            user = mapping.event_columns(source, scan.types)["user_id"] if is_event else (
                mapping.user_id(source, scan.types)
            )  # fmt: skip
            rules[FORGOTTEN] = f"coalesce({user} in (select user_id from {GONE}), false)"
        if since and source.is_events:
            at, _ = mapping.moment(source, source.columns.event_at, scan.types)
            rules[TOO_OLD] = f"coalesce({at} < timestamp {literal(str(since))}, false)"
        if rules:
            found[name] = _without(con, source, scan, rules)
        _count_landed(con, config, source, scan)
    return found


def _without(
    con: duckdb.DuckDBPyConnection, source: Source, scan: Scan, rules: dict[str, str]
) -> Scan:
    seen = "false"
    for rule, condition in rules.items():
        count = _asked(
            con, source, scan,
            f"select count(*) from {scan.relation} where {condition} and not ({seen})",
        )[0][0]  # fmt: skip
        _add(con, source.name, rule, count)
        seen = f"{seen} or {condition}"
    return Scan(f"(select * from {scan.relation} where not ({seen}))", scan.types, scan.files)


def _add(con: duckdb.DuckDBPyConnection, source: str, rule: str, count: int) -> None:
    if count:
        con.execute("insert into raw.withheld values (?, ?, ?)", [source, rule, count])


def _count_landed(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, scan: Scan
) -> None:
    """What was kept out of a database's rows as these files of them were landed."""
    if source.url:
        index, read = landed.read(landed.folder_of(config, source)), {p.name for p in scan.files}
        parts = [part for part in index.parts if part.name in read]
        _add(con, source.name, FORGOTTEN, sum(part.count_forgotten for part in parts))
        _add(con, source.name, TOO_OLD, sum(part.count_too_old for part in parts))


def _asked(con: duckdb.DuckDBPyConnection, source: Source, scan: Scan, query: str) -> list[tuple]:
    try:
        return con.execute(query).fetchall()
    except duckdb.Error as error:
        raise SourceError(sources.unreadable(scan.files, error, source)) from None
    finally:
        refused_lines.forget(con)  # the load will count them


def _find_forgotten(
    con: duckdb.DuckDBPyConnection, config: Config, scans: Mapping[str, Scan]
) -> bool:
    """Fill the table of forgotten users whom the sources tell of; whether there are any."""
    con.execute(f"create or replace temp table {GONE} (user_id varchar)")
    tombstones = Register.read(Warehouse(config.warehouse)).tombstones
    for source in config.source if tombstones else ():
        scan = scans.get(source.name)
        for name, made, ids in named(source, scan.types) if scan else ():
            found = _asked(
                con, source, scan,
                f"select {made} from (select distinct {name} as id from {scan.relation}) "
                f"where {is_forgotten(ids, tombstones)}",
            )  # fmt: skip
            if found:
                con.executemany(f"insert into {GONE} values (?)", found)
    return bool(con.execute(f"select 1 from {GONE} limit 1").fetchall())


def named(source: Source, types: Mapping[str, str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(what names a user in the source, what the warehouse makes of that `id`, what a tombstone may be of)."""
    parts, is_landed = source.columns.user_parts, bool(source.url) and source.is_pseudonymous
    hashed, is_made = key.sql_pseudonym("id"), source.is_pseudonymous and not is_landed
    if parts:
        name = mapping.user_key(parts[:1] if is_landed else parts, types)
        yield name, hashed if is_made else "id", ("id", hashed)
    if anonymous := source.columns.anonymous_id:
        name, prefix = mapping.text(anonymous, types), f"{literal(PREFIX)} || "
        made = prefix + (hashed if is_made and anonymous not in source.coarsen else "id")
        yield name, made, (f"{prefix}id", prefix + hashed)


def is_forgotten(ids: Sequence[str], tombstones: Sequence[str]) -> str:
    """The condition that one of these, all SQL of what one user may be called, has a tombstone."""
    listed = f"(select unnest({literal(tombstones)}))"
    told = [f"{key.sql_tombstone(one)} in {listed}" for one in ids]
    return f"coalesce({' or '.join(told)}, false)"


def oldest(
    con: duckdb.DuckDBPyConnection, config: Config, scans: Mapping[str, Scan],
    latest: datetime | None = None,
) -> datetime | None:  # fmt: skip
    """The beginning of the first day whose events enter; None where all do. The clock is the data's."""
    days = config.privacy.retention_days
    if days is None:
        return None
    newest = [latest] if latest else []
    for source in config.source:
        if source.is_events and source.name in scans:
            scan = scans[source.name]
            at, _ = mapping.moment(source, source.columns.event_at, scan.types)
            newest += [row[0] for row in _asked(
                con, source, scan,
                f"select max({at}) filter (where {at} <= timestamp {literal(str(tomorrow()))}) "
                f"from {scan.relation}",
            ) if row[0]]  # fmt: skip
    return first_kept(max(newest), days) if newest else None


def first_kept(newest: datetime, days: int) -> datetime:
    """The beginning of the first day that is kept of data whose newest event is as told."""
    day = newest - timedelta(days=days)
    return day.replace(hour=0, minute=0, second=0, microsecond=0)


def slack(days: int) -> int:
    """Days by which what was kept may grow too old before it is taken out."""
    return max(1, days // SLACK)


def newest(con: duckdb.DuckDBPyConnection) -> datetime | None:
    """The newest event that was read; what lies in the future is none."""
    return con.execute(
        "select max(event_at) from raw.loaded where event_at <= ?", [tomorrow()]
    ).fetchall()[0][0]


def kept_since(con: duckdb.DuckDBPyConnection, config: Config) -> datetime | None:
    """The beginning of the first day that is kept by what was read so far; None: all are, or nothing was."""
    days = config.privacy.retention_days
    try:
        latest = newest(con) if days else None
    except duckdb.CatalogException:  # nothing was read
        return None
    return first_kept(latest, days) if latest else None


def outgrown(con: duckdb.DuckDBPyConnection, config: Config) -> str:
    """That events read earlier have become too old by more than SLACK allows, in words, or nothing."""
    days, latest = config.privacy.retention_days, newest(con)
    if days is None or latest is None:
        return ""
    gone = latest - timedelta(days=days + slack(days))
    first = con.execute("select min(event_at) from raw.loaded").fetchall()[0][0]
    return f"events from {first:%Y-%m-%d} on are older than retention_days" if first < gone else ""


def has_withheld(con: duckdb.DuckDBPyConnection, source: str) -> bool:
    """Whether rows of a source did not enter, so that none may be left."""
    return bool(con.execute("from raw.withheld where source = ?", [source]).fetchall())
