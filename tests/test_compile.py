"""SQL that says what a model says: every model, both forms, ordinary rows and the edges."""

import json
from itertools import pairwise

import duckdb
import lightgbm
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_data import ELSEWHERE, reloaded, table

from behavsql import frames
from behavsql.calibration import Calibrator
from behavsql.compile import BatchForm, CompileError, Form, RowForm, edge_rows, lightgbm_text
from behavsql.compile.network import dense
from behavsql.compile.scorer import Scorer
from behavsql.compile.trees import Split, below_float32, leaf_values
from behavsql.models import MODELS, model_class
from behavsql.models.parts.dense_layers import Dense, DenseLayers
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.tree_arrays import as_float32

TASK = "purchase"
TYPES = {"signal": "DOUBLE", "twin": "DOUBLE", "plan": "VARCHAR", "always": "DOUBLE",
         "noise_1": "DOUBLE", "noise_2": "DOUBLE", "noise_3": "DOUBLE",
         "purchase_last_window": "DOUBLE"}  # fmt: skip
CASES = [
    (name, kind)
    for name in MODELS
    if name not in ELSEWHERE
    for kind in sorted(model_class(name).kinds)
]
FORMS = (RowForm, BatchForm)
every_form = pytest.mark.parametrize("form_class", FORMS, ids=("row", "batch"))


def asked(kind: str) -> pl.DataFrame:
    """The features of test, the task's last window among them."""
    test = table(kind, "test")
    last = pl.Series("purchase_last_window", test.last_window).fill_nan(None)
    return test.features.with_columns(last)


def answers(form: Form, expression: str, rows: pl.DataFrame) -> np.ndarray:
    """(n,) what SQL says of the rows, NULL = NaN."""
    query = (
        form.query(expression, "numbered")
        if isinstance(form, BatchForm)
        else f"select user_id, {form.over_row(expression, 'numbered')} as score from numbered"
    )
    with duckdb.connect() as con:
        numbered = rows.with_row_index("user_id")
        con.register("given", numbered.to_arrow())
        con.execute("create table numbered as from given")
        found = con.sql(f"select score from ({query}) order by user_id").pl()["score"]
    return found.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def calibrators(kind: str, raw: np.ndarray) -> list[Calibrator]:
    if kind != "binary":
        return [Calibrator.floor(float(np.median(raw)))]
    knots = np.unique(np.quantile(raw, [0.1, 0.3, 0.31, 0.6, 0.9]))
    steps = np.linspace(0.05, 0.9, len(knots))
    return [
        Calibrator("none"),
        Calibrator("sigmoid", slope=1.7, intercept=-0.4),
        Calibrator("isotonic", x=knots, y=steps),
    ]


@every_form
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_sql_says_what_the_model_says(name: str, kind: str, form_class: type[Form]) -> None:
    model, rows = reloaded(name, kind), asked(kind)
    ties = Scorer.of(model, Calibrator("floor"), TYPES, TASK).ties
    rows = pl.concat([rows, edge_rows.make(rows.head(20), ties, rows.columns)])
    raw = model.predict(frames.unlabelled(rows, TASK, kind))
    for calibrator in calibrators(kind, raw[:1000]):
        form = form_class(TYPES, TASK)
        said = answers(form, calibrator.to_sql(model.to_sql(form), form), rows)
        np.testing.assert_allclose(said, calibrator.transform(raw), rtol=1e-12, atol=1e-12)


def test_the_edges_hold_what_models_stumble_over() -> None:
    rows = asked("binary").head(5)
    edges = edge_rows.make(rows, {"signal": [0.25]}, ["signal", "plan"])
    values = edges["signal"].to_list()
    assert rows.rows() == edges.head(5).rows()
    assert edges[5].null_count().sum_horizontal().item() == edges.width
    assert {float("inf"), float("-inf"), 0.25, np.nextafter(0.25, 1), np.nextafter(0.25, 0)} <= set(
        values
    )
    assert any(value is not None and np.isnan(value) for value in values)
    assert "never seen before" in edges["plan"].to_list()


# LightGBM: what the shipped settings never make, and a user's own model may


