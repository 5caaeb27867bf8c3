"""A million rows out of each database: rows a second, peak memory, and what a later read costs.

    python tests/benchmarks/databases.py [--rows 1000000]

Servers are started as the tests start them. Every read runs in a process of its own, whose peak
memory it is; the process that reads nothing says what Python and its libraries take alone.
"""

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

COLUMNS = (
    "id {bigint} primary key, user_id integer, item varchar(20), kind varchar(10), "
    "happened_at {time}, price {price}, quantity integer, note varchar(40)"
)
VALUES = "{n}, {n} % 50000, {item}, {kind}, {time}, ({n} % 10000) / 100.0, 1 + {n} % 3, {note}"


def fill_sqlite(folder: Path, rows: int) -> str:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        columns = COLUMNS.format(bigint="integer", time="text", price="decimal(12, 2)")
        con.execute(f"create table events ({columns})")
        con.execute(
            f"with recursive numbers(n) as (select 1 union all select n + 1 from numbers "
            f"where n < {rows}) insert into events select "
            + VALUES.format(
                n="n", item="'sku' || n % 1000", note="'bought by ' || n",
                kind="case n % 4 when 0 then 'purchase' when 1 then 'cart' else 'view' end",
                time="datetime('2024-01-01', n || ' seconds')",
            ) + " from numbers"
        )  # fmt: skip
        con.commit()
    return "sqlite:///shop.db"


def fill_postgres(url: str, rows: int) -> str:
    from test_database_servers import execute_pg

    columns = COLUMNS.format(bigint="bigint", time="timestamptz", price="numeric(12, 2)")
    values = VALUES.format(
        n="n", item="'sku' || n % 1000", note="'bought by ' || n",
        kind="(array['purchase', 'cart', 'view', 'view'])[1 + n % 4]",
        time="timestamptz '2024-01-01 00:00+00' + n * interval '1 second'",
    )  # fmt: skip
    execute_pg(url, f"create table events ({columns})", f"insert into events select {values} "
               f"from generate_series(1, {rows}) as n", "analyze events")  # fmt: skip
    return url


def fill_mariadb(server, rows: int) -> str:
    from test_database_servers import execute_my

    columns = COLUMNS.format(bigint="bigint unsigned", time="datetime(6)", price="decimal(12, 2)")
    values = VALUES.format(
        n="seq", item="concat('sku', seq % 1000)", note="concat('bought by ', seq)",
        kind="elt(1 + seq % 4, 'purchase', 'cart', 'view', 'view')",
        time="timestamp('2024-01-01') + interval seq second",
    )  # fmt: skip
    execute_my(server, f"create table events ({columns})",
               f"insert into events select {values} from seq_1_to_{rows}", "analyze table events")  # fmt: skip
    return server.url("shop")


def read(folder: str, url: str, watermark: str) -> None:
    """Land once, in this process; what it took as JSON."""
    from conftest import project

    from behavsql.input import landing

    started = time.perf_counter()
    rows = 0
    if url:
        parts = {"watermark": watermark} if watermark else {}
        made = project(Path(folder), path=None, url=url, table="events",
                       columns={"user_id": "user_id", "event_at": "happened_at"}, **parts)  # fmt: skip
        task = landing.Landing(made, made.source[0])
        rows, _ = task.carry_out()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak}))


def in_a_process(folder: Path, url: str, watermark: str) -> dict:
    command = [sys.executable, __file__, "--read", str(folder), url, watermark]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def databases(stack: ExitStack, folder: Path, rows: int) -> Iterator[tuple[str, str]]:
    from database_servers import mariadb, postgres

    yield "SQLite", fill_sqlite(folder, rows)
    server = stack.enter_context(postgres())
    yield "PostgreSQL", fill_postgres(server.url("postgres"), rows)
    yield "MariaDB", fill_mariadb(stack.enter_context(mariadb()), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=3, metavar=("FOLDER", "URL", "WATERMARK"))
    arguments = parser.parse_args()
    if arguments.read:
        return read(*arguments.read)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(f"nothing: {in_a_process(place, '', '')['peak_mb']:.0f} MB")
        for name, url in databases(stack, place, arguments.rows):
            for watermark in ("id", ""):
                folder = place / f"{name}{watermark}"
                folder.mkdir()
                if url.startswith("sqlite"):
                    (folder / "shop.db").symlink_to(place / "shop.db")
                for told in ("first", "again"):
                    took = in_a_process(folder, url, watermark)
                    print(
                        f"{name:<10} {'watermark' if watermark else 'whole':<9} {told}: "
                        f"{took['rows']:>9,} rows {took['seconds']:6.1f} s "
                        f"{arguments.rows / took['seconds']:>9,.0f} rows/s {took['peak_mb']:5.0f} MB"
                    )
    return None


if __name__ == "__main__":
    main()
