"""`raw.events`: the rows of all loads as one view, each row known by a number that stays its own.

A load is what one reading added to `raw.loaded`. The first load of a source begins at row 0 of the
source, a later one where the source ended. `raw_row` is PER_SOURCE times the place of the source in
the config, plus the row's number in the source: what a build from nothing calls the row too, however
many loads brought the rows.
"""

import json
from collections.abc import Mapping
from datetime import datetime

import duckdb

from behavsql.quoting import literal

PER_SOURCE = 2**40  # more rows than a source can have


def begin(
    con: duckdb.DuckDBPyConnection, source: str, columns: Mapping[str, str],
    late_before: datetime | None = None,
) -> int:  # fmt: skip
    """Note a load about to be added; its number. late_before: what happened earlier comes too late.

    columns: those of the source, with their types.
    """
    load, place, rowid, sources = con.execute(
        "select count(*), max(first_row) filter (where source = $source), "
        "(select count(*) from raw.loaded), count(distinct source) from raw.loads",
        {"source": source},
    ).fetchall()[0]
    if place is None:
        row = sources * PER_SOURCE
    else:
        count = "select count_rows from raw.sources where source = ?"
        row = place // PER_SOURCE * PER_SOURCE + con.execute(count, [source]).fetchall()[0][0]
    con.execute(
        "insert into raw.loads values (?, ?, ?, ?, ?, ?)",
        [load, source, rowid, row, late_before, json.dumps(dict(columns))],
    )
    return load


def first_rows(con: duckdb.DuckDBPyConnection, load: int) -> tuple[int, int]:
    """The rowid in raw.loaded and the raw_row at which a load begins."""
    query = "select first_rowid, first_row from raw.loads where load = ?"
    return con.execute(query, [load]).fetchall()[0]


def show(con: duckdb.DuckDBPyConnection) -> None:
    """Make `raw.events` of what is loaded now."""
    loads = con.execute(
        "select load, first_row - first_rowid, late_before from raw.loads order by load"
    ).fetchall()
    shifts = " ".join(f"when {load} then {shift}" for load, shift, _ in loads)
    late = " ".join(
        f"when {load} then timestamp {literal(before.isoformat(sep=' '))}"
        for load, _, before in loads if before
    )  # fmt: skip
    row = f"rowid + case load {shifts} end" if loads else "rowid"
    is_late = f"coalesce(event_at < case load {late} end, false)" if late else "false"
    con.execute(
        f"create or replace view raw.events as select {row} as raw_row, {is_late} as is_late, "
        "* exclude (load) from raw.loaded"
    )
