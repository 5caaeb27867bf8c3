"""The promises of behavsql/models/base.py, kept by every entry of MODELS."""

import inspect
import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import numpy as np
import polars as pl
import pytest
from models_data import ELSEWHERE, NOISE, fit, fitted, questions, reloaded, table
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import behavsql.models
from behavsql.errors import ConfigError, ModelError
from behavsql.frames import Table
from behavsql.models import MODEL_SETS, MODELS, model_class
from behavsql.models.base import Model, at_most, loss
from behavsql.models.parts.encoding import FEWEST_ROWS, MOST_CATEGORIES, Encoder
from behavsql.models.parts.smearing import smearing_factor, unlogged
from behavsql.models.parts.tree_arrays import TreeArrays, as_float32

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Keras 3.15 on numpy 2: inside Keras, and nothing its caller can change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

CASES = [
    (name, kind)
    for name in MODELS
    if name not in ELSEWHERE
    for kind in sorted(model_class(name).kinds)
]
LEARNING = [case for case in CASES if model_class(case[0]).family != "reference"]
every_case = pytest.mark.parametrize(("name", "kind"), CASES)
every_learning_case = pytest.mark.parametrize(("name", "kind"), LEARNING)


def score(kind: str, test: Table, answer: np.ndarray) -> float:
    """ROC AUC of a binary answer, R2 of the others."""
    return (roc_auc_score if kind == "binary" else r2_score)(test.label, answer)


# What every model promises


@every_case
def test_scores_high_when_the_label_is_predictable(name: str, kind: str) -> None:
    test = table(kind, "test")
    got = score(kind, test, fitted(name, kind).predict(test))
    if name == "prevalence":
        assert got == pytest.approx(0.5 if kind == "binary" else 0.0, abs=0.02)
    else:
        assert got > (0.8 if kind == "binary" else 0.3)


@every_case
def test_scores_at_chance_on_noise(name: str, kind: str) -> None:
    test = table(kind, "test", predictable=False)
    got = score(kind, test, fit(name, kind, predictable=False).predict(test))
    if kind == "binary":
        assert 0.44 < got < 0.56
    else:
        assert got < 0.02
        assert got > (-2 if name == "persistence" else -0.1)


@every_case
def test_a_reloaded_model_predicts_the_same_bits(name: str, kind: str) -> None:
    before, after = fitted(name, kind), reloaded(name, kind)
    test = table(kind, "test")
    assert np.array_equal(before.predict(test), after.predict(test))
    assert after.params() == before.params()
    assert after.importance() == before.importance()
    assert set(after.save()) == set(before.save())


@every_case
def test_same_seed_same_model(name: str, kind: str) -> None:
    again, test = fit(name, kind), table(kind, "test")
    assert np.array_equal(fitted(name, kind).predict(test), again.predict(test))
    assert again.params() == fitted(name, kind).params()


@every_case
def test_predictions_are_in_range(name: str, kind: str) -> None:
    test = table(kind, "test")
    wild = test.features.with_columns((pl.col("signal", "twin") * 1e6).name.keep())
    for features in (test.features, wild):
        answer = fitted(name, kind).predict(Table(**{**vars(test), "features": features}))
        assert answer.shape == (len(test),)
        assert answer.dtype == np.float64
        assert np.isfinite(answer).all()
        assert (answer >= 0).all()
        if kind == "binary":
            assert (answer <= 1).all()


@every_case
def test_few_rows_and_no_row(name: str, kind: str) -> None:
    """To the last bit what is said of them among others: functions in SQL ask in pieces."""
    test, model = table(kind, "test"), fitted(name, kind)
    together, place = model.predict(test), np.arange(len(test))
    for some in (place == 0, place < 3, place % 7 == 5, place == len(test) - 1):
        assert np.array_equal(model.predict(test.rows(some)), together[some])
    assert model.predict(test.rows(np.zeros(len(test), dtype=bool))).shape == (0,)


@every_case
def test_missing_values_and_unseen_categories_are_accepted(name: str, kind: str) -> None:
    test, model = table(kind, "test"), fitted(name, kind)
    nothing = test.features.clear(len(test))
    strange = test.features.with_columns(pl.lit("gold").alias("plan"))
    infinite = test.features.with_columns(pl.lit(float("inf")).alias("signal"))
    for features in (nothing, strange, infinite):
        unlabelled = Table(**{**vars(test), "features": features, "label": None})
        assert np.isfinite(model.predict(unlabelled)).all()


