"""What training does with a model that fails, and with too little time."""

import re
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import project

from behavsql import budget
from behavsql.budget import Budget
from behavsql.compile import CompileError
from behavsql.errors import ModelError
from behavsql.frames import Asked, Table
from behavsql.models import model_class
from behavsql.models.decision_tree import DecisionTree
from behavsql.models.logistic import Logistic
from behavsql.models.persistence import Persistence
from behavsql.pipeline import build, dry_run
from behavsql.progress import Progress
from behavsql.promotion import promote
from behavsql.tasks import Task
from behavsql.train import Trained

EVENTS = clickstream(300, 80, seed=4)
LEFT_OUT = "select task, model, reason from models.left_out"


@pytest.fixture
def made(tmp_path, quick, few):
    return project(tmp_path, EVENTS, only=("purchase",))


def test_a_model_that_fails_is_left_out_and_the_build_goes_on(made, rows, monkeypatch, capsys):
    def fail(self, train, valid):
        raise ZeroDivisionError("by nothing\nsecond line")

    with monkeypatch.context() as patched:
        patched.setattr(DecisionTree, "fit", fail)
        path = build(made, progress=Progress()).path
    told = "it failed (ZeroDivisionError: by nothing)"
    said = capsys.readouterr().err
    assert f"purchase: decision_tree is left out: {told}" in said
    assert re.search(r"^ *purchase: .* is published", said, re.MULTILINE)
    assert rows(path, LEFT_OUT) == [("purchase", "decision_tree", told)]
    models = rows(path, "select model from models.models order by 1")
    assert ("decision_tree",) not in models and ("prevalence",) in models

    def refuse(self, train, valid):
        raise ModelError("model decision_tree: no. Leave it out.")

    monkeypatch.setattr(DecisionTree, "fit", refuse)
    build(made, select=["train purchase"], progress=Progress(quiet=True))
    build(made, progress=Progress(quiet=True))
    assert rows(path, LEFT_OUT) == [
        ("purchase", "decision_tree", "model decision_tree: no. Leave it out.")
    ]


