"""Publishing with each of its calls failing, and with the process killed before each of them.

What fails or dies is put in from outside: the functions that publishing calls are counted, and the
one whose turn it is does something else. No list of steps to keep: whatever it calls is found.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from behavsql.cli import failures

from behavsql import inbox, publishing
from behavsql.database_file import reading
from behavsql.errors import BehavsqlError
from behavsql.warehouse import KEPT_VERSIONS, Warehouse

SYSTEM = ("open", "fsync", "replace", "link", "unlink", "rename", "chmod", "utime", "close",
          "copy_file_range")  # fmt: skip
COPIES = ("copyfile", "copy2")
# Publishes in forked processes, each killed before one more call than the one before it.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_publish_faults as faults

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    for number, folder in enumerate(sys.argv[2:]):
        child = os.fork()
        if child == 0:
            faults.published_with(Path(folder), {number: die})
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Spy:
    """A connection of which every statement is counted."""

    def __init__(self, con: duckdb.DuckDBPyConnection, count: Callable[[str], None]) -> None:
        self.con, self.count = con, count

    def execute(self, sql: str, *more: object) -> duckdb.DuckDBPyConnection:
        self.count(f"sql {' '.join(sql.split())[:50]}")
        return self.con.execute(sql, *more)

    def close(self) -> None:
        self.con.close()

    def __enter__(self) -> "Spy":
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()


def watched(patch: pytest.MonkeyPatch, count: Callable[[str], None]) -> None:
    """From now on `count` hears of every call to the disk, before it is made."""

    def counted(name: str, do: Callable) -> Callable:
        return lambda *given, **more: (count(name), do(*given, **more))[1]

    for name in SYSTEM:
        patch.setattr(os, name, counted(f"os.{name}", getattr(os, name)))
    for name in COPIES:
        patch.setattr(shutil, name, counted(f"shutil.{name}", getattr(shutil, name)))
    connect = duckdb.connect
    patch.setattr(
        duckdb, "connect",
        lambda *given, **more: (count("duckdb.connect"), Spy(connect(*given, **more), count))[1],
    )  # fmt: skip


def published_with(folder: Path, doings: dict[int, Callable[[str], None]]) -> list[str]:
    """Publish the build in a folder; before call number n, `doings[n]` happens. What was called."""
    called: list[str] = []

    def count(name: str) -> None:
        called.append(name)
        doings.get(len(called) - 1, lambda _: None)(name)

    warehouse = Warehouse(folder)
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, count)
        with warehouse.locked():
            publishing.put(warehouse, warehouse.build, "0640")
    return called


def _database(path: Path, run: int) -> None:
    """As little of a built file as publishing needs; its content tells the run."""
    columns = ", ".join(f"{name} {type_}" for name, type_ in inbox.TYPES.items())
    with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.4.0"}) as con:
        con.execute(
            f"create schema meta; create schema live; create schema staging;"
            f"create table meta.runs as select {run} as run_id;"
            f"create table staging.sources as select 'shop' as source, 9 as count_rows;"
            f"create table live.inbox ({columns});"
            f"create table staging.events as select {run} as run_id, range as n, hash({run} + range) as h from range(3000);"
            f"create view main.customers as select * from staging.events where n < 100"
        )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 3 is published, two are kept, a row is in the inbox, and the next build is ready."""
    folder = tmp_path_factory.mktemp("template") / "warehouse"
    warehouse = Warehouse(folder)
    for run in (1, 2, 3, 4):
        with warehouse.locked():
            _database(warehouse.build, run)
            if run < 4:
                publishing.put(warehouse, warehouse.build, "0640")
                warehouse.build.unlink()
    with duckdb.connect(str(warehouse.published)) as con:
        con.execute("insert into live.inbox (user_id) values ('inserted')")
    return folder


def _copy(template: Path, folder: Path) -> Warehouse:
    shutil.copytree(template, folder)  # with its times, which name the versions
    return Warehouse(folder)


def _version(path: Path) -> int:
    """Which version a file is; it must be wholly that one."""
    with reading(path) as con:
        (run,) = con.execute("select run_id from meta.runs").fetchall()[0]
        rows, same = con.execute(
            "select count(*), bool_and(run_id = ? and h = hash(? + n)) from staging.events", [run, run]
        ).fetchall()[0]  # fmt: skip
        assert (rows, same) == (3_000, True)
        assert con.execute("select count(*) from main.customers").fetchall() == [(100,)]
    return run


def _inserted(warehouse: Warehouse) -> set[str]:
    """Where the inserted row is to be found: it must be somewhere."""
    found = set()
    with reading(warehouse.published) as con:
        if con.execute("select 1 from live.inbox where user_id = 'inserted'").fetchall():
            found.add("published")
        if warehouse.inbox.exists():
            archived = con.execute(f"from read_parquet('{warehouse.inbox}')").fetchall()
            assert [row[0] for row in archived] == ["inserted"]
            found.add("archive")
    return found


