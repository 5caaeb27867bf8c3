"""Money, backtests, model cards and the difference of two versions, on a shop that is built twice."""

import json

import pytest
from clickstream import clickstream
from conftest import QUICK, few_files, project, run, shipped

from behavsql import config, models
from behavsql.backtest import folds
from behavsql.diff import diff, is_same, places
from behavsql.errors import ConfigError, WarehouseError
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.tasks import Task
from behavsql.warehouse import Warehouse

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def few():
    """All reports, of one file of features."""
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch, *(name for name in shipped().files if name.startswith("report.")))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, few):
    """A shop built with three models, what success is worth, and a backtest; then with one more."""
    folder = tmp_path_factory.mktemp("cards")
    told = project(folder, clickstream(), only=("purchase", "spend"), settings={"backtest": True})
    told = told.model_copy(
        update={
            "economics": config.Economics(success_value=10, action_cost=2),
            "tasks": told.tasks | {"spend": config.TaskSettings(success_value=0.25)},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", QUICK)
        build(told, progress=QUIET)
        patch.setitem(models.MODEL_SETS, "fast", (*QUICK, "logistic", "linear"))
        build(told, progress=QUIET)
    return told


def asked(made, *arguments: str):
    return run(*arguments, "--warehouse", str(made.warehouse))


def test_profit_is_what_the_answers_of_the_top_tenths_are_worth(made, rows):
    """Counted again from the scores themselves; the interval holds what it is of."""
    path = made.warehouse / "behaviour.duckdb"
    for task, value in (("purchase", 10), ("spend", 0.25)):
        of_task = f"where task = '{task}' and model_id = (select model_id from models.models "
        of_task += f"where task = '{task}' and is_published)"
        labels = [label for (label,) in rows(path, (
            f"select label from models.scores {of_task} and split = 'test' "
            "order by score desc, raw desc, user_id, cutoff_at"
        ))]  # fmt: skip
        found = rows(path, (
            "select count_acted, profit, low, high from report.profit where (task, model) in "
            f"(select task, model from models.models {of_task}) order by decile"
        ))  # fmt: skip
        assert len(found) == 10 and found[-1][0] == len(labels)
        for acted, profit, low, high in found:
            assert profit == pytest.approx(value * sum(labels[:acted]) - 2 * acted, abs=1e-6)
            assert low < profit < high


def test_the_best_threshold_earns_most_of_those_listed(made, rows):
    best, most, listed = rows(made.warehouse / "behaviour.duckdb", (
        "select max(profit) filter (where is_best_profit), max(profit), count(*) "
        "from report.thresholds where task = 'purchase' and model = (select model from "
        "models.models where task = 'purchase' and is_published)"
    ))[0]  # fmt: skip
    assert best == most and 1 < listed <= 101
    rules = rows(made.warehouse / "behaviour.duckdb", (
        "select rule, confusion.threshold from report.confusion as confusion inner join models.models using (task, model) "
        "where task = 'purchase' and is_published order by rule"
    ))  # fmt: skip
    assert [rule for rule, _ in rules] == ["best_profit", "break_even", "stored"]
    assert rules[1][1] == pytest.approx(0.2)


def test_a_backtest_asks_only_what_came_after(made, rows):
    found = rows(made.warehouse / "behaviour.duckdb", (
        "select backtest.task, model, count(*), bool_and(backtest.cutoff_at - "
        "backtest.trained_until >= 2 * tasks.horizon), bool_and(value > 0 and low <= value and "
        "value <= high), bool_and(prevalence_value > 0) from report.backtest as backtest "
        "inner join meta.tasks as tasks using (task) group by all order by all"
    ))  # fmt: skip
    assert {row[0] for row in found} == {"purchase", "spend"}
    assert {"prevalence", "persistence"} < {row[1] for row in found}
    assert all(2 <= row[2] <= 8 and row[3:] == (True, True, True) for row in found)


def test_folds_are_purged_and_spread_over_the_past():
    from datetime import datetime, timedelta

    weeks = [datetime(2024, 1, 7) + timedelta(weeks=week) for week in range(30)]
    task = Task("purchase", "binary", "log_loss", timedelta(days=10))
    found = folds(weeks, task)
    assert len(found) == 8 and found[-1][2] == weeks[-1]
    for train, valid, test in found:
        assert len(train) >= 3 and len(valid) == 2
        assert train[-1] + task.horizon <= valid[0] and valid[-1] + task.horizon <= test
    assert folds(weeks[:6], task) == []


def test_a_card_says_what_speaks_for_and_against(made):
    shown = asked(made, "card", "purchase").stdout
    for part in ("# purchase: ", "**For**: to rank users", "**Not**: to decide alone",
                 "| log_loss |", "roc_auc", "## Limits", "none of its predictions has come due yet",
                 "would have earned", "| visits | returning |", "- by now: "):  # fmt: skip
        assert part in shown, part
    both = asked(made, "card").stdout
    assert both.count("\n# ") == 1 and both.startswith("# purchase")
    told = json.loads(asked(made, "card", "spend", "--json").stdout)
    assert [one["task"] for one in told] == ["spend"]
    assert told[0]["best_profit"]["success_value"] == 0.25
    wrong = asked(made, "card", "purchas")
    assert wrong.exit_code == 2 and 'Did you mean "purchase"?' in wrong.stderr


def test_two_versions_differ_by_models_predictions_and_rows(made):
    old, new = places(made, None, None)
    found = diff(old, new, most=3)
    assert {row["task"] for row in found["models"]} == {"purchase", "spend"}
    assert all(row["old_version"] == 1 and row["new_version"] == 2 for row in found["models"])
    tables = {row["table"]: (row["old_rows"], row["new_rows"]) for row in found["tables"]}
    assert tables["models.models"] == (6, 8) and "staging.events" not in tables
    assert found["columns"] == []
    assert all(row["count_both"] > 0 == row["count_new"] for row in found["scores"])
    assert len(found["users"]) <= 6 and not is_same(found)
    assert is_same(diff(new, new))


def test_diff_tells_of_users_only_when_asked(made):
    shown = run("diff", str(places(made, None, None)[0]), str(made.warehouse))
    assert shown.exit_code == 0 and shown.stdout.startswith("models\n")
    assert "predictions" in shown.stdout and "users that moved" not in shown.stdout
    told = json.loads(run("diff", str(made.warehouse), str(made.warehouse), "--json").stdout)
    assert told["users"] == [] and told["models"] == []
    same = run("diff", str(made.warehouse), str(made.warehouse))
    assert same.stdout == "nothing differs but when it was built\n"


def test_what_cannot_be_compared_is_refused(made, tmp_path):
    with pytest.raises(ConfigError, match="diff: there is no version 9; allowed are 1 to 1"):
        places(made, "9", None)
    nothing = made.model_copy(update={"folder": tmp_path})
    with pytest.raises(WarehouseError, match="no version is kept to compare with"):
        places(nothing, None, None)
    with pytest.raises(WarehouseError, match="there is no such warehouse"):
        diff(tmp_path / "no.duckdb", Warehouse(made.warehouse).published)
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(WarehouseError, match=r"text\.duckdb"):
        diff(tmp_path / "text.duckdb", Warehouse(made.warehouse).published)


def test_other_economics_change_the_reports_alone(made, rows):
    other = made.model_copy(update={"economics": config.Economics(success_value=5, action_cost=2)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", (*QUICK, "logistic", "linear"))
        steps = build(other, progress=QUIET).steps
    assert "report.economics" in steps and "report.profit" in steps
    assert {step.partition(".")[0] for step in steps} == {"report", "publish"}
    told = rows(made.warehouse / "behaviour.duckdb", "select * from report.economics order by task")
    assert told[-2][:3] == ("purchase", 5.0, 2.0) and told[-1][:3] == ("spend", 0.25, 2.0)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"economics": {"success_value": 1}},
         "economics.action_cost is missing; it takes both. Add it."),
        ({"economics": {"success_value": 0, "action_cost": 1}},
         "economics.success_value: it is 0; input should be greater than 0."),
        ({"economics": {"success_value": 2, "action_cost": 1, "success_valu": 2}},
         'unknown key economics.success_valu; allowed are action_cost, success_value. Did you mean '
         '"success_value"?'),
        ({"tasks": {"churn": {"action_cost": -1}}},
         "tasks.churn.action_cost: it is -1; input should be greater than or equal to 0."),
        ({"tasks": {"churn": {"success_value": 3}}},
         "tasks.churn sets success_value and no action_cost, and there is no [economics] to take it "
         "from; a profit takes both. Add action_cost."),
    ],
)  # fmt: skip
def test_economics_that_cannot_be_meant(tmp_path, parts, told):
    source = {"name": "shop", "path": "e.csv", "columns": {"user_id": "u", "event_at": "t"}}
    with pytest.raises(ConfigError) as caught:
        config.from_dict({"source": [source]} | parts, tmp_path, "behavsql.toml")
    assert str(caught.value) == f"behavsql.toml: {told}"


def test_the_readme_economics_are_accepted(tmp_path):
    import re
    import tomllib
    from pathlib import Path

    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- config economics -->\n```toml\n(.*?)```", text, re.DOTALL)[1]
    source = {"name": "shop", "path": "e.csv", "columns": {"user_id": "u", "event_at": "t"}}
    made = config.from_dict({"source": [source]} | tomllib.loads(block), tmp_path, "README.md")
    assert made.valued() == [
        {"task": None, "success_value": 20, "action_cost": 2},
        {"task": "churn", "success_value": 60, "action_cost": None},
        {"task": "spend", "success_value": 0.3, "action_cost": None},
    ]
