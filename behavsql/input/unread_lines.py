"""What of a source's files became no rows, line by line, in `raw.lines`: whatever the files are."""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from behavsql.input import json_lines, refused_lines, weblogs
from behavsql.input.sources import kind_of
from behavsql.source import Source


def keep(con: duckdb.DuckDBPyConnection, source: Source, files: Sequence[Path], table: str) -> None:
    """Write them down after the rows of `files` were read into `raw.<table>`."""
    refused_lines.keep(con, source, table)
    weblogs.keep_unread(con, source, files)
    if files and kind_of(source, files[0]) == "json":
        json_lines.keep(con, source, files, table)
