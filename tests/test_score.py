"""New events scored by the models there are, and some tasks trained with some models."""

import json
from datetime import timedelta

import polars as pl
import pytest
from clickstream import clickstream
from conftest import Heard, few_files, prebuilt, project
from test_incremental import FEATURE, LABEL

from behavsql.errors import ConfigError, ModelError
from behavsql.models import best_reference
from behavsql.pipeline import build, dry_run, score, train
from behavsql.progress import Progress
from behavsql.rollback import roll_back

EVENTS = clickstream(300, 80, seed=4)
LAST = EVENTS["at"].max() - timedelta(days=2)
QUIET = Progress(quiet=True)
MODELS = "select task, model, version, trained_at from models.models order by all"
SCORED = (
    "select max(as_of), max(scored_at), count(*) from predictions.scored where task = 'purchase'"
)

pytestmark = pytest.mark.usefixtures("quick", "few")


@pytest.fixture
def few(monkeypatch):
    few_files(monkeypatch, "report.leaderboard")


@pytest.fixture
def made(tmp_path):
    """A project of two tasks, built without its last two days."""
    made = project(tmp_path, EVENTS.filter(pl.col("at") < LAST), only=("purchase", "churn"))
    prebuilt(made)
    return made


def _feature(made, text: str) -> None:
    path = made.folder / "sql/4_features/kinds.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _due(made) -> dict[str, str]:
    return {step.name: step.reason for step in dry_run(made) if step.reason}


def test_new_events_are_scored_and_nothing_is_trained(made, rows):
    path = made.warehouse / "behaviour.duckdb"
    models, before = rows(path, MODELS), rows(path, SCORED)[0]
    assert score(made, progress=QUIET).steps == (), "there is nothing new"

    EVENTS.write_parquet(made.folder / "events.parquet")
    steps = score(made, progress=QUIET).steps
    assert {"raw.events", "features.matrix", "score purchase", "score churn", "publish"} <= set(
        steps
    )
    assert not [step for step in steps if step.startswith("train")]
    assert rows(path, MODELS) == models
    after = rows(path, SCORED)[0]
    assert after[0] - before[0] == timedelta(days=2) and after[1] > before[1]
    assert rows(path, "select count(*) = count(purchase_probability) + count(*) filter "
                      "(where purchase_probability is null) from main.customers") == [(True,)]  # fmt: skip
    # What the model says of these rows is what the tables hold.
    missing = (
        "select count(*) from cutoffs.populations as asked anti join models.scores as scores "
        "using (user_id, cutoff_at) where asked.task = 'purchase' and asked.split = 'latest'"
    )
    assert rows(path, missing) == [(0,)]
    assert score(made, progress=QUIET).steps == ()

    # A build then does what scoring left out.
    assert _due(made)["train purchase"]
    steps = build(made, progress=QUIET).steps
    assert "train purchase" in steps and "raw.events" not in steps
    assert _due(made) == {}


def test_scoring_says_what_training_said(made, rows):
    """Loaded from the warehouse, a model gives every user the score it gave when it was fitted."""
    path = made.warehouse / "behaviour.duckdb"
    scores = (
        "select task, user_id, score, raw from models.scores where split = 'latest' order by all"
    )
    before = rows(path, scores)
    # A user without activity for long: nobody asked about now changes.
    old = EVENTS.filter(pl.col("at") < LAST)
    again = old.head(1).with_columns(user=pl.lit(99_999, pl.Int64), item=pl.lit(None, pl.Int64))
    pl.concat([old, again], how="vertical_relaxed").write_parquet(made.folder / "events.parquet")
    score(made, progress=QUIET)
    assert rows(path, scores) == before


def test_a_stale_model_is_refused_by_the_file_that_moved(made, rows):
    _feature(made, FEATURE)
    build(made, progress=QUIET)
    path = made.warehouse / "behaviour.duckdb"
    stored = rows(path, "select feature_digests from models.models where task = 'churn' limit 1")
    assert json.loads(stored[0][0])["features.kinds"]["sql"].startswith("1 ")
    models = rows(path, MODELS)
    moved = FEATURE.replace("count(distinct", "1 + count(distinct").replace(
        "version: 1", "version: 2"
    )
    _feature(made, moved)
    with pytest.raises(ModelError) as caught:
        score(made, progress=QUIET)
    told = str(caught.value)
    assert told.startswith("score churn (and purchase): the model is stale: ")
    assert "sql/4_features/kinds.sql changed (version 1 -> 2)" in told
    assert told.endswith("Run `behavsql train -t churn -t purchase`.")
    assert rows(path, MODELS) == models

    heard = Heard()
    steps = train(made, tasks=["churn"], progress=heard).steps
    assert "train churn" in steps and "score purchase" not in steps
    assert any(line.startswith("  purchase keeps its predictions: ") for line in heard.lines)
    with pytest.raises(ModelError, match="score purchase: the model is stale"):
        score(made, progress=QUIET)
    train(made, tasks=["purchase"], progress=QUIET)
    assert score(made, progress=QUIET).steps == ()


def test_a_setting_that_makes_other_features_makes_models_stale(made):
    wider = made.model_copy(
        update={"settings": made.settings.model_copy(update={"session_gap": timedelta(hours=2)})}
    )
    with pytest.raises(
        ModelError, match=r"settings\.session_gap changed \(30 minutes -> 2 hours\)"
    ):
        score(wider, progress=QUIET)