def _check(warehouse: Warehouse, reader: duckdb.DuckDBPyConnection, where: object) -> int:
    """After whatever happened: version 3 or 4 and nothing lost, and publishing again just works."""
    assert not Path(f"{warehouse.published}.wal").exists(), where
    version = _version(warehouse.published)
    assert version in (3, 4) and _inserted(warehouse), where
    asked = "select max(run_id), count(*) from staging.events"
    assert reader.execute(asked).fetchall() == [(3, 3_000)], where
    published_with(warehouse.folder, {})
    assert _version(warehouse.published) == 4 and "archive" in _inserted(warehouse), where
    assert reader.execute(asked).fetchall() == [(3, 3_000)], where
    kept = warehouse.kept_versions()
    assert len(kept) <= KEPT_VERSIONS and 3 in map(_version, kept), where
    left = {path.name for path in warehouse.work.iterdir()}
    assert left <= {"build.duckdb", "build.lock", "versions"}, where
    private = [*kept, warehouse.inbox, warehouse.build]
    assert {path.stat().st_mode & 0o777 for path in private} <= {0o600}, where
    assert warehouse.published.stat().st_mode & 0o777 == 0o640
    return version


@pytest.fixture(scope="module")
def called(template: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What publishing calls when nothing happens."""
    warehouse = _copy(template, tmp_path_factory.mktemp("called") / "warehouse")
    found = published_with(warehouse.folder, {})
    assert _version(warehouse.published) == 4
    assert {"os.replace", "os.fsync", "os.link", "os.copy_file_range", "duckdb.connect"} <= set(
        found
    )
    assert len(found) > 40
    return found


def _breaks(name: str) -> None:
    if name.startswith(("os.", "shutil.")):
        raise OSError(5, "Input/output error")
    raise duckdb.IOException("IO Error: Could not write to the file: Input/output error")


def _is_full(name: str) -> None:
    if name.startswith(("os.", "shutil.")):
        raise OSError(28, "No space left on device", "the file")
    raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')


@pytest.mark.parametrize(
    "faults", [(_breaks, _is_full), pytest.param((_is_full, _breaks), marks=pytest.mark.slow)]
)
def test_any_call_that_fails_leaves_a_whole_file_and_a_clear_error(
    template, called, tmp_path, faults, capsys
):
    """One call in one way, the next in the other; and the other way round."""
    versions = []
    for number, name in enumerate(called):
        fault = faults[number % 2]
        warehouse = _copy(template, tmp_path / str(number) / "warehouse")
        with reading(warehouse.published) as reader:
            try:
                published_with(warehouse.folder, {number: fault})
            except (BehavsqlError, OSError, duckdb.Error) as error:
                assert failures.explain(error) == 1
                told = capsys.readouterr().err
                assert "; allowed " in told and "unexpected" not in told, (name, told)
            versions.append(_check(warehouse, reader, (number, name)))
        shutil.rmtree(warehouse.folder)
    # A link that cannot be made is a copy: publishing goes on.
    told = [one for one, name in zip(versions, called, strict=True) if name != "os.link"]
    assert told == sorted(told) and set(told) == {3, 4}


@pytest.mark.slow
def test_a_process_killed_before_any_call_leaves_the_old_version_or_the_new_one(
    template, called, tmp_path
):
    warehouses = [
        _copy(template, tmp_path / str(number) / "warehouse") for number in range(len(called))
    ]
    readers = [duckdb.connect() for _ in warehouses]
    for reader, warehouse in zip(readers, warehouses, strict=True):
        reader.execute(f"attach '{warehouse.published}' as file (read_only); use file")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(Path(__file__).parent),
         *(str(warehouse.folder) for warehouse in warehouses)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) == {"-9"}, done.stderr
    versions = []
    for number, (reader, warehouse) in enumerate(zip(readers, warehouses, strict=True)):
        versions.append(_check(warehouse, reader, (number, called[number])))
        reader.close()
    assert versions == sorted(versions) and set(versions) == {3, 4}


def test_a_clock_that_jumps_mixes_no_versions_up(template, tmp_path, monkeypatch):
    """Ten years ahead, twenty back, and right again: versions stay in the order of their builds."""
    warehouse, copy = _copy(template, tmp_path / "warehouse"), publishing.copy_file
    for run, years in enumerate((10, -20, 0, -30), 4):
        with warehouse.locked(), monkeypatch.context() as patch:
            now = time.time() + years * 365 * 86_400

            def copied(source: Path, to: Path, now: float = now) -> None:
                copy(source, to)
                os.utime(to, (now, now))

            patch.setattr(publishing, "copy_file", copied)
            warehouse.build.unlink()
            _database(warehouse.build, run)
            publishing.put(warehouse, warehouse.build, "0640")
        assert _version(warehouse.published) == run
        assert [_version(path) for path in warehouse.kept_versions()] == [run - 1, run - 2, run - 3]
