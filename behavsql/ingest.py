"""Sources -> the `raw` tables: columns renamed and typed by the config's mapping, nothing judged yet.

`raw` is a database of its own beside the build file, so that what is published never holds it:

    raw.events   one row per input row: source, user_id, item_id, event_type, event_at, value,
                 quantity, category, title, attributes (a struct of the other columns), and
                 unread_at / unread_value: the text that could not be read as a time or a number
    raw.items, raw.users    facts from sources of that kind
    raw.lines    lines of a text file that have another shape than the rest
    raw.sources  one row per source: rows, where its rows start, resolution, deduplication
    raw.types    the source's words and their roles
"""

from pathlib import Path

import duckdb

from behavsql import sources
from behavsql.config import Config, Source
from behavsql.errors import SourceError
from behavsql.mapping import bound, event_columns, text, user_key
from behavsql.quoting import identifier, literal
from behavsql.sources import Scan

_TABLES = """
create or replace table raw.lines (source varchar, source_row bigint, reason varchar);
create or replace table raw.sources (
    source varchar, kind varchar, files varchar, first_rowid bigint, count_rows bigint,
    has_time_of_day boolean, has_dates boolean, dedupe varchar, since timestamp, until timestamp
);
create or replace table raw.types (event_type varchar, role varchar);
create or replace table raw.not_products (source varchar, item_id varchar);
"""


def ingest(con: duckdb.DuckDBPyConnection, config: Config) -> int:
    """Load every source of the config into `raw` (attached) and return the count of event rows.

    Raises SourceError naming the source, the file and what is wrong with it.
    """
    con.execute(_TABLES)
    con.executemany("insert into raw.types values (?, ?)", list(config.roles().items()))
    events = [source for source in config.source if source.kind == "events"]
    scans = {source.name: sources.scan(con, config, source) for source in config.source}
    fields = _attribute_types([(source, scans[source.name]) for source in events])
    _create_events(con, fields)
    for source in events:
        _load_events(con, config, source, scans[source.name], fields)
    for kind in ("items", "users"):
        _load_facts(con, kind, [(s, scans[s.name]) for s in config.source if s.kind == kind])
    for column in ("user_id", "item_id"):
        _settle_id(con, column)
    return con.execute("select count(*) from raw.events").fetchall()[0][0]


def _attribute_types(scans: list[tuple[Source, Scan]]) -> dict[str, str]:
    """The unmapped columns of all event sources together; VARCHAR where sources disagree."""
    fields: dict[str, str] = {}
    spelled: dict[str, str] = {}  # SQL names ignore case: country and Country are one column
    for source, scan in scans:
        for column, type_ in scan.types.items():
            if column not in source.columns.used():
                name = spelled.setdefault(column.lower(), column)
                fields[name] = type_ if fields.get(name, type_) == type_ else "VARCHAR"
    return fields or {"nothing": "VARCHAR"}  # a struct needs a field


def _create_events(con: duckdb.DuckDBPyConnection, fields: dict[str, str]) -> None:
    struct = ", ".join(f"{identifier(name)} {type_}" for name, type_ in fields.items())
    con.execute(
        f"""create or replace table raw.events (
            source varchar, user_id varchar, item_id varchar, event_type varchar,
            event_at timestamp, unread_at varchar, value decimal(18, 4), unread_value varchar,
            quantity decimal(18, 4), category varchar, title varchar, attributes struct({struct}))"""
    )


def _load_events(
    con: duckdb.DuckDBPyConnection,
    config: Config,
    source: Source,
    scan: Scan,
    fields: dict[str, str],
) -> None:
    own = {column.lower() for column in scan.types}
    packed = ", ".join(
        f"{identifier(name)} := cast({identifier(name) if name.lower() in own else 'null'} as {type_})"
        for name, type_ in fields.items()
    )
    first = con.execute("select count(*) from raw.events").fetchall()[0][0]
    columns = ", ".join(
        f"{sql} as {name}" for name, sql in event_columns(source, scan.types).items()
    )
    try:
        con.execute(
            f"insert into raw.events by name select {columns}, struct_pack({packed}) as attributes "
            f"from {scan.relation}"
        )
    except duckdb.Error as error:
        raise SourceError(sources.unreadable(source, scan.files, error)) from None
    _note_lines(con, source)
    _note_source(con, config, source, scan, first)
    if source.not_products:
        rows = [(source.name, item) for item in source.not_products]
        con.executemany("insert into raw.not_products values (?, ?)", rows)