def test_a_reference_that_fails_ends_the_build(made, monkeypatch):
    monkeypatch.setattr(Persistence, "fit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(made, progress=Progress(quiet=True))


def test_without_time_the_references_speak(made, rows, monkeypatch):
    limited = made.model_copy(
        update={"settings": made.settings.model_copy(update={"time_budget": timedelta(seconds=60)})}
    )
    with monkeypatch.context() as patched:
        patched.setattr(budget, "monotonic", iter(range(0, 10**6, 50)).__next__)
        path = build(limited, progress=Progress(quiet=True)).path
    assert rows(path, LEFT_OUT) == [
        ("purchase", "decision_tree", "no time was left of time_budget")
    ]  # fmt: skip
    assert rows(path, "select model from models.models where is_published") == [("persistence",)]
    again = {step.name: step.reason for step in dry_run(limited) if step.reason}
    assert not [name for name in again if name.startswith("train")]  # as much time, as much done
    due = {step.name: step.reason for step in dry_run(made) if step.reason}
    assert due["train purchase"] == "settings.time_budget changed (1 minute -> default)"
    build(made, progress=Progress(quiet=True))
    assert rows(path, LEFT_OUT) == []
    assert not any(step.reason for step in dry_run(limited))  # nothing was cut short


def test_a_budget_is_shared_by_what_models_may_gain(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(budget, "monotonic", lambda: clock[0])
    whole = Budget(100.0, trainings=2)
    task = whole.of_task(["prevalence", "decision_tree", "logistic", "lightgbm"])
    assert task.names == ["prevalence", "lightgbm", "logistic", "decision_tree"]
    first = task.seconds("lightgbm")
    assert first == pytest.approx(50 * 8 / 16)
    clock[0] = 10.0
    assert task.seconds("logistic") == pytest.approx(40 * 6 / 8)
    assert task.seconds("decision_tree") == pytest.approx(40)
    clock[0] = 20.0
    assert whole.of_task(["lightgbm"]).seconds("lightgbm") == pytest.approx(80)
    assert Budget(None).of_task(["logistic"]).seconds("logistic") is None


def test_options_overrule_defaults_and_unknown_ones_are_refused(monkeypatch):
    monkeypatch.setattr(Logistic, "OPTIONS", {"penalty": 1.0})
    assert Logistic("binary").option("penalty") == 1.0
    assert Logistic("binary", options={"penalty": 3.0}).option("penalty") == 3.0
    with pytest.raises(ModelError) as caught:
        Logistic("binary", options={"penalti": 3.0})
    assert str(caught.value) == (
        "model logistic: 'penalti' is not an option; known are penalty. "
        'Did you mean "penalty"? Leave it out.'
    )
    with pytest.raises(ModelError, match="known are none"):
        model_class("prevalence")("binary", options={"a": 1})


def test_what_a_model_shows_is_stored_and_goes_with_it(made, rows, monkeypatch):
    shown = pl.DataFrame({"leaf": [1, 2], "says": ["yes", "no"]})
    with monkeypatch.context() as patched:
        patched.setattr(DecisionTree, "tables", lambda self: {"tree_leaves": shown})
        path = build(made, progress=Progress(quiet=True)).path
    assert rows(path, "from models.tree_leaves order by leaf") == [
        ("purchase", "purchase__decision_tree", 1, "yes"),
        ("purchase", "purchase__decision_tree", 2, "no"),
    ]
    sizes = rows(path, "select count_bytes > 100, score_microseconds >= 0 from models.models")
    assert set(sizes) == {(True, True)}
    build(made, select=["train purchase"], progress=Progress(quiet=True))
    build(made, progress=Progress(quiet=True))
    assert rows(path, "from models.tree_leaves") == []


class Said:
    """A fitted model of which only its name and its reach in SQL matter."""

    def __init__(self, name: str, sql: str | None, family: str = "trees") -> None:
        self.name, self.sql, self.family = name, sql, family

    def to_sql(self, form: object) -> str:
        if self.sql is None:
            raise CompileError(f"model {self.name}: no SQL")
        return self.sql


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        (0.80, ("only_python", "in_sql")),  # better, but not surely: the function speaks
        (0.95, ("only_python", "only_python")),
        (0.70, ("in_sql", "in_sql")),
    ],
)
def test_a_model_that_only_python_can_ask_must_surely_beat_those_in_sql(python, expected):
    random = np.random.default_rng(1)
    label = (np.arange(800) % 2).astype(float)

    def trained(model: Said, hit: float) -> Trained:
        """Right about that share of the rows, and as sure as that."""
        right = random.random(800) < hit
        score = np.where(right == (label == 1), hit, 1 - hit)
        lost = -np.mean(np.log(np.where(right, hit, 1 - hit)))
        return Trained(model, None, score, score, 0.0, pick={"log_loss": float(lost)})

    those = [
        Trained(Said("prevalence", "0.5", "reference"), None, *[np.full(800, 0.5)] * 2, 0.0,
                pick={"log_loss": float(np.log(2))}),
        trained(Said("in_sql", "1e0"), 0.79), trained(Said("only_python", None), python),
    ]  # fmt: skip
    table = Table(
        pl.DataFrame({"a": label}), label, np.arange(800), label * np.nan, "purchase", "binary"
    )
    keys = pl.DataFrame({"split": ["valid"] * 800})
    asked = Asked(table, keys, np.zeros(800, bool), 1.0)
    task = Task("purchase", "binary", "log_loss")
    champion, published = promote(those, asked, task, 7, {})
    assert (champion.model.name, published.model.name) == expected
    if champion is not published:
        assert "does not surely beat in_sql, which is a function in SQL and it is not: " in (
            champion.reason
        )
        assert published.reason.startswith("beats prevalence: log_loss better by ")
