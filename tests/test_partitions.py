"""`--partitions N`: parts of the users in processes of their own, and the rows of a single run."""

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import project, shipped

from behavsql import partitions
from behavsql.config import Config
from behavsql.errors import ConfigError, SqlFileError, WarehouseError
from behavsql.pipeline import build
from behavsql.progress import Progress

QUIET = Progress(quiet=True)
UPTO_MATRIX = ("features.matrix",)


def events(users: int = 60) -> pl.DataFrame:
    """A hundred days of views and purchases; every third user has a text for an id."""
    rows = [
        (f"{'a' if user % 3 else ''}{user}", f"i{(user * day) % 7}", word, day, 2.5 * user)
        for user in range(users)
        for day in range(user % 4, 100, 1 + user % 9)
        for word in ("view", "purchase")[: 1 + (user + day) % 2]
    ]
    start = datetime(2024, 1, 1, 9)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(("user", "item", "type"))}
    return pl.DataFrame(columns).with_columns(
        pl.Series("price", [row[4] for row in rows]),
        at=start + pl.Series([row[3] for row in rows]) * pl.duration(days=1),
        quantity=pl.lit(1.0),
        category=pl.lit("toys"),
    )


def made(folder: Path, count: int, **parts: object) -> Config:
    folder.mkdir()
    return project(folder, events(), settings={"partitions": count}, **parts)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A project that one process brought up to the matrix."""
    config = made(tmp_path_factory.mktemp("single") / "project", 1)
    build(config, select=UPTO_MATRIX, progress=QUIET)
    return config


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same in three parts."""
    config = made(tmp_path_factory.mktemp("parted") / "project", 3)
    build(config, select=UPTO_MATRIX, progress=QUIET)
    return config


def copied(config: Config, folder: Path, **settings: object) -> Config:
    """A built project in another folder, with other settings."""
    shutil.copytree(config.folder, folder)
    return project(folder, settings=settings)


def tables(config: Config) -> dict[str, list[tuple]]:
    """Every table that a build makes from SQL, its rows in one order, its types first."""
    found = {}
    with duckdb.connect(str(config.warehouse / ".work" / "build.duckdb"), read_only=True) as con:
        for schema, name in con.execute(
            "select schema_name, table_name from duckdb_tables() where schema_name <> 'meta' "
            "order by all"
        ).fetchall():
            cursor = con.execute(f'from {schema}."{name}" order by all')
            types = [(column[0], str(column[1])) for column in cursor.description]
            found[f"{schema}.{name}"] = [*types, *cursor.fetchall()]
    return found


def test_parts_make_the_rows_of_a_single_run(single, parted):
    expected, found = tables(single), tables(parted)
    assert found.keys() == expected.keys() > {"features.matrix", "labels.purchase"}
    assert [name for name in expected if found[name] != expected[name]] == []
    assert len(expected["features.matrix"]) > 300


def test_nothing_of_the_parts_is_left(parted):
    left = {path.name for path in (parted.warehouse / ".work").iterdir()}
    assert "parts" not in left


def test_a_change_is_built_in_parts_from_what_one_process_built(single, tmp_path):
    again = copied(single, tmp_path / "parts", partitions=3, session_gap="2 hours")
    whole = copied(single, tmp_path / "whole", session_gap="2 hours")
    ran = build(again, select=UPTO_MATRIX, progress=QUIET).steps
    assert "sessions.session_events" in ran
    assert "staging.events" not in ran
    build(whole, select=UPTO_MATRIX, progress=QUIET)
    assert tables(again) == tables(whole)


def test_the_number_of_parts_is_no_reason_to_build(single, tmp_path):
    config = copied(single, tmp_path / "parts", partitions=3)
    ran = build(config, select=("staging.users",), progress=QUIET).steps
    assert ran == ("staging.users",)


def test_an_error_in_a_part_names_the_file(tmp_path):
    config = made(tmp_path / "parts", 2)
    sql = config.folder / "sql" / "2_sessions"
    sql.mkdir(parents=True)
    (sql / "broken.sql").write_text(
        "-- purpose: fails on the rows, not before\n-- grain: user_id, event_id\n"
        "-- inputs: staging.events\n-- version: 1\n"
        "select user_id, event_id, cast(event_type as integer) as number from staging.events\n"
    )
    with pytest.raises(SqlFileError, match=r"sql/2_sessions/broken\.sql: Conversion Error"):
        build(config, select=("sessions",), progress=QUIET)
    assert not (config.warehouse / ".work" / "parts").exists()


def test_a_broken_promise_is_found_where_the_parts_meet(tmp_path):
    config = made(tmp_path / "parts", 2)
    sql = config.folder / "sql" / "2_sessions"
    sql.mkdir(parents=True)
    (sql / "doubled.sql").write_text(
        "-- purpose: a grain that is none\n-- grain: user_id\n"
        "-- inputs: staging.events\n-- version: 1\nselect user_id from staging.events\n"
    )
    with pytest.raises(SqlFileError, match=r"doubled\.sql:2: \d+ rows share user_id"):
        build(config, select=("sessions",), progress=QUIET)


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    config = made(tmp_path / "parts", 2)
    start = subprocess.Popen

    def dying(command: list[str], **options: object) -> subprocess.Popen:
        return start([command[0], "-c", "raise SystemExit(9)"], **options)

    monkeypatch.setattr(partitions.subprocess, "Popen", dying)
    with pytest.raises(WarehouseError, match=r"^partition 0: its process ended with 9; .*goes on"):
        build(config, select=UPTO_MATRIX, progress=QUIET)


def test_a_number_of_parts_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"settings\.partitions"):
        made(tmp_path / "parts", 0)


def test_what_a_rebuilt_file_reads_through_a_view_is_copied_to_the_parts(parted, tmp_path):
    config = copied(parted, tmp_path / "parts", partitions=2)
    before = tables(config)
    ran = build(config, select=("cutoffs.windows",), progress=QUIET).steps
    assert ran == ("cutoffs.windows",)
    assert tables(config) == before
    assert before["cutoffs.windows"]


def test_the_build_has_its_memory_back_once_the_parts_are_done(tmp_path):
    config = made(tmp_path / "parts", 3)
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as raw; create schema staging; set memory_limit = '768MiB'")
        limit = "select current_setting('memory_limit')"
        before = con.execute(limit).fetchall()
        parts = partitions.Partitions(con, shipped(), config.settings, tmp_path / "work")
        con.execute(
            "create table raw.users (source varchar, user_id bigint, is_dated boolean, "
            "attributes struct(a int))"
        )
        con.execute("create table staging.events (user_id bigint, event_at timestamp)")
        users = shipped().files["staging.users"]
        assert parts.run_file(users, {}) == 0
        assert con.execute(limit).fetchall() != before
        parts.release()
        parts.close()
        assert con.execute(limit).fetchall() == before
    assert not (tmp_path / "work").exists()


def test_a_module_in_the_folder_of_the_data_is_not_run(tmp_path, monkeypatch):
    config = made(tmp_path / "parts", 2)
    (config.folder / "json.py").write_text("raise SystemExit('code from the data folder ran')")
    monkeypatch.chdir(config.folder)
    assert "staging.users" in build(config, select=("staging.users",), progress=QUIET).steps


def test_parts_that_would_have_next_to_no_memory_are_refused(tmp_path):
    config = made(tmp_path / "parts", 1)
    config = project(config.folder, settings={"partitions": 64, "memory_limit": "200 MB"})
    with pytest.raises(
        ConfigError, match=r"^settings\.partitions: 64 parts .* allowed are 50 MB or"
    ):
        build(config, select=("staging.users",), progress=QUIET)
