"""Nothing is left from other data, other files or other settings, whatever came in between."""

import json
import os
import shutil
from datetime import timedelta

import polars as pl
import pytest
from clickstream import clickstream
from conftest import cut_short, prebuilt, project, stage
from test_incremental import FEATURE, LABEL

from behavsql import data_steps, run
from behavsql.errors import ModelError, SourceError
from behavsql.pipeline import build, dry_run, score, train
from behavsql.progress import Progress

EVENTS = clickstream(300, 80, seed=4)
EARLIER = EVENTS.filter(pl.col("at") < EVENTS["at"].max() - timedelta(days=2))
QUIET = Progress(quiet=True)
STOPPED = "failed or was stopped last time"

pytestmark = pytest.mark.usefixtures("quick", "few")


def _put(made, events: pl.DataFrame) -> None:
    events.write_parquet(made.folder / "events.parquet")


def _write(made, place: str, text: str) -> None:
    path = made.folder / "sql" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _due(made) -> dict[str, str]:
    return {step.name: step.reason for step in dry_run(made) if step.reason}


def test_the_same_rows_in_another_order_are_found_again(tmp_path, rows):
    """Attributes, items and refused rows are those of their own row of the source."""
    (tmp_path / "a").mkdir()
    untimed = pl.when(pl.int_range(pl.len()) % 50 == 0).then(None).otherwise(pl.col("at"))
    made = project(tmp_path / "a", EARLIER.with_columns(at=untimed), only=("purchase",))
    prebuilt(made)
    shuffled = EARLIER.with_columns(at=untimed).sample(fraction=1, shuffle=True, seed=1)
    _put(made, shuffled)
    built = build(made, progress=QUIET)
    assert {"raw.events", "staging.events", "staging.event_attributes", "staging.rejected"} <= set(
        built.steps
    )
    assert "train purchase" not in built.steps, "no feature hangs on the order"
    (tmp_path / "b").mkdir()
    fresh = stage(project(tmp_path / "b", shuffled, only=("purchase",)))
    for table in ("event_attributes", "items", "rejected", "ledger"):
        query = f"select * from staging.{table} order by all"
        assert rows(built.path, query) == rows(fresh, query), table
    assert rows(built.path, "select count(*) > 0 from staging.rejected") == [(True,)]


def test_facts_in_another_order_are_read_again(tmp_path, rows):
    """Of a user who is told of twice the first row holds."""
    users = pl.DataFrame({"user": [1, 1, 2], "plan": ["gold", "free", "gold"]})
    users.write_parquet(tmp_path / "users.parquet")
    made = project(tmp_path, EARLIER, only=("purchase",), settings={"max_rejected_share": 1})
    facts = made.source[0].model_dump(include={"name", "path"}) | {
        "name": "people", "path": "users.parquet", "kind": "users",
        "columns": {"user_id": "user"}, "attributes": ["plan"],
    }  # fmt: skip
    source = [made.source[0], type(made.source[0]).model_validate(facts)]
    made = made.model_copy(update={"source": source})
    plan = "select attributes.plan from staging.users where user_id = 1"
    before = rows(prebuilt(made).path, plan)
    users[[1, 0, 2]].write_parquet(tmp_path / "users.parquet")
    after = rows(build(made, progress=QUIET).path, plan)
    assert {*before, *after} == {("gold",), ("free",)}


PREDICTED = """
    select max(as_of) = (select as_of from meta.clock), count(*), round(sum(probability), 6)
    from predictions.purchase
"""


def test_scores_of_newer_data_do_not_outlive_it(tmp_path, rows):
    made = project(tmp_path, EARLIER, only=("purchase",))
    path = prebuilt(made).path
    before = rows(path, PREDICTED)
    _put(made, EVENTS)
    score(made, progress=QUIET)
    assert rows(path, PREDICTED) != before
    _put(made, EARLIER)
    build(made, progress=QUIET)
    assert rows(path, PREDICTED) == before and before[0][0]
    assert _due(made) == {} and build(made, progress=QUIET).steps == ()