@every_learning_case
def test_infinite_and_missing_mean_the_same(name: str, kind: str) -> None:
    test, model = table(kind, "test"), fitted(name, kind)
    answers = [
        model.predict(Table(**{**vars(test), "features": test.features.with_columns(signal=value)}))
        for value in (pl.lit(None, pl.Float64), pl.lit(float("nan")), pl.lit(float("-inf")))
    ]
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


@every_learning_case
def test_a_missing_column_is_named(name: str, kind: str) -> None:
    test = table(kind, "test")
    for column in ("signal", "plan"):
        less = Table(**{**vars(test), "features": test.features.drop(column)})
        with pytest.raises(ModelError, match=rf"features: column '{column}' is missing; "):
            # A tree or a lasso may not have used it: it was there in train all the same.
            fitted(name, kind).predict(less)


@every_learning_case
def test_column_order_does_not_matter(name: str, kind: str) -> None:
    test = table(kind, "test")
    turned = test.features.select(reversed(test.features.columns))
    answer = fitted(name, kind).predict(Table(**{**vars(test), "features": turned}))
    assert np.array_equal(answer, fitted(name, kind).predict(test))


@every_case
def test_importances_are_shares_and_the_signal_comes_first(name: str, kind: str) -> None:
    shares = fitted(name, kind).importance()
    if model_class(name).family == "reference":
        assert shares == {}
        return
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert next(iter(shares)) == "signal"
    assert set(shares) <= set(table(kind, "train").features.columns) - {"always"}
    assert max(shares[column] for column in NOISE) < shares["signal"] / 2


@every_case
def test_labels_that_cannot_teach_are_refused(name: str, kind: str) -> None:
    train, valid = table(kind, "train"), table(kind, "valid")
    unknown = Table(**{**vars(train), "label": None})
    nobody = train.rows(np.zeros(len(train), dtype=bool))
    for rows, message in ((unknown, "without a label"), (nobody, "0 distinct labels")):
        with pytest.raises(ModelError, match=message):
            model_class(name)(kind).fit(rows, valid)
    alike = Table(**{**vars(train), "label": np.zeros(len(train))})
    if model_class(name).family != "reference":
        with pytest.raises(ModelError, match="1 distinct labels; fitting needs at least 2"):
            model_class(name)(kind).fit(alike, valid)
    else:
        assert (model_class(name)(kind).fit(alike, valid).predict(valid) <= valid.last_window).any()


def test_negative_amounts_are_refused() -> None:
    train = table("amount", "train")
    negative = Table(**{**vars(train), "label": train.label - 1})
    with pytest.raises(ModelError, match=r"a label is -1\.0; those of kind 'amount' are 0 or more"):
        fitted("linear", "amount").__class__("amount").fit(negative, train)


def test_a_kind_a_model_does_not_serve_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model logistic: .*'count'; it serves binary"):
        model_class("logistic")("count")


# The registry


def test_every_model_class_is_registered_under_its_name() -> None:
    found = {}
    for info in pkgutil.iter_modules(behavsql.models.__path__, "behavsql.models."):
        for cls in vars(import_module(info.name)).values():
            own = inspect.isclass(cls) and cls.__module__ == info.name and issubclass(cls, Model)
            if own and not inspect.isabstract(cls):
                found[cls.name] = f"{info.name}:{cls.__name__}"
    assert found == MODELS


def test_model_sets_grow_and_hold_known_models() -> None:
    fast, standard, everything = (set(MODEL_SETS[name]) for name in ("fast", "standard", "all"))
    assert fast < standard <= everything == set(MODELS)
    assert all(len(names) == len(set(names)) for names in MODEL_SETS.values())


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match='Did you mean "lightgbm"'):
        model_class("lightbgm")
    with pytest.raises(ConfigError, match="'oracle' is not a model; known are prevalence, "):
        model_class("oracle")


def test_importing_the_models_loads_no_heavy_library() -> None:
    modules = ", ".join(spec.partition(":")[0] for spec in MODELS.values())
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"lightgbm", "sklearn", "scipy", "tensorflow", "keras", "torch"}
    assert heavy & set(done.stdout.split()) == set()


