"""Logs of web servers as events: each line parsed in SQL, assets apart from pages, robots told.

    visitor    who is logged in, else address and agent (the agent as eight letters of its MD5)
    page       path without query, of what was seen; NULL of assets, errors and redirections, whose
               path stands in `path`
    event      page_view, submit (POST and the like), asset, redirect, error, probe (HEAD and the like)

and what else the format tells, as attributes: method, path, query, status, bytes, referrer. What a
source drops or coarsens of who asked is so before the visitor is made of it; the rest afterwards, and
robots are judged by what was there before.

A line that does not fit the format is counted in `raw.lines`. A line that is blank is no line, and not counted.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from behavsql.errors import SourceError
from behavsql.input import log_format
from behavsql.input.log_format import SIGNS
from behavsql.privacy import columns as private
from behavsql.quoting import identifier, literal
from behavsql.source import Source

DELIMITER = "\x01"  # servers write control characters as \x01; a line that has one is refused
_ASSET = (
    r"\.(css|js|mjs|map|png|jpe?g|gif|svg|ico|webp|avif|bmp|tiff?|woff2?|ttf|otf|eot|mp3|mp4|webm|"
    r"ogg|wasm)$|^/robots\.txt$|^/ads\.txt$|^/sitemap[^/]*\.xml(\.gz)?$|^/\.well-known/"
)
# No attributes: what names people is the visitor alone.
IDS = (
    "address", "remote_user", "ident", "http_x_forwarded_for", "http_forwarded", "http_x_real_ip",
    "http_true_client_ip", "http_cf_connecting_ip", "realip_remote_addr", "proxy_protocol_addr",
    "http_cookie", "http_authorization",
)  # fmt: skip
TYPES = {"status": "INTEGER", "bytes": "BIGINT"}
# What no person does. A request a two seconds, for a minute on end, is no reading. A browser gets
# the images, scripts and styles of a page, and says where it comes from from the second page on.
MOST_A_MINUTE = 30
LEAST_PAGES = 10


def lines(source: Source, files: Sequence[str]) -> str:
    """The FROM clause of the lines that are not blank: filename, line, rest (NULL if it is whole)."""
    return (
        f"read_csv({literal(list(files))}, columns = {{'line': 'VARCHAR', 'rest': 'VARCHAR'}}, "
        f"delim = {literal(DELIMITER)}, quote = '', escape = '', comment = '', header = false, "
        "auto_detect = false, null_padding = true, strict_mode = false, store_rejects = true, "
        f"filename = true, encoding = {literal(source.encoding)})"
    )


def relation(source: Source, files: Sequence[str]) -> str:
    """The FROM clause of the lines that fit the format, as columns."""
    made = _made(source)
    used = source.columns.used() or made.keys()  # of nothing mapped yet, all may be
    kept = ", ".join(
        f"{_kept(source, name)} as {identifier(name)}"
        for name in made
        if name not in source.drop and (name not in IDS or name in used)
    )
    columns = ", ".join(f"{sql} as {identifier(name)}" for name, sql in made.items())
    lines = f"select {columns} from ({_parsed(source, files)}) where fits"
    return f"(select {kept} from ({lines}))"


def _parsed(source: Source, files: Sequence[str]) -> str:
    """Every line with its fields; `fits` where the format reads it."""
    names = log_format.columns(source.log_format)
    time = next(
        name for name in log_format.variables(source.log_format) if name in log_format.TIMES
    )
    pattern = literal(log_format.pattern(source.log_format))
    return (
        f"select *, rest is null and field.{identifier(time)} <> '' as fits from ("
        f"select filename, line, rest, row_number() over () as line_number, "
        f"regexp_extract(line, {pattern}, {literal(names)}) as field "
        f"from {lines(source, files)}) where trim(line) <> ''"
    )


def check_private(where: str, source: Source) -> None:
    """SourceError for a column to be left out or coarsened that is none of the log's."""
    private.check(where, source, [name for name in _made(source) if name != SIGNS])


def _made(source: Source) -> dict[str, str]:
    """Column -> SQL over the fields of a line, and over the columns before it."""
    names = log_format.columns(source.log_format)
    told = {name: f"nullif(nullif(field.{identifier(name)}, ''), '-')" for name in names}
    time = next(
        name for name in log_format.variables(source.log_format) if name in log_format.TIMES
    )
    made = {"time": told.pop(time)}
    request = told.pop("request", None)
    if request:
        for name, part in (("method", r"^([A-Z]+) \S"), ("uri", r"^[A-Z]+ (\S+)( HTTP/[0-9.]+)?$")):
            told.setdefault(name, f"nullif(regexp_extract({request}, {literal(part)}, 1), '')")
    uri = told.pop("uri")
    # A proxy is asked for whole addresses.
    local = f"regexp_replace({uri}, '^https?://[^/?#]*', '', 'i')"
    made |= told
    made["path"] = f"nullif(regexp_extract({local}, '^[^?#]*'), '')"
    made["query"] = rf"nullif(regexp_extract({local}, '\?([^#]*)', 1), '')"
    for name, type_ in TYPES.items():
        if name in made:
            made[name] = f"try_cast({made[name]} as {type_})"
    made["event"] = _event(made)
    made["page"] = "case when event in ('page_view', 'submit') then path end"
    made[SIGNS] = _signs(made)
    made["visitor"] = _visitor({
        name: f"({_kept(source, name)})" for name in made if name not in source.drop
    })  # fmt: skip
    return made


