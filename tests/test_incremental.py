"""What a second build does again: only what changed, and what depends on it."""

import os
import re
from datetime import timedelta

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, Heard, few_files, prebuilt, project

from behavsql.catalog import Catalog
from behavsql.config import TaskSettings
from behavsql.errors import ConfigError, SourceError, SqlFileError
from behavsql.pipeline import build, dry_run
from behavsql.plan import steps
from behavsql.progress import Progress

EVENTS = clickstream(300, 80, seed=4)
QUIET = Progress(quiet=True)
FEATURE = """-- purpose: how many different kinds of thing the user did
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.events
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    count(distinct events.event_type) as count_kinds,
from cutoffs.cutoffs as cutoffs
inner join staging.events as events
    on events.user_id = cutoffs.user_id
    and events.event_at <= cutoffs.cutoff_at
group by cutoffs.user_id, cutoffs.cutoff_at
"""
LABEL = """-- purpose: will the user put anything in the cart within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    binary
-- horizon: 7 days
-- active_within: 28 days
-- roles:   cart
-- version: 1
select
    windows.user_id,
    windows.cutoff_at,
    coalesce(sum(days.count_carts), 0) > 0 as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
where windows.task = 'carting'
group by windows.user_id, windows.cutoff_at
"""

pytestmark = pytest.mark.usefixtures("quick", "few")


@pytest.fixture
def few(monkeypatch):
    """With the tables that tests speak of by name."""
    few_files(monkeypatch, "features.frequency", "features.gaps", "report.lift")


@pytest.fixture
def made(tmp_path):
    """A small project that asks one question; not built yet."""
    return project(tmp_path, EVENTS, only=("purchase",))


def _write(made, place: str, text: str) -> None:
    path = made.folder / "sql" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _with(made, **settings):
    return made.model_copy(update={"settings": made.settings.model_copy(update=settings)})


def _schemas(steps) -> set[str]:
    return {re.split(r"[. ]", step)[0] for step in steps}


