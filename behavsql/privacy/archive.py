"""The inbox and its archive: what is inserted has pseudonyms too, and forgotten users are not in it.

The table `live.inbox` takes nothing but pseudonyms, where users have them. What was inserted before
that, by id, gets them as it is added to the archive; the archive itself is rewritten once, and again
when rows in it have grown too old.
"""

import contextlib
import os

import duckdb

from behavsql.database_file import PRIVATE, sync
from behavsql.privacy import key
from behavsql.privacy.entering import is_forgotten
from behavsql.privacy.register import Register
from behavsql.quoting import literal
from behavsql.warehouse import Warehouse


def screen(con: duckdb.DuckDBPyConnection, warehouse: Warehouse, table: str) -> int:
    """Give a table of inserted rows pseudonyms, and take out forgotten users and events that are too old.

    How many rows these were.

    ConfigError where the key is needed and not there.
    """
    register, gone = Register.read(warehouse), 0
    if register.kept_since:
        gone = con.execute(
            f"delete from {table} where event_at < ?::timestamp", [register.kept_since]
        ).fetchall()[0][0]
    if not (register.has_pseudonyms or register.tombstones):
        return gone
    secret = key.read("what was inserted into live.inbox may tell of users who need it")
    register.check(secret)
    with key.installed(con, secret):
        gone += con.execute(
            f"delete from {table} where user_id in (select user_id from (select distinct user_id "
            f"from {table}) where {is_forgotten(('user_id', key.sql_pseudonym('user_id')), register.tombstones)})"
        ).fetchall()[0][0]  # fmt: skip
        if register.has_pseudonyms:
            con.execute(
                f"update {table} set user_id = {key.sql_pseudonym('user_id')} "
                f"where not regexp_matches(user_id, {literal(key.FORM)})"
            )
    return gone


def clean(warehouse: Warehouse) -> int:
    """Rewrite the archive if it has what must not be in it, or users by id; rows taken out."""
    register, path = Register.read(warehouse), warehouse.inbox
    if not path.exists() or not register.screens:
        return 0
    with contextlib.closing(duckdb.connect()) as con:
        con.execute("create temp table archived as from read_parquet(?)", [str(path)])
        told = "select count(*), sum(hash(*columns(*))) from archived"
        before = con.execute(told).fetchall()
        gone = screen(con, warehouse, "archived")
        if con.execute(told).fetchall() == before:
            return 0
        part = warehouse.work / f"{path.name}.tmp"
        con.execute(f"copy (from archived order by rowid) to {literal(str(part))} (format parquet)")
    part.chmod(PRIVATE)
    sync(part)
    os.replace(part, path)
    sync(path.parent)
    return gone
