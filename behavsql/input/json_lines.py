"""Lines of newline-delimited JSON that are none: torn, still being written, spoilt. They are counted.

DuckDB reads such a file whole or not at all, or else passes over its errors without a word. So the
lines are looked at first, which takes a fifth of the time of reading them; only where one is no
JSON the errors are passed over, and the lines named.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import duckdb

from behavsql.input import refused_lines
from behavsql.quoting import identifier, literal
from behavsql.source import Source

DELIMITER = "\x01"  # which no line of JSON has as it is
ENCODING = "INVALID ENCODING"  # as DuckDB calls it
LONGEST = 1 << 24  # letters of a first line, as of an object that DuckDB reads


def relation(con: duckdb.DuckDBPyConnection, files: Sequence[str], read: str) -> str:
    """The FROM clause `read` of JSON files, or of their good lines where some are none."""
    if not count(con, files):
        return read
    # All rows tell the types, so that no value is passed over because it has another one.
    good = f"read_json({literal(_escaped(files))}, union_by_name = true, sample_size = -1, " + (
        "format = 'newline_delimited', ignore_errors = true)"
    )
    names = [row[0] for row in con.execute(f"describe from {good}").fetchall()]
    return (
        f"(select * from {good} where {' or '.join(f'{identifier(n)} is not null' for n in names)})"
    )


def count(con: duckdb.DuckDBPyConnection, files: Sequence[str]) -> int:
    """How many lines are no JSON; 0 of files that are not a line for each object."""
    if not all(map(_is_by_line, map(Path, files))):
        return 0
    found = con.execute(f"select count(*) from ({_lines(files)}) where is_torn").fetchall()[0][0]
    found += refused_lines.count_refused(con).get(ENCODING, 0)
    refused_lines.forget(con)
    return found


def keep(con: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path], table: str) -> None:
    """Write the lines that are no JSON to `raw.lines`, numbered after the rows that `raw.<table>` has."""
    names = [str(path) for path in files]
    if not count(con, names):
        return
    rows = " + ".join(
        f"(select count(*) from raw.{of} where source = {literal(source.name)})"
        for of in (table, "lines")
    )
    con.execute(
        f"""insert into raw.lines by name
            select {literal(source.name)} as source,
                {rows} + row_number() over (order by line_number) as source_row,
                parse_filename(filename) || ' line ' || line_in_file || ': '
                    || case when is_torn then 'is no JSON' else 'has no field that is told' end as reason
            from (
                select *, line_number - min(line_number) over (partition by filename) + 1 as line_in_file
                from ({_lines(names)})
            )
            where is_torn or is_empty
            order by line_number"""
    )
    refused_lines.keep(con, source, table, "'is not UTF-8'")


def _lines(files: Sequence[str]) -> str:
    """Every line, whether it is no JSON, and whether it is an object that tells nothing."""
    is_there = "trim(coalesce(line, '')) <> ''"
    told = "list_filter(json_extract(line, '$.*'), lambda one: json_type(one) <> 'NULL')"
    return (
        f"select filename, row_number() over () as line_number, "
        f"{is_there} and (rest is not null or not json_valid(line)) as is_torn, "
        f"{is_there} and case when json_valid(line) then len({told}) = 0 else false end as is_empty "
        f"from read_csv({literal(_escaped(files))}, columns = {{'line': 'VARCHAR', 'rest': 'VARCHAR'}}, "
        f"delim = {literal(DELIMITER)}, quote = '', escape = '', comment = '', header = false, "
        "auto_detect = false, null_padding = true, strict_mode = false, store_rejects = true, "
        "filename = true)"
    )


def _escaped(files: Sequence[str]) -> list[str]:
    import glob

    return [glob.escape(file) for file in files]


def _is_by_line(path: Path) -> bool:
    """Whether the first line that is not blank is an object of its own."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            line = next(
                (line for line in iter(lambda: file.readline(LONGEST), b"") if line.strip()), b""
            )
        return isinstance(json.loads(line), dict)
    except (ValueError, OSError, EOFError, gzip.zlib.error):  # the reader will say so
        return False
