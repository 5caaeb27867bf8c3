"""DuckDB files without some users: their rows taken out, and the file written anew.

Deleting leaves the bytes where they were, in blocks that are free, and so do CHECKPOINT, VACUUM and
a table made anew (measured with DuckDB 2.0). Only a file that never held them holds them no more.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.database_file import PRIVATE, STORAGE_VERSION, open_file, sync
from behavsql.input.identities import PREFIX
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse, limit

# Whatever table has such a column, in whatever schema, tells of users in it; tests see to it that
# no table tells of them in another.
USER_COLUMNS = ("user_id", "unread_id", "anonymous_id")


def take_out(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> dict[str, int]:
    """Delete the rows of some users from every table of the open database; table -> rows."""
    found = {}
    for schema, table, column, type_ in con.execute(
        "select columns.schema_name, columns.table_name, column_name, data_type "
        "from duckdb_columns() as columns inner join duckdb_tables() as tables using (table_oid) "
        "where columns.database_name = current_database() and column_name in ? "
        "and tables.database_name = current_database() order by all",
        [list(USER_COLUMNS)],
    ).fetchall():
        if column == "anonymous_id":
            wanted_ids = [one.removeprefix(PREFIX) for one in ids if one.startswith(PREFIX)]
        else:
            wanted_ids = list(ids)
        # '007' is not 7, though a BIGINT would take it.
        wanted = (
            f"select try_cast(id as {type_}) from (select unnest({literal(wanted_ids)}::varchar[]) as id) "
            f"where cast(try_cast(id as {type_}) as varchar) = id"
        )
        rows = con.execute(
            f"delete from {identifier(schema, table)} where {identifier(column)} in ({wanted})"
        ).fetchall()[0][0]
        if rows:
            found[f"{schema}.{table}"] = found.get(f"{schema}.{table}", 0) + rows
    return found


def rewrite(config: Config, path: Path, ids: Sequence[str], to: Path) -> dict[str, int]:
    """Write a DuckDB file anew to another path, without some users; table -> rows left out.

    The old file loses the rows too. `to` is complete and on disk, or not there.
    """
    part = Path(f"{to}.part")
    for left in (part, Path(f"{part}.wal"), to):
        left.unlink(missing_ok=True)
    with contextlib.closing(open_file(path)) as con:
        limit(con, config)
        con.execute(
            f"set temp_directory = {literal(str(Warehouse(config.warehouse).work / 'spill'))}"
        )
        con.execute("begin")
        found = take_out(con, ids)
        con.execute("commit")
        con.execute("checkpoint")
        (name,) = con.execute("select current_database()").fetchall()[0]
        con.execute(
            f"attach {literal(str(part))} as anew (storage_version {literal(STORAGE_VERSION)})"
        )
        con.execute(f"copy from database {identifier(name)} to anew")
        con.execute("checkpoint anew; detach anew")
    part.chmod(PRIVATE)
    sync(part)
    os.replace(part, to)
    return found


def compact(config: Config, path: Path, ids: Sequence[str] = ()) -> dict[str, int]:
    """Put a file that was written anew in the place of an old one; table -> rows left out."""
    if not path.exists():
        return {}
    anew = path.with_name(f"anew-{path.name}")
    found = rewrite(config, path, ids, anew)
    Path(f"{path}.wal").unlink(missing_ok=True)
    os.replace(anew, path)
    sync(path.parent)
    return found
