"""`doctor` names each thing that is wrong, with a command against it, and changes nothing."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from behavsql.cli.main import app
from clickstream import clickstream
from conftest import project
from processes import holding, python
from typer.testing import CliRunner

from behavsql import __version__
from behavsql.doctor import examine, files, machine
from behavsql.doctor.diagnosis import Line
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.rollback import roll_back
from behavsql.warehouse import KEPT_VERSIONS, Warehouse

QUIET = Progress(quiet=True)
JUNK = b"not a database, but long enough to be looked at" * 200
CONFIG = """
[settings]
threads = 1
[[source]]
name = "shop"
path = "events.parquet"
[source.columns]
user_id = "user"
event_at = "at"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A project in which nothing is asked, built and published twice."""
    folder = tmp_path_factory.mktemp("template")
    made = project(folder, clickstream(40, 20, seed=4), only=())
    build(made, progress=QUIET)
    build(made, select=["publish"], progress=QUIET)
    (folder / "behavsql.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def warehouse(template, tmp_path, monkeypatch) -> Warehouse:
    """A copy of it, with the project as the current folder."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Warehouse(Path("warehouse"))


def _lines() -> dict[str, Line]:
    return {line.name: line for line in examine(is_here=True)}


def _content(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in (folder, *folder.rglob("*"))
    }


def test_a_sound_project_is_ok_in_every_line_and_left_as_it_was(warehouse):
    before = _content(Path())
    lines = _lines()
    assert {name: line for name, line in lines.items() if line.status != "ok"} == {}
    assert _content(Path()) == before
    assert lines["behavsql"].value == __version__
    assert lines["duckdb"].value == duckdb.__version__
    assert re.fullmatch(
        r"warehouse/behaviour\.duckdb: [\d.]+ MB, storage v1\.4\.0\+, for DuckDB 1\.4 and newer, by behavsql .+",
        lines["published file"].value,
    )
    assert lines["lock"].value == "no build is running"
    assert lines["sources"].value == "1 file in 1 source"
    assert re.fullmatch(r"1 kept \([\d.]+ MB\)", lines["versions"].value)


def test_without_a_config_and_a_warehouse_it_still_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = {line.name: line for line in examine()}
    assert {line.name for line in lines.values() if line.status != "ok"} == {"published file"}
    assert lines["published file"].remedy == "behavsql build"
    assert lines["config"].value.startswith("no behavsql.toml here")
    assert lines["folder"].value == "warehouse can be made"
    assert list(tmp_path.iterdir()) == []


def test_models_libraries_are_not_imported():
    code = (
        "import sys\nfrom behavsql.doctor import examine\nlist(examine())\n"
        "print([name for name in ('lightgbm', 'sklearn', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_package_that_is_missing_or_too_old_names_the_install(warehouse, monkeypatch):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "keras":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.4.4" if name == "duckdb" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda _: ["duckdb<3,>=2.0", "keras>=3.10", "build>=1.2; extra == 'test'"],
    )
    lines = _lines()
    assert lines["keras"] == Line(
        "keras", "problem", "not installed", "pip install --upgrade 'keras>=3.10'"
    )
    assert lines["duckdb"].value == "1.4.4, needed is 2.0 or newer"
    assert lines["duckdb"].remedy == "pip install --upgrade 'duckdb>=2.0'"


def test_a_wrong_config_and_missing_sources_are_problems(warehouse):
    Path("events.parquet").unlink()
    line = _lines()["sources"]
    assert line.status == "problem" and 'source "shop": no file matches' in line.value
    Path("behavsql.toml").write_text(CONFIG.replace("threads", "thread"))
    line = _lines()["config"]
    assert line.status == "problem" and "unknown key settings.thread" in line.value
    assert line.remedy == "edit behavsql.toml"


