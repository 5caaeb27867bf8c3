"""The published file: whole at every moment, readable by others, writable by nobody but a build."""

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import duckdb
import pytest
from clickstream import clickstream
from conftest import QUICK, few_files, prebuilt, project
from processes import python

from behavsql.errors import LockedError, WarehouseError
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.warehouse import KEPT_VERSIONS, Warehouse, connect

QUIET = Progress(quiet=True)
EVENTS = clickstream(300, 80, seed=4)
RUN = "select max(run_id) from meta.runs"
# Builds the project in argv[1] and kills itself, as -9 does, where argv[2] says.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    import pytest
    from conftest import QUICK, few_files, project
    from behavsql import models
    from behavsql.pipeline import build
    from behavsql.progress import Progress

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    class Deadly(Progress):
        def step(self, name):
            return die() if name == sys.argv[2] else super().step(name)

    replace = os.replace
    if sys.argv[2] == "replace":
        os.replace = die
    if sys.argv[2] == "replaced":
        os.replace = lambda *paths: die(replace(*paths))
    models.MODEL_SETS["fast"] = QUICK
    few_files(pytest.MonkeyPatch())
    build(project(Path(sys.argv[1]), only=("purchase",), settings={"seed": 99, "session_gap": "7 minutes"}),
          progress=Deadly(quiet=True))
"""

pytestmark = pytest.mark.usefixtures("quick", "few")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """The folder of a small project that asks one question, built once for all tests."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        few_files(patch)
        prebuilt(project(folder, EVENTS, only=("purchase",)))
    return folder


