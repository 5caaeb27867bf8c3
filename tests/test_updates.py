"""`behavsql update` as its users meet it: what it says, what it counts, what a kill leaves, the history."""

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import COLUMNS
from conftest import QUICK, Heard, few_files, prebuilt, project, run, shipped, stage
from processes import python
from test_updating import HOUR, begun, shop_row
from updating import DAYS, SHOP, START, advance, copied, differences, write

from behavsql import config
from behavsql.catalog import sql_tree
from behavsql.errors import ConfigError, WarehouseError
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build, score, update, update_dry_run
from behavsql.progress import Progress
from behavsql.updating import past
from behavsql.warehouse import Warehouse, connect

# Of whom the even ones buy every third day, which any model learns, and the odd ones never.
EVENTS = pl.select(n=pl.int_range(160 * 60)).select(
    user=pl.col("n") % 160, item=pl.col("n") * 7 % 11, price=pl.lit(2.5), quantity=pl.lit(1),
    category=pl.format("c{}", pl.col("n") * 7 % 11 % 3),
    type=pl.when((pl.col("n") % 2 == 0) & ((pl.col("n") // 160 + pl.col("n") % 160) % 3 == 0))
    .then(pl.lit("purchase")).otherwise(pl.lit("view")),
    at=pl.lit(START) + pl.duration(days=pl.col("n") // 160, minutes=pl.col("n") * 17 % 1400),
).sort("at")  # fmt: skip
NEWEST = EVENTS["at"].max()
QUIET = Progress(quiet=True)
# The last hours of the newest day: the moment that is asked about stays.
RECENT = datetime.combine(NEWEST.date(), datetime.min.time())
# Five who never bought do.
BOUGHT = EVENTS.filter(pl.col("user") % 2 == 1).tail(5).with_columns(type=pl.lit("purchase"))
OLD, NEW = EVENTS.filter(pl.col("at") < RECENT), EVENTS.filter(pl.col("at") >= RECENT)


def shop(folder: Path) -> config.Config:
    return project(folder, only=("purchase",), path="day*.parquet")


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A task with models, built of all but the last day and one event of it."""
    folder = tmp_path_factory.mktemp("template")
    pl.concat([OLD, NEW.head(1)]).write_parquet(folder / "day1.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        prebuilt(shop(folder))
    return folder


@pytest.fixture
def made(template, tmp_path, monkeypatch) -> config.Config:
    monkeypatch.setitem(MODEL_SETS, "fast", QUICK)
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return shop(tmp_path)


def asked(made: config.Config, query: str) -> list[tuple]:
    with connect(made.warehouse) as con:
        return con.execute(query).fetchall()


SCORES = (
    "select task, user_id, score, as_of, model, model_version from predictions.scored order by all"
)
SEGMENTS = "from report.segments order by all"
HISTORY = (
    "select task, user_id, score, as_of, model, model_version from predictions.history order by all"
)


def test_it_says_what_score_would_at_the_cost_of_the_new_rows(made, tmp_path):
    BOUGHT.write_parquet(made.folder / "day2.parquet")
    before = asked(made, SCORES)
    steps = _as_score_does(made, tmp_path / "whole")
    assert not [step for step in steps if step.startswith("train")]
    assert asked(made, SCORES) != before
    assert not {*steps} & {"report.segments", "report.slices"}, "the questions are of days before"
    assert update(made, progress=QUIET).steps == (), "there is nothing new"


def test_where_nothing_is_new_the_models_are_asked_once_whether_they_have_spoken(made):
    for verb in (update, score, update, score):
        before = asked(made, "select count(*) from meta.runs")
        assert verb(made, progress=QUIET).steps == ()
        assert asked(made, "select count(*) from meta.runs") == before
    with Warehouse(made.warehouse).building(made) as con:
        assert con.execute("select count(*) from meta.runs").fetchall() == [(2,)]


def test_late_events_change_what_is_told_of_past_questions(made, tmp_path):
    """Three weeks late: the test questions' users had bought by then, and more than was thought."""
    late = BOUGHT.with_columns(pl.col("at") - pl.duration(days=21), price=pl.lit(90.0))
    late.write_parquet(made.folder / "day2.parquet")
    before = asked(made, SEGMENTS)
    settings = made.settings.model_copy(update={"late_days": 40})
    steps = _as_score_does(made.model_copy(update={"settings": settings}), tmp_path / "whole")
    assert {"report.segments", "report.slices"} <= {*steps}
    assert asked(made, SEGMENTS) != before


def _as_score_does(made: config.Config, folder: Path) -> tuple[str, ...]:
    """The steps of an update, after which scores and reports are those of a score of a copy."""
    whole = copied(made, folder)
    heard = Heard()
    steps = update(made, progress=heard).steps
    assert not [line for line in heard.lines if "everything" in line]
    score(whole, progress=QUIET)
    for query in (
        SCORES,
        SEGMENTS,
        "from report.slices order by all",
        "from report.lift order by all",
    ):
        assert asked(made, query) == asked(whole, query)
    return steps


def test_only_users_whose_features_changed_are_scored_and_enter_the_history(made):
    first, users = asked(made, HISTORY), {*BOUGHT["user"]}
    assert first == asked(made, SCORES)
    BOUGHT.write_parquet(made.folder / "day2.parquet")
    update(made, progress=QUIET)
    added = [row for row in asked(made, HISTORY) if row not in first]
    assert added and {user for _, user, *_ in added} <= users
    assert {*first} <= {*asked(made, HISTORY)}, "nothing is taken out of it"
    scored = asked(made, "select count_rows from meta.builds where step = 'score purchase' "
                   "and run_id = (select max(run_id) from meta.runs)")  # fmt: skip
    assert scored == [(len(users),)]


def test_with_a_new_day_all_are_asked_anew(made):
    tomorrow = NEW.with_columns(pl.col("at") + pl.duration(days=1)).head(3)
    tomorrow.write_parquet(made.folder / "day2.parquet")
    first = asked(made, HISTORY)
    update(made, progress=QUIET)
    told = asked(
        made, "select max(as_of) - min(as_of), count(distinct as_of) from predictions.history"
    )
    assert told == [(timedelta(days=1), 2)]
    assert len(asked(made, HISTORY)) == len(first) + len(asked(made, SCORES))


def test_without_a_model_the_tables_before_them_are_brought_up_to_date(tmp_path, monkeypatch):
    """As a build of everything would, and what takes a model is left to it."""
    few_files(monkeypatch)
    monkeypatch.setitem(MODEL_SETS, "fast", QUICK)
    made = shop(tmp_path)
    with pytest.raises(WarehouseError, match=r"update: nothing was built yet; .* `behavsql build`"):
        update(made, progress=QUIET)
    pl.concat([OLD, NEW.head(1)]).write_parquet(made.folder / "day1.parquet")
    build(made, select=("features",), progress=QUIET)
    BOUGHT.write_parquet(made.folder / "day2.parquet")
    heard = Heard()
    update(made, progress=heard)
    assert "  purchase has no model yet: behavsql train -t purchase" in heard.lines
    whole = shop(Path(shutil.copytree(made.folder, tmp_path / "whole",
                                      ignore=shutil.ignore_patterns("warehouse"))))  # fmt: skip
    build(whole, progress=QUIET)
    assert differences(made, whole) == []


# Late events, by stages alone


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("start"), late_days=7)


def test_late_events_are_taken_and_later_ones_counted(start, tmp_path):
    made, newest = copied(start, tmp_path / "made"), START + timedelta(days=DAYS)
    row = shop_row((1, 1, 1, 0, 3, 0))
    ages = [timedelta(days=6, hours=20), timedelta(days=8), timedelta(days=40)]
    write(made.folder / "shop2.csv", [(*row[:3], newest - age, *row[4:]) for age in ages], SHOP)
    assert advance(made, by_update=True) == ""
    with Warehouse(made.warehouse).building(made) as con:
        told = con.execute(
            "select rule, source_row, reason from staging.rejected where rule = 'too_late' order by 2"
        ).fetchall()
        counts = con.execute(
            "select count_rows_removed from staging.ledger where source = 'shop' and rule = 'too_late'"
        ).fetchall()
    assert told == [
        ("too_late", 502, f"came more than late_days after: {newest - ages[1]}"),
        ("too_late", 503, f"came more than late_days after: {newest - ages[2]}"),
    ]
    assert counts == [(2,)]


def test_what_came_too_late_is_taken_in_when_all_is_read_again(start, tmp_path):
    made = copied(start, tmp_path / "made")
    row = shop_row((1, 1, 1, 0, 3, 0))
    write(made.folder / "shop2.csv", [(*row[:3], START + HOUR, *row[4:])], SHOP)
    whole = copied(made, tmp_path / "whole")
    advance(made, by_update=True)
    os.utime(made.folder / "shop1.csv")
    write(made.folder / "shop3.csv", [shop_row((2, 2, 1, 24 * DAYS - 1, 3, 0))], SHOP)
    shutil.copy2(made.folder / "shop3.csv", whole.folder)
    advance(made, by_update=False)
    advance(whole, by_update=False)
    assert differences(made, whole) == []


# When more than new files is there


def _touched(folder: Path) -> None:
    (folder / "day1.parquet").write_bytes((folder / "day1.parquet").read_bytes() + b"\n")


@pytest.mark.parametrize(("change", "why"), [
    (lambda folder: _touched(folder), "source shop: day1.parquet changed"),
    (lambda folder: (folder / "day1.parquet").rename(folder / "day9.parquet"),
     "source shop: day1.parquet is gone"),
    (lambda folder: NEW.write_parquet(folder / "day0.parquet"),
     "source shop: day0.parquet is read before files that were read already (files are read by name)"),
])  # fmt: skip
def test_what_is_more_than_new_files_is_said(made, change, why):
    change(made.folder)
    assert update_dry_run(made)[1] == why


def test_a_file_that_was_only_touched_is_the_file_that_was_read(made):
    os.utime(made.folder / "day1.parquet")
    NEW.write_parquet(made.folder / "day2.parquet")
    assert update_dry_run(made) == ({"shop": ["day2.parquet"]}, "")


def test_a_setting_that_changed_brings_everything_up_to_date(made):
    other = project(made.folder, only=("purchase",), path="day*.parquet",
                    settings={"session_gap": timedelta(minutes=5)})  # fmt: skip
    _, why = update_dry_run(other)
    assert "session_gap" in why


def test_a_changed_file_is_read_and_why_is_said(made):
    OLD.tail(len(OLD) - 5).write_parquet(made.folder / "day1.parquet")
    heard = Heard()
    update(made, progress=heard)
    assert "  everything is brought up to date: source shop: day1.parquet changed" in heard.lines
    assert asked(made, "select count_rows from staging.sources") == [(len(OLD) - 5,)]


def test_new_files_of_other_columns_are_read_with_the_old_ones(made):
    NEW.with_columns(extra=pl.lit(1)).write_parquet(made.folder / "day2.parquet")
    heard = Heard()
    update(made, progress=heard)
    told = "  everything is read again: source shop: its columns are not those of before"
    assert told in heard.lines
    assert asked(made, "select count_rows from staging.sources") == [(len(OLD) + 1 + len(NEW),)]


def test_dry_run_lists_the_new_files_and_writes_nothing(made, monkeypatch):
    NEW.write_parquet(made.folder / "day2.parquet")
    monkeypatch.chdir(made.folder)
    source = {"name": "shop", "path": "day*.parquet", "columns": COLUMNS}
    columns = "".join(f'{key} = "{value}"\n' for key, value in COLUMNS.items())
    off = "".join(
        f"[tasks.{name}]\nenabled = false\n"
        for name in ("churn", "click", "engagement", "next_item", "next_visit", "spend")
    )
    Path("behavsql.toml").write_text(
        f'[settings]\nmodels = "fast"\nthreads = 2\n[[source]]\nname = "{source["name"]}"\n'
        f'path = "{source["path"]}"\n[source.columns]\n{columns}{off}'
    )
    was = Warehouse(made.warehouse).build.read_bytes()
    assert run("update", "--dry-run").stdout.split() == [
        "source", "new", "file", "------", "------------", "shop", "day2.parquet",
    ]  # fmt: skip
    told = json.loads(run("update", "--dry-run", "--json").stdout)
    assert told == {"new_files": {"shop": ["day2.parquet"]}, "everything_because": None}
    assert Warehouse(made.warehouse).build.read_bytes() == was


def test_a_source_that_is_none_is_refused(made):
    with pytest.raises(
        ConfigError, match=r'update: no source "shoop"; allowed are shop, inbox. Did you mean'
    ):
        update(made, ["shoop"], progress=QUIET)


# Killed

KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from test_updates import shop
    from behavsql.pipeline import update
    from behavsql.progress import Progress

    class Deadly(Progress):
        def step(self, name):
            return os.kill(os.getpid(), signal.SIGKILL) if name == sys.argv[2] else super().step(name)

    update(shop(Path(sys.argv[1])), progress=Deadly(quiet=True))
"""


@pytest.fixture(scope="module")
def scored(template, tmp_path_factory) -> config.Config:
    """The template with the whole last day, as `score` makes it."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copytree(template, folder, dirs_exist_ok=True)
    NEW.write_parquet(folder / "day2.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        score(shop(folder), progress=QUIET)
    return shop(folder)


@pytest.mark.parametrize("place", [
    "raw.events", "publish",
    *(pytest.param(step, marks=pytest.mark.slow)
      for step in ("staging.rejected", "features.matrix", "explain purchase")),
])  # fmt: skip
def test_an_update_that_was_killed_is_finished_by_the_next(made, scored, place):
    NEW.write_parquet(made.folder / "day2.parquet")
    before = asked(made, SCORES)
    killed = python(KILLED, str(made.folder), place, str(Path(__file__).parent))
    _, told = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, told
    assert asked(made, SCORES) == before
    update(made, progress=QUIET)
    assert asked(made, SCORES) == asked(scored, SCORES)
    assert differences(made, scored) == []


# What stands


def test_reports_of_past_questions_are_known_by_their_queries():
    found = {file.name for file in shipped().files.values() if past.is_of_past(file)}
    assert found >= {"calibration", "confusion", "lift", "slices", "stability", "thresholds"}
    assert not found & {"score_drift", "signals", "scored", "leaderboard"}


@pytest.mark.parametrize(("query", "is_past"), [
    ("select task from models.scores where split = 'test' and (score > 0 or label > 0)", True),
    ("select task from models.scores as s where s.split in ('valid', 'test')", True),
    ("select task from models.scores where split = 'test' or score > 0", False),
    ("select task from models.scores where split in ('test', 'latest')", False),
    ("select task from models.scores where split <> 'latest'", False),
    ("select task from models.scores", False),
    ("select (select count(*) from models.scores), task from models.scores where split = 'test'", False),
    ("select m.* from models.scores s inner join models.models m using (model_id) where s.split = 'test'", False),
    ("select m.scored_at from models.scores s inner join models.models m using (model_id) where s.split = 'test'", False),
    ("select task from models.models", False),
])  # fmt: skip
def test_a_report_is_of_the_past_if_each_of_its_reads_is(query, is_past):
    with duckdb.connect() as con:
        tree = sql_tree.parse_select(con, query, "x.sql")
    assert past.is_of_past(replace(shipped().files["report.lift"], tree=tree)) == is_past


OF_USERS = {"cutoffs.known_days", "sessions.user_totals", "features.categories"}
QUESTIONS = "select s.user_id, s.cutoff_at from models.scores s where s.split = 'test'"


@pytest.mark.parametrize(("query", "looks"), [
    (QUESTIONS, {}),
    ("select 1 from models.scores s inner join cutoffs.known_days k on k.user_id = s.user_id "
     "and k.cutoff_at = s.cutoff_at where s.split = 'test'", {"cutoffs.known_days": "cutoff_at"}),
    ("select 1 from models.scores s inner join sessions.user_totals t on t.user_id = s.user_id "
     "and s.cutoff_at >= t.day_at where s.split = 'test'", {"sessions.user_totals": "day_at"}),
    (f"with q as ({QUESTIONS}) select 1 from q inner join sessions.user_totals t "
     "on t.user_id = q.user_id and t.day_at < q.cutoff_at", {"sessions.user_totals": "day_at"}),
    # Days up to another moment, any day, users who have none, an outer join, a query of its own.
    ("select 1 from models.scores s inner join sessions.user_totals t on t.user_id = s.user_id "
     "and t.day_at <= s.seen_until where s.split = 'test'", None),
    ("select 1 from models.scores s inner join sessions.user_totals t on t.user_id = s.user_id "
     "where s.split = 'test'", None),
    ("select 1 from models.scores s left join sessions.user_totals t on t.user_id = s.user_id "
     "and t.day_at <= s.cutoff_at where s.split = 'test'", None),
    (f"with q as ({QUESTIONS}), d as (select user_id, max(day_at) as cutoff_at from sessions.user_totals "
     "group by user_id) select 1 from q inner join d on d.user_id = q.user_id", None),
    (f"with q as ({QUESTIONS}), c as (select k.cutoff_at, q.user_id from q inner join cutoffs.splits k "
     "on k.task = q.task) select 1 from c inner join sessions.user_totals t on t.day_at <= c.cutoff_at", None),
    (f"{QUESTIONS} and s.user_id in (select user_id from sessions.user_totals)", None),
])  # fmt: skip
def test_a_report_looks_at_users_up_to_the_cutoff_of_each_question_or_it_is_made_anew(query, looks):
    with duckdb.connect() as con:
        assert past.looks_at(sql_tree.parse_select(con, query, "x.sql"), OF_USERS) == looks


def test_what_is_told_of_the_test_questions_ends_with_their_cutoffs():
    tree = shipped().files["report.segments"].tree
    assert {*past.looks_at(tree, OF_USERS)} == OF_USERS


# Databases


def test_a_database_is_asked_for_rows_past_the_watermark(template, tmp_path):
    def insert(rows: pl.DataFrame) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
            con.execute(f"create table if not exists events (id, {', '.join(rows.columns)})")
            start = con.execute("select count(*) from events").fetchone()[0]
            told = rows.with_columns(pl.col("at").dt.to_string()).rows()
            marks = ", ".join("?" * (rows.width + 1))
            con.executemany(f"insert into events values ({marks})",
                            [(start + n, *row) for n, row in enumerate(told)])  # fmt: skip
            con.commit()

    insert(OLD)
    made = project(tmp_path, only=("purchase",), path=None, url="sqlite:///shop.db", table="events",
                   watermark="id")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        prebuilt(made)
        insert(NEW)
        heard = Heard()
        steps = update(made, ["shop"], progress=heard).steps
    assert "raw.events" in steps
    assert not [line for line in heard.lines if "everything" in line]
    assert asked(made, "select count_rows from staging.sources") == [(len(EVENTS),)]
    events = "select user_id, item_id, event_type, event_at, value from staging.events order by all"
    pl.concat([OLD, NEW]).write_parquet(tmp_path / "all.parquet")
    whole = project(tmp_path, path="all.parquet")
    assert asked(made, events) == stage(whole).execute(events).fetchall()