def test_scoring_without_a_model_says_what_to_run(tmp_path):
    made = project(tmp_path, EVENTS, only=("purchase",))
    with pytest.raises(ModelError, match=r"score: there is no model yet; .* Run `behavsql build`"):
        score(made, progress=QUIET)


def test_a_task_without_a_model_is_left_out(made, rows):
    path = made.folder / "sql/5_labels/carting.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LABEL)
    heard = Heard()
    score(made, progress=heard)
    assert "  carting has no model yet: behavsql train -t carting" in heard.lines
    published = made.warehouse / "behaviour.duckdb"
    described = [row[0] for row in rows(published, "describe main.customers")]
    assert "purchase_probability" in described and "carting_probability" not in described


def test_some_tasks_are_trained_with_some_models(made, rows):
    path = made.warehouse / "behaviour.duckdb"
    before = rows(path, "select * from models.models where task = 'churn' order by model")
    steps = train(made, tasks=["purchase"], models=["lightgbm"], progress=QUIET).steps
    assert "train purchase" in steps and "train churn" not in steps
    assert rows(path, "select model, version from models.models where task = 'purchase' order by 1") == [
        ("lightgbm", 2), ("persistence", 2), ("prevalence", 2),
    ]  # fmt: skip
    assert rows(path, "select * from models.models where task = 'churn' order by model") == before
    # It stays: the config's models are asked for again once something changes.
    assert build(made, progress=QUIET).steps == ()
    standard = made.model_copy(
        update={"settings": made.settings.model_copy(update={"models": "standard"})}
    )
    assert _due(standard)["train purchase"] == "settings.models changed (fast -> standard)"
    EVENTS.write_parquet(made.folder / "events.parquet")
    build(made, progress=QUIET)
    assert rows(path, "select count(*) from models.models where model = 'lightgbm'") == [(0,)]


def test_a_better_model_that_is_replaced_is_told(made, rows):
    path = made.warehouse / "behaviour.duckdb"
    value = (
        "select model, value from report.leaderboard "
        "where task = 'churn' and is_published and is_deciding_metric"
    )
    train(made, tasks=["churn"], models=["logistic"], progress=QUIET)
    [(good, before)] = rows(path, value)
    heard = Heard()
    train(made, tasks=["churn"], models=["prevalence"], progress=heard)
    [(bad, after)] = rows(path, value)
    assert (good, bad, before < after) == ("logistic", "prevalence", True)
    assert (
        f"  churn: prevalence {after:.4g} replaces logistic {before:.4g} on test; "
        f"behavsql rollback takes it back"
    ) in heard.lines
    roll_back(made)
    assert rows(path, value) == [(good, before)]

    # Not where the newer one is better, nor where other questions were asked.
    heard = Heard()
    train(made, tasks=["churn"], models=["logistic"], progress=heard)
    EVENTS.write_parquet(made.folder / "events.parquet")
    train(made, tasks=["churn"], models=["prevalence"], progress=heard)
    assert not [line for line in heard.lines if "replaces" in line]


def test_on_a_tie_of_the_references_prevalence_is_named():
    told = {"persistence": 0.3 + 1e-16, "prevalence": 0.1 + 0.2}
    assert best_reference(told, -1) == best_reference(told, 1) == "prevalence"
    assert best_reference({"prevalence": 0.4, "persistence": 0.3}, -1) == "persistence"
    assert best_reference({"prevalence": 0.3, "persistence": 0.4}, 1) == "persistence"


@pytest.mark.parametrize(
    ("tasks", "models", "told"),
    [
        (["churn"], ["linear"],
         "train: linear does not answer churn (binary); allowed are logistic, decision_tree, "
         "random_forest, lightgbm, "),
        (["churn", "purchase"], ["logistic", "linear"],
         "train: linear does not answer churn (binary), purchase (binary); allowed are logistic, "),
        (["churn", "engagement"], ["logistic"],
         "train: logistic does not answer engagement (count); allowed are linear, "),
        ([], ["linear"], "train: linear does not answer churn (binary); allowed are logistic, "),
    ],
    ids=["one", "a model too many", "a task too many", "all tasks"],
)  # fmt: skip
def test_models_that_cannot_answer_are_refused_before_anything_runs(tmp_path, tasks, models, told):
    made = project(tmp_path, EVENTS, only=("purchase", "churn", "engagement"))
    with pytest.raises(ConfigError) as caught:
        train(made, tasks=tasks, models=models, progress=QUIET)
    assert str(caught.value).startswith(told)
    assert str(caught.value).endswith(". Name one of these with -m, or other tasks with -t.")
    assert not made.warehouse.exists()


def test_references_alone_may_be_trained(made, rows):
    train(made, tasks=["purchase"], models=["persistence"], progress=QUIET)
    assert rows(made.warehouse / "behaviour.duckdb",
                "select count(*), count(*) filter (where is_published), count(*) filter (where "
                "is_champion) from models.models where task = 'purchase'") == [(2, 1, 1)]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"tasks": ["purchse"]},
            r'train: no task "purchse"; allowed are .*Did you mean "purchase"\?',
        ),
        ({"tasks": ["spend"]}, r'train: "spend" is disabled in behavsql\.toml; allowed are '),
        ({"models": ["lightgmb"]}, r'train: no model "lightgmb"; .*Did you mean "lightgbm"\?'),
    ],
    ids=["task", "disabled", "model"],
)
def test_unknown_names_are_refused_with_the_nearest(tmp_path, asked, told):
    made = project(tmp_path, EVENTS, only=("purchase", "churn"))
    with pytest.raises(ConfigError, match=told):
        train(made, progress=QUIET, **asked)
