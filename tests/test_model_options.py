"""`[models.<name>]`: options that a project sets reach the models, their tuning and the plan."""

import json
import shutil
from pathlib import Path

import pytest
from behavsql.cli.main import app
from conftest import Heard, Shop
from typer.testing import CliRunner

from behavsql import model_options, tasks, tuning
from behavsql.config import from_dict
from behavsql.models import MODELS, model_class
from behavsql.train import train_task
from behavsql.warehouse import Warehouse, open_file

GIVEN = {
    "decision_tree": {"max_leaf_nodes": 5, "class_weight": "balanced"},
    "voting": {"vote": "hard"},
}
NAMES = ("prevalence", "persistence", "logistic", "decision_tree", "voting")


def test_models_are_trained_with_what_is_set(shop: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "build.duckdb"
    shutil.copyfile(Warehouse(shop.config.warehouse).build, copy)
    with open_file(copy) as con:
        con.execute("set timezone = 'UTC'")
        task = next(one for one in tasks.ready(con) if one.name == "purchase")
        train_task(con, task, shop.config.settings, NAMES, {}, Heard(), options=GIVEN)
        rows = con.execute("select model, params from models.models where task = 'purchase'")
        found = {model: json.loads(params) for model, params in rows.fetchall()}
    assert found["decision_tree"]["max_leaf_nodes"] == 5
    assert found["decision_tree"]["leaves"] <= 5
    assert found["voting"]["vote"] == "hard"


def test_what_only_two_classes_have_is_kept_from_the_other_labels() -> None:
    assert model_options.of(GIVEN, "decision_tree", "count") == {"max_leaf_nodes": 5}
    assert model_options.of(GIVEN, "voting", "amount") == {}
    assert model_options.of(GIVEN, "voting", "binary") == {"vote": "hard"}
    assert model_options.of(GIVEN, "logistic", "binary") == {}


def test_only_the_options_of_models_that_are_trained_make_them_anew() -> None:
    assert model_options.parts(GIVEN, ("logistic", "decision_tree")) == {
        "models.decision_tree.class_weight": "'balanced'",
        "models.decision_tree.max_leaf_nodes": "5",
    }
    assert model_options.parts({}, MODELS) == {}


def test_what_is_set_is_not_searched() -> None:
    from test_tuning import SETTINGS, questions_of

    cls, given = model_class("decision_tree"), {"max_leaf_nodes": 5}
    whole = tuning.Search.of(cls, questions_of(), SETTINGS, {})
    some = tuning.Search.of(cls, questions_of(), SETTINGS, given)
    assert set(whole.space) - set(some.space) == {"max_leaf_nodes"}
    assert whole.id != some.id


def test_the_defaults_and_whatever_is_searched_may_be_set(tmp_path: Path) -> None:
    columns = {"user_id": "u", "event_at": "t"}
    source = [{"name": "shop", "path": "x.csv", "columns": columns}]
    for name in MODELS:
        model = model_class(name)
        values = {**{option: [value] for option, value in model.OPTIONS.items()},
                  **{option: getattr(where, "values", None) or (where.low, where.high)
                     for option, where in model.SPACE.items()}}  # fmt: skip
        for option, some in values.items():
            for value in (list(one) if isinstance(one, tuple) else one for one in some):
                if value is not None:
                    given = {"source": source, "models": {name: {option: value}}}
                    assert from_dict(given, tmp_path, "x").models == {name: {option: value}}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_options_are_listed(more: list[str]) -> None:
    result = CliRunner().invoke(app, ["models", "--options", *more])
    assert result.exit_code == 0
    if more:
        listed = json.loads(result.stdout)
        assert {
            "model": "gru",
            "option": "augment",
            "default": "none",
            "searched": "none, all",
        } in listed
        assert {row["model"] for row in listed} <= set(MODELS)
    else:
        assert any(
            line.split() == ["hmm", "states", "(by", "valid)"]
            for line in result.stdout.splitlines()
        )