def test_keras_starts_without_a_word() -> None:
    code = (
        "import sys; from behavsql.models.parts.quiet_keras import import_keras; import_keras();"
        "print('said', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "said\n")


# Parts


def test_lightgbm_stops_when_its_time_is_over_and_is_a_model() -> None:
    train, valid = (questions("amount", 400, seed) for seed in (1, 2))
    cut = model_class("lightgbm")("amount", seconds=0).fit(train, valid)
    assert cut.params()["rounds"] == 1 < fitted("lightgbm", "amount").params()["rounds"]
    reloaded = model_class("lightgbm").load("amount", cut.save())
    assert (reloaded.predict(valid) == cut.predict(valid)).all()


def test_persistence_repeats_the_last_window() -> None:
    train = table("count", "train")
    model = model_class("persistence")("count").fit(train, train)
    three = train.rows(np.arange(len(train)) < 3)
    asked = Table(**{**vars(three), "last_window": np.array([0, 4, np.nan])})
    assert model.predict(asked).tolist() == [0.0, 4.0, train.label.mean()]


def test_persistence_of_a_binary_label_is_a_rate() -> None:
    last_window, label = np.array([0, 0, 1, 1.0]), np.array([0, 1, 1, 1.0])
    four = questions("binary", 4, seed=1)
    train = Table(**{**vars(four), "label": label, "last_window": last_window})
    asked = Table(**{**vars(train), "last_window": np.array([0, 1, np.nan, 1])})
    model = model_class("persistence")("binary").fit(train, train)
    assert model.predict(asked).tolist() == [0.5, 1.0, 0.75, 1.0]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("kind", ["binary", "amount"])
def test_tree_arrays_answer_as_scikit_learn_does(kind: str, gaps: bool) -> None:
    train, test = table(kind, "train"), table(kind, "test")
    columns = train.features.columns if gaps else ["signal", "plan", *NOISE]
    encoder = Encoder(scale=False).fit(train.features[columns])
    matrix, asked = (as_float32(encoder.transform(part.features)) for part in (train, test))
    assert np.isnan(asked).any() == gaps
    binary = kind == "binary"
    tree = (DecisionTreeClassifier if binary else DecisionTreeRegressor)(random_state=1)
    forest = (RandomForestClassifier if binary else RandomForestRegressor)(30, random_state=1)
    for model in (tree, forest):
        model.fit(matrix, train.label)
        expected = model.predict_proba(asked)[:, 1] if binary else model.predict(asked)
        arrays = TreeArrays.of(getattr(model, "estimators_", [tree]), output=int(binary))
        assert np.array_equal(arrays.predict(asked), expected)
        assert np.array_equal(TreeArrays.from_bytes(arrays.to_bytes()).predict(asked), expected)


def test_tree_arrays_walk_more_rows_than_a_chunk_and_a_tree_of_one_leaf() -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(5000, 3)).astype(np.float32)
    for depth in (1, 6):
        tree = DecisionTreeRegressor(max_depth=depth).fit(matrix, matrix[:, 0] > 0)
        expected = tree.predict(matrix)
        assert np.array_equal(TreeArrays.of([tree], output=0).predict(matrix), expected)
    stump = DecisionTreeRegressor().fit(matrix[:9], np.full(9, 2.5))
    assert TreeArrays.of([stump], output=0).predict(matrix[:2]).tolist() == [2.5, 2.5]


def test_smearing_brings_back_the_mean() -> None:
    random = np.random.default_rng(1)
    fitted_log = random.normal(2, 0.5, 100_000)
    logged = fitted_log + random.normal(0, 0.7, 100_000)
    factor = smearing_factor(logged, fitted_log)
    assert factor == pytest.approx(np.exp(0.7**2 / 2), rel=0.02)
    assert unlogged(fitted_log, factor).mean() == pytest.approx(np.expm1(logged).mean(), rel=0.02)


def test_loss_by_hand() -> None:
    label, half = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    assert loss("binary", label, half) == pytest.approx(np.log(2))
    assert loss("binary", label, 1 - label) == pytest.approx(-np.log(1e-6))
    assert loss("count", label, np.array([2.0, 1.0])) == 2.0


def test_at_most_keeps_the_order_and_repeats() -> None:
    train = table("binary", "train")
    some = at_most(train, 100, seed=1)
    assert len(some) == len(some.features) == len(some.label) == len(some.last_window) == 100
    assert (np.diff(some.users) >= 0).all()
    assert np.array_equal(some.users, at_most(train, 100, seed=1).users)
    assert at_most(train, len(train), seed=1) is train


# The encoder


