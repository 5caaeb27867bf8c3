"""Sources -> the `raw` tables: columns renamed and typed by the config's mapping, nothing judged yet.

`raw` is a database of its own beside the build file, so that what is published never holds it:

    raw.events   one row per input row: raw_row, is_late, source, user_id, anonymous_id, item_id, event_type, event_at, value,
                 quantity, category, title, attributes (a struct of the other columns), and
                 unread_at / unread_value: the text that could not be read as a time or a number
    raw.loaded   what raw.events is a view of: its rows by the load that brought them
    raw.loads    each load: which row of its source it begins with, and what came too late in it
    raw.items, raw.users    facts about them, with the times they hold (input/facts.py)
    raw.files    the files that were read, and what was in them (arrivals.py)
    raw.consents what users agreed to (privacy/consents.py)
    raw.withheld how many rows did not enter at all, by rule (privacy/entering.py)
    raw.lines    lines of a text file that have another shape than the rest
    raw.sources  one row per source: rows, where its rows start, resolution, deduplication
    raw.types    the source's words, their roles, and whether they are done to users: actions
    raw.bots     the user agents that are crawlers
    raw.clock    the moment from which on a time was in the future when this was read
"""

import duckdb

from behavsql import fact_settings
from behavsql.clock import tomorrow
from behavsql.config import INBOX, Config
from behavsql.errors import SourceError
from behavsql.input import arrivals, bots, facts, identities, loads, refused_lines, sources, weblogs
from behavsql.input.mapping import bound, day_zone, event_columns, from_zone, in_zone
from behavsql.input.sources import Scan
from behavsql.input.unread_lines import keep as keep_unread
from behavsql.privacy import consents, entering, key, register
from behavsql.quoting import identifier
from behavsql.source import Source

IDS = {"user_id": "users", "item_id": "items"}  # and the facts that share them
SAMPLE = 20_000  # rows that tell what an id most likely is

_TABLES = """
create or replace table raw.lines (source varchar, source_row bigint, reason varchar);
create or replace table raw.sources (
    source varchar, kind varchar, files varchar, first_rowid bigint, count_rows bigint,
    has_time_of_day boolean, has_dates boolean, dedupe varchar, since timestamp, until timestamp
);
create or replace table raw.types (event_type varchar, role varchar, is_action boolean);
create or replace table raw.not_products (source varchar, item_id varchar);
create or replace table raw.loads (
    load integer, source varchar, first_rowid bigint, first_row bigint, late_before timestamp,
    columns varchar
);
create or replace table raw.files (
    source varchar, file varchar, size bigint, modified_ns bigint, digest varchar
);
create or replace table raw.clock (latest_possible_at timestamp);
create or replace table raw.bots (user_agent varchar);
create or replace table raw.withheld (source varchar, rule varchar, count_rows bigint);
"""


def ingest(con: duckdb.DuckDBPyConnection, config: Config) -> int:
    """Load every source of the config into `raw` (attached) and return the count of event rows.

    Raises SourceError naming the source, the file and what is wrong with it.
    """
    with key.installed(con, register.key_of(config)):
        return _ingest(con, config)


def _ingest(con: duckdb.DuckDBPyConnection, config: Config) -> int:
    con.execute(_TABLES)
    con.execute("insert into raw.clock values (?)", [tomorrow()])
    actions = set(config.action_words())
    words = [(word, role, word in actions) for word, role in config.roles().items()]
    con.executemany("insert into raw.types values (?, ?, ?)", words)
    events = [source for source in config.source if source.is_events]
    scans = {source.name: sources.scan(con, config, source) for source in config.source}
    scans = entering.entering(con, config, scans)
    fields = attribute_types([(source, scans[source.name]) for source in events])
    for table in ("items", "users"):
        told = [source for source in config.source if fact_settings.table_of(source) == table]
        facts.load(con, table, [(source, scans[source.name]) for source in told])
    asked = [source for source in config.source if source.kind == "consent"]
    consents.load(con, [(source, scans[source.name]) for source in asked])
    likely = [column for column in IDS if _looks_whole(con, column, events, scans)]
    whole = _load_all_events(con, config, scans, fields, likely)
    for column in whole:
        _settle_facts(con, column)
    identities.check(con, "raw.loaded")
    identities.resolve(con, "raw.loaded")
    if config.settings.bots == "reject":
        bots.mark_bots(con)
        weblogs.mark_robots(con, config.source)
    arrivals.note(con, config, scans)
    return con.execute("select count(*) from raw.events").fetchall()[0][0]


