"""Rows that never become raw rows: lines the CSV reader refused, facts about nobody or told twice."""

import duckdb

from behavsql.errors import SourceError
from behavsql.quoting import literal
from behavsql.source import Source

SHOWN = 10_000  # characters of a refused line that DuckDB keeps

_REFUSED = """
    select
        parse_filename(scans.file_path) as file_name,
        errors.line,
        any_value(errors.error_type order by errors.byte_position) as error_type,
        any_value(errors.error_message order by errors.byte_position) as error_message,
        -- Of what an open quote swallowed every line is lost, not only the first.
        any_value(len(string_split(rtrim(errors.csv_line, chr(13) || chr(10)), chr(10)))) as count_lines,
        max(len(errors.csv_line)) as length,
    from reject_errors as errors
    inner join reject_scans as scans using (scan_id, file_id)
    group by scans.file_path, errors.file_id, errors.line, errors.line_byte_position
"""
_REASON = """case error_type
    when 'INVALID ENCODING' then 'is not UTF-8; if it is Latin-1, set encoding = "latin-1"'
    when 'UNQUOTED VALUE' then 'opens a quote that does not close; if quotes are letters, set quote = ""'
    else error_message end"""


def has_refused(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the reads since the last `forget` kept notes of refused lines."""
    return bool(
        con.execute("select 1 from duckdb_tables() where table_name = 'reject_errors'").fetchall()
    )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Drop the reader's notes, so that the next source starts without any."""
    con.execute("drop table if exists reject_errors; drop table if exists reject_scans")


def count_refused(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """DuckDB's kind of error -> lines refused for it."""
    if not has_refused(con):
        return {}
    return dict(
        con.execute(
            f"select error_type, cast(sum(count_lines) as bigint) from ({_REFUSED}) "
            "group by error_type order by error_type"
        ).fetchall()
    )


def check_quotes(con: duckdb.DuckDBPyConnection) -> None:
    """SourceError if a quote that never closes swallowed more lines than can be counted."""
    if not has_refused(con):
        return
    swallowed = con.execute(
        f"select file_name, line from ({_REFUSED}) where length >= {SHOWN} and count_lines > 1 "
        "order by all limit 1"
    ).fetchall()
    if swallowed:
        name, line = swallowed[0]
        raise SourceError(
            f"{name} line {line}: opens a quote that never closes, so that the lines after it are "
            f'lost; allowed are quotes in pairs. Mend that line, or set quote = "" for the source '
            f"if quotes are letters like others."
        )


def keep(con: duckdb.DuckDBPyConnection, source: Source, table: str, reason: str = _REASON) -> None:
    """Write the refused lines to `raw.lines`, numbered after the rows that `raw.<table>` has."""
    if not has_refused(con):
        return
    count_rows = " + ".join(
        f"(select count(*) from raw.{of} where source = {literal(source.name)})"
        for of in (table, "lines")
    )
    check_quotes(con)
    con.execute(
        f"""insert into raw.lines by name
            select {literal(source.name)} as source,
                {count_rows} + row_number() over (order by file_name, line) as source_row,
                file_name || ' line ' || (line + each_line) || ': ' || {reason} as reason,
            from (select *, unnest(range(count_lines)) as each_line from ({_REFUSED}))
            order by file_name, line"""
    )
    forget(con)