def boosted(params: dict, categorical: bool = False) -> tuple[lightgbm.Booster, np.ndarray]:
    """A booster on numbers with gaps and zeros, one of them a code, and rows to ask it about."""
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(2000, 3)).round(1)
    matrix[rng.random(matrix.shape) < 0.2] = 0.0
    matrix[:, 2] = rng.integers(0, 40, 2000)
    label = (matrix[:, 0] + np.isin(matrix[:, 2], (3, 7, 33, 38)) > 0.5).astype(float)
    if params.pop("gaps", True):
        matrix[rng.random(2000) < 0.3, 0] = np.nan
    dataset = lightgbm.Dataset(matrix, label, categorical_feature=[2] if categorical else [])
    settings = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 5, "seed": 1}
    booster = lightgbm.train(settings | params, dataset, 12)
    tiny = 1.0000000180025095e-35  # what is not larger than that LightGBM takes as zero
    edges = [
        np.nan,
        0.0,
        -0.0,
        tiny,
        -tiny,
        -1e-36,
        1e-30,
        0.5,
        -1,
        -1.5,
        3,
        3.7,
        33,
        38,
        39.9,
        40,
        1e6,
    ]
    return booster, np.array([[a, b, c] for a in edges for b in edges for c in edges])


@every_form
@pytest.mark.parametrize("params", [
    {}, {"gaps": False}, {"zero_as_missing": True}, {"use_missing": False},
    {"objective": "poisson"}, {"objective": "regression"}, {"sigmoid": 2.5}, {"num_leaves": 2},
    {"min_data_in_leaf": 5000}, {"zero_as_missing": True, "gaps": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("categorical", [False, True], ids=("numbers", "codes"))
def test_lightgbm_however_it_treats_missing_values(
    params: dict, categorical: bool, form_class: type[Form]
) -> None:
    booster, rows = boosted(dict(params), categorical)
    names = ["a", "b", "c"]
    form = form_class(dict.fromkeys(names, "DOUBLE"), TASK)

    def atom(column: int, zero_is_missing: bool, categories: frozenset[int] | None) -> int:
        if categories is not None:
            return form.member_at(names[column], categories)
        return form.number_at(names[column], zero_is_missing)

    trees, objective = lightgbm_text.read(booster.model_to_string(), atom)
    total = f"list_sum({leaf_values(trees, form)})"
    expression = lightgbm_text.output(total, objective, form)
    frame = pl.DataFrame(rows, schema=names)
    np.testing.assert_allclose(
        answers(form, expression, frame), booster.predict(rows), rtol=1e-12, atol=1e-12
    )


@every_form
def test_a_threshold_just_below_zero_takes_tiny_numbers_as_zero(form_class: type[Form]) -> None:
    tiny = 1.0000000180025095e-35
    matrix = np.repeat([-1.0, 0.0, 1.0], 200)[:, None]
    dataset = lightgbm.Dataset(matrix, (matrix[:, 0] < 0).astype(float))
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, dataset, 3)
    assert f"threshold=-{tiny!r}" in booster.model_to_string()
    form = form_class({"a": "DOUBLE"}, TASK)
    trees, objective = lightgbm_text.read(
        booster.model_to_string(), lambda _column, zero, _codes: form.number_at("a", zero)
    )
    expression = lightgbm_text.output(f"list_sum({leaf_values(trees, form)})", objective, form)
    rows = np.array([[-1.0], [-2 * tiny], [-tiny], [-1e-36], [0.0], [tiny], [np.nan]])
    said = answers(form, expression, pl.DataFrame(rows, schema=["a"]))
    np.testing.assert_allclose(said, booster.predict(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("params", "named"), [
    ({"objective": "multiclass", "num_class": 3}, "num_class=3"),
    ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "average_output"),
    ({"linear_tree": True}, "is_linear=1"),
    ({"objective": "quantile"}, "objective=quantile"),
    ({"objective": "regression", "reg_sqrt": True}, "objective=regression sqrt"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_has_no_exact_sql_is_refused_by_name(params: dict, named: str) -> None:
    booster, _ = boosted(dict(params))
    form = RowForm(dict.fromkeys("abc", "DOUBLE"), TASK)
    with pytest.raises(CompileError) as error:
        _, objective = lightgbm_text.read(
            booster.model_to_string(), lambda column, *_: form.number_at("abc"[column])
        )
        lightgbm_text.output("0", objective, form)
    assert named in str(error.value) and "stays in Python" in str(error.value)


# The parts


@given(st.floats(width=64, allow_nan=False), st.floats(width=64, allow_nan=False))
def test_one_comparison_in_double_is_one_in_single_precision(x: float, threshold: float) -> None:
    single = float(as_float32(np.array([x]))[0]) <= threshold
    if np.isfinite(threshold) and np.isfinite(x):
        assert (x <= below_float32(threshold)) == single


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-3, 3))
def test_nor_beside_a_number_of_single_precision(threshold: float, steps: int) -> None:
    bound = below_float32(threshold)
    for start in (threshold, bound):
        x = start
        for _ in range(abs(steps)):
            x = float(np.nextafter(x, np.inf if steps > 0 else -np.inf))
        if np.isfinite(x):
            assert (x <= bound) == (float(as_float32(np.array([x]))[0]) <= threshold)


@every_form
def test_a_stump_a_leaf_and_a_deep_tree_side_by_side(form_class: type[Form]) -> None:
    form = form_class({"a": "BIGINT", "b": "DOUBLE"}, TASK)
    a, b = form.number_at("a"), form.number_at("b")
    deep = Split(b, 0.0, True, Split(a, 2.0, False, 1.0, Split(b, -5.0, True, 2.0, 3.0)), 4.0)
    expression = f"list_sum({leaf_values([7.5, Split(a, 1.0, False, 10.0, 20.0), deep], form)})"
    rows = pl.DataFrame({"a": [1, 2, 3, None, 3], "b": [1.0, -1.0, -6.0, None, -1.0]})
    said = answers(form, expression, rows)
    assert said.tolist() == [7.5 + 10 + 4, 7.5 + 20 + 1, 7.5 + 20 + 2, 7.5 + 20 + 2, 7.5 + 20 + 3]


@every_form
def test_trees_without_a_split_are_their_sum(form_class: type[Form]) -> None:
    form = form_class({"a": "DOUBLE"}, TASK)
    rows = pl.DataFrame({"a": [1.0, None]})
    assert answers(form, f"list_sum({leaf_values([1.5, 2.0], form)})", rows).tolist() == [3.5, 3.5]


@every_form
@pytest.mark.parametrize("units", [(1,), (3, 1), (16, 8, 4, 2, 1)], ids=str)
def test_networks_of_any_depth_and_activation(
    units: tuple[int, ...], form_class: type[Form]
) -> None:
    rng = np.random.default_rng(len(units))
    names = ["relu", "tanh", "sigmoid", "softplus", "linear"]
    sizes = [4, *units]
    layers = DenseLayers(tuple(
        Dense(rng.normal(size=(before, after)).astype(np.float32),
              rng.normal(size=after).astype(np.float32), names[i % 5])
        for i, (before, after) in enumerate(pairwise(sizes))
    ))  # fmt: skip
    matrix = rng.normal(size=(50, 4)) * 3
    form = form_class(dict.fromkeys("abcd", "DOUBLE"), TASK)
    inputs = f"[{', '.join(form.number(name) for name in 'dcba')}]"
    said = answers(form, dense(inputs, (3, 2, 1, 0), layers.layers),
                   pl.DataFrame(matrix, schema=list("abcd")))  # fmt: skip
    np.testing.assert_allclose(said, layers.predict(matrix)[:, 0], rtol=1e-12, atol=1e-12)
    assert DenseLayers.from_bytes(layers.to_bytes()).predict(matrix).tolist() == (
        layers.predict(matrix).tolist()
    )


@every_form
def test_isotonic_is_numpys_interpolation(form_class: type[Form]) -> None:
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.random(200)), np.sort(rng.random(200))
    score = np.concatenate([rng.random(500), x, np.nextafter(x, 0), [-1.0, 0.0, 1.0, 2.0]])
    for knots in (200, 2, 1):
        calibrator = Calibrator("isotonic", x=x[:knots], y=y[:knots])
        form = form_class({"s": "DOUBLE"}, TASK)
        said = answers(form, calibrator.to_sql(form.number("s"), form), pl.DataFrame({"s": score}))
        assert said.tolist() == calibrator.transform(score).tolist()


# Features


@every_form
def test_features_of_any_type_become_the_numbers_python_sees(form_class: type[Form]) -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table numbered as select * from (values (0, true, 3::tinyint, 1.25::decimal(9,2), "
            "7::hugeint, 2.5::float), (1, null, null, null, null, 'nan'::float)) "
            "as t(user_id, a, b, c, d, e)"
        )
        types = {row[0]: row[1] for row in con.execute("describe numbered").fetchall()[1:]}
        form = form_class(types, TASK)
        expression = f"[{', '.join(form.number(name) for name in types)}]"
        query = (form.query(expression, "numbered") if isinstance(form, BatchForm) else
                 f"select user_id, {form.over_row(expression, 'numbered')} as score from numbered")  # fmt: skip
        said = con.execute(f"select score from ({query}) order by user_id").fetchall()
        rows = con.sql("select * exclude (user_id) from numbered").pl()
    seen = frames.unlabelled(rows, TASK, "binary").features
    assert [list(row) for row in seen.rows()] == [row for (row,) in said]


@pytest.mark.parametrize(("types", "message"), [
    ({}, "feature a: the feature table has no such column; the model reads it. Train it again."),
    ({"a": "VARCHAR"}, "feature a: is VARCHAR; the model reads it as a number. Train it again."),
    ({"a": "INTERVAL"}, "feature a: is INTERVAL; SQL models read numbers, booleans and text. "
     "Cast it in its SQL file."),
])  # fmt: skip
def test_a_feature_that_cannot_be_read_is_named(types: dict[str, str], message: str) -> None:
    with pytest.raises(CompileError) as error:
        RowForm(types, TASK).number("a")
    assert str(error.value) == message


def test_a_number_is_no_category() -> None:
    with pytest.raises(CompileError, match="feature a: is DOUBLE; the model reads it as text"):
        RowForm({"a": "DOUBLE"}, TASK).flag("a", "x")


def test_a_feature_called_like_a_variable_of_the_sql_is_still_itself() -> None:
    names = ["x", "r", "a", "f", "c1", "x1", "score", "v"]
    rows = pl.DataFrame({name: [float(i)] for i, name in enumerate(names)})
    for form_class in FORMS:
        form = form_class(dict.fromkeys(names, "DOUBLE"), TASK)
        expression = f"[{', '.join(form.number(name) for name in names)}]"
        with duckdb.connect() as con:
            con.register("given", rows.with_row_index("user_id").to_arrow())
            con.execute("create table numbered as from given")
            if isinstance(form, BatchForm):
                query = form.query(expression, "numbered")
            else:
                arguments = ", ".join(f"{name} := null" for name in names)
                con.execute(f"create macro whatif({arguments}) as {form.over_columns(expression)}")
                passed = ", ".join(f"{name} := {i}" for i, name in enumerate(names))
                query = f"select whatif({passed}) as score"
            assert con.execute(f"select score from ({query})").fetchall() == [
                ([float(i) for i in range(len(names))],)
            ]


def test_a_missing_feature_is_an_error_not_an_outer_column() -> None:
    form = RowForm({"a": "DOUBLE"}, TASK)
    expression = form.over_row(form.number("a"), "narrow")
    with duckdb.connect() as con:
        con.execute("create table narrow as select 1 as b; create table outer_one as select 2 as a")
        with pytest.raises(duckdb.BinderException, match="a"):
            con.execute(f"select (select {expression} from narrow) from outer_one")


def test_an_unscaled_matrix_has_no_columns_of_gaps() -> None:
    """Trees read numbers and flags alone: what `encoder.atom` relies on."""
    encoder = Encoder(scale=False).fit(asked("binary"))
    assert {column.role for column in encoder.columns} == {"number", "category"}
    assert json.loads(json.dumps(encoder.to_dict()))["scale"] is False