def attribute_types(scans: list[tuple[Source, Scan]]) -> dict[str, str]:
    """The unmapped columns of all event sources together; VARCHAR where sources disagree."""
    fields: dict[str, str] = {}
    spelled: dict[str, str] = {}  # SQL names ignore case: country and Country are one column
    for source, scan in scans:
        for column, type_ in scan.types.items():
            if column not in source.columns.taken():
                name = spelled.setdefault(column.lower(), column)
                fields[name] = type_ if fields.get(name, type_) == type_ else "VARCHAR"
    return fields or {"nothing": "VARCHAR"}  # a struct needs a field


def _load_all_events(
    con: duckdb.DuckDBPyConnection,
    config: Config,
    scans: dict[str, Scan],
    fields: dict[str, str],
    whole: list[str],
) -> list[str]:
    """Load every event source, the ids in `whole` as BIGINT; those of them that truly are whole.

    An id is BIGINT everywhere if no source's loses anything by it ('00123' would), else VARCHAR
    everywhere. Numbers load several times faster than text that is changed to numbers afterwards,
    so what looks whole is loaded as such, and once more as text should a row prove it wrong.
    """
    noted = con.execute("select * from raw.lines").fetchall()
    while True:
        _create_events(con, fields, whole)
        for source in config.source:
            if source.is_events:
                _load_events(con, config, source, scans[source.name], fields, whole)
        lost = [column for column in whole if con.execute(
            f"select count(*) from raw.loaded where is_{column}_lost"
        ).fetchall()[0][0]]  # fmt: skip
        for column in IDS:
            con.execute(f"alter table raw.loaded drop column is_{column}_lost")
        loads.show(con)
        if not lost:
            return whole
        whole = [column for column in whole if column not in lost]
        con.execute("delete from raw.lines; delete from raw.not_products; delete from raw.loads")
        con.execute("delete from raw.sources where kind = 'events'")
        if noted:
            con.executemany("insert into raw.lines values (?, ?, ?)", noted)


def _create_events(
    con: duckdb.DuckDBPyConnection, fields: dict[str, str], whole: list[str]
) -> None:
    struct = ", ".join(f"{identifier(name)} {type_}" for name, type_ in fields.items())
    user, item = ("bigint" if column in whole else "varchar" for column in IDS)
    con.execute(
        f"""drop view if exists raw.events; create or replace table raw.loaded (
            load integer, source varchar, user_id {user}, anonymous_id varchar, is_signed_in boolean,
            item_id {item}, event_type varchar, event_at timestamp, unread_at varchar, value decimal(18, 4), unread_value varchar,
            quantity decimal(18, 4), category varchar, title varchar, user_agent varchar, robot varchar, signs varchar,
            latitude decimal(8, 5), longitude decimal(8, 5), screen_seconds decimal(18, 3),
            is_place_unread boolean, is_screen_time_unread boolean, propensity double,
            attributes struct({struct}), is_user_id_lost boolean, is_item_id_lost boolean)"""
    )


def _looks_whole(
    con: duckdb.DuckDBPyConnection, column: str, events: list[Source], scans: dict[str, Scan]
) -> bool:
    """Whether an id is a whole number in facts and in the first rows of all event sources."""
    # Whom answers and attributes tell of must be known by then: they decide nothing.
    dated = "where not is_dated" if column == "user_id" else ""
    queries = [f"select {column} from raw.{IDS[column]} {dated}"]
    for source in events:
        scan = scans[source.name]
        sql = event_columns(source, scan.types)[column]
        queries.append(f"select {sql} as {column} from {scan.relation} limit {SAMPLE}")
    kept = f"cast(try_cast({column} as bigint) as varchar) is not distinct from {column}"
    try:
        return all(
            con.execute(f"select coalesce(bool_and({kept}), true) from ({query})").fetchall()[0][0]
            for query in queries
        )
    except duckdb.Error:
        return False  # the load meets what is wrong with the file again, and says it
    finally:
        refused_lines.forget(con)  # the load will count them


def _settle_facts(con: duckdb.DuckDBPyConnection, column: str) -> None:
    """Give the small tables that are joined on an id the type that it has in the events."""
    number = f"try_cast({column} as bigint)"  # of the word 007 too, which no id 7 is meant by
    tables = [IDS[column], "not_products"] if column == "item_id" else [IDS[column]]
    same = f"cast({number} as varchar) is not distinct from {column}"
    if column == "user_id":
        tables.append("consents")
        for table in tables:
            con.execute(f"update raw.{table} set unread_id = user_id where not ({same})")
    for table in tables:
        con.execute(
            f"alter table raw.{table} alter {column} type bigint using "
            f"case when {same} then {number} end"
        )