def _content(path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_only_what_changed_is_built_again(made, rows):
    """One project through its life: each change runs its own steps and those that read them."""
    first = prebuilt(made)
    assert len(first.steps) > 35 and first.steps[-1] == "publish"
    before = _content(first.path)

    # Nothing changed: nothing runs, nothing is published.
    again = build(made, progress=QUIET)
    assert again.steps == () and _content(again.path) == before
    assert dry_run(made) and not [step for step in dry_run(made) if step.reason]

    # Another gap between sessions: the events are as they were.
    wider = _with(made, session_gap=2 * made.settings.session_gap)
    planned = {step.name: step.is_certain for step in dry_run(wider) if step.reason}
    steps = build(wider, progress=QUIET).steps
    assert {name for name in planned if planned[name]} <= set(steps) <= set(planned)
    assert not _schemas(steps) & {"raw", "staging", "meta"}
    assert {
        "sessions.session_events",
        "sessions.sessions",
        "features.matrix",
        "train purchase",
        "publish",
    } <= set(steps)

    # Other models: only what comes after the features.
    steps = build(_with(wider, seed=8), progress=QUIET).steps
    assert _schemas(steps) <= {
        "train", "learn", "compile", "explain", "live", "models", "predictions", "report", "main",
        "publish",
    }  # fmt: skip

    # A file of another content: everything that comes out different.
    EVENTS.head(len(EVENTS) - 100).write_parquet(made.folder / "events.parquet")
    steps = build(_with(wider, seed=8), progress=QUIET).steps
    assert {"raw", "staging", "sessions", "cutoffs", "features", "train"} <= _schemas(steps)

    # `full` would run all of it again, whatever changed.
    planned = set(_due(_with(wider, seed=8), full=True))
    assert set(first.steps) <= planned
    assert not {"labels.dropout", "train dropout"} & planned, "no event of the data tells of it"
    assert rows(
        first.path, "select count(*), count(*) filter (where status <> 'done') from meta.runs"
    ) == [(4, 0)]
    assert rows(first.path, "select distinct version from models.models") == [(4,)]


def test_a_selection_runs_what_it_names(made, rows):
    path = prebuilt(made).path
    before = _content(path)
    assert build(made, select=["features.recency"], progress=QUIET).steps == ("features.recency",)
    assert _content(path) == before, "publishing was not selected"
    reports = [name for name in Catalog.load().order if name.startswith("report.")]
    assert build(made, select=["features.re*", "report"], progress=QUIET).steps == (
        "features.recency", *reports,
    )  # fmt: skip
    steps = build(made, select=["labels+"], progress=QUIET).steps
    assert {
        "labels.purchase",
        "features.matrix",
        "train purchase",
        "predictions.scored",
        "publish",
    } <= set(steps)
    assert (
        not _schemas(steps) & {"raw", "staging", "sessions", "cutoffs"}
        and "features.recency" not in steps
    )
    assert _content(path) != before
    assert set(build(made, select=["purchase"], progress=QUIET).steps) == {
        "labels.purchase",
        "train purchase",
    }
    with pytest.raises(
        ConfigError,
        match=r'--select: nothing is called \'features\.recensy\'.*Did you mean "features\.recency"\?',
    ):
        build(made, select=["features.recensy"], progress=QUIET)
    # What was trained is not published yet.
    steps = build(made, progress=QUIET).steps
    assert _schemas(steps) <= {
        "compile", "explain", "models", "predictions", "report", "main", "publish", "live"
    }  # fmt: skip
    assert "publish" in steps
    assert build(made, progress=QUIET).steps == ()


def test_full_forces_what_is_selected_and_nothing_else(made):
    prebuilt(made)
    assert build(made, select=["features.recency"], full=True, progress=QUIET).steps == (
        "features.recency",
    )


def test_a_selection_takes_along_what_is_out_of_date_above_it(made):
    """Else the step would be recorded as made from inputs that it never saw."""
    prebuilt(made)
    longer = _with(made, session_gap=timedelta(hours=2))
    steps = build(longer, select=["features.recency"], progress=QUIET).steps
    assert steps[-1] == "features.recency" and "sessions.session_events" in steps
    assert "features.gaps" not in steps and "staging.events" not in steps
    rest = build(longer, progress=QUIET).steps
    assert "features.gaps" in rest and "features.recency" not in rest


def _due(made, **options) -> dict[str, str]:
    return {step.name: step.reason for step in dry_run(made, **options) if step.reason}


def test_a_touched_file_is_read_again_and_no_more(made):
    """The same rows as before: nothing that reads them runs, and nothing is published."""
    path = prebuilt(made).path
    before = _content(path)
    later = (made.folder / "events.parquet").stat().st_mtime + 10
    os.utime(made.folder / "events.parquet", (later, later))
    assert _due(made)["raw.events"] == "source shop: events.parquet changed"
    built = build(made, progress=QUIET)
    assert built.steps == ("raw.events",) and built.is_published
    assert _content(path) == before
    assert _due(made) == {}


def test_reasons_name_the_cause(made, rows):
    assert set(_due(made).values()) == {"new"}
    assert set(_due(made, full=True).values()) == {"--full"}
    _write(made, "4_features/kinds.sql", FEATURE)
    prebuilt(made)
    where = (made.folder / "sql/4_features/kinds.sql").as_posix()

    _write(made, "4_features/kinds.sql", FEATURE + "-- a remark\n")
    assert _due(made) == {}
    other = FEATURE.replace("count(distinct", "1 + count(distinct")
    _write(made, "4_features/kinds.sql", other)
    assert _due(made)["features.kinds"] == f"{where} changed (still version 1)"
    _write(made, "4_features/kinds.sql", other.replace("version: 1", "version: 2"))
    due = _due(made)
    assert due["features.kinds"] == f"{where} changed (version 1 -> 2)"
    assert due["features.matrix"] == due["train purchase"] == "features.kinds is rebuilt"
    assert "features.recency" not in due
    steps = {step.name: step.is_certain for step in dry_run(made)}
    assert steps["features.kinds"] and not steps["train purchase"]
    _write(made, "4_features/kinds.sql", FEATURE)
    assert _due(made) == {}

    due = _due(_with(made, session_gap=timedelta(minutes=45)))
    reason = "settings.session_gap changed (30 minutes -> 45 minutes)"
    assert due["sessions.session_events"] == reason
    assert due["features.matrix"] == due["publish"] == "sessions.session_events is rebuilt"
    assert _due(_with(made, seed=8))["train purchase"] == "settings.seed changed (7 -> 8)"

    priced = made.source[0].columns.model_copy(update={"price": None})
    mapped = made.model_copy(
        update={"source": [made.source[0].model_copy(update={"columns": priced})]}
    )
    due = _due(mapped)
    assert due["raw.events"] == "source shop: mapping changed (columns.price)"
    assert due["staging.events"] == "raw.events is rebuilt"

    build(made, select=["staging.events"], progress=QUIET)
    assert _due(made) == {}, "it came out the same"
    (made.folder / "sql/4_features/kinds.sql").unlink()
    assert _due(made)["features.matrix"] == "features.kinds is gone"


def test_a_new_version_of_behavsql_is_a_reason(made, monkeypatch):
    prebuilt(made)
    monkeypatch.setattr(steps, "__version__", "9.0.0")
    assert re.fullmatch(r"behavsql [\d.]+ -> 9\.0\.0", _due(made)["raw.events"])


def test_a_dry_run_finds_a_column_that_is_not_there(made):
    wrong = made.source[0].columns.model_copy(update={"price": "prise"})
    mapped = made.model_copy(
        update={"source": [made.source[0].model_copy(update={"columns": wrong})]}
    )
    with pytest.raises(SourceError, match='has no column "prise"'):
        dry_run(mapped)


@pytest.mark.slow
def test_another_horizon_trains_the_task_it_is_of(tmp_path, rows):
    """Purchase looks further ahead: churn's rows, and its models, stay as they are."""
    made = project(tmp_path, EVENTS, only=("purchase", "churn"))
    path = prebuilt(made).path
    own = {"purchase": made.tasks.get("purchase", TaskSettings()).model_copy(
        update={"horizon": timedelta(days=9)})}  # fmt: skip
    longer = made.model_copy(update={"tasks": made.tasks | own})
    due = _due(longer)
    assert due["meta.tasks"] == "tasks.purchase.horizon changed (default -> 9 days)"
    assert due["train purchase"] == "meta.tasks is rebuilt" and "train click" not in due
    steps = build(longer, progress=QUIET).steps
    assert "train purchase" in steps and "labels.purchase" in steps
    assert not {"train churn", "labels.churn", "staging.events", "sessions.user_days"} & set(steps)
    assert rows(path, "select task, max(version) from models.models group by task order by 1") == [
        ("churn", 1), ("purchase", 2),
    ]  # fmt: skip
    assert rows(path, "select horizon_days from meta.tasks where task = 'purchase'") == [(9.0,)]
    assert _due(longer) == {}

    off = {"churn": TaskSettings(enabled=False)}
    without = longer.model_copy(update={"tasks": longer.tasks | off})
    assert "train churn" not in _due(without)
    steps = build(without, progress=QUIET).steps
    assert not [step for step in steps if step.startswith("train")]
    assert "churn_probability" not in [row[0] for row in rows(path, "describe main.customers")]


def test_a_warehouse_of_an_earlier_version_goes_on(made, rows):
    path = prebuilt(made).path
    with duckdb.connect(str(made.warehouse / ".work/build.duckdb")) as con:
        for column in ("parts", "inputs", "results"):
            con.execute(f"alter table meta.builds drop column {column}")
        con.execute("alter table meta.runs drop column step")
        con.execute("alter table meta.tasks drop column is_judged")
        for column in ("feature_digests", "scored_at", "is_worse_on_test"):
            con.execute(f"alter table models.models drop column {column}")
    certain = {step.reason for step in dry_run(made) if step.reason and step.is_certain}
    assert certain == {"built by an earlier behavsql"}
    build(made, progress=QUIET)
    assert _due(made) == {}
    assert rows(path, "select distinct version from models.models") == [(2,)]


def test_a_projects_own_files_override_and_add(made, rows):
    path = prebuilt(made).path
    matrix = [row[0] for row in rows(path, "describe features.matrix")]
    assert "count_kinds" not in matrix

    _write(made, "4_features/kinds.sql", FEATURE)
    _write(made, "5_labels/carting.sql", LABEL)
    steps = build(made, progress=QUIET).steps
    assert {"features.kinds", "labels.carting", "train carting"} <= set(steps)
    assert "features.recency" not in steps or "meta.tasks" in steps, "tasks changed, so cutoffs did"
    described = [row[0] for row in rows(path, "describe features.matrix")]
    assert "count_kinds" in described and "carting_last_window" in described
    assert rows(path, "select count(*) > 50, max(carting_probability) < 1 from main.customers") == [
        (True, True)
    ]
    assert rows(
        path, "select distinct feature from models.importance where feature = 'count_kinds'"
    ) == [("count_kinds",)]
    assert sorted(rows(path, "select model from models.models where task = 'carting'")) == sorted(
        (m,) for m in QUICK
    )

    # The same path as a file of the package overrules it.
    _write(made, "4_features/kinds.sql", FEATURE.replace("count_kinds", "count_words"))
    _write(made, "7_report/lift.sql", (
        "-- purpose: nothing\n-- grain:   task\n-- inputs:  models.models\n-- scope:   global\n-- version: 9\n"
        "select distinct task, 'mine' as whose from models.models\n"
    ))  # fmt: skip
    steps = build(made, progress=QUIET).steps
    assert "features.recency" not in steps and "labels.carting" not in steps
    assert rows(path, "select * from report.lift order by all") == [
        ("carting", "mine"),
        ("purchase", "mine"),
    ]
    assert "count_kinds" not in [row[0] for row in rows(path, "describe features.matrix")]

    # Files that are gone take their tables and tasks with them.
    (made.folder / "sql" / "5_labels" / "carting.sql").unlink()
    (made.folder / "sql" / "7_report" / "lift.sql").unlink()
    build(made, progress=QUIET)
    assert "carting_probability" not in [row[0] for row in rows(path, "describe main.customers")]
    left = rows(path, "select schema_name from duckdb_tables() where table_name = 'carting'")
    assert left == []
    assert rows(path, "select count(*) from models.models where task = 'carting'") == [(0,)]
    assert rows(path, "select count(*) > 1 from report.lift") == [(True,)]


def test_a_failing_check_stops_the_build_and_the_next_one_goes_on(made, rows):
    _write(made, "4_features/kinds.sql", FEATURE)
    path = prebuilt(made).path
    before = _content(path)

    _write(
        made,
        "4_features/kinds.sql",
        FEATURE.replace("-- version", "-- check:   count_kinds < 3\n-- version"),
    )
    wider = _with(made, session_gap=2 * made.settings.session_gap)
    with pytest.raises(SqlFileError) as caught:
        build(wider, progress=QUIET)
    told = str(caught.value)
    assert re.search(
        r"sql/4_features/kinds\.sql:4: check `count_kinds < 3` fails for [\d,]+ of [\d,]+ rows",
        told,
    )
    assert _content(path) == before

    _write(made, "4_features/kinds.sql", FEATURE.replace("how many", "of how many"))
    steps = build(wider, progress=QUIET).steps
    assert "features.kinds" in steps and "publish" in steps
    assert not _schemas(steps) & {"raw", "staging", "sessions"}, (
        "what was finished is not done again"
    )
    assert _content(path) != before
    assert rows(path, "select status from meta.runs order by run_id") == [
        ("done",),
        ("failed",),
        ("done",),
    ]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda text: text.replace("count(distinct events.event_type)", "count(distinct events.colour)"), "colour"),
        (lambda text: text.replace("group by cutoffs.user_id, cutoffs.cutoff_at", ""), "GROUP BY"),
        (lambda text: text.replace("count(distinct events.event_type)", "any_value(events.event_type)")
         .replace("group by cutoffs.user_id, cutoffs.cutoff_at", "group by cutoffs.user_id, cutoffs.cutoff_at, events.event_id"),
         "rows share user_id = "),
        (lambda text: text.replace("    cutoffs.user_id,\n", "    nullif(cutoffs.user_id, 5) as user_id,\n", 1),
         "rows have no user_id"),
    ],
    ids=["column", "syntax", "grain", "null"],
)  # fmt: skip
def test_a_wrong_file_is_named_with_the_reason(made, mistake, told):
    _write(made, "4_features/kinds.sql", mistake(FEATURE))
    with pytest.raises(SqlFileError) as caught:
        build(
            made,
            select=["raw", "staging", "meta", "sessions", "cutoffs", "features.kinds"],
            progress=QUIET,
        )
    assert "sql/4_features/kinds.sql" in str(caught.value) and told in str(caught.value)


