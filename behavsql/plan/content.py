"""Whether a step's result is what it was: tables compared by their rows, whatever their order.

Only facts that come from the sources are compared in their order too, for staging reads their rowid.

A step that runs again and makes the same rows keeps the name its result had, so that the steps
which read it need not run. Results are compared around a run, never in the first build, which
then pays nothing for it. What is read of a table may be one task's rows of it, a slice:
`cutoffs.windows[churn]`.
"""

import functools
from collections.abc import Iterable, Mapping

import duckdb

from behavsql.catalog.sql_file import SqlFile
from behavsql.catalog.sql_header import tokens
from behavsql.plan.changes import digest
from behavsql.quoting import identifier

WINDOWS = "cutoffs.windows"
_MANY_TASKS = {WINDOWS, "cutoffs.populations", "cutoffs.splits", "meta.tasks"}
_IN_ORDER = {"raw.items", "raw.users"}
_ROWS = "count(*), sum(hash(*columns(*)))"
_ROWS_IN_ORDER = "count(*), sum(hash(rowid, *columns(*)))"


def fingerprint(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    rows: str = _ROWS,
    shape: list[tuple] | None = None,
) -> str:
    """Columns (`shape`, if they are known), number of rows and sum of the rows' hashes of what a FROM
    clause names."""
    shape = shape or _shape(con, relation)
    return digest(shape, con.execute(f"select {rows} from {relation}").fetchall())


def _shape(con: duckdb.DuckDBPyConnection, relation: str) -> list[tuple]:
    return [row[:2] for row in con.execute(f"describe from {relation}").fetchall()]


def there(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Every "schema.table" there is, views among them."""
    # `raw` is a database of its own beside the build's.
    known = con.execute(
        "select distinct if(database_name = 'raw', 'raw', schema_name) || '.' || table_name "
        "from duckdb_columns() where database_name in ('raw', current_database())"
    ).fetchall()
    return frozenset(name for (name,) in known)


def measure(
    con: duckdb.DuckDBPyConnection, tables: Iterable[str], known: frozenset[str] | None = None
) -> dict[str, str]:
    """Fingerprint of each "schema.table", and of each task's rows where there is a column task.

    A table that is not there has none: an error would end a transaction. known: what is there, if
    that has been looked up, which takes longer than to measure a small table.
    """
    found = {}
    for table in (there(con) if known is None else known).intersection(tables):
        relation = identifier(*table.split("."))
        shape = _shape(con, relation)
        columns = [name for name, _ in shape]
        rows = _ROWS_IN_ORDER if table in _IN_ORDER else _ROWS
        found[table] = fingerprint(con, relation, rows, shape)
        if "task" in columns:
            slices = con.execute(f"select task, {_ROWS} from {relation} group by task").fetchall()
            found |= {f"{table}[{task}]": digest(columns, told) for task, *told in slices}
    return found


def names(
    old: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], new: str
) -> dict[str, str]:
    """What results are called: as they were called where the content is the same, else `new`."""
    return {
        part: old.get(part, new) if before.get(part) == found else new
        for part, found in after.items()
    }


@functools.lru_cache(maxsize=1024)
def slices_read(file: SqlFile) -> tuple[str, ...]:
    """The inputs of a SQL file; of `cutoffs.windows` the one task's rows if that is all it reads.

    Seen only in a query that names the table once and compares `task` once, with `=` and a literal,
    without OR and NOT. Any other reads the whole table.
    """
    words = tokens(file.sql)
    compared = [
        words[at + 2].strip("'") for at in range(len(words) - 2)
        if words[at : at + 2] == ["task", "="] and words[at + 2].startswith("'")
    ]  # fmt: skip
    named = sum(words[at : at + 3] == ["cutoffs", ".", "windows"] for at in range(len(words) - 2))
    is_slice = len(compared) == named == words.count("task") == 1
    is_slice &= _MANY_TASKS & set(file.inputs) == {WINDOWS} and not {"or", "not"} & set(words)
    of_task = {WINDOWS: f"{WINDOWS}[{compared[0]}]"} if is_slice else {}
    return tuple(of_task.get(table, table) for table in file.inputs)