def test_scaled_encoding_by_hand() -> None:
    train = pl.DataFrame(
        {
            "days": [1.0, 3.0, None, 5.0, 3.0],
            "same": [2.0] * 5,
            "none": pl.Series([None] * 5, dtype=pl.Float64),
            "plan": ["a"] * 5,
            "gone": [None, 1.0, 1.0, 1.0, 1.0],
        }
    )
    encoder = Encoder().fit(train)
    assert encoder.names == ["days", "days is missing", "gone is missing"]
    matrix = encoder.transform(train)
    std = np.sqrt(8 / 5)  # of 1, 3, 3 (the median), 5, 3
    assert matrix[:, 0] == pytest.approx(np.array([-2, 0, 0, 2, 0]) / std)
    assert matrix[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert matrix[:, 2].tolist() == [1, 0, 0, 0, 0]
    assert encoder.spread.tolist() == pytest.approx([1, 0.4, 0.4])


def test_log_encoding_keeps_the_sign() -> None:
    train = pl.DataFrame({"x": [-np.expm1(2), 0.0, np.expm1(2)]})
    got = Encoder(log=True).fit(train).transform(train)[:, 0]
    assert got == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5))


def test_unscaled_encoding_keeps_numbers_and_gaps() -> None:
    train = pl.DataFrame(
        {"x": [1.5, None, 7.0], "flag": [True, False, None], "gap": [1.0, None, 1.0]}
    )
    encoder = Encoder(scale=False).fit(train)
    assert encoder.names == ["x", "flag", "gap"]
    expected = [[1.5, 1, 1], [np.nan, 0, np.nan], [7, np.nan, 1]]
    assert np.array_equal(encoder.transform(train), expected, equal_nan=True)


def test_categories_are_the_frequent_ones_ties_by_name() -> None:
    words = [f"c{i:02d}" for i in range(MOST_CATEGORIES + 5)] * FEWEST_ROWS
    words += ["often"] * 9 + ["rare"] * (FEWEST_ROWS - 1) + [None] * 3
    encoder = Encoder().fit(pl.DataFrame({"word": words}))
    kept = [f"word = c{i:02d}" for i in range(MOST_CATEGORIES - 1)]
    assert encoder.names == ["word = often", *kept]
    asked = pl.DataFrame({"word": ["often", "c01", "rare", "unseen", None]})
    assert encoder.transform(asked).sum(axis=1).tolist() == [1, 1, 0, 0, 0]
    assert encoder.transform(asked)[1].argmax() == 2


def test_encoder_survives_json_exactly() -> None:
    frame = table("binary", "train").features
    for scale, log in ((True, True), (True, False), (False, False)):
        encoder = Encoder(scale, log).fit(frame)
        again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
        assert again.names == encoder.names
        assert np.array_equal(again.transform(frame), encoder.transform(frame), equal_nan=True)


def test_encoder_ignores_what_train_did_not_have() -> None:
    frame = table("binary", "train").features
    encoder = Encoder().fit(frame)
    assert np.array_equal(
        encoder.transform(frame.with_columns(new=pl.lit(1.0))), encoder.transform(frame)
    )


@pytest.mark.parametrize(
    ("column", "values", "fitted_with"), [("signal", "x", "numbers"), ("plan", 1.0, "text")]
)
def test_a_column_of_another_type_is_named(column: str, values: object, fitted_with: str) -> None:
    frame = table("binary", "train").features
    with pytest.raises(ModelError, match=f"'{column}' is of type .* fitted with {fitted_with}"):
        Encoder().fit(frame).transform(frame.with_columns(pl.lit(values).alias(column)))


def test_nothing_that_varies_is_refused() -> None:
    with pytest.raises(ModelError, match="none of the 1 columns varies over the 3 rows"):
        Encoder().fit(pl.DataFrame({"same": [1.0, 1.0, 1.0]}))


def test_shares_sum_over_a_features_columns() -> None:
    train = pl.DataFrame(
        {"x": [1.0, None] * 5, "plan": ["a"] * 5 + ["b"] * 5, "y": list(range(10))}
    )
    encoder = Encoder().fit(train)
    assert encoder.names == ["x is missing", "plan = a", "plan = b", "y"]
    assert encoder.shares(np.array([0, 2, 1, 1.0])) == {"plan": 0.75, "y": 0.25, "x": 0.0}
    assert encoder.shares(np.zeros(4)) == {}