def _load_events(
    con: duckdb.DuckDBPyConnection,
    config: Config,
    source: Source,
    scan: Scan,
    fields: dict[str, str],
    whole: list[str],
) -> None:
    load = loads.begin(con, source.name, scan.types)
    fill(con, source, scan, fields, whole, load, "raw.loaded")
    keep_unread(con, source, scan.files, "loaded")
    _note_source(con, config, source, scan, load)
    if source.not_products:
        rows = [(source.name, item) for item in source.not_products]
        con.executemany("insert into raw.not_products values (?, ?)", rows)


def fill(
    con: duckdb.DuckDBPyConnection, source: Source, scan: Scan, fields: dict[str, str],
    whole: list[str], load: int, table: str,
) -> None:  # fmt: skip
    """Insert a source's rows into a table shaped as raw.loaded, with the notes of ids that are lost."""
    own = {column.lower() for column in scan.types if column not in source.columns.taken()}
    packed = ", ".join(
        f"{identifier(name)} := cast({identifier(name) if name.lower() in own else 'null'} as {type_})"
        for name, type_ in fields.items()
    )
    parts = event_columns(source, scan.types)
    for column in whole:
        text_id, number = parts[column], f"try_cast({parts[column]} as bigint)"
        parts[column] = number
        parts[f"is_{column}_lost"] = f"cast({number} as varchar) is distinct from {text_id}"
    columns = ", ".join(f"{sql} as {name}" for name, sql in parts.items())
    try:
        con.execute(
            f"insert into {table} by name select {load} as load, {columns}, "
            f"struct_pack({packed}) as attributes from {scan.relation}"
        )
    except duckdb.Error as error:
        raise SourceError(sources.unreadable(scan.files, error, source)) from None


def note_inbox(
    con: duckdb.DuckDBPyConnection, source: Source, scan: Scan, load: int, rows: int
) -> None:
    """Note the source `inbox`: its times are what those of the sources before it are."""
    # Some inserted rows say little about all that may come.
    con.execute(
        "insert into raw.sources select ?, 'events', ?, ?, ?, bool_and(has_time_of_day), "
        "bool_and(has_dates), ?, null, null from raw.sources where kind = 'events'",
        [
            source.name,
            sources.listed(scan.files),
            loads.first_rows(con, load)[1],
            rows,
            source.dedupe,
        ],
    )


def _note_source(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, scan: Scan, load: int
) -> None:
    first, row = loads.first_rows(con, load)
    count = "select count(*) from raw.loaded where rowid >= ?"
    rows = con.execute(count, [first]).fetchall()[0][0]
    is_empty = rows == 0 and not entering.has_withheld(con, source.name)
    if is_empty and source.kind == "weblog":
        raise weblogs.nothing_read(source, scan.files[0])
    if is_empty:
        raise SourceError(
            f'{scan.files[0]}: source "{source.name}" has a header but no rows; allowed is at least one. '
            f"Check the file, or its delimiter."
        )
    if source.name == INBOX:
        note_inbox(con, source, scan, load, rows)
        return
    zone = day_zone(source, scan.types)
    timed = _has_time_of_day(con, source, zone, first)
    are_days = not timed and zone != "UTC"
    if are_days:
        # A day is the day that was written, whatever moment it began at.
        day = f"date_trunc('day', {in_zone(zone, 'event_at')})"
        con.execute(f"update raw.loaded set event_at = {day} where rowid >= ?", [first])
    # Equal rows are real where a time is only a day: two clicks on one page on one date.
    dedupe = source.dedupe if source.dedupe != "auto" else ("row" if timed else "none")
    con.execute(
        "insert into raw.sources values (?, 'events', ?, ?, ?, ?, ?, ?, "
        f"{bound(source, source.since, are_days=are_days)}, "
        f"{bound(source, source.until, is_end=True, are_days=are_days)})",
        [source.name, sources.listed(scan.files), row, rows, timed, source.has_dates, dedupe],
    )


def _has_time_of_day(con: duckdb.DuckDBPyConnection, source: Source, zone: str, first: int) -> bool:
    """Whether some time of the source is not the beginning of a day of the zone."""
    # Not "shows 00:00": where the clocks skip midnight the day begins at one.
    begins = from_zone(zone, f"date_trunc('day', {in_zone(zone, 'event_at')})")
    found = con.execute(
        f"select 1 from raw.loaded where rowid >= ? and event_at <> {begins} limit 1", [first]
    ).fetchone()
    return found is not None or source.at_unit in ("seconds", "order")
