"""Databases as sources: what is landed of them, with and without a watermark, whatever goes wrong."""

import json
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from conftest import Heard, project, run, stage
from database_servers import free_port

from behavsql import config
from behavsql.databases import sqlite as sqlite_database
from behavsql.errors import SourceError, WarehouseError
from behavsql.input import chunks, landed, landing, sources
from behavsql.pipeline import build, dry_run

COLUMNS = {"user_id": "user", "event_at": "at", "event_type": "type", "value": "value"}
EVENTS = [
    (1, "view", "2024-01-01 10:00:00", None),
    (2, "cart", "2024-01-02 11:30:05.25", 2.5),
    (2, "purchase", "2024-01-02 12:00:00", 1234.5678),
]


def made(folder: Path, **parts: object) -> config.Config:
    """A project whose one source is the table `events` of shop.db."""
    where = {} if "query" in parts else {"table": "events"}
    return project(
        folder, **{"path": None, "url": "sqlite:///shop.db", "columns": COLUMNS} | where | parts
    )


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        for statement in statements:
            con.execute(statement)
        con.commit()


def insert(folder: Path, rows: list[tuple]) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        con.executemany(f"insert into events values ({','.join('?' * len(rows[0]))})", rows)
        con.commit()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with shop.db, which has three events."""
    execute(tmp_path, 'create table events ("user", "type", "at", "value")')
    insert(tmp_path, EVENTS)
    return tmp_path


def land(project: config.Config) -> str:
    """Land once; the line it says."""
    heard = Heard()
    landing.land(project, heard)
    return " ".join(heard.lines[-1].split())


def rows_of(project: config.Config, columns: str = "*") -> list[tuple]:
    """What a source holds for the rest of the build, every value as text."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        relation = sources.scan(con, project, project.source[0]).relation
        sql = f"select columns(*)::varchar from (select {columns} from {relation})"
        return con.execute(sql).fetchall()


def names_of(project: config.Config) -> list[str]:
    return [path.name for path in landed.files(project, project.source[0])]


def test_a_table_gives_the_events_that_a_file_would(shop):
    text = "user,type,at,value\n" + "".join(
        f"{u},{t},{at},{'' if v is None else v}\n" for u, t, at, v in EVENTS
    )
    (shop / "events.csv").write_text(text)
    kept = "select user_id, event_type, event_at, value from staging.events order by all"
    land(made(shop))
    with stage(made(shop)) as con, stage(project(shop, path="events.csv", columns=COLUMNS)) as file:
        found = con.execute(kept).fetchall()
        assert found == file.execute(kept).fetchall()
    assert found[0] == (1, "view", datetime(2024, 1, 1, 10), None)


def test_items_and_users_come_from_databases_too(shop):
    execute(
        shop,
        "create table goods (sku, title, kind)",
        "insert into goods values ('a', 'Apple', 'fruit'), ('b', '', null)",
        "create table people (id, age)",
        "insert into people values (1, 30), (2, null)",
    )
    parts = {"path": None, "url": "sqlite:///shop.db"}
    shop_source = {"name": "shop", "table": "events", "columns": COLUMNS} | parts
    goods = {"name": "goods", "kind": "items", "table": "goods",
             "columns": {"item_id": "sku", "title": "title", "category": "kind"}} | parts  # fmt: skip
    people = {"name": "people", "kind": "users", "table": "people", "attributes": ["age"],
              "columns": {"user_id": "id"}} | parts  # fmt: skip
    both = config.from_dict({"source": [shop_source, goods, people]}, shop, "behavsql.toml")
    land(both)
    with stage(both) as con:
        assert con.execute("select item_id, title, category from raw.items").fetchall() == [
            ("a", "Apple", "fruit"),
            ("b", None, None),
        ]
        people = "select user_id, attributes.age from raw.users order by all"
        assert con.execute(people).fetchall() == [(1, "30"), (2, None)]


