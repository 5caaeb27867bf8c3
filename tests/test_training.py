"""What training does with a model that fails, and with too little time."""

from datetime import timedelta

import polars as pl
import pytest
from clickstream import clickstream
from conftest import project

from behavsql import budget
from behavsql.budget import Budget
from behavsql.errors import ModelError
from behavsql.models import model_class
from behavsql.models.decision_tree import DecisionTree
from behavsql.models.logistic import Logistic
from behavsql.models.persistence import Persistence
from behavsql.pipeline import build
from behavsql.progress import Progress

EVENTS = clickstream(300, 80, seed=4)
LEFT_OUT = "select task, model, reason from models.left_out"


@pytest.fixture
def made(tmp_path, quick):
    return project(tmp_path, EVENTS, only=("purchase",))


def test_a_model_that_fails_is_left_out_and_the_build_goes_on(made, rows, monkeypatch, capsys):
    def fail(self, train, valid):
        raise ZeroDivisionError("by nothing\nsecond line")

    with monkeypatch.context() as patched:
        patched.setattr(DecisionTree, "fit", fail)
        path = build(made, progress=Progress()).path
    told = "it failed (ZeroDivisionError: by nothing)"
    assert f"purchase: decision_tree is left out: {told}" in capsys.readouterr().err
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
    monkeypatch.setattr(budget, "monotonic", iter(range(0, 10**6, 50)).__next__)
    limited = made.model_copy(
        update={"settings": made.settings.model_copy(update={"time_budget": timedelta(seconds=60)})}
    )
    path = build(limited, progress=Progress(quiet=True)).path
    assert rows(path, LEFT_OUT) == [
        ("purchase", "decision_tree", "no time was left of time_budget")
    ]  # fmt: skip
    assert rows(path, "select model from models.models where is_published") == [("persistence",)]


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
