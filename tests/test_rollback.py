"""A kept version comes back as atomically as it was published, and can be undone; damage is set aside."""

import os
import re
import shutil
from pathlib import Path

import pytest
from behavsql.cli.main import app
from clickstream import clickstream
from conftest import QUICK, Heard, few_files, prebuilt, project
from processes import holding
from typer.testing import CliRunner

from behavsql import warehouse as warehouse_module
from behavsql.errors import ConfigError, LockedError, WarehouseError
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build, dry_run
from behavsql.progress import Progress
from behavsql.rollback import roll_back, versions
from behavsql.warehouse import KEPT_VERSIONS, Warehouse, connect

QUIET = Progress(quiet=True)
RUN = "select max(run_id) from meta.runs"
JUNK = b"not a database, but long enough to be looked at" * 200

pytestmark = pytest.mark.usefixtures("quick", "few")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """The folder of a small project whose runs 1 to 3 were published, run 3 last."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        few_files(patch)
        made = project(folder, clickstream(300, 80, seed=4), only=("purchase",))
        prebuilt(made)
        for _ in range(2):
            build(made, select=("publish",), progress=QUIET)
    return folder


@pytest.fixture
def made(template, tmp_path):
    """A copy of it."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)  # times are kept, names of versions too
    return project(tmp_path, only=("purchase",))


def _runs(made, rows) -> tuple[int, list[int]]:
    """The run that is published, and those that are kept, the newest first."""
    warehouse = Warehouse(made.warehouse)
    return rows(warehouse.published, RUN)[0][0], [version.run_id for version in versions(made)]


def test_the_previous_version_comes_back_and_a_second_time_undoes_it(made, rows):
    assert _runs(made, rows) == (3, [2, 1])
    assert roll_back(made).run_id == 2
    assert _runs(made, rows) == (2, [3, 1])
    assert roll_back(made).run_id == 3
    assert _runs(made, rows) == (3, [2, 1])
    assert roll_back(made, 2).run_id == 1
    assert _runs(made, rows) == (1, [3, 2])
    build(made, select=["publish"], progress=QUIET)
    assert _runs(made, rows) == (4, [1, 3, 2])  # the previous one is the one that was published
    build(made, select=["publish"], progress=QUIET)
    assert _runs(made, rows) == (5, [4, 1, 3])
    roll_back(made, KEPT_VERSIONS)
    assert _runs(made, rows) == (3, [5, 4, 1])


def test_versions_are_told_with_all_that_helps_to_choose(made):
    newest, oldest = versions(made)
    assert (newest.number, oldest.number) == (1, 2)
    assert newest.run_id > oldest.run_id and newest.published_at >= oldest.published_at
    assert newest.tasks == ("purchase",) and newest.size == newest.path.stat().st_size
    assert re.fullmatch(r"\d+\.\d+.*", newest.behavsql_version) and newest.problem is None


def test_a_rollback_does_not_change_when_a_version_was_published(made, rows):
    runs = rows(Warehouse(made.warehouse).published, "select run_id, finished_at from meta.runs")
    ended = {run: at for run, at in runs if at}
    assert len(ended) == 3
    for _ in range(3):
        assert all(version.published_at == ended[version.run_id] for version in versions(made))
        roll_back(made)


def test_with_nothing_kept_the_list_is_one_line(tmp_path):
    listed = CliRunner().invoke(app, ["rollback", "--list", "--warehouse", str(tmp_path)])
    assert (listed.exit_code, listed.stdout, listed.stderr) == (0, "", "no kept version\n")


def test_who_reads_meanwhile_is_not_disturbed(made, rows):
    with connect(made.warehouse) as reader:
        assert reader.execute(RUN).fetchall() == [(3,)]
        roll_back(made)
        assert reader.execute(RUN).fetchall() == [(3,)]
        assert reader.execute("select count(*) > 100 from main.customers").fetchall() == [(True,)]
    assert rows(Warehouse(made.warehouse).published, RUN) == [(2,)]