@pytest.fixture
def made(template, tmp_path):
    """A copy of the small project, to spoil."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return project(tmp_path, only=("purchase",))


@pytest.fixture
def published(made) -> Path:
    return Warehouse(made.warehouse).published


def _again(made):
    """Build once more, cheaply: only the publishing is selected."""
    return build(made, select=["publish"], progress=QUIET)


def test_who_reads_the_old_file_keeps_it_and_who_opens_gets_the_new(made, published, rows):
    with connect(made.warehouse) as reader:
        old = reader.execute(RUN).fetchall()
        _again(made)
        assert reader.execute(RUN).fetchall() == old == [(1,)]
        assert reader.execute("select count(*) from main.customers").fetchall()[0][0] > 200
        assert rows(published, RUN) == [(2,)]


def test_one_builder_at_a_time(made):
    with (
        Warehouse(made.warehouse).locked(),
        pytest.raises(LockedError, match="another build is running here") as caught,
    ):
        _again(made)
    assert caught.value.exit_code == 3
    assert _again(made).steps == ("publish",)


@pytest.mark.parametrize(
    "where",
    [
        "train purchase / decision_tree",
        pytest.param("replace", marks=pytest.mark.slow),
        "replaced",
    ],
)
def test_a_killed_build_leaves_the_file_whole_and_the_next_one_works(made, published, rows, where):
    killed = python(KILLED, str(made.folder), where, str(Path(__file__).parent))
    _, told = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, told
    is_new = where == "replaced"
    assert rows(published, RUN) == [(2 if is_new else 1,)]
    assert rows(published, "select count(*) > 200 from main.customers") == [(True,)]
    changed = project(
        made.folder, only=("purchase",), settings={"seed": 99, "session_gap": "7 minutes"}
    )
    steps = build(changed, progress=QUIET).steps
    assert "publish" in steps and "raw.events" not in steps
    assert ("train purchase" in steps) == where.startswith("train")
    assert rows(published, RUN) == [(3,)]
    assert rows(published, "select count(*) from predictions.purchase")[0][0] > 30


def _write_and_die(published: Path, *, leave: bool) -> subprocess.Popen:
    """Another program that writes into the published file without closing it."""
    code = f"""
        import duckdb, os, signal, sys, time
        con = duckdb.connect({str(published)!r}, config={{"checkpoint_threshold": "1GB"}})
        con.execute("create table main.scribble as select 1 as x")
        print("written", flush=True)
        os.kill(os.getpid(), signal.SIGKILL) if {leave} else time.sleep(60)
    """
    writer = python(code)
    assert writer.stdout.readline() == "written\n"
    if leave:
        writer.wait()
    return writer


def test_a_log_that_a_killed_writer_left_does_not_reach_the_new_file(made, published, rows):
    _write_and_die(published, leave=True).stdout.close()
    log = Path(f"{published}.wal")
    assert log.exists()
    _again(made)
    assert not log.exists()
    assert rows(
        published, "select count(*) from duckdb_tables() where table_name = 'scribble'"
    ) == [(0,)]
    assert rows(published, RUN) == [(2,)]


def test_somebody_writing_into_the_published_file_is_told(made, published, rows):
    writer = _write_and_die(published, leave=False)
    try:
        with pytest.raises(LockedError, match="another process is writing to it"):
            _again(made)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    _again(made)
    assert rows(published, "select count(*) > 200 from main.customers") == [(True,)]


def test_the_last_three_versions_stay(made, rows):
    for _ in range(KEPT_VERSIONS + 2):
        _again(made)
    warehouse = Warehouse(made.warehouse)
    kept = sorted(warehouse.versions.iterdir())
    assert [rows(path, RUN)[0][0] for path in kept] == [3, 4, 5]
    assert rows(warehouse.published, RUN) == [(6,)]


@pytest.mark.parametrize("mode", ["0640", "0644"])
def test_only_the_published_file_is_for_others(tmp_path, mode):
    before = os.umask(0o022)
    try:
        made = project(tmp_path, EVENTS.head(3_000), only=(), settings={"publish_mode": mode})
        build(made, progress=QUIET)
        _again(made)
    finally:
        os.umask(before)
    modes = {
        path.relative_to(made.warehouse): stat.S_IMODE(path.stat().st_mode)
        for path in made.warehouse.rglob("*") if path.is_file()
    }  # fmt: skip
    assert modes.pop(Path("behaviour.duckdb")) == int(mode, 8)
    assert len(modes) >= 4
    assert {path: oct(found) for path, found in modes.items() if found != 0o600} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "attach '/tmp/other.duckdb'",
        "copy (select 1) to '/tmp/out.csv'",
        "export database '/tmp/out'",
        "set enable_external_access = true",
        "set memory_limit = '1GB'",
        "set lock_configuration = false",
        "reset lock_configuration",
        "install httpfs",
        "load httpfs",
        "create table main.x as select 1",
        "insert into meta.runs select * from meta.runs",
        "drop view main.customers",
        "update models.models set is_published = true",
    ],
)
def test_a_reader_can_do_nothing_but_read(con, statement):
    with pytest.raises(duckdb.Error):
        con.execute(statement).fetchall()


def test_a_reader_may_ask_the_warehouse_anything(con):
    assert con.execute(
        "select avg(purchase_probability) between 0 and 1 from main.customers"
    ).fetchall() == [(True,)]
    assert con.execute(
        "select safe_ratio(1, 2), days_between(timestamp '2024-01-01', timestamp '2024-01-03')"
    ).fetchall() == [(0.5, 2.0)]


def test_the_storage_version_is_one_that_older_clients_read(shop):
    with duckdb.connect(str(shop.built.path), read_only=True) as con:
        tags = con.execute("select tags from duckdb_databases() where not internal").fetchall()[0][
            0
        ]
    assert tags["storage_version"].startswith("v1.4.0")


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    made = project(tmp_path, EVENTS.head(100), settings={"warehouse": "file/warehouse"})
    with pytest.raises(
        WarehouseError, match=r"file/warehouse: cannot be written \(.*\); allowed is a folder"
    ):
        build(made, progress=QUIET)


@pytest.mark.parametrize(
    "content", [None, b"", b"not a database, but long enough to be looked at" * 200]
)
def test_what_is_no_warehouse_says_so(tmp_path, content):
    if content is not None:
        (tmp_path / "behaviour.duckdb").write_bytes(content)
    with pytest.raises(WarehouseError) as caught:
        connect(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "behaviour.duckdb")) and "\n" not in str(
        caught.value
    )


def test_a_view_that_cannot_be_selected_is_not_published(made, published, rows):
    with duckdb.connect(str(Warehouse(made.warehouse).build)) as con:
        con.execute(
            "create table main.gone as select 1 as x; create view main.broken as from main.gone; drop table main.gone"
        )
    with pytest.raises(WarehouseError, match=r"main\.broken: the view cannot be selected"):
        _again(made)
    assert rows(published, RUN) == [(1,)]
    with duckdb.connect(str(Warehouse(made.warehouse).build)) as con:
        con.execute("drop view main.broken")
    assert _again(made).steps == ("publish",)
    assert rows(published, "select count(*) > 200 from main.customers") == [(True,)]
