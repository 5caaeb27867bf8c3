"""What would change a score: which changes are allowed, what moves along, and that they are small."""

from dataclasses import replace
from itertools import pairwise

import duckdb
import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import prebuilt, project
from models_data import fitted, questions, table

from behavsql.config import ExplainSettings
from behavsql.errors import ConfigError
from behavsql.explain import counterfactuals
from behavsql.explain.moves import Move, applied, moves
from behavsql.explain.user import changes, told
from behavsql.frames import Table
from behavsql.warehouse import connect

NAMES = ["count_orders_7d", "count_orders_30d", "count_orders_90d", "count_orders_lifetime",
         "days_since_last_purchase", "days_since_last_activity", "days_since_last_event",
         "days_since_first_event", "orders_30d_to_90d_ratio", "churn_last_window", "age",
         "cutoff_weekday"]  # fmt: skip


def allowed(**given: object) -> list[str]:
    facts = frozenset({"age"})
    return [one.feature for one in moves(NAMES, facts, **{"locked": [], "changeable": [], **given})]


def test_what_users_are_and_once_did_is_locked() -> None:
    assert allowed() == [*NAMES[:3], *NAMES[4:7]]


def test_a_project_locks_and_unlocks() -> None:
    assert "count_orders_7d" not in allowed(locked=["count_orders_*"])
    assert "days_since_first_event" in allowed(changeable=["days_since_first_*"])
    assert "age" not in allowed(changeable=["age"]), "facts stay facts"
    assert "cutoff_weekday" not in allowed(locked=["cutoff_*"], changeable=["cutoff_*"])


def test_windows_stay_within_each_other() -> None:
    found = {one.feature: one for one in moves(NAMES, frozenset(), [], [])}
    row = {"count_orders_7d": 2.0, "count_orders_30d": 3.0, "count_orders_90d": 8.0,
           "count_orders_lifetime": 20.0}  # fmt: skip
    more = {**row, **applied(row, found["count_orders_7d"], 5.0)}
    assert list(more.values()) == [5.0, 6.0, 11.0, 23.0]
    fewer = {**row, **applied(row, found["count_orders_90d"], 1.0)}
    assert list(fewer.values()) == [1.0, 1.0, 1.0, 13.0]


def test_an_event_is_an_activity_too() -> None:
    found = {one.feature: one for one in moves(NAMES, frozenset(), [], [])}
    row = {
        "days_since_last_purchase": 30.0,
        "days_since_last_activity": 9.0,
        "days_since_last_event": 3.0,
    }
    changed = applied(row, found["days_since_last_purchase"], 4.0)
    assert changed == {"days_since_last_purchase": 4.0, "days_since_last_activity": 4.0}


def test_the_smallest_step_over_a_threshold_is_found() -> None:
    """A score that steps at 3.7 of x, and is beyond reach by y alone: x comes just past it."""
    random = np.random.default_rng(1)
    train = pl.DataFrame({"x": random.uniform(0, 10, 2000), "y": random.uniform(0, 10, 2000)})
    row = replace(questions("binary", 1, seed=1), features=pl.DataFrame({"x": [1.0], "y": [1.0]}))

    def ask(t: Table) -> np.ndarray:
        x, y = (t.features[name].to_numpy() for name in "xy")
        return 0.2 + 0.5 * (x > 3.7) + 0.01 * y

    for breaks in ({"x": [3.7]}, {}):
        first, *_ = counterfactuals.found(ask, row, train, [Move("x"), Move("y")], 0.5, breaks)
        assert [one.feature for one in first.moves] == ["x"]
        assert 3.7 < first.values[0] < 3.71 and first.score >= 0.5
    assert not counterfactuals.found(ask, row, train, [Move("y")], 0.5, {})


