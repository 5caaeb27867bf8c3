"""Pseudonyms turned on, and retention, on a warehouse that is there: no byte of before is left."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from conftest import Heard, stage

from behavsql import config, score_history
from behavsql.database_file import reading
from behavsql.errors import ConfigError
from behavsql.input import landing
from behavsql.pipeline import build, dry_run, score, update
from behavsql.privacy import key, renewal
from behavsql.privacy.register import Register
from behavsql.progress import Progress
from behavsql.warehouse import Warehouse

QUIET = Progress(quiet=True)
EVENTS = {"user_id": "user", "event_at": "at", "event_type": "type"}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, few: None) -> None:
    monkeypatch.setenv(key.VARIABLE, "correct horse battery staple, twice")


def held(folder: Path, word: str) -> list[Path]:
    """The files in which a word stands as it is, or as any value of any table."""
    return [
        path for path in folder.rglob("*")
        if path.is_file() and (word.encode() in path.read_bytes() or word in _told(path))
    ]  # fmt: skip


def _told(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(duckdb.sql(f"from '{path}'").fetchall())
    return _texts(path) if path.suffix == ".duckdb" else ""


def _texts(path: Path) -> str:
    with reading(path) as con:
        tables = con.execute(
            "select database_name, schema_name, table_name from duckdb_tables() where database_name = 'file'"
        ).fetchall()
        return "\n".join(
            str(con.execute(f'from "{a}"."{b}"."{c}"').fetchall()) for a, b, c in tables
        )


def log(folder: Path, privacy: dict | None = None, **settings: object) -> config.Config:
    """Some hundred views of a few users, who are called person-<n>-of-shop; nothing can be asked of them."""
    source = {"name": "log", "path": "e*.csv", "columns": EVENTS}
    told = {"source": [source], "privacy": privacy or {}, "settings": {"threads": 1} | settings}
    return config.from_dict(told, folder, "behavsql.toml")


def days(folder: Path, name: str, first: int, last: int) -> None:
    """Each day a view of three users, of an item that names the day."""
    start = datetime(2024, 1, 1, 10)
    rows = [f"person-{n}-of-shop,{start + timedelta(days=day)},view,day-{day:03}-was"
            for day in range(first, last) for n in range(3)]  # fmt: skip
    (folder / name).write_text("\n".join(["user,at,type,note", *rows]) + "\n")


def test_pseudonyms_turned_on_leave_no_id_of_before(tmp_path):
    days(tmp_path, "e1.csv", 0, 40)
    made = log(tmp_path)
    build(made, progress=QUIET)
    with duckdb.connect(str(made.warehouse / "behaviour.duckdb")) as con:
        con.execute("insert into live.inbox (user_id, event_type, event_at) "
                    "values ('person-9-of-shop', 'view', timestamp '2024-01-20 10:00')")  # fmt: skip
    assert len(held(made.warehouse, "of-shop")) >= 3
    hashed = log(tmp_path, {"pseudonyms": True})
    for verb in (build, score, update, dry_run):
        with pytest.raises(ConfigError, match=r"own ids.*behavsql build --full"):
            verb(hashed) if verb is dry_run else verb(hashed, progress=QUIET)
    assert dry_run(hashed, full=True)
    assert not Register.read(Warehouse(made.warehouse)).has_pseudonyms
    heard = Heard()
    build(hashed, full=True, progress=heard)
    assert any("all that was built with their ids was removed" in line for line in heard.lines)
    assert held(made.warehouse, "of-shop") == []
    with reading(made.warehouse / "behaviour.duckdb") as con:
        users = {row[0] for row in con.execute("select user_id from staging.events").fetchall()}
    assert users == {key.pseudonym(b"correct horse battery staple, twice", f"person-{n}-of-shop")
                     for n in (0, 1, 2, 9)}  # fmt: skip
    assert build(hashed, progress=QUIET).steps == ()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["begin", "finish"])
def test_cut_short_it_is_done_by_building_again(tmp_path, monkeypatch, place):
    days(tmp_path, "e1.csv", 0, 40)
    build(log(tmp_path), progress=QUIET)
    hashed = log(tmp_path, {"pseudonyms": True})
    with monkeypatch.context() as patch:
        patch.setattr(renewal, place, _cut)
        with pytest.raises(KeyboardInterrupt):
            build(hashed, full=True, progress=QUIET)
    build(hashed, progress=QUIET)
    assert held(hashed.warehouse, "of-shop") == []


def _cut(*_: object) -> None:
    raise KeyboardInterrupt


def test_events_that_grew_too_old_are_in_no_file(tmp_path):
    """A day that retention has passed is in no version and no free block, inserted or read."""
    days(tmp_path, "e1.csv", 0, 60)
    made = log(tmp_path)
    build(made, progress=QUIET)
    with duckdb.connect(str(made.warehouse / "behaviour.duckdb")) as con:
        con.execute("insert into live.inbox (user_id, event_type, event_at) values "
                    "('an-old-one', 'view', timestamp '2024-01-03 10:00'), "
                    "('a-new-one', 'view', timestamp '2024-02-20 10:00')")  # fmt: skip
    assert held(made.warehouse, "day-000-was") and held(made.warehouse, "an-old-one")
    kept, heard = log(tmp_path, {"retention_days": 30}), Heard()
    build(kept, progress=heard)
    assert any("write files anew" in line for line in heard.lines)
    for word in ("day-000-was", "day-010-was", "day-028-was", "an-old-one"):
        assert held(made.warehouse, word) == []
    assert held(made.warehouse, "day-029-was") and held(made.warehouse, "a-new-one")


def test_scores_of_days_that_are_not_kept_leave_the_history():
    with duckdb.connect() as con:
        con.execute("create schema predictions; create schema staging; "
                    "create table staging.users as select 7 as user_id")  # fmt: skip
        for day in (1, 20, 40):
            con.execute(
                "create or replace table predictions.scored as select 'purchase' as task, 7 as user_id, "
                "0.5 as score, timestamp '2024-01-01' + to_days(?) as as_of, 'mlp' as model, "
                "1 as model_version, timestamp '2024-03-01' as scored_at", [day]
            )  # fmt: skip
            score_history.add(con, datetime(2024, 1, 15) if day == 40 else None)
        kept = con.execute("select as_of from predictions.history order by 1").fetchall()
    assert kept == [(datetime(2024, 1, 21),), (datetime(2024, 2, 10),)]


@pytest.mark.slow
def test_days_that_go_by_take_old_ones_along(tmp_path):
    days(tmp_path, "e1.csv", 0, 60)
    kept = log(tmp_path, {"retention_days": 30})
    build(kept, progress=QUIET)
    assert build(kept, progress=QUIET).steps == ()
    days(tmp_path, "e2.csv", 60, 70)
    build(kept, progress=QUIET)
    assert held(kept.warehouse, "day-038-was") == []
    assert held(kept.warehouse, "day-039-was")
    assert build(kept, progress=QUIET).steps == ()


@pytest.mark.parametrize("watermark", ["id", None])
def test_rows_of_a_database_that_are_too_old_are_not_kept_as_landed(tmp_path, watermark):
    made = database(tmp_path, {"watermark": watermark} if watermark else {})
    land(made)
    assert noted(made) == [f"day-{day:03}-was" for day in range(29, 60)]
    con = stage(made)
    query = "select count_rows_removed from staging.ledger where rule = 'past_retention'"
    assert con.execute(query).fetchall() == [(29,)]
    since = datetime(2024, 1, 30)
    before = landed_files(made)
    land(made, since)
    assert landed_files(made) == before  # nothing is landed, and nothing pruned, again
    add(tmp_path, 60, "2024-03-30 10:00", "day-089-was")
    add(tmp_path, 61, "2024-01-09 10:00", "day-008-was")
    land(made, since)
    assert noted(made) == ["day-059-was", "day-089-was"]
    before = landed_files(made)
    land(made, datetime(2024, 2, 29))
    assert landed_files(made) == before


def test_what_is_landed_may_grow_older_by_a_tenth(tmp_path):
    made = database(tmp_path, {"watermark": "id"})
    land(made)
    add(tmp_path, 60, "2024-03-02 10:00", "day-061-was")
    land(made, datetime(2024, 1, 30))
    assert noted(made)[0] == "day-029-was"


def database(folder: Path, parts: dict) -> config.Config:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        con.execute("create table events (id integer, user, type, at, note)")
        con.executemany("insert into events values (?, ?, 'view', ?, ?)", [
            (day, f"u{day % 3}", str(datetime(2024, 1, 1, 10) + timedelta(days=day)), f"day-{day:03}-was")
            for day in range(60)
        ])  # fmt: skip
        con.commit()
    source = {"name": "db", "url": "sqlite:///shop.db", "table": "events", "columns": EVENTS}
    told = {"source": [source | parts], "privacy": {"retention_days": 30}}
    return config.from_dict(told, folder, "behavsql.toml")


def add(folder: Path, number: int, at: str, note: str) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as con:
        con.execute("insert into events values (?, 'u1', 'view', ?, ?)", [number, at, note])
        con.commit()


def land(made: config.Config, since: datetime | None = None) -> None:
    landing.land(made, QUIET, since=since)


def landed_files(made: config.Config) -> list[str]:
    return sorted(path.name for path in (made.warehouse / ".work/landing/db").glob("*.parquet"))


def noted(made: config.Config) -> list[str]:
    rows = duckdb.sql(f"select note from '{made.warehouse}/.work/landing/db/*.parquet'").fetchall()
    return sorted(note for (note,) in rows)