@pytest.mark.slow
def test_scores_that_went_back_with_the_data_are_those_that_are_published(tmp_path, rows):
    """Scored there and back, nothing is left to train; what tells of the models stays the newest."""
    made = project(tmp_path, EARLIER, only=("purchase",))
    path = prebuilt(made).path
    before = rows(path, PREDICTED)
    for events in (EVENTS, EARLIER):
        _put(made, events)
        score(made, progress=QUIET)
    assert rows(path, PREDICTED) == before
    assert build(made, progress=QUIET).steps == ()
    assert _due(made) == {} and score(made, progress=QUIET).steps == ()


@pytest.mark.slow
def test_tasks_scored_beside_a_training_go_back_with_the_data(tmp_path, rows):
    made = project(tmp_path, EARLIER, only=("purchase", "churn"))
    path = prebuilt(made).path
    _put(made, EVENTS)
    train(made, tasks=["purchase"], progress=QUIET)
    _put(made, EARLIER)
    build(made, progress=QUIET)
    for task in ("purchase", "churn"):
        late = f"select max(as_of) = (select as_of from meta.clock) from predictions.{task}"
        assert rows(path, late) == [(True,)], task
    assert _due(made) == {}


def test_a_refused_task_comes_back_when_its_label_file_is_mended(tmp_path, rows):
    made = project(tmp_path, EARLIER, only=("purchase",))
    _write(made, "5_labels/carting.sql", LABEL.replace("> 0 as label", "> 100000 as label"))
    path = prebuilt(made).path
    status = "select status from meta.tasks where task = 'carting'"
    assert rows(path, status) == [("refused",)]
    assert _due(made) == {}

    _write(made, "5_labels/carting.sql", LABEL.replace("> 0 as label", "> 200000 as label"))
    assert "labels.carting" in build(made, progress=QUIET).steps
    assert rows(path, status) == [("refused",)] and _due(made) == {}, "still too few"

    _write(made, "5_labels/carting.sql", LABEL)
    steps = build(made, progress=QUIET).steps
    assert {"labels.carting", "judge tasks", "train carting"} <= set(steps)
    assert "labels.purchase" not in steps
    assert rows(path, status) == [("ready",)]
    assert rows(path, "select count(*) > 0 from predictions.carting") == [(True,)]
    assert _due(made) == {}


def test_a_task_that_repeats_another_comes_back_when_either_changes(tmp_path, rows):
    """The verdict on one task hangs on the labels of another."""
    made = project(tmp_path, EARLIER, only=("purchase",))
    _write(made, "5_labels/carting.sql", LABEL)
    twin = LABEL.replace("'carting'", "'carted'")
    _write(made, "5_labels/carted.sql", twin)
    path = prebuilt(made).path
    status = "select task, status from meta.tasks where task like 'cart%' order by task"
    assert rows(path, status) == [("carted", "ready"), ("carting", "skipped")]
    _write(made, "5_labels/carted.sql", twin.replace("> 0 as label", "> 1 as label"))
    assert "train carting" in build(made, progress=QUIET).steps
    assert rows(path, status) == [("carted", "ready"), ("carting", "ready")]
    assert _due(made) == {}


