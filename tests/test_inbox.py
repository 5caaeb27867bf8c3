"""`live.inbox`: what anybody inserts becomes events, exactly once, whatever happens in between."""

import os
import shutil
import signal
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, Heard, few_files, prebuilt, project
from processes import ask, holding, python

from behavsql import inbox, publishing
from behavsql.errors import ConfigError, LockedError, SqlFileError, WarehouseError
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build, dry_run, score, train
from behavsql.progress import Progress
from behavsql.rollback import roll_back
from behavsql.warehouse import Warehouse

QUIET = Progress(quiet=True)
EVENTS = clickstream(60, 40, seed=4)
NEWEST = EVENTS["at"].max()
# A good row, the same once more in the same statement, and one that no event can be made of.
THREE = "(1, 7, 'purchase', timestamp '{at}', 9.5), (1, 7, 'purchase', timestamp '{at}', 9.5), (null, 7, 'view', null, null)"
TAKEN = {"rows": 3, "events": 1, "duplicate": 1, "missing_user": 1}
# Builds the project in argv[1] and kills itself, as -9 does, where argv[2] says.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    import pytest
    from conftest import few_files, project
    from behavsql.pipeline import build
    from behavsql.progress import Progress

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    class Deadly(Progress):
        def step(self, name):
            return die() if name == sys.argv[2] else super().step(name)

    def replace(old, new, do=os.replace):
        moment = Path(new).name
        die() if sys.argv[2] == f"before {moment}" else None
        do(old, new)
        die() if sys.argv[2] == f"after {moment}" else None

    os.replace = replace
    few_files(pytest.MonkeyPatch())
    build(project(Path(sys.argv[1]), only=()), progress=Deadly(quiet=True))
"""


pytestmark = pytest.mark.usefixtures("few")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """The folder of a small project that asks nothing, built once for all tests."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch)
        prebuilt(project(folder, EVENTS, only=()))
    return folder