def test_sqlite_columns_are_what_their_values_are(tmp_path):
    execute(
        tmp_path,
        "create table events (user integer, at text, whole, real, text, bytes, mixed, none, price decimal(9,2))",
        "insert into events values (9007199254740993, '2024-01-01', 1, 1.5, '007', x'00ff', 'a', null, 0.1)",
        "insert into events values (2, '2024-01-02', null, 2, '', null, 12, null, 12)",
        "insert into events values (3, '2024-01-02', 3, null, 'café 😀', x'', x'ab', null, null)",
    )
    project = made(tmp_path, columns={"user_id": "user", "event_at": "at"})
    land(project)
    with duckdb.connect() as con:
        types = sources.scan(con, project, project.source[0]).types
    assert types == {
        "user": "BIGINT", "at": "VARCHAR", "whole": "BIGINT", "real": "DOUBLE", "text": "VARCHAR",
        "bytes": "BLOB", "mixed": "VARCHAR", "none": "VARCHAR", "price": "DOUBLE",
    }  # fmt: skip
    assert rows_of(project) == [
        ("9007199254740993", "2024-01-01", "1", "1.5", "007", "\\x00\\xFF", "a", None, "0.1"),
        ("2", "2024-01-02", None, "2.0", "", None, "12", None, "12.0"),
        ("3", "2024-01-02", "3", None, "café 😀", "", "AB", None, None),
    ]


def test_a_column_may_get_another_type_later(shop):
    project = made(shop, watermark="at")
    land(project)
    insert(shop, [("007", None, "2024-01-03", "cheap")])
    land(project)
    assert rows_of(project) == [
        ("1", "view", "2024-01-01 10:00:00", None),
        ("2", "cart", "2024-01-02 11:30:05.25", "2.5"),
        ("2", "purchase", "2024-01-02 12:00:00", "1234.5678"),
        ("007", None, "2024-01-03", "cheap"),
    ]


def test_only_rows_past_the_watermark_are_read_again(shop, monkeypatch):
    project = made(shop, watermark="at")
    assert land(project).startswith("land shop 3 rows")
    assert land(project).startswith("land shop 0 rows")
    assert names_of(project) == ["000001.parquet"]
    # Changed and deleted rows below the watermark stay as they were landed.
    execute(shop, "delete from events where user = 1")
    insert(shop, [(4, "view", "2024-01-03 00:00:00", 1)])
    asked = []
    read = sqlite_database.Sqlite.batches
    monkeypatch.setattr(
        sqlite_database.Sqlite,
        "batches",
        lambda self, sql, rows: (
            asked.append(batch.num_rows) or batch for batch in read(self, sql)
        ),
    )
    assert land(project).startswith("land shop 1 rows")
    assert asked == [2]  # the row at the watermark and the new one
    assert [part.count_rows for part in index_of(project).parts] == [3, 1]
    assert [(part.low, part.high) for part in index_of(project).parts] == [
        ("2024-01-01 10:00:00", "2024-01-02 12:00:00"),
        ("2024-01-02 12:00:00", "2024-01-03 00:00:00"),
    ]


def index_of(project: config.Config) -> landed.Index:
    return landed.read(landed.folder_of(project, project.source[0]))


def test_rows_that_came_later_with_the_same_watermark_are_neither_lost_nor_doubled(shop):
    project = made(shop, watermark="at")
    land(project)
    newest = EVENTS[-1]
    # One that differs, two that do not.
    insert(shop, [(9, "view", newest[2], None), newest, newest])
    assert land(project).startswith("land shop 3 rows")
    assert land(project).startswith("land shop 0 rows")
    assert Counter(rows_of(project, '"user"')) == {("1",): 1, ("2",): 4, ("9",): 1}