def test_two_features_where_one_is_not_enough() -> None:
    random = np.random.default_rng(1)
    train = pl.DataFrame(
        {"x": random.integers(0, 9, 900) * 1.0, "y": random.integers(0, 9, 900) * 1.0}
    )
    row = replace(questions("binary", 1, seed=1), features=pl.DataFrame({"x": [1.0], "y": [1.0]}))
    ask = lambda t: 0.05 * (t.features["x"] + t.features["y"]).to_numpy()  # noqa: E731
    found = counterfactuals.found(ask, row, train, [Move("x"), Move("y")], 0.6, {})
    assert [len(one.moves) for one in found] == [2]
    assert sum(found[0].values) == 12 and all(value == int(value) for value in found[0].values)


@pytest.mark.parametrize("name", ["lightgbm", "random_forest", "decision_tree", "bayes_network"])
def test_breakpoints_are_where_the_answer_steps(name: str) -> None:
    model, test = fitted(name, "binary"), table("binary", "test")
    at = model.breakpoints()["signal"]
    assert at == sorted(at) and at
    asked = test.rows(np.arange(len(test)) < 40)
    for low, high in pairwise(at[:6]):
        inside = [low + (high - low) * share for share in (0.3, 0.7)]
        answers = [
            model.predict(
                replace(asked, features=asked.features.with_columns(signal=pl.lit(value)))
            )
            for value in inside
        ]
        assert np.array_equal(*answers)


# Of a published file


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small shop with a model that is a function."""
    folder = tmp_path_factory.mktemp("shop")
    events = clickstream(600, 80, seed=4)
    return prebuilt(project(folder, events, only=("purchase", "churn"))).path


def test_a_user_is_told_with_scores_reasons_and_changes(place) -> None:
    with connect(place, udfs=False) as con:
        users = [user for (user,) in con.execute(
            "select user_id from predictions.churn order by abs(probability - "
            "(select threshold from models.models where task = 'churn' and is_published)), user_id limit 5"
        ).fetchall()]  # fmt: skip
        found = [told(con, str(user), ["churn"])["tasks"][0] for user in users]
        crossed = 0
        for user, task in zip(users, found, strict=True):
            assert task["is_asked"] and task["reasons"][0]["feature"] == "(base)"
            added = sum(one["contribution"] for one in task["reasons"])
            assert added == pytest.approx(task["score"], abs=1e-9)
            for change in task["changes"]:
                crossed += 1
                is_over = task["score"] < task["threshold"]
                assert (change["score"] >= task["threshold"]) == is_over
                assert change["verified_by"] == "predict_churn"
                assert _asked_by_hand(con, user, change) == pytest.approx(
                    change["score"], abs=1e-12
                )
        assert crossed


def _asked_by_hand(con: duckdb.DuckDBPyConnection, user: object, change: dict) -> float:
    values = ", ".join(
        f"cast({one['to']!r} as double) as {one['feature']}" for one in change["changes"]
    )
    return con.execute(
        f"select predict_churn(f) from (select * replace ({values}) from features.latest "
        "where user_id = ?) as f", [user]
    ).fetchall()[0][0]  # fmt: skip


def test_nothing_locked_is_changed(place) -> None:
    settings = ExplainSettings(locked=["*"])
    with connect(place, udfs=False) as con:
        user = con.execute("select min(user_id) from predictions.churn").fetchall()[0][0]
        found = changes(con, user, "churn", settings)
    assert found["changes"] == [] and found["note"].startswith("no usual value")


def test_who_is_not_asked_is_told_why_and_who_is_unknown_is_an_error(place) -> None:
    with connect(place, udfs=False) as con:
        away = con.execute(
            "select min(user_id) from staging.users where user_id not in (select user_id from predictions.churn)"
        ).fetchall()[0][0]
        if away is not None:
            task = told(con, str(away), ["churn"])["tasks"][0]
            assert (
                not task["is_asked"] and "asked are users who were active within" in task["why_not"]
            )
        with pytest.raises(ConfigError, match=r"explain: there is no user \"it's\"; allowed are"):
            told(con, "it's")
        with pytest.raises(ConfigError, match=r"'chrun' is no task that is asked; .*\"churn\""):
            told(con, str(away), ["chrun"])