@pytest.fixture
def made(template, tmp_path):
    """A copy of it."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return project(tmp_path, only=())


@pytest.fixture
def warehouse(made) -> Warehouse:
    return Warehouse(made.warehouse)


def _insert(
    path: Path, values: str, columns: str = "user_id, item_id, event_type, event_at, value"
):
    with duckdb.connect(str(path)) as con:
        con.execute(f"insert into live.inbox ({columns}) values {values}")


def _three(path: Path, minutes: int = 1) -> None:
    _insert(path, THREE.format(at=NEWEST + timedelta(minutes=minutes)))


def _row(minutes: int) -> str:
    return f"(2, 7, 'view', timestamp '{NEWEST + timedelta(minutes=minutes)}', null)"


def _taken(path: Path, rows) -> dict[str, int]:
    """What became of the rows that were inserted, by the published account of them."""
    found = {"rows": rows(path, "select count_rows from staging.sources where source = 'inbox'")}
    found = {"rows": found["rows"][0][0]} if found["rows"] else {}
    counts = (
        "select 'events', count(*) as n from staging.events where source = 'inbox' having n > 0"
    )
    found |= dict(rows(path, counts))
    by_rule = (
        "select rule, count_rows_removed from staging.ledger where source = 'inbox' "
        "and count_rows_removed > 0"
    )
    return found | dict(rows(path, by_rule))


def _waiting(path: Path, rows) -> list[tuple]:
    return rows(path, "select user_id, event_type, event_at from live.inbox order by rowid")


# --- what becomes of a row ---


def test_the_published_table_is_empty_and_says_what_to_insert(made, warehouse, rows):
    path = warehouse.published
    columns = "select column_name, data_type, comment is not null from duckdb_columns() where table_name = 'inbox'"
    assert rows(path, columns) == [
        ("user_id", "BIGINT", True),
        ("item_id", "BIGINT", True),
        ("event_type", "VARCHAR", True),
        ("event_at", "TIMESTAMP", True),
        ("value", "DECIMAL(18,4)", True),
        ("quantity", "DECIMAL(18,4)", True),
        ("inserted_at", "TIMESTAMP", True),
    ]
    told = rows(path, "select comment from duckdb_tables() where table_name = 'inbox'")
    assert "insert" in told[0][0]
    assert rows(path, "select count(*) from meta.columns where table_name = 'inbox'") == [(7,)]
    assert _waiting(path, rows) == []
    with duckdb.connect(str(path)) as con:
        con.execute("set timezone = 'Asia/Tokyo'; insert into live.inbox (user_id) values (1)")
        now, type_ = con.execute(
            "select abs(epoch(inserted_at) - epoch(now())) < 60, event_type from live.inbox"
        ).fetchall()[0]
    assert (now, type_) == (True, "action")


def test_without_an_insert_nothing_is_different(made, warehouse, rows):
    assert build(made, progress=QUIET).steps == ()
    assert not warehouse.inbox.exists()
    assert rows(warehouse.published, "select source from staging.sources") == [("shop",)]
    assert rows(warehouse.published, "from staging.repeats") == []


def test_the_next_build_takes_what_was_inserted_and_empties_the_table(made, warehouse, rows):
    _three(warehouse.published)
    _insert(warehouse.published, _row(2))
    due = {step.name: step.reason for step in dry_run(made)}
    assert due["raw.events"] == "4 rows were inserted into live.inbox"
    assert due["staging.events"] == due["publish"] == "raw.events is rebuilt"
    assert not warehouse.inbox.exists(), "a dry run writes nothing"
    heard = Heard()
    build(made, progress=heard)
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 4, "events": 2}
    assert _waiting(warehouse.published, rows) == []
    newest = "select user_id, role, value from staging.events order by event_at desc limit 2"
    assert rows(warehouse.published, newest) == [(2, "view", None), (1, "purchase", 9.5)]
    refused = "select source_row, rule from staging.rejected where source = 'inbox' order by all"
    assert rows(warehouse.published, refused) == [(2, "duplicate"), (3, "missing_user")]
    assert build(made, progress=QUIET).steps == ()
    assert not [step for step in dry_run(made) if step.reason]
    assert warehouse.inbox.stat().st_mode & 0o777 == 0o600


def test_rows_that_are_all_unusable_do_not_stop_a_build(made, warehouse, rows):
    _insert(
        warehouse.published,
        "(1, 'infinity'), (null, null), (1, timestamp '2999-01-01')",
        "user_id, event_at",
    )
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == {
        "rows": 3, "missing_user": 1, "unparsable_time": 1, "future_time": 1,
    }  # fmt: skip


def test_what_the_sources_then_tell_too_is_one_event_and_theirs(made, warehouse, rows):
    at = NEWEST + timedelta(minutes=1)
    _three(warehouse.published)
    build(made, progress=QUIET)
    told = EVENTS.tail(1).with_columns(
        at=pl.lit(at, EVENTS["at"].dtype), user=pl.lit(1, EVENTS["user"].dtype),
        item=pl.lit(7, EVENTS["item"].dtype), type=pl.lit("purchase"),
    )  # fmt: skip
    exported = project(made.folder, pl.concat([EVENTS, told]), only=())
    build(exported, progress=QUIET)
    found = rows(warehouse.published, f"select source from staging.events where event_at = '{at}'")
    assert found == [("shop",)]
    assert _taken(warehouse.published, rows) == {"rows": 3, "duplicate": 2, "missing_user": 1}


@pytest.mark.slow
def test_rows_of_every_insert_stay_in_the_order_they_came_in(made, warehouse, rows):
    at = f"timestamp '{NEWEST}'"
    for item in (30, 10):
        _insert(
            warehouse.published,
            f"(1, {item}, 'view', {at}, null), (1, {item + 1}, 'cart', {at}, null)",
        )
        build(made, progress=QUIET)
    query = "select item_id from staging.events where source = 'inbox' order by event_id"
    assert rows(warehouse.published, query) == [(30,), (31,), (10,), (11,)]


@pytest.mark.parametrize("verb", [score, pytest.param(train, marks=pytest.mark.slow)])
def test_scoring_and_training_take_them_too(tmp_path, rows, monkeypatch, verb):
    monkeypatch.setitem(MODEL_SETS, "fast", QUICK)
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    path = prebuilt(made).path
    _insert(path, "(1, timestamp '2024-01-02')", "user_id, event_at")
    verb(made, progress=QUIET)
    assert _taken(path, rows) == {"rows": 1, "events": 1}


def test_ids_that_are_text_stay_text(tmp_path, rows):
    events = EVENTS.with_columns(user=pl.format("00{}", "user"))
    made = project(tmp_path, events, only=())
    path = build(made, progress=QUIET).path
    _insert(path, f"('00123', timestamp '{NEWEST}')", "user_id, event_at")
    build(made, progress=QUIET)
    query = "select user_id, event_type from staging.events where source = 'inbox'"
    assert rows(path, query) == [("00123", "action")]
    assert rows(
        path,
        "select distinct typeof(user_id) from live.inbox union all select typeof(max(user_id)) from staging.events",
    ) == [("VARCHAR",)]


def test_where_times_count_from_an_arbitrary_start_so_do_those_inserted(tmp_path, rows):
    events = pl.DataFrame({"who": [1, 2, 2], "day": [-3, 0, 40]})
    columns = {"user_id": "who", "event_at": "day"}
    made = project(
        tmp_path, events, only=(), columns=columns, at_unit="days", default_type="purchase"
    )
    path = build(made, progress=QUIET).path
    values = "(1, timestamp '2000-01-01' + interval 41 days), (2, timestamp '1980-01-01')"
    _insert(path, values, "user_id, event_at")
    build(made, progress=QUIET)
    assert _taken(path, rows) == {"rows": 2, "events": 2}
    assert rows(
        path, "select has_dates, has_time_of_day, last_event_at, as_of from meta.clock"
    ) == [(False, False, datetime(2000, 2, 11), datetime(2000, 2, 11, 23, 59, 59, 999999))]
    assert rows(path, "select distinct role from staging.events") == [("purchase",)]


def test_in_parts_the_rows_are_the_same(made, warehouse, rows):
    _three(warehouse.published)
    _insert(warehouse.published, _row(2))
    parts = made.model_copy(update={"settings": made.settings.model_copy(update={"partitions": 2})})
    build(parts, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 4, "events": 2}
    query = "from staging.events order by all"
    in_parts = rows(warehouse.published, query)
    build(made, select=["staging"], full=True, progress=QUIET)
    assert rows(warehouse.build, query) == in_parts


# --- nothing is lost, and nothing comes twice ---


class Inserting(Progress):
    """Inserts a row once a step begins."""

    def __init__(self, path: Path, step: str) -> None:
        super().__init__(quiet=True)
        self.path, self.name = path, step

    def step(self, name):
        if name == self.name:
            _insert(self.path, _row(5))
        return super().step(name)


@pytest.mark.parametrize("step", [pytest.param("raw.events", marks=pytest.mark.slow), "publish"])
def test_what_comes_in_while_a_build_runs_waits_in_the_new_file(made, warehouse, rows, step):
    _three(warehouse.published)
    build(made, progress=Inserting(warehouse.published, step))
    assert _taken(warehouse.published, rows) == TAKEN
    assert _waiting(warehouse.published, rows) == [(2, "view", NEWEST + timedelta(minutes=5))]
    assert "raw.events" in build(made, progress=QUIET).steps
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 4, "events": 2}
    assert _waiting(warehouse.published, rows) == []
    assert build(made, progress=QUIET).steps == ()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before inbox.parquet", marks=pytest.mark.slow),
        "after inbox.parquet",
        pytest.param("raw.events", marks=pytest.mark.slow),
        pytest.param("before behaviour.duckdb", marks=pytest.mark.slow),
        "after behaviour.duckdb",
    ],
)
def test_a_build_killed_at_any_moment(made, warehouse, rows, moment):
    _three(warehouse.published)
    killed = python(KILLED, str(made.folder), moment, str(Path(__file__).parent))
    _, told = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, told
    is_new = moment == "after behaviour.duckdb"
    assert len(_waiting(warehouse.published, rows)) == (0 if is_new else 3)
    _insert(warehouse.published, _row(3))
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 4, "events": 2}
    assert _waiting(warehouse.published, rows) == []
    assert build(made, progress=QUIET).steps == ()


@pytest.mark.parametrize("where", ["step", "publish"])
def test_a_build_that_fails(made, warehouse, rows, where, monkeypatch):
    _three(warehouse.published)
    if where == "step":
        folder = made.folder / "sql" / "1_staging"
        folder.mkdir(parents=True)
        (folder / "bad.sql").write_text(
            "-- purpose: fails\n-- grain: user_id\n-- inputs: staging.events\n-- version: 1\n"
            "select user_id, error('no') as x from staging.events\n"
        )
    else:
        monkeypatch.setattr(publishing, "broken_views", lambda _: iter([("main.customers", "no")]))
    with pytest.raises((SqlFileError, WarehouseError), match="no"):
        build(made, progress=QUIET)
    assert len(_waiting(warehouse.published, rows)) == 3
    monkeypatch.undo()
    shutil.rmtree(made.folder / "sql", ignore_errors=True)
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN


def test_a_row_that_was_taken_back_before_the_build_is_none(made, warehouse, rows):
    _three(warehouse.published)
    with duckdb.connect(str(warehouse.published)) as con:
        con.execute("delete from live.inbox where user_id = 1")
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == {"rows": 1, "missing_user": 1}


@pytest.mark.parametrize(
    "loss",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("raw file", "published file")),
        "work folder",
    ],
)
def test_rows_that_were_taken_outlive_what_a_build_can_make_anew(made, warehouse, rows, loss):
    _three(warehouse.published)
    build(made, progress=QUIET)
    if loss == "work folder":
        shutil.rmtree(warehouse.work)
    elif loss == "raw file":
        warehouse.raw.write_bytes(b"not a database" * 1000)
    elif loss == "published file":
        warehouse.published.unlink()
    build(made, full=loss == "raw file", progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN
    assert _waiting(warehouse.published, rows) == []


def test_a_damaged_published_file_keeps_its_inbox_and_that_is_said(made, warehouse, rows):
    _three(warehouse.published)
    build(made, progress=QUIET)
    warehouse.published.write_bytes(b"not a database" * 1000)
    heard = Heard()
    build(made, progress=heard)
    told = "behaviour.duckdb: live.inbox cannot be read; what was inserted there stays"
    assert told in heard.lines[0]
    assert "kept as behaviour.duckdb.damaged-1" in heard.lines[-1]
    assert _taken(warehouse.published, rows) == TAKEN


def test_a_version_from_before_shows_the_rows_in_its_inbox(made, warehouse, rows):
    _three(warehouse.published)
    build(made, progress=QUIET)
    _insert(warehouse.published, _row(5))
    roll_back(made)
    assert _taken(warehouse.published, rows) == {}
    assert [row[0] for row in _waiting(warehouse.published, rows)] == [1, 1, None, 2]
    _insert(warehouse.published, _row(6))
    roll_back(made)
    assert _taken(warehouse.published, rows) == TAKEN
    assert [row[0] for row in _waiting(warehouse.published, rows)] == [2, 2]
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 5, "events": 3}
    assert _waiting(warehouse.published, rows) == []


def test_a_version_without_the_table_stays_without_and_loses_nothing(made, warehouse, rows):
    with duckdb.connect(str(warehouse.published)) as con:
        con.execute("drop schema live cascade")  # as an earlier behavsql published it
    build(made, select=["publish"], progress=QUIET)
    _three(warehouse.published)
    roll_back(made)
    found = "select count(*) from duckdb_tables() where table_name = 'inbox'"
    assert rows(warehouse.published, found) == [(0,)]
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN


def test_a_row_written_into_a_file_just_as_it_was_replaced(made, warehouse, rows):
    build(made, select=["publish"], progress=QUIET)
    _three(warehouse.kept_versions()[0])  # as by a client that had opened it before
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN
    assert build(made, progress=QUIET).steps == ()


# --- who else has the file open ---


def test_a_writer_is_waited_for_by_nobody_and_its_rows_are_taken_later(made, warehouse, rows):
    with holding(warehouse.published) as writer:
        ask(
            writer,
            f"insert into live.inbox by name select 1 as user_id, timestamp '{NEWEST}' as event_at",
        )
        for run in (build, dry_run):
            with pytest.raises(
                LockedError,
                match=rf"writing to it \(python.*, PID {writer.pid}\); .* nothing is lost",
            ) as caught:
                run(made)
            assert caught.value.exit_code == 3
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == {"rows": 1, "events": 1}


def test_a_writer_that_comes_while_a_build_runs_stops_the_publishing_alone(made, warehouse, rows):
    writers = []

    class Opened(Progress):
        def step(self, name):
            if name == "sessions.sessions":
                writers.append(until_then.enter_context(holding(warehouse.published)))
            return super().step(name)

    _three(warehouse.published)
    with ExitStack() as until_then:
        with pytest.raises(LockedError, match="another process is writing to it"):
            build(made, progress=Opened(quiet=True))
        ask(
            writers[0],
            f"insert into live.inbox (user_id, item_id, event_type, event_at, value) values {_row(3)}",
        )
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN | {"rows": 4, "events": 2}


def test_readers_keep_reading_and_a_killed_writers_log_is_taken(made, warehouse, rows):
    code = """
        import duckdb, os, signal, sys
        con = duckdb.connect(sys.argv[1], config={"checkpoint_threshold": "1GB"})
        con.execute(sys.argv[2])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    values = THREE.format(at=NEWEST + timedelta(minutes=1))
    insert = (
        f"insert into live.inbox (user_id, item_id, event_type, event_at, value) values {values}"
    )
    with holding(warehouse.published, read_only=True) as reader:
        assert ask(reader, "select 1") == "[(1,)]\n"
    with python(code, str(warehouse.published), insert) as writer:
        writer.wait()
    log = Path(f"{warehouse.published}.wal")
    assert log.exists()
    with holding(warehouse.published, read_only=True) as reader:
        build(made, progress=QUIET)
        assert ask(reader, "select count(*) from live.inbox") == "[(3,)]\n", "the old file"
        assert _taken(warehouse.published, rows) == TAKEN
    assert not log.exists()


