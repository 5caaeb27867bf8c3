"""How long a live view takes for one user, for one who was inserted, and for everybody.

    python tests/benchmarks/live.py WAREHOUSE [--task purchase] [--users 15] [--threads 2]

WAREHOUSE is a published file; it is copied, because rows are put into the copy's inbox. One user: a
SELECT from live.<task>, planned and run, the median over users. Prints the events and users there are.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import duckdb

from behavsql.quoting import identifier, literal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--task", action="append")
    parser.add_argument("--users", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copyfile(given.warehouse, f"{folder}/shop.duckdb")
        with duckdb.connect(copy) as con:
            con.execute(f"set timezone = 'UTC'; set threads = {given.threads}")
            report(con, given.task, given.users)


def report(con: duckdb.DuckDBPyConnection, tasks: list[str] | None, users: int) -> None:
    events, people = con.execute(
        "select (select count(*) from staging.events), (select count(*) from staging.users)"
    ).fetchall()[0]
    print(f"{events:,} events of {people:,} users, DuckDB {duckdb.__version__}")
    views = con.execute(
        "select view_name from duckdb_views() where schema_name = 'live' "
        "and view_name in (from (select task from meta.tasks)) order by 1"
    ).fetchall()
    for (task,) in views:
        if tasks and task not in tasks:
            continue
        view = identifier("live", task)
        asked = con.execute(
            f"select user_id from {identifier('predictions', task)} "
            f"order by hash(user_id) limit {users}"
        ).fetchall()
        one = statistics.median(_seconds(con, view, user) for (user,) in asked)
        con.execute(
            "insert into live.inbox (user_id, event_type, event_at) select $user, "
            "(select event_type from staging.events where role = 'view' limit 1), "
            "(select max(event_at) from staging.events)",
            {"user": asked[0][0]},
        )
        inserted = statistics.median(_seconds(con, view, asked[0][0]) for _ in range(5))
        started = time.perf_counter()
        con.execute(f"create or replace temp table everybody as from {view}")
        everybody = time.perf_counter() - started
        count = con.execute("select count(*) from everybody").fetchall()[0][0]
        print(
            f"{task:12} one user {one * 1e3:6.1f} ms  after an insert {inserted * 1e3:6.1f} ms  "
            f"everybody ({count:,}) {everybody:6.2f} s"
        )


def _seconds(con: duckdb.DuckDBPyConnection, view: str, user: object) -> float:
    started = time.perf_counter()
    con.execute(f"from {view} where user_id = {literal(user)}").fetchall()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