def test_a_build_in_which_nothing_changed_leaves_the_restored_version_and_says_so(made, rows):
    roll_back(made)
    heard = Heard()
    assert build(made, progress=heard).steps == ()
    (line,) = heard.lines
    assert re.search(
        r"behaviour\.duckdb: the version of run 2 \(.* UTC\), which `behavsql rollback` restored, not that "
        r"of run 3; it stays until something changes\. .*: behavsql build -s publish",
        line,
    )
    assert rows(Warehouse(made.warehouse).published, RUN) == [(2,)]
    roll_back(made)
    heard.lines.clear()
    assert build(made, progress=heard).steps == () and heard.lines == []


def test_a_change_publishes_over_the_restored_version(made, rows):
    roll_back(made)
    changed = made.model_copy(update={"settings": made.settings.model_copy(update={"seed": 8})})
    heard = Heard()
    assert build(changed, progress=heard).steps[-1] == "publish"
    assert _runs(made, rows) == (4, [2, 3, 1])
    assert not any("`behavsql rollback` restored" in line for line in heard.lines)


def test_a_killed_rollback_leaves_the_published_file_whole(made, rows, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(warehouse_module.os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        roll_back(made)
    monkeypatch.undo()
    assert _runs(made, rows) == (3, [2, 1])
    monkeypatch.setitem(MODEL_SETS, "fast", QUICK)
    roll_back(made)
    assert _runs(made, rows) == (2, [3, 1])


def test_the_restored_file_has_the_mode_of_a_published_one(made):
    roll_back(made)
    warehouse = Warehouse(made.warehouse)
    assert warehouse.published.stat().st_mode & 0o777 == 0o640
    assert {path.stat().st_mode & 0o777 for path in warehouse.kept_versions()} == {0o600}


def test_a_published_file_that_was_removed_can_be_had_back(made, rows):
    Warehouse(made.warehouse).published.unlink()
    roll_back(made)
    assert _runs(made, rows) == (2, [1])


@pytest.mark.parametrize("number", [0, 3])
def test_a_number_there_is_not_is_a_usage_error(made, number):
    with pytest.raises(ConfigError, match=rf"--to {number}: .*; allowed are 1 to 2\. See .*--list"):
        roll_back(made, number)


def test_with_nothing_kept_it_says_so_and_makes_no_folder(tmp_path):
    with pytest.raises(
        WarehouseError, match=r"versions: no version is kept; .* Run `behavsql build`"
    ):
        roll_back(project(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_version_is_listed_as_such_and_not_restored(made, rows):
    versions(made)[0].path.write_bytes(JUNK)
    assert "not a valid DuckDB database" in versions(made)[0].problem
    with pytest.raises(WarehouseError, match=r"version 1 cannot be opened: .* Choose another"):
        roll_back(made)
    assert roll_back(made, 2).run_id == 1
    assert rows(Warehouse(made.warehouse).published, RUN) == [(1,)]


def test_a_running_build_keeps_it_out(made):
    with Warehouse(made.warehouse).locked(), pytest.raises(LockedError) as caught:
        roll_back(made)
    assert caught.value.exit_code == 3


def test_the_command_lists_restores_and_says_how_to_undo(made):
    runner = CliRunner()
    place = ["--warehouse", str(made.warehouse)]
    listed = runner.invoke(app, ["rollback", "--list", *place])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "number",
        "------",
        "1",
        "2",
    ]
    done = runner.invoke(app, ["rollback", "--to", "2", *place])
    assert done.exit_code == 0, done.output
    assert re.search(
        r"behaviour\.duckdb: restored the version of .* UTC \(run 1: purchase\)", done.stdout
    )
    assert done.stderr == "undo with: behavsql rollback\n"
    done = runner.invoke(app, ["rollback", "--json", *place])
    assert '"run_id": 3' in done.stdout
    both = runner.invoke(app, ["rollback", "--list", "--to", "1", *place])
    assert both.exit_code == 2 and "both --list and --to are set" in both.stderr


# --- files that are damaged, or held by somebody ---


def test_a_damaged_published_file_is_published_anew_and_kept_aside(made, rows):
    warehouse = Warehouse(made.warehouse)
    warehouse.published.write_bytes(JUNK)
    Path(f"{warehouse.published}.wal").write_bytes(b"its log")
    (step,) = [step for step in dry_run(made) if step.reason]
    assert (step.name, step.reason[:40]) == ("publish", "the published file cannot be opened: IO ")
    heard = Heard()
    assert build(made, progress=heard).steps == ("publish",)
    assert any(
        "the damaged file before it is kept as behaviour.duckdb.damaged-1" in line
        for line in heard.lines
    )
    assert (warehouse.work / "behaviour.duckdb.damaged-1").read_bytes() == JUNK
    assert (warehouse.work / "behaviour.duckdb.damaged-1.wal").read_bytes() == b"its log"
    assert _runs(made, rows) == (4, [2, 1])  # a damaged file is no version to go back to
    assert build(made, progress=QUIET).steps == ()


def test_a_damaged_published_file_can_be_rolled_back(made, rows):
    warehouse = Warehouse(made.warehouse)
    warehouse.published.write_bytes(JUNK)
    roll_back(made)
    assert _runs(made, rows) == (2, [1])
    assert (warehouse.work / "behaviour.duckdb.damaged-1").read_bytes() == JUNK


@pytest.mark.parametrize("name", ["build.duckdb", "raw.duckdb"])
def test_a_damaged_work_file_names_the_command_that_recovers_from_it(made, rows, name):
    work = Warehouse(made.warehouse).work
    (work / f"{name}.damaged-1").write_bytes(b"of an earlier recovery")
    (work / name).write_bytes(JUNK)
    with pytest.raises(
        WarehouseError, match=rf"{name}: cannot be opened: .* Run `behavsql build --full`"
    ):
        build(made, progress=QUIET)
    heard = Heard()
    assert build(made, full=True, progress=heard).steps[-1] == "publish"
    assert re.search(rf"{name}: cannot be opened \(.*\); kept as {name}\.damaged-2", heard.lines[0])
    assert (work / f"{name}.damaged-2").read_bytes() == JUNK
    assert (work / f"{name}.damaged-1").read_bytes() == b"of an earlier recovery"
    assert rows(
        Warehouse(made.warehouse).published, "select count(*) > 100 from main.customers"
    ) == [(True,)]


def test_a_raw_file_that_was_removed_is_read_again(made):
    Warehouse(made.warehouse).raw.unlink()
    reasons = {step.name: step.reason for step in dry_run(made)}
    assert reasons["raw.events"] == "raw.duckdb is gone"
    build(made, progress=QUIET)
    assert not [step for step in dry_run(made) if step.reason]


@pytest.mark.parametrize("name", ["behaviour.duckdb", ".work/build.duckdb", ".work/raw.duckdb"])
def test_a_file_that_another_process_holds_is_exit_3_and_names_it(made, rows, name):
    with holding(made.warehouse / name) as holder, pytest.raises(LockedError) as caught:
        build(made, select=["publish"], progress=QUIET)
    assert caught.value.exit_code == 3
    assert re.search(
        rf"{os.path.basename(name)}: another process .*PID {holder.pid}\)", str(caught.value)
    )
    assert rows(Warehouse(made.warehouse).published, RUN)[0][0] == 3
    assert build(made, select=["publish"], progress=QUIET).steps == ("publish",)


def test_a_rollback_waits_for_nobody_who_writes_into_the_published_file(made, rows):
    with (
        holding(Warehouse(made.warehouse).published),
        pytest.raises(LockedError, match="another process is writing to it"),
    ):
        roll_back(made)
    assert _runs(made, rows) == (3, [2, 1])