@pytest.mark.parametrize(
    ("path", "name", "remedy"),
    [
        ("published", "published file", "behavsql build"),
        ("build", "build file", "behavsql build --full"),
        ("raw", "raw file", "behavsql build --full"),
    ],
)
@pytest.mark.parametrize("content", [b"", JUNK, None])
def test_a_damaged_file_is_a_problem_with_the_command_that_recovers(
    warehouse, path, name, remedy, content
):
    file = getattr(warehouse, path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    lines = _lines()
    assert (lines[name].status, lines[name].remedy) == ("problem", remedy)
    assert f"{file}: " in lines[name].value and ", damaged: " in lines[name].value
    assert [line.name for line in lines.values() if line.status == "problem"] == [name]


def test_a_build_file_of_a_newer_behavsql_is_a_problem(warehouse):
    with duckdb.connect(str(warehouse.build)) as con:
        con.execute("update meta.runs set behavsql_version = '99.1.0' where run_id = 2")
    line = _lines()["build file"]
    assert line.status == "problem"
    assert line.value.endswith(f"written by behavsql 99.1.0; this is {__version__}")
    assert line.remedy == "pip install --upgrade 'behavsql>=99.1.0'"


@pytest.mark.parametrize("path", ["published", "build", "raw"])
def test_who_holds_a_file_is_named(warehouse, path):
    file = getattr(warehouse, path)
    with holding(file) as holder:
        line = _lines()[f"{path} file"]
    assert line.status == "problem" and re.search(
        rf"another process \(.+, PID {holder.pid}\)", line.value
    )
    assert line.remedy == f"kill {holder.pid}"
    assert _lines()[f"{path} file"].status == "ok"


def test_a_running_build_is_told_and_no_problem(warehouse):
    (warehouse.work / "candidate.duckdb").write_bytes(b"half a copy")
    with warehouse.locked():
        lines = _lines()
        assert lines["lock"].value == "a build is running"
        assert lines["left-overs"].status == "ok"  # the candidate is the running build's
    assert _lines()["left-overs"].status == "warning"


def test_while_another_process_builds_the_whole_table_is_printed(warehouse):
    code = """
        from pathlib import Path
        from behavsql.config import load
        from behavsql.warehouse import Warehouse
        warehouse = Warehouse(Path("warehouse"))
        with warehouse.locked(), warehouse.building(load(Path("behavsql.toml"))):
            print(1, flush=True)
            input()"""
    with python(code) as builder:
        assert builder.stdout.readline() == "1\n"
        done = CliRunner().invoke(app, ["doctor", "--json"])
        builder.stdin.write("\n")
        builder.stdin.close()
    lines = {line["name"]: line for line in json.loads(done.stdout)}
    assert done.exit_code == 0 and list(lines) == list(_lines())
    assert lines["lock"]["value"] == f"a build is running, PID {builder.pid}"
    for name in ("build file", "raw file"):
        assert lines[name]["value"].endswith("in use by the build that is running")


def test_what_lies_about_is_named_with_the_command_that_removes_it(warehouse):
    work = warehouse.work
    for name in ("candidate.duckdb", "candidate.duckdb.wal", "build.duckdb.damaged-1"):
        (work / name).write_bytes(b"x" * 1_000_000)
    for name in ("time-travel-abc", "build.duckdb.tmp", "spill"):
        (work / name).mkdir()
        (work / name / "part").write_bytes(b"x" * 1_000_000)
    line = _lines()["left-overs"]
    assert line.status == "warning" and line.value.endswith("time-travel-abc (6.0 MB)")
    subprocess.run(line.remedy, shell=True, check=True)
    lines = _lines()
    assert lines["left-overs"] == Line("left-overs", "ok", "none")
    assert {name for name, line in lines.items() if line.status != "ok"} == set()


def test_versions_beyond_the_kept_ones_and_damaged_ones_are_named(warehouse):
    for number in range(KEPT_VERSIONS + 1):
        shutil.copyfile(warehouse.published, warehouse.versions / f"{1000 + number}.duckdb")
    line = _lines()["versions"]
    assert (line.status, line.value[:6]) == ("warning", "5 kept")
    assert (
        line.remedy
        == "rm -r warehouse/.work/versions/1001.duckdb warehouse/.work/versions/1000.duckdb"
    )
    subprocess.run(line.remedy, shell=True, check=True)
    assert _lines()["versions"].status == "ok"
    (warehouse.versions / "1003.duckdb").write_bytes(JUNK)
    assert _lines()["versions"].value.endswith("damaged: 1003.duckdb")


def test_a_log_beside_the_published_file_is_a_warning(warehouse):
    code = f"""import duckdb, os, signal
con = duckdb.connect({str(warehouse.published)!r}, config={{"checkpoint_threshold": "1GB"}})
con.execute("create table main.scribble as select 1 as x")
os.kill(os.getpid(), signal.SIGKILL)"""
    subprocess.run([sys.executable, "-c", code], check=False)
    lines = _lines()
    assert lines["write-ahead log"].status == "warning"
    assert lines["write-ahead log"].remedy == "behavsql build -s publish"
    assert lines["published file"].status == "ok"
    warehouse.published.unlink()
    assert _lines()["write-ahead log"].remedy == "rm -r warehouse/behaviour.duckdb.wal"


def test_a_restored_version_is_told(warehouse):
    roll_back(project(Path(), only=()))
    line = _lines()["published file"]
    assert line.status == "warning" and "restored by `behavsql rollback`" in line.value
    assert line.remedy == "behavsql build -s publish"


def test_a_raw_file_that_is_gone_is_a_warning(warehouse):
    warehouse.raw.unlink()
    assert _lines()["raw file"] == Line(
        "raw file", "warning", f"{warehouse.raw}: gone", "behavsql build"
    )


@pytest.mark.parametrize("name", ["published file", "build file"])
def test_a_file_that_may_not_be_read_is_no_damage(warehouse, monkeypatch, name):
    monkeypatch.setattr(files, "reading", _refusing(files.reading, name))
    line = _lines()[name]
    assert line.status == "problem" and line.value.endswith("permission denied")
    assert line.remedy.startswith("chmod u+rw warehouse/")


def _refusing(reading, name):
    """`reading` as it is where the file of that name belongs to somebody else."""
    from behavsql.database_file import explained

    wanted = {"published file": "behaviour.duckdb", "build file": "build.duckdb"}[name]

    def opened(path):
        if path.name == wanted:
            with explained(path):
                raise duckdb.IOException(f'IO Error: Cannot open file "{path}": Permission denied')
        return reading(path)

    return opened


def test_a_folder_that_cannot_be_written_is_a_problem(warehouse, monkeypatch):
    monkeypatch.setattr(machine, "_is_open", lambda path: path.name != ".work")
    line = _lines()["folder"]
    assert (line.status, line.remedy) == ("problem", "chmod u+rwx warehouse/.work")
    Path("taken").write_text("not a folder")
    lines = {line.name: line for line in examine(folder=Path("taken/warehouse"))}
    assert lines["folder"].status == "problem" and lines["folder"].value.endswith(
        "taken is no folder"
    )


@pytest.mark.parametrize(("share", "status"), [(0.5, "problem"), (1.5, "warning"), (2.5, "ok")])
def test_the_disk_must_hold_a_copy_of_the_build(warehouse, monkeypatch, share, status):
    size = warehouse.build.stat().st_size
    usage = shutil.disk_usage(Path())._replace(free=int(share * size))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    line = _lines()["disk"]
    assert line.status == status and bool(line.remedy) == (status != "ok")
    assert f"publishing needs {size / 1e6:,.1f} MB" in line.value


def test_a_memory_limit_above_what_there_is_is_a_warning(warehouse, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: (8 * 10**9, 2 * 10**9))
    Path("behavsql.toml").write_text(
        CONFIG.replace("threads = 1", 'memory_limit = "4GB"\nthreads = 5000')
    )
    lines = _lines()
    assert lines["memory"].status == "warning"
    assert lines["memory"].value.endswith(
        "2.0 GB of 8.0 GB available, memory_limit 4GB: more than there is"
    )
    assert lines["memory"].remedy == 'set memory_limit = "1600MB" under [settings]'
    assert lines["threads"].status == "warning"
    assert lines["threads"].remedy == f"set threads = {os.cpu_count()} under [settings]"
    Path("behavsql.toml").write_text(CONFIG)
    assert _lines()["memory"].status == "ok"
    monkeypatch.setattr(machine, "memory", lambda: (8 * 10**9, 10**8))
    assert _lines()["memory"].value.endswith(": little")
    monkeypatch.setattr(machine, "memory", lambda: (None, None))
    assert _lines()["memory"].value == "unknown on this system; memory_limit not set"


def test_the_command_prints_remedies_under_their_lines_and_fails_on_a_problem(warehouse):
    runner = CliRunner()
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 0 and "->" not in done.stdout and "problem" not in done.stdout
    (warehouse.work / "candidate.duckdb").write_bytes(b"half a copy")
    assert runner.invoke(app, ["doctor"]).exit_code == 0  # a warning only
    warehouse.build.write_bytes(JUNK)
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 1
    told = done.stdout.splitlines()
    place = next(i for i, line in enumerate(told) if line.startswith("problem  build file"))
    assert told[place + 1].strip() == "-> behavsql build --full"
    done = runner.invoke(app, ["doctor", "--json"])
    (found,) = [line for line in json.loads(done.stdout) if line["status"] == "problem"]
    assert done.exit_code == 1 and found["name"] == "build file"
    assert found["remedy"] == "behavsql build --full"
