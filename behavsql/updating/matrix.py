"""`features.matrix` and `features.latest` after an update: the rows of touched users and cutoffs anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from behavsql import generated
from behavsql.catalog import Catalog
from behavsql.quoting import identifier
from behavsql.tasks import Task
from behavsql.updating.past import CATEGORIES, Past
from behavsql.updating.reach import NONE, Reach
from behavsql.updating.scratch import USERS, Cutoffs, at, replace_rows

TOUCHED = f"user_id in (from {identifier(USERS)})"


@dataclass(frozen=True)
class Remade:
    """is_reshaped: it has other columns than it had. is_all_scored: everybody is to be scored anew."""

    is_reshaped: bool
    is_all_scored: bool


def bring_up_to_date(
    con: duckdb.DuckDBPyConnection, catalog: Catalog, tasks: list[Task], reach: Reach, past: Past
) -> Remade:
    """Replace what is touched; all of it, if a feature or a task came or went."""
    scalars, _ = generated.feature_columns(con, catalog)
    tables, scratch = {"cutoffs.cutoffs", *(f"features.{name}" for name in scalars)}, reach.scratch
    rows = generated.matrix_rows(scalars, tasks, TOUCHED, parts=scratch.known(tables, None))
    parts = {TOUCHED: rows}
    if _shape(con, f"({parts[TOUCHED]})") != _shape(con, "features.matrix"):
        generated.build_matrix(con, catalog, tasks)
        return Remade(is_reshaped=True, is_all_scored=True)
    cutoffs = _cutoffs(con, scalars, reach)
    if cutoffs:
        horizon = at(cutoffs).replace("cutoff_at", "labels.cutoff_at + tasks.horizon", 1)
        parts[at(cutoffs)] = generated.matrix_rows(
            scalars, tasks, f"not {TOUCHED} and {at(cutoffs)}", f"not {TOUCHED} and {horizon}",
            scratch.known(tables, cutoffs),
        )  # fmt: skip
    for position, (gone, rows) in enumerate(parts.items()):
        name = f"matrix {position}"
        con.execute(f"create or replace temp table {identifier(name)} as {rows}")
        parts[gone] = name
    with _compared(con, past):
        replace_rows(con, "features.matrix", parts)
    past.note(CATEGORIES, cutoffs)
    as_of = con.execute("select as_of from meta.clock").fetchall()[0][0]
    if as_of in cutoffs:
        generated.build_latest(con)
    else:
        con.execute(
            f"create or replace temp table latest as from {identifier(parts[TOUCHED])} "
            "where cutoff_at = (select as_of from meta.clock)"
        )
        replace_rows(con, "features.latest", {TOUCHED: "latest"})
    return Remade(is_reshaped=False, is_all_scored=as_of in cutoffs)


@contextmanager
def _compared(con: duckdb.DuckDBPyConnection, past: Past) -> Iterator[None]:
    """Tell `past` what becomes other words of touched users."""
    is_there = con.execute(
        "select 1 from duckdb_views() where database_name = current_database() "
        "and schema_name || '.' || view_name = ?", [CATEGORIES]
    ).fetchall()  # fmt: skip
    if not is_there or not past.is_watched(CATEGORIES):
        past.note(CATEGORIES, [] if is_there else [datetime.min])
        yield
        return
    rows = f"{CATEGORIES} where {TOUCHED}"
    con.execute(f'create or replace temp table "old categories" as from {rows}')
    yield
    past.compare(CATEGORIES, '"old categories"', rows)


def _cutoffs(
    con: duckdb.DuckDBPyConnection, scalars: dict[str, list[str]], reach: Reach
) -> Cutoffs:
    """Where rows of users who are not touched may differ: features, or a label a horizon before."""
    found = reach.cutoffs.get("cutoffs.cutoffs", NONE)
    for name in scalars:
        found |= reach.cutoffs.get(f"features.{name}", NONE)
    for task, horizon in con.execute("select task, horizon from meta.tasks").fetchall():
        found |= {moment + horizon for moment in reach.cutoffs.get(f"labels.{task}", NONE)}
    return found


def _shape(con: duckdb.DuckDBPyConnection, relation: str) -> list[tuple]:
    return [row[:2] for row in con.execute(f"describe from {relation}").fetchall()]