def test_in_the_moment_of_replacing_readers_come_in_and_writers_do_not(
    made, warehouse, monkeypatch
):
    told = {}

    def replace(old, new, do=os.replace):
        if Path(new) == warehouse.published:
            for read_only in (True, False):
                code = "import duckdb, sys; duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'True'); print('open')"
                with python(code, str(new), str(read_only)) as client:
                    told[read_only] = client.communicate(timeout=60)
        do(old, new)

    monkeypatch.setattr(os, "replace", replace)
    build(made, select=["publish"], progress=QUIET)
    assert told[True][0] == "open\n"
    assert told[False][0] == "" and "Conflicting lock" in told[False][1]
    _three(warehouse.published)  # and then they do again


def test_a_client_that_inserts_all_the_time_loses_nothing(made, warehouse, rows):
    code = """
        import duckdb, select, sys, time
        done = 0
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            try:
                with duckdb.connect(sys.argv[1]) as con:
                    con.execute(f"insert into live.inbox (user_id, item_id, event_at) values (1, {done}, '2024-01-01')")
                    done += 1
            except duckdb.IOException:
                pass
            time.sleep(0.02)
        print(done, flush=True)
    """
    published = 0
    with python(code, str(warehouse.published)) as client:
        assert client.stdout.readline() == "ready\n"
        for _ in range(4):
            try:
                roll_back(made) if published else build(made, select=["publish"], progress=QUIET)
                published += 1
            except LockedError:
                continue
        done = int(client.communicate("stop")[0])
    build(made, progress=QUIET)
    assert published > 0 and done > 0
    assert _taken(warehouse.published, rows) == {"rows": done, "events": done}
    found = "select list(item_id order by event_id) from staging.events where source = 'inbox'"
    assert rows(warehouse.published, found) == [(list(range(done)),)]