def _kept(source: Source, name: str) -> str:
    """A column as coarsely as the source wants it kept."""
    if name not in source.coarsen:
        return identifier(name)
    return private.coarsened(name, {name: TYPES.get(name, "VARCHAR")}, source.coarsen[name])


def _signs(made: dict[str, str]) -> str:
    """What of a request tells people from programs; of what a log does not tell, the best."""
    told = ["case when path = '/robots.txt' then 'robots.txt' end"]
    for name, sign in (("referrer", "referrer"), ("user_agent", "agent")):
        told.append(
            f"case when {identifier(name)} is not null then '{sign}' end"
            if name in made
            else f"'{sign}'"
        )
    return f"concat_ws(' ', {', '.join(told)})"


def _event(made: dict[str, str]) -> str:
    method = "method" if "method" in made else "'GET'"
    status = "status" if "status" in made else "200"
    return (
        f"case when path is null or {method} is null or {status} >= 400 then 'error' "
        f"when {method} in ('POST', 'PUT', 'PATCH', 'DELETE') then 'submit' "
        f"when {method} <> 'GET' then 'probe' "
        f"when regexp_matches(lower(path), {literal(_ASSET)}) then 'asset' "
        f"when {status} between 300 and 399 and {status} <> 304 then 'redirect' "
        "else 'page_view' end"
    )


def _visitor(kept: dict[str, str]) -> str:
    agent = ""
    if "user_agent" in kept:
        agent = f" || coalesce(' ' || left(md5({kept['user_agent']}), 8), '')"
    known = [kept["remote_user"]] if "remote_user" in kept else []
    known += [f"{kept['address']}{agent}"] if "address" in kept else []
    return f"coalesce({', '.join([*known, 'null::varchar'])})"


def keep_unread(con: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path]) -> None:
    """Write the lines that do not fit the format to `raw.lines`; what they say is left out."""
    if source.kind != "weblog":
        return
    named = f'log_format = "{source.log_format}"' if source.log_format in log_format.NAMED else (
        "log_format"
    )  # fmt: skip
    rows = " + ".join(
        f"(select count(*) from raw.{table} where source = {literal(source.name)})"
        for table in ("loaded", "lines")
    )
    con.execute(
        f"""insert into raw.lines by name
            select {literal(source.name)} as source,
                {rows} + row_number() over (order by place) as source_row,
                parse_filename(filename) || ' line ' || line_in_file
                    || {literal(f": does not fit {named}")} as reason
            from (
                select *, line_number as place,
                    line_number - min(line_number) over (partition by filename) + 1 as line_in_file
                from ({_parsed(source, _names(files))})
            )
            where not fits
            order by place"""
    )


def count_unread(con: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path]) -> int:
    """How many lines do not fit the format."""
    query = f"select count(*) from ({_parsed(source, _names(files))}) where not fits"
    return con.execute(query).fetchall()[0][0]


def _names(files: Sequence[Path]) -> list[str]:
    import glob

    return [glob.escape(str(path)) for path in files]


def nothing_read(source: Source, file: Path) -> SourceError:
    """What to say of a log of which no line fits."""
    return SourceError(
        f'{file}: source "{source.name}": no line fits log_format = "{source.log_format}"; allowed '
        f"are {', '.join(log_format.NAMED)}, or the server's own words. Copy them from its "
        f"configuration (nginx: log_format, Apache: LogFormat)."
    )


def mark_robots(
    con: duckdb.DuckDBPyConnection, sources: Sequence[Source], among: str | None = None
) -> None:
    """Say in raw.loaded of visitors who do what no person does what that is, in words (`robot`).

    Each visitor is judged by all own lines and no one else's. among: a table of rows whose visitors
    are judged anew, instead of all.

    Source: P.-N. Tan, V. Kumar, Discovery of web robot sessions based on their navigational
    patterns, 2002: robots.txt, unassigned referrers, share of images.
    """
    for source in sources:
        if source.kind != "weblog":
            continue
        whose = f"source = {literal(source.name)}"
        if among:
            whose += f" and user_id in (select user_id from {among})"
        con.execute(f"update raw.loaded set robot = null where {whose} and robot is not null")
        con.execute(
            f"""update raw.loaded set robot = told.reason
                from ({_robots(whose)}) as told
                where loaded.user_id = told.user_id and {whose.replace("user_id", "loaded.user_id", 1)}
                    and told.reason is not null"""
        )


def _robots(whose: str) -> str:
    return f"""
        with hits as (
            select user_id, event_type, signs,
                -- Of pages alone: a page may have a hundred images.
                count(*) filter (where event_type <> 'asset') over (
                    partition by user_id order by event_at
                    range between interval 59 seconds preceding and current row
                ) as count_in_minute
            from raw.loaded where {whose} and user_id is not null
        )
        select user_id, case
            when bool_or(contains(signs, 'robots.txt')) then 'asked for robots.txt'
            when max(count_in_minute) >= {MOST_A_MINUTE}
                then max(count_in_minute) || ' pages in a minute'
            when count(*) filter (where event_type = 'page_view') >= {LEAST_PAGES}
                and count(*) filter (where event_type = 'asset') = 0
                and not bool_or(contains(signs, 'referrer'))
                then count(*) filter (where event_type = 'page_view')
                    || ' pages without an image, script, style or referrer'
            when not bool_or(contains(signs, 'agent')) then 'names no browser'
        end as reason
        from hits group by user_id"""