def test_two_files_that_make_one_column_are_refused(made):
    _write(made, "4_features/kinds.sql", FEATURE.replace("count_kinds", "count_events_7d"))
    with pytest.raises(SqlFileError) as caught:
        build(made, progress=QUIET)
    told = str(caught.value)
    assert "column count_events_7d is also made by " in told
    assert "sql/4_features/kinds.sql" in told and "sql/4_features/frequency.sql" in told
    assert not (made.warehouse / "behaviour.duckdb").exists()


def test_a_date_is_no_feature(made):
    _write(
        made,
        "4_features/kinds.sql",
        FEATURE.replace("count(distinct", "current_date as seen_on,\n    count(distinct"),
    )
    with pytest.raises(SqlFileError) as caught:
        build(made, progress=QUIET)
    assert "kinds.sql: column seen_on is of type DATE; a feature is a number" in str(caught.value)


def test_too_much_rejected_stops_the_build_and_says_what(made):
    EVENTS.with_columns(pl.when(pl.int_range(pl.len()) % 3 > 0).then("user")).write_parquet(
        made.folder / "events.parquet"
    )
    with pytest.raises(
        SourceError,
        match=r'source "shop": 33\.3% of [\d,]+ rows cannot be used \(missing_user [\d,]+ ',
    ):
        build(made, progress=QUIET)
    lenient = _with(made, max_rejected_share=0.5)
    assert "staging.ledger" in build(lenient, select=["staging"], progress=QUIET).steps