@pytest.mark.parametrize("newer", [[], [(9, "view", "2024-01-03", None)]])
def test_rows_at_the_watermark_that_changed_or_went_are_not_kept_beside(shop, monkeypatch, newer):
    project = made(shop, watermark="at")
    newest = EVENTS[-1]
    insert(shop, [newest, (4, "cart", newest[2], 1)])
    land(project)
    execute(
        shop,
        "update events set value = 5 where type = 'purchase' and rowid = 3",
        "delete from events where user = 4",
    )
    if newer:
        insert(shop, newer)
    assert land(project).startswith(f"land shop {1 + len(newer)} rows")
    with closing(sqlite3.connect(shop / "shop.db")) as con:
        there = con.execute("select user, type, at, value from events").fetchall()
    as_text = lambda row: tuple(None if v is None else str(v) for v in row)  # noqa: E731
    numbers = [(*row[:3], row[3] and float(row[3])) for row in there]
    assert Counter(rows_of(project)) == Counter(map(as_text, numbers))
    assert land(project).startswith("land shop 0 rows")


def test_rows_without_a_watermark_are_read_whole_each_time(shop):
    project = made(shop, watermark="at")
    insert(shop, [(7, "view", None, 1), (8, "view", None, 2)])
    assert land(project).startswith("land shop 5 rows")
    names = names_of(project)
    assert land(project).startswith("land shop 0 rows")
    assert names_of(project) == names
    execute(shop, "update events set at = '2024-02-01' where user = 7")
    land(project)
    assert Counter(row[0] for row in rows_of(project)) == {"1": 1, "2": 2, "7": 1, "8": 1}


def test_without_a_watermark_a_table_is_read_whole_and_kept_where_nothing_changed(shop):
    project = made(shop)
    assert land(project).startswith("land shop 3 rows")
    assert land(project).startswith("land shop 0 rows")
    assert names_of(project) == ["000001.parquet"]
    execute(shop, "delete from events where user = 1")
    assert land(project).startswith("land shop 2 rows")
    (name,) = names_of(project)
    folder = landed.folder_of(project, project.source[0])
    assert sorted(path.name for path in folder.iterdir()) == [name, landed.INDEX]
    assert name != "000001.parquet"
    execute(shop, "delete from events")
    land(project)
    assert rows_of(project) == []


@pytest.mark.parametrize("watermark", ["seq", "at", None])
@pytest.mark.parametrize("seed", range(3))
def test_reads_that_are_stopped_anywhere_leave_what_one_read_would(
    tmp_path, monkeypatch, watermark, seed
):
    """Inserts (ties, duplicates, rows without a watermark) between reads stopped at random steps."""
    monkeypatch.setattr(chunks, "ROWS", 4)
    monkeypatch.setattr(sqlite_database, "BATCH", 3)
    choose, steps = random.Random(seed), []
    put, write = landed.put, landed.write

    def stopped(do, *arguments):
        steps.append(do)
        if choose.random() < 0.12:
            if choose.random() < 0.5:
                do(*arguments)  # stopped just after it, instead of just before
            raise KeyboardInterrupt
        return do(*arguments)

    execute(tmp_path, "create table events (seq, user, at)")
    columns = {"user_id": "user", "event_at": "at"}
    project = made(tmp_path, columns=columns, **{"watermark": watermark} if watermark else {})
    newest, reads = 0, 0
    for _ in range(10):
        rows = []
        for _ in range(choose.randrange(1, 12)):
            newest += choose.randrange(2)
            # Of numbers and of times alike: rows come in the order of either.
            late = None if choose.random() < 0.1 else newest
            rows.append(
                (late, choose.randrange(2), None if late is None else f"2024-01-01 {late:06}")
            )
        insert(tmp_path, rows)
        with monkeypatch.context() as patch:
            patch.setattr(landed, "put", lambda *a: stopped(put, *a))
            patch.setattr(landed, "write", lambda *a: stopped(write, *a))
            try:
                land(project)
                reads += 1
            except KeyboardInterrupt:
                continue
        assert Counter(rows_of(project)) == Counter(of_table(tmp_path))
    land(project)
    assert Counter(rows_of(project)) == Counter(of_table(tmp_path))
    assert reads > 0 and len(steps) > reads