def _note_lines(con: duckdb.DuckDBPyConnection, source: Source, table: str = "events") -> None:
    """Keep what the CSV reader refused, numbered after the rows it read; then clear its notes."""
    tables = con.execute("select count(*) from duckdb_tables() where table_name = 'reject_errors'")
    if not tables.fetchall()[0][0]:
        return
    con.execute(
        f"""insert into raw.lines
            with refused as (
                select distinct on (errors.file_id, errors.line)
                    scans.file_path, errors.line, errors.error_message
                from reject_errors as errors
                inner join reject_scans as scans using (scan_id, file_id)
                order by errors.file_id, errors.line
            )
            select {literal(source.name)}, (select count(*) from raw.{table}
                    where source = {literal(source.name)}) + row_number() over (),
                parse_filename(file_path) || ' line ' || line || ': ' || error_message
            from refused order by file_path, line"""
    )
    con.execute("drop table reject_errors; drop table reject_scans")


def _note_source(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, scan: Scan, first: int
) -> None:
    rows, timed = con.execute(
        "select count(*), coalesce(bool_or(event_at <> date_trunc('day', event_at)), false) "
        "from raw.events where rowid >= ?", [first]
    ).fetchall()[0]  # fmt: skip
    if rows == 0:
        raise SourceError(
            f'{scan.files[0]}: source "{source.name}" has a header but no rows; allowed is at least one. '
            f"Check the file, or its delimiter."
        )
    timed = timed or source.at_unit in ("seconds", "order")
    # Equal rows are real where a time is only a day: two clicks on one page on one date.
    dedupe = source.dedupe if source.dedupe != "auto" else ("row" if timed else "none")
    con.execute(
        "insert into raw.sources values (?, 'events', ?, ?, ?, ?, ?, ?, "
        f"{bound(source, source.since)}, {bound(source, source.until, is_end=True)})",
        [source.name, _names(scan.files), first, rows, timed, source.has_dates, dedupe],
    )


def _names(files: list[Path]) -> str:
    return ", ".join(path.name for path in files[:3]) + (" ..." if len(files) > 3 else "")


def _load_facts(
    con: duckdb.DuckDBPyConnection, kind: str, scans: list[tuple[Source, Scan]]
) -> None:
    """Facts about items or users that hold from the start; only named attributes become columns."""
    names = sorted({name for source, _ in scans for name in source.attributes})
    struct = ", ".join(f"{identifier(name)} varchar" for name in names) or "nothing varchar"
    con.execute(
        f"create or replace table raw.{kind} (source varchar, user_id varchar, item_id varchar, "
        f"category varchar, title varchar, attributes struct({struct}))"
    )
    for source, scan in scans:
        columns = source.columns
        packed = ", ".join(
            f"{identifier(name)} := " + text(name if name in scan.types else None, scan.types)
            for name in names
        )
        user = user_key(columns.user_parts, scan.types) if columns.user_parts else "null"
        con.execute(
            f"insert into raw.{kind} by name select {literal(source.name)} as source, {user} as user_id, "
            f"{text(columns.item_id, scan.types)} as item_id, {text(columns.category, scan.types)} as category, "
            f"{text(columns.title, scan.types)} as title, struct_pack({packed or 'nothing := null::varchar'}) "
            f"as attributes from {scan.relation}"
        )
        _note_lines(con, source, kind)
        con.execute(
            f"insert into raw.sources select ?, ?, ?, null, count(*), true, true, 'none', null, null "
            f"from raw.{kind} where source = ?",
            [source.name, kind, _names(scan.files), source.name],
        )


def _settle_id(con: duckdb.DuckDBPyConnection, column: str) -> None:
    """Make an id BIGINT everywhere if every source's are losslessly integers, else leave it text."""
    lossless = f"cast(try_cast({column} as bigint) as varchar) is not distinct from {column}"
    tables = ["events", "users" if column == "user_id" else "items"]
    if all(
        con.execute(f"select coalesce(bool_and({lossless}), true) from raw.{table}").fetchall()[0][
            0
        ]
        for table in tables
    ):
        for table in tables:
            con.execute(f"alter table raw.{table} alter {column} type bigint")