def test_a_build_tells_at_each_step_what_it_took_for_granted(made):
    EVENTS.with_columns(pl.col("type").replace("click", "wiggle")).write_parquet(
        made.folder / "events.parquet"
    )
    heard = Heard()
    build(made, select=["staging.events"], progress=heard)
    told = {line.split()[0]: line for line in heard.lines}
    assert "taken as role action, not in [types]: wiggle" in told["staging.events"]


def test_a_project_that_moves_is_the_same_project(made):
    """Files are known by their place in the project, so a moved folder is not read again."""
    prebuilt(made)
    moved = made.folder.parent / f"{made.folder.name}-moved"
    made.folder.rename(moved)
    assert build(made.model_copy(update={"folder": moved}), progress=QUIET).steps == ()


def test_a_removed_published_file_is_published_again(made):
    path = prebuilt(made).path
    path.unlink()
    assert build(made, progress=QUIET).steps == ("publish",)
    assert path.exists()


@pytest.mark.slow
def test_a_label_file_that_comes_back_is_trained_again(tmp_path, rows):
    made = project(tmp_path, EVENTS, only=())
    _write(made, "5_labels/carting.sql", LABEL)
    path = prebuilt(made).path
    before = rows(path, "select count(*) from predictions.carting")
    (made.folder / "sql/5_labels/carting.sql").unlink()
    build(made, progress=QUIET)
    _write(made, "5_labels/carting.sql", LABEL)
    build(made, progress=QUIET)
    assert rows(path, "select count(*) from predictions.carting") == before != [(0,)]


def test_a_table_may_become_a_view(made, rows):
    _write(made, "4_features/kinds.sql", FEATURE)
    prebuilt(made)
    view = FEATURE.replace("-- version: 1", "-- materialized: view\n-- version: 2")
    _write(made, "4_features/kinds.sql", view)
    path = build(made, progress=QUIET).path
    assert rows(path, "select view_name from duckdb_views() where view_name = 'kinds'")