def of_table(folder: Path) -> list[tuple]:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        return con.execute(
            "select cast(seq as text), cast(user as text), at from events"
        ).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_read_that_is_killed_goes_on(tmp_path, seed):
    choose = random.Random(seed)
    execute(tmp_path, "create table events (seq, user, at)")
    insert(tmp_path, [(n // 3, n % 50, f"2024-01-01 {n // 3:07}") for n in range(60_000)])
    project = made(tmp_path, columns={"user_id": "user", "event_at": "at"}, watermark="seq")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom test_databases import chunks, land, made\n"
        "chunks.ROWS = 1_000\nimport behavsql.databases.sqlite as s; s.BATCH = 500\nprint('on', flush=True)\n"
        f"land(made(Path({str(tmp_path)!r}), columns={{'user_id': 'user', 'event_at': 'at'}}, watermark='seq'))"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(choose.uniform(0.02, 0.6))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    land(project)
    assert Counter(rows_of(project)) == Counter(of_table(tmp_path))


def test_what_was_landed_is_private(shop):
    project = made(shop, watermark="at")
    land(project)
    folder = landed.folder_of(project, project.source[0])
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o600"}
    assert oct(folder.stat().st_mode & 0o777) == "0o700"


def test_another_question_is_answered_anew(shop):
    land(made(shop, watermark="at"))
    project = made(shop, query="select * from events where user = 2", watermark="at")
    assert land(project).startswith("land shop 2 rows")
    assert [row[0] for row in rows_of(project)] == ["2", "2"]
    execute(shop, "alter table events add column shop")
    land(project := made(shop, watermark="at"))
    assert len(rows_of(project, "shop")) == 3


def test_a_query_may_end_as_people_end_them(shop):
    project = made(shop, query="select * from events where user = 1 -- the first;\n ; \n")
    land(project)
    assert len(rows_of(project)) == 1


def test_a_damaged_index_means_that_everything_is_read_again(shop):
    project = made(shop, watermark="at")
    land(project)
    folder = landed.folder_of(project, project.source[0])
    (folder / landed.INDEX).write_text("{")
    assert land(project).startswith("land shop 3 rows")
    (folder / names_of(project)[0]).unlink()
    assert land(project).startswith("land shop 3 rows")
    assert len(rows_of(project)) == 3


def test_what_was_landed_goes_with_its_source(shop):
    land(made(shop))
    folder = landed.folder_of(made(shop), made(shop).source[0])
    (shop / "events.csv").write_text("user,type,at,value\n")
    assert folder.exists()
    landing.land(made(shop, path="events.csv", url=None, table=None), Heard())
    assert not folder.exists()


def test_a_full_disk_is_said_and_gone_on_from(shop, monkeypatch):
    project = made(shop, watermark="at")
    monkeypatch.setattr(chunks, "ROWS", 1)
    monkeypatch.setattr(sqlite_database, "BATCH", 1)
    put, files = landed.put, []

    def full(part: Path, path: Path) -> None:
        files.append(path)
        if len(files) == 3:
            raise OSError(28, "No space left on device")
        put(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(landed, "put", full)
        with pytest.raises(
            WarehouseError, match=r"cannot be written: .*No space left on device; al"
        ):
            land(project)
    assert land(project).startswith("land shop 2 rows")
    assert len(rows_of(project)) == 3


def test_rows_can_be_removed_for_good(shop):
    project = made(shop, watermark="at")
    insert(shop, [(7, "view", None, 1)])
    land(project)
    folder = landed.folder_of(project, project.source[0])
    with duckdb.connect() as con:
        assert landed.remove_rows(con, folder, '"user" = 2') == 2
        assert landed.remove_rows(con, folder, '"user" = 2') == 0
    assert sorted(rows_of(project, '"user"')) == [("1",), ("7",)]
    assert all(b"1234.5678" not in path.read_bytes() for path in folder.iterdir())
    assert len(list(folder.iterdir())) == 3
    assert index_of(project).mark == "2024-01-02 12:00:00"


REFUSED = {
    "no file": (
        {"url": "sqlite:///gone.db"},
        'source "shop": sqlite:///gone.db cannot be read: there is no file',
    ),
    "no database": (
        {"url": "sqlite:///text.db"},
        "sqlite:///text.db cannot be read: file is not a database; allowed is a database that",
    ),
    "no table": (
        {"table": "evnets"},
        "sqlite:///shop.db: no such table: evnets; allowed is a table or query that it answers",
    ),
    "no SQL": ({"query": "selec 1"}, 'near "1": syntax error; allowed is a table or query'),
    "two columns of one name": (
        {"query": 'select 1 as "user", 2 as "USER"'},
        'its columns are user, USER:1',
    ),
    "a query that writes": ({"query": "delete from events"}, 'near "delete": syntax error'),
    "no mapped column": (
        {"columns": COLUMNS | {"item_id": "itm"}},
        'sqlite:///shop.db has no column "itm"; its columns are user, type, at, value',
    ),
    "no watermark": (
        {"watermark": "att"},
        'sqlite:///shop.db has no column "att"; its columns are user, type, at, value. '
        'Mend `watermark`. Did you mean "at"?',
    ),
    "a watermark without an order": (
        {"watermark": "mixed", "query": "select *, case \"user\" when 1 then 'a' else 2 end as mixed from events"},
        'watermark = "mixed" has no order that can be followed; allowed are columns of numbers',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_database_cannot_answer_is_said(shop, case):
    parts, message = REFUSED[case]
    (shop / "text.db").write_text("no database, but a text that is long enough to be read " * 9)
    with pytest.raises(SourceError) as told:
        land(made(shop, **parts))
    assert message in str(told.value)
    assert str(told.value).startswith('behavsql.toml: source "shop"')


def test_a_watermark_that_moved_back_is_an_error(shop):
    project = made(shop, watermark="at")
    land(project)
    execute(shop, "delete from events where at > '2024-01-02 12'")
    folder = landed.folder_of(project, project.source[0])
    with pytest.raises(SourceError) as told:
        land(project)
    assert str(told.value) == (
        'behavsql.toml: source "shop": sqlite:///shop.db: the watermark "at" moved back: rows up to '
        "2024-01-02 12:00:00 were landed, and none of the table is as new; allowed is a column that "
        f"only grows. Remove {folder} to read everything again."
    )
    assert len(rows_of(project)) == 3


def test_a_connection_lost_between_keeps_what_was_landed(shop, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 1)
    monkeypatch.setattr(sqlite_database, "BATCH", 1)
    project, read = made(shop, watermark="at"), sqlite_database.Sqlite.batches

    def broken(self, sql, rows):
        for number, batch in enumerate(read(self, sql)):
            if number == 2:
                raise sqlite_database.LostError("disk I/O error")
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_database.Sqlite, "batches", broken)
        with pytest.raises(SourceError, match="the connection was lost after 2 rows: disk I/O err"):
            land(project)
    assert land(project).startswith("land shop 1 rows")
    assert len(rows_of(project)) == 3


def test_init_writes_a_config_for_a_table(here):
    execute(here, "create table orders (id integer primary key, customer_id, ordered_at, amount)",
            "insert into orders values (1, 7, '2024-01-01 10:00', 9.5), (2, 8, '2024-01-02', 1)")  # fmt: skip
    done = run("init", "sqlite:///shop.db", "--table", "main.orders")
    assert done.exit_code == 0, done.output
    (source,) = config.load(Path("behavsql.toml")).source
    assert (source.name, source.table) == ("orders", "main.orders")
    assert source.columns.user_id == "customer_id" and source.columns.event_at == "ordered_at"
    land(config.load(Path("behavsql.toml")))
    for arguments, message in (
        (["sqlite:///shop.db"], "is a database; allowed is one with a table. Name it with --table"),
        (["sqlite:///shop.db", "--table", "gone"], "no such table: gone"),
        (["env:NO_SHOP", "--table", "a"], "url is env:NO_SHOP, and there is no such variable"),
        (["mysql://ann:s3cret@h/d", "--table", "a"], "holds a password, which would stand in the"),
    ):
        told = run("init", *arguments, "--output", "other.toml")
        assert told.exit_code in (1, 2) and message in " ".join(told.output.split())
        assert "s3cret" not in told.output and not Path("other.toml").exists()


def test_the_readme_config_of_a_database_works(tmp_path, monkeypatch):
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    text = re.search(r"<!-- config database -->\n```toml\n(.*?)```", readme, re.DOTALL)[1]
    (tmp_path / "behavsql.toml").write_text(text)
    assert 'export SHOP_URL="' in readme
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    execute(
        tmp_path,
        "create table orders (order_id integer primary key, customer_id, ordered_at, amount)",
        "insert into orders values (1, 7, '2024-01-01 10:00', 9.5), (2, 8, '2024-01-02', null)",
    )
    project = config.load(tmp_path / "behavsql.toml")
    land(project)
    with stage(project) as con:
        kept = "select user_id, value::double from staging.events order by all"
        assert con.execute(kept).fetchall() == [(7, 9.5), (8, None)]


def test_a_dry_run_asks_no_database(tmp_path):
    url = f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/shop"
    first = dry_run(made(tmp_path, url=url))[0]
    assert first.reason == "new; source shop is a database: a build asks it for new rows"
    assert "s3cret" not in json.dumps(first.parts)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_dry_run_of_another_question_does_not_judge_it_by_old_answers(shop):
    land(made(shop))
    columns = COLUMNS | {"item_id": "sku"}
    step = dry_run(made(shop, query="select *, 1 as sku from events", columns=columns))[0]
    assert step.reason == "new; source shop is a database: a build asks it for new rows"


def test_builds_follow_the_rows_of_a_database(tmp_path, monkeypatch):
    from clickstream import COLUMNS as MAPPED
    from clickstream import clickstream

    events = clickstream(users=100, days=60)
    times = events.with_columns(events["at"].dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    names = ", ".join(f'"{name}"' for name in events.columns)
    execute(tmp_path, f"create table events ({names})")
    insert(tmp_path, times.rows()[:-300])
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    project = made(tmp_path, url="env:SHOP_URL", columns=MAPPED, watermark="at")

    def built() -> tuple[tuple[str, ...], list[str]]:
        """What ran up to the users, which were asked for, and what was said."""
        heard = Heard()
        return build(project, select=("staging.users",), progress=heard).steps, heard.lines

    assert "raw.events" in built()[0]
    assert built()[0] == ("staging.users",)
    step = dry_run(project, select=("staging.users",))[0]
    assert step.reason == "source shop is a database: a build asks it for new rows"
    assert not step.is_certain
    insert(tmp_path, times.rows()[-300:])
    steps, lines = built()
    assert "raw.events" in steps
    assert any("source shop: 000002.parquet is new" in line for line in lines)
    with duckdb.connect(str(project.warehouse / ".work/build.duckdb"), read_only=True) as con:
        counts = con.execute("select count(*), max(event_at) from staging.events").fetchall()
    assert counts == [(len(events), events["at"].max())]


def test_the_command_line_tells_what_is_wrong(here):
    port = free_port()
    Path("behavsql.toml").write_text(
        f'[[source]]\nname = "shop"\nurl = "postgresql://ann:s3cret@127.0.0.1:{port}/shop"\n'
        'table = "events"\n[source.columns]\nuser_id = "user"\nevent_at = "at"\n'
    )
    told = run("build")
    assert told.exit_code == 1
    assert f'source "shop": postgresql://127.0.0.1:{port}/shop cannot be read: ' in told.output
    assert "Connection refused" in told.output and "s3cret" not in told.output
    shown = run("build", "--dry-run", "--json")
    assert shown.exit_code == 0 and "s3cret" not in shown.output
