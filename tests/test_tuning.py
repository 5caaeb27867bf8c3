"""Options and the search for them: trials that can go on, and nothing learned from what decides."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import Heard, project
from models_data import questions, table
from test_compile import FORMS, TASK, TYPES, answers, asked

from behavsql import frames, model_tables, tuning
from behavsql.calibration import Calibrator
from behavsql.config import Settings
from behavsql.errors import ConfigError, ModelError
from behavsql.frames import Asked
from behavsql.models import MODELS, mlp, model_class
from behavsql.models.base import Model, loss
from behavsql.models.parts.principal_components import PrincipalComponents
from behavsql.models.parts.space import Between, OneOf, Range
from behavsql.pipeline import build

pytest.importorskip("optuna", reason="tuning needs optuna: pip install behavsql[tuning]")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What options do to a network shows long before it has learned all it can."""
    monkeypatch.setattr(mlp, "MOST_EPOCHS", 3)


SETTINGS = Settings(tune=True, trials=8, threads=1)
TUNED = [name for name in MODELS if model_class(name).SPACE]
KEPT = "select trial, options, value, state, losses from models.trials order by trial"


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse without a trial."""
    with duckdb.connect() as con:
        con.execute("create schema cutoffs")
        con.execute("create table cutoffs.cutoffs (user_id bigint, cutoff_at timestamp)")
        con.execute("create schema staging; create table staging.users (user_id bigint)")
        con.execute("create table staging.items (item_id bigint)")
        con.execute("create table staging.events (user_id bigint, event_at timestamp)")
        model_tables.prepare(con)
        yield con


def questions_of(kind: str = "binary", poison: bool = False) -> Asked:
    """Train, valid and test; poison: nothing true is said of the pick half and of test."""
    parts = {"train": 600, "valid": 400, "test": 300}
    rows = sum(parts.values())
    whole = questions(kind, rows, seed=4)
    split = np.repeat(list(parts), list(parts.values()))
    is_fit_half = whole.users % 2 == 0
    if poison:
        hidden = (split == "test") | ((split == "valid") & ~is_fit_half)
        label, last = whole.label.copy(), whole.last_window.copy()
        label[hidden] = last[hidden] = np.nan
        features = whole.features.with_columns(
            pl.when(~pl.Series(hidden)).then(pl.col("signal", "plan", "twin")).name.keep()
        )
        whole = replace(whole, label=label, last_window=last, features=features)
    keys = pl.DataFrame({"user_id": whole.users, "cutoff_at": 0, "split": split})
    return Asked(whole, keys, is_fit_half, 1.0)


def search(
    store: duckdb.DuckDBPyConnection, asked: Asked | None = None, cls: type[Model] | None = None,
    settings: Settings = SETTINGS, seconds: float | None = None,
) -> tuple[dict, list[tuple], str]:  # fmt: skip
    """The best options, the trials that are kept, and what was said."""
    heard = Heard()
    cls = cls or model_class("decision_tree")
    best = tuning.best_options(
        store, cls, asked or questions_of(), settings, heard, seconds=seconds
    )
    return best, store.execute(KEPT).fetchall(), heard.lines[-1]


class Slope(Model):
    """A made-up model whose loss is its option `x`, told in five rounds; above 0.9 it fails."""

    name: ClassVar[str] = "slope"
    family: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset({"count"})
    OPTIONS: ClassVar[Mapping[str, object]] = {"x": 0.95}
    SPACE: ClassVar[Mapping[str, Range]] = {"x": Between(0.0, 1.0)}

    def fit(self, train, valid):
        self.x = self.option("x")
        for step in range(1, 6):
            if self.watch:
                self.watch(step, self.x)
        if self.x > 0.9:
            raise ValueError("too steep")
        return self

    def predict(self, table):
        return table.label + self.x

    def save(self):
        return {}

    @classmethod
    def load(cls, kind, files):
        return cls(kind)


# The search


@pytest.mark.parametrize("way", ["tpe", "random"])
def test_trials_are_kept_and_the_best_wins(store, way: str) -> None:
    settings = SETTINGS.model_copy(update={"search": way})
    best, trials, said = search(store, questions_of("count"), model_class("linear"), settings)
    assert [trial[0] for trial in trials] == list(range(8))
    assert trials[0][1] == "{}"
    for _, options, *_ in trials[1:]:
        drawn = json.loads(options)
        assert set(drawn) == set(model_class("linear").SPACE)
        assert 1e-4 <= drawn["penalty_per_row"] <= 3 and drawn["l1_share"] in (0.0, 0.5, 1.0)
    lowest = min(trials, key=lambda trial: trial[2])
    assert json.loads(lowest[1]) == best
    assert f"8 trials: loss {trials[0][2]:.5g} -> {lowest[2]:.5g}" in said


def test_classes_are_weighted_where_a_label_has_two(store) -> None:
    drawn = {json.loads(trial[1]).get("class_weight") for trial in search(store)[1][1:]}
    assert drawn == {"none", "balanced"}


def test_the_value_of_a_trial_is_the_loss_on_the_fitting_half(store) -> None:
    asked, cls = questions_of("count"), model_class("decision_tree")
    best, trials, _ = search(store, asked)
    fit_half = asked.table.rows(asked.split("valid") & asked.is_fit_half)
    model = cls("count", 7, 1, best).fit(asked.table.rows(asked.split("train")), fit_half)
    expected = loss("count", fit_half.label, model.predict(fit_half))
    assert min(trial[2] for trial in trials) == expected


def test_a_search_cut_short_goes_on_to_the_same_end(store, monkeypatch) -> None:
    whole = search(store)
    store.execute("delete from models.trials")
    ran = []
    run = tuning.Search.run

    def counted(self, trial, watch):
        if len(ran) == 5:
            raise KeyboardInterrupt
        ran.append(trial.number)
        run(self, trial, watch)

    monkeypatch.setattr(tuning.Search, "run", counted)
    store.execute("begin")  # the transaction of a training, which is taken back
    with pytest.raises(KeyboardInterrupt):
        search(store)
    store.execute("rollback")
    assert len(store.execute(KEPT).fetchall()) == 5
    monkeypatch.setattr(tuning.Search, "run", lambda *given: (ran.append(0), run(*given)))
    best, trials, said = search(store)
    assert (best, trials) == whole[:2]
    assert len(ran) == 8
    assert "8 trials (5 held)" in said


def test_more_trials_go_on_from_those_there_are_and_fewer_need_none(store) -> None:
    best, whole, _ = search(store)
    store.execute("delete from models.trials where trial >= 5")
    five = search(store, settings=SETTINGS.model_copy(update={"trials": 5}))
    assert five[1] == whole[:5]
    assert search(store)[:2] == (best, whole)
    again, kept, _ = search(store, settings=SETTINGS.model_copy(update={"trials": 5}))
    assert (again, kept) == (five[0], whole)


def test_neither_the_pick_half_nor_test_is_read(store) -> None:
    honest = search(store)
    poisoned = search(store, questions_of(poison=True))
    assert poisoned[:2] == honest[:2]
    assert "8 held" in poisoned[2]  # not even to tell one search from another
    store.execute("delete from models.trials")
    assert search(store, questions_of(poison=True))[:2] == honest[:2]


def test_other_rows_or_another_seed_begin_a_new_search(store) -> None:
    _, first, _ = search(store)
    other = questions_of()
    fewer = replace(other.table, features=other.table.features.drop("noise_1"))
    assert search(store, replace(other, table=fewer))[2].count("held") == 0
    _, seeded, said = search(store, settings=SETTINGS.model_copy(update={"seed": 8}))
    assert "held" not in said and len(seeded) == 8
    assert [trial[1] for trial in seeded[1:]] != [trial[1] for trial in first[1:]]


def test_hopeless_trials_are_given_up_and_failed_ones_stepped_over(store) -> None:
    settings = SETTINGS.model_copy(update={"trials": 25, "search": "random"})
    best, trials, said = search(store, questions_of("count"), Slope, settings)
    states = {state: [json.loads(t[1])["x"] for t in trials[1:] if t[3] == state]
              for state in ("complete", "pruned", "failed")}  # fmt: skip
    assert trials[0][2:4] == (None, "failed")  # the defaults
    assert states["failed"] and min(states["failed"]) > 0.9
    assert len(states["pruned"]) > 3
    assert max(states["complete"]) < 0.9 and best == {"x": min(states["complete"])}
    for _, options, value, state, losses in trials[1:]:
        if state == "pruned":
            x = json.loads(options)["x"]
            assert value == x and json.loads(losses) == {"1": x, "2": x, "3": x}
    assert f"25 trials ({len(states['pruned'])} pruned, {len(states['failed']) + 1} failed)" in said
    store.execute("delete from models.trials where trial >= 12")  # pruned ones among the rest
    assert search(store, questions_of("count"), Slope, settings)[:2] == (best, trials)


def test_a_budget_that_is_used_up_leaves_the_defaults(store) -> None:
    best, trials, _ = search(store, seconds=0.0)
    assert (best, len(trials)) == ({}, 1)


def test_boosting_and_networks_tell_their_losses(store) -> None:
    for name, kind in (("lightgbm", "binary"), ("mlp", "count")):
        told = {}
        model = model_class(name)(kind, threads=1)
        model.watch = lambda step, value, told=told: told.update({step: value})
        train = table(kind, "train")
        model.fit(train.rows(np.arange(len(train)) < 400), table(kind, "valid"))
        assert list(told) == list(range(1, len(told) + 1)) and len(told) >= 3
        assert told[3] < told[1]


def test_a_model_without_a_space_is_not_tuned(store) -> None:
    assert (
        tuning.best_options(store, model_class("prevalence"), questions_of(), SETTINGS, Heard())
        == {}
    )
    assert store.execute(KEPT).fetchall() == []


def test_without_optuna_tuning_is_refused_before_anything_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tuning.importlib.util, "find_spec", lambda name: None)
    made = project(tmp_path, settings={"tune": True})
    with pytest.raises(ConfigError, match=r'needs the extra "tuning"\. Run `pip install'):
        build(made, progress=Heard())


# Options


@pytest.mark.parametrize("name", TUNED)
def test_what_is_searched_are_options(name: str) -> None:
    cls = model_class(name)
    assert set(cls.SPACE) <= set(cls.OPTIONS)
    for where in cls.SPACE.values():
        assert isinstance(where, OneOf) or where.low < where.high


OWN = ("logistic", "linear", "decision_tree", "random_forest", "lightgbm", "mlp")


def small(kind: str, part: str):
    rows = table(kind, part)
    return rows.rows(np.arange(len(rows)) < 500)


OTHER = {
    "logistic": {"log_features": False, "l1_share": 0.5, "penalty_per_row": 0.05},
    "linear": {"log_features": False, "log_label": True, "l1_share": 0.0, "penalty_per_row": 3.0},
    "decision_tree": {"max_leaf_nodes": 4, "min_samples_leaf": 100},
    "random_forest": {"min_samples_leaf": 50, "max_features": 0.5, "rows_per_tree": 300},
    "lightgbm": {"num_leaves": 5, "max_depth": 3, "learning_rate": 0.3, "min_data_in_leaf": 40,
                 "lambda_l2": 0.1, "feature_fraction": 0.4},
    "mlp": {"units": 8, "dropout": 0.3, "learning_rate": 0.01, "optimizer": "sgd"},
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_defaults_given_change_nothing_and_other_options_do(name: str) -> None:
    cls = model_class(name)
    kind = min(cls.kinds)
    train, valid, test = (small(kind, part) for part in ("train", "valid", "test"))
    plain, given, model = (
        cls(kind, 7, 1, options).fit(train, valid)
        for options in (None, dict(cls.OPTIONS), OTHER[name])
    )
    assert np.array_equal(given.predict(test), plain.predict(test))
    assert not np.array_equal(model.predict(test), plain.predict(test))
    told = model.params()
    assert {key: told[key] for key in OTHER[name] if key != "units"}.items() <= OTHER[name].items()
    assert np.array_equal(cls.load(kind, model.save()).predict(test), model.predict(test))


def test_an_option_or_value_that_is_not_known_is_refused() -> None:
    with pytest.raises(ModelError, match="'peanlty' is not an option; known are log_features"):
        model_class("logistic")("binary", options={"peanlty": 1})
    for name, options, message in (
        ("decision_tree", {"class_weight": "heavy"}, "'heavy'; allowed are none, balanced"),
        ("logistic", {"pca": -1}, "option pca: it is -1; allowed are 0 for none"),
        ("mlp", {"optimizer": "adagrad"}, "'adagrad'; allowed are adam and sgd"),
    ):
        with pytest.raises(ModelError, match=message):
            model_class(name)("binary", options=options).fit(
                small("binary", "train"), small("binary", "valid")
            )
    with pytest.raises(ModelError, match="'balanced' for a label of kind 'count'"):
        model_class("lightgbm")("count", options={"class_weight": "balanced"}).fit(
            small("count", "train"), small("count", "valid")
        )


# Principal components


def test_components_are_the_directions_of_most_variance() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(500, 1)) @ [[3.0, 4.0, 0.0]] + rng.normal(0, 0.1, (500, 3))
    found = PrincipalComponents.of(matrix, 0.9)
    assert found.directions.shape == (3, 1)
    assert np.abs(found.directions[:, 0]) == pytest.approx([0.6, 0.8, 0.0], abs=0.01)
    assert PrincipalComponents.of(matrix, 99).directions.shape == (3, 3)
    weights, bias = found.fold(np.array([2.0]), 1.0)
    expected = found.project(matrix) @ [2.0] + 1.0
    assert matrix @ weights + bias == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "kind", "size"), [("logistic", "binary", 3), ("linear", "amount", 0.8), ("mlp", "count", 4)]
)  # fmt: skip
def test_a_model_on_components_is_exact_in_sql(name: str, kind: str, size: float) -> None:
    cls = model_class(name)
    fitted = cls(kind, 7, 1, {"pca": size}).fit(small(kind, "train"), small(kind, "valid"))
    model, rows = cls.load(kind, fitted.save()), asked(kind).head(300)
    rows = pl.concat([rows, rows.clear(1)])  # and one without any value
    raw = model.predict(frames.unlabelled(rows, TASK, kind))
    assert np.ptp(raw) > 0 and model.params()["pca"] == size
    for form_class in FORMS:
        form = form_class(TYPES, TASK)
        said = answers(form, model.to_sql(form), rows)
        np.testing.assert_allclose(said, raw, rtol=1e-12, atol=1e-12)


# Rare classes


def rare(rows: int, seed: int):
    """Questions of which about a twentieth are positive."""
    plain = questions("binary", rows, seed)
    rng = np.random.default_rng(seed)
    chance = 1 / (1 + np.exp(4 - 1.5 * plain.features["signal"].to_numpy()))
    return replace(plain, label=(rng.random(rows) < chance).astype(float))


@pytest.mark.parametrize("name", ["logistic", "decision_tree", "random_forest", "lightgbm", "mlp"])
def test_calibration_corrects_what_weighted_classes_shift(name: str) -> None:
    train, valid, test = rare(3000, 1), rare(2500, 2), rare(2500, 3)
    options = {"class_weight": "balanced"}
    model = model_class(name)("binary", 7, 1, options).fit(train, valid)
    raw = model.predict(test)
    score = Calibrator().fit(model.predict(valid), valid.label).transform(raw)
    rate = float(test.label.mean())
    assert rate < 0.1
    assert raw.mean() > 2.5 * rate
    assert score.mean() == pytest.approx(rate, rel=0.2)
    assert loss("binary", test.label, score) < 0.97 * loss(
        "binary", test.label, np.full(2500, rate)
    )