# --- what cannot be meant ---


def test_the_name_of_the_source_is_taken(tmp_path):
    with pytest.raises(ConfigError, match=r'source "inbox" is what live\.inbox is read as; give'):
        project(tmp_path, name="inbox")


def test_a_table_that_a_client_changed_is_named(made, warehouse, rows):
    _three(warehouse.published)
    with duckdb.connect(str(warehouse.published)) as con:
        con.execute("alter table live.inbox rename value to price")
    with pytest.raises(
        WarehouseError, match=r'live\.inbox: cannot be read: .*"value".*allowed are the columns'
    ):
        build(made, progress=QUIET)
    with duckdb.connect(str(warehouse.published)) as con:
        con.execute("alter table live.inbox rename price to value")
    build(made, progress=QUIET)
    assert _taken(warehouse.published, rows) == TAKEN


def test_an_archive_that_cannot_be_read_is_never_written_over(made, warehouse):
    _three(warehouse.published)
    build(made, progress=QUIET)
    warehouse.inbox.write_bytes(b"PAR1 not quite")
    _insert(warehouse.published, _row(5))
    with pytest.raises(
        WarehouseError, match=r"inbox\.parquet: cannot be read: .*Put a copy of it back"
    ):
        build(made, progress=QUIET)
    assert warehouse.inbox.read_bytes() == b"PAR1 not quite"


def test_an_inserted_id_that_the_table_cannot_hold_waits_in_the_archive(made, warehouse, rows):
    words = f"copy (select 'word' as user_id, null::varchar as item_id, 'view' as event_type, timestamp '{NEWEST}' as event_at, null::decimal(18, 4) as value, null::decimal(18, 4) as quantity, timestamp '{NEWEST}' as inserted_at) to '{warehouse.inbox}'"
    duckdb.sql(words)
    inbox.refill(warehouse.published, warehouse.inbox)
    assert _waiting(warehouse.published, rows) == []
    build(made, progress=QUIET)
    query = "select user_id from staging.events where source = 'inbox'"
    assert rows(warehouse.published, query) == [("word",)]