@pytest.mark.parametrize("trained", [(), pytest.param(("churn",), marks=pytest.mark.slow)])
def test_models_of_files_that_changed_and_made_the_same_score_on(tmp_path, rows, trained):
    """Also with a task among the shipped that is skipped, and beside another task's training."""
    events = EARLIER.filter(pl.col("type") != "click")
    made = project(tmp_path, events, only=("purchase", "churn", "click"))
    _write(made, "4_features/kinds.sql", FEATURE)
    path = prebuilt(made).path
    again = FEATURE.replace("version: 1", "version: 2").replace(
        "<= cutoffs.cutoff_at\n", "<= cutoffs.cutoff_at and true\n"
    )
    _write(made, "4_features/kinds.sql", again)
    if trained:
        train(made, tasks=trained, progress=QUIET)
    else:
        with pytest.raises(ModelError, match="the model is stale"):
            score(made, progress=QUIET)
        assert "train purchase" not in build(made, progress=QUIET).steps
    learned = rows(path, "select feature_digests from models.models where task = 'purchase'")
    assert {json.loads(text)["features.kinds"]["sql"][:2] for (text,) in learned} == {"2 "}
    _put(made, EVENTS.filter(pl.col("type") != "click"))
    assert "score purchase" in score(made, progress=QUIET).steps


def test_models_stay_stale_as_long_as_their_rows_are_out_of_date(tmp_path):
    """A selection that makes other features, and no matrix of them, tells nothing of the models."""
    made = project(tmp_path, EARLIER, only=("purchase",))
    _write(made, "4_features/kinds.sql", FEATURE)
    prebuilt(made)
    _write(made, "4_features/kinds.sql", FEATURE.replace("count(distinct", "1 + count(distinct"))
    for name in ("features.recency", "features.kinds"):
        assert build(made, select=[name], full=True, progress=QUIET).steps == (name,)
        with pytest.raises(ModelError, match="the model is stale"):
            score(made, progress=QUIET)


def test_a_lower_max_rejected_share_is_applied_to_what_is_built(tmp_path):
    untimed = pl.when(pl.int_range(pl.len()) % 6 == 0).then(None).otherwise(pl.col("at"))
    made = project(tmp_path, EARLIER.with_columns(at=untimed), only=("purchase",))
    prebuilt(made)
    strict = made.model_copy(
        update={"settings": made.settings.model_copy(update={"max_rejected_share": 0.01})}
    )
    most = made.settings.max_rejected_share
    assert _due(strict)["staging.ledger"] == f"settings.max_rejected_share changed ({most} -> 0.01)"
    for _ in range(2):
        with pytest.raises(SourceError, match=r"allowed is max_rejected_share = 0\.01"):
            build(strict, progress=QUIET)
    assert set(build(made, progress=QUIET).steps) <= {"staging.ledger"}


def test_an_ingest_cut_short_is_done_again_whatever_ran_since(tmp_path, monkeypatch):
    """Even if the source is put back as it was, and a run that ended before any step does not hide it."""
    made = project(tmp_path, EARLIER, only=("purchase",))
    prebuilt(made)
    source = tmp_path / "events.parquet"
    stat = source.stat()
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))

    def too_early(*_: object) -> None:
        raise KeyboardInterrupt

    for place, stops in ((data_steps.ingest, "ingest"), (run.Run, "_announce")):
        with monkeypatch.context() as patched:
            patched.setattr(place, stops, cut_short if place is data_steps.ingest else too_early)
            with pytest.raises(KeyboardInterrupt):
                build(made, progress=QUIET)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _due(made)["raw.events"] == STOPPED
    steps = build(made, progress=QUIET).steps
    assert steps[0] == "raw.events" and "staging.repeats" in steps
    assert _due(made) == {}


def test_a_macro_goes_with_its_file(tmp_path, rows):
    made = project(tmp_path, EARLIER, only=("purchase",))
    _write(
        made, "0_macros/twice.sql",
        "-- purpose: two times a number\n-- version: 1\ncreate or replace macro twice(a) as a * 2\n",
    )  # fmt: skip
    _write(
        made, "4_features/kinds.sql", FEATURE.replace("count(distinct", "twice(1) + count(distinct")
    )
    path = prebuilt(made).path
    macros = (
        "select function_name from duckdb_functions() where function_name in ('twice', 'total')"
    )
    assert sorted(set(rows(path, macros))) == [("total",), ("twice",)]
    shutil.rmtree(made.folder / "sql")
    build(made, progress=QUIET)
    assert set(rows(path, macros)) == {("total",)}
