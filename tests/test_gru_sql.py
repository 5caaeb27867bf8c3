"""A GRU in SQL says what the layer says, step by step, zeros for none."""

import duckdb
import numpy as np
import pytest

from behavsql.compile import RowForm, gru, literals
from behavsql.errors import ModelError
from behavsql.models.parts.dense_layers import Dense, DenseLayers
from behavsql.models.parts.gru_layers import GRU
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.quoting import literal


def random_layer(inputs: int, units: int, scale: float = 0.5) -> GRU:
    random = np.random.default_rng(7)
    shapes = (inputs, 3 * units), (units, 3 * units), (2, 3 * units)
    return GRU(*(random.normal(0, scale, shape).astype(np.float32) for shape in shapes))


def random_steps(rows: int, most: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 0, 1, 2 ... most steps, and one step in five unknown."""
    random = np.random.default_rng(8)
    lengths = np.arange(rows) % (most + 1)
    known = (np.arange(most) < lengths[:, np.newaxis]) & (random.random((rows, most)) < 0.8)
    return random.normal(0, 2, (rows, most, inputs)), known


def in_sql(steps: np.ndarray, known: np.ndarray, expression: str) -> np.ndarray:
    """The expression for every row of `seen.steps`, in which an unknown step is NULL."""
    rows = [
        (i, [step if is_known else None for step, is_known in zip(row, there, strict=True)])
        for i, (row, there) in enumerate(zip(steps.tolist(), known.tolist(), strict=True))
    ]
    with duckdb.connect() as con:
        con.execute("create table seen (i integer, steps double[][])")
        con.executemany("insert into seen values (?, ?)", rows)
        return np.array(
            [a for (a,) in con.execute(f"select {expression} from seen order by i").fetchall()]
        )


def state_in_sql(steps: np.ndarray, known: np.ndarray, layer: GRU) -> np.ndarray:
    return in_sql(steps, known, gru.last_state("steps", layer))


@pytest.mark.parametrize(("inputs", "units"), [(5, 8), (9, 4), (3, 3), (1, 1)])
def test_the_last_state_is_that_of_the_layer(inputs: int, units: int) -> None:
    layer = random_layer(inputs, units)
    steps, known = random_steps(70, 12, inputs)
    wanted = layer.predict(steps, known)
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(state_in_sql(steps, known, layer), wanted, rtol=0, atol=1e-9)


def test_gates_far_from_zero_do_not_overflow() -> None:
    layer = random_layer(3, 4, scale=3000)
    steps, known = random_steps(30, 6, 3)
    found = state_in_sql(steps, known, layer)
    assert np.abs(found).max() == 1
    np.testing.assert_allclose(found, layer.predict(steps, known), rtol=0, atol=1e-9)


def test_no_steps_is_the_state_before_the_first() -> None:
    layer = random_layer(3, 4)
    for none in ("[]::DOUBLE[][]", "NULL::DOUBLE[][]", "[NULL]::DOUBLE[][]"):
        expression = gru.last_state(none, layer)
        found = in_sql(np.zeros((1, 0, 3)), np.zeros((1, 0), bool), expression)
        assert found.tolist() == [[0.0] * 4]


def test_embeddings_then_gru_then_dense_layers_in_one_row_expression() -> None:
    random = np.random.default_rng(9)
    layer, table = random_layer(4, 6), random.normal(0, 1, (5, 3)).astype(np.float32)
    head = (
        Dense(random.normal(0, 1, (6, 3)).astype(np.float32), np.ones(3, np.float32), "relu"),
        Dense(random.normal(0, 1, (3, 1)).astype(np.float32), np.ones(1, np.float32), "sigmoid"),
    )
    codes, values = random.integers(0, 5, (40, 9)), random.normal(0, 1, (40, 9))
    steps = np.concatenate([table[codes], values[..., np.newaxis]], axis=2)
    wanted = DenseLayers(head).predict(layer.predict(steps, np.ones((40, 9), bool)))[:, 0]

    form = RowForm({}, "churn")
    read = f"list_transform([{literals.matrix(table)}], lambda _t: list_transform(steps, "
    read += "lambda _c: list_append(_t[_c[1]::INTEGER + 1]::DOUBLE[], _c[2])))[1]"
    events = np.stack([codes, values], axis=2)
    found = in_sql(events, np.ones((40, 9), bool), gru.answer(read, layer, head, form))
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_predict_does_not_depend_on_the_rows_beside() -> None:
    layer = random_layer(5, 8)
    steps, known = random_steps(70, 12, 5)
    alone = [layer.predict(steps[i : i + 1], known[i : i + 1])[0] for i in range(70)]
    assert np.array_equal(layer.predict(steps, known), np.array(alone))


def test_a_keras_layer_with_a_mask() -> None:
    keras = import_keras(1)
    keras.utils.set_random_seed(7)
    steps, known = random_steps(40, 8, 5)
    keras_layer = keras.layers.GRU(6, bias_initializer="glorot_uniform")
    wanted = np.array(keras_layer(steps.astype(np.float32), mask=known))
    layer = GRU.of(keras_layer)
    assert (layer.inputs, layer.units) == (5, 6)
    np.testing.assert_allclose(layer.predict(steps, known), wanted, rtol=0, atol=1e-5)
    found = state_in_sql(steps, known, layer)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_setting_that_is_not_known_is_refused_by_name() -> None:
    layer = import_keras(1).layers.GRU(4, reset_after=False)
    with pytest.raises(ModelError, match=r"GRU layer: reset_after is False; only True is known"):
        GRU.of(layer)


def test_macro_stores_and_answers(tmp_path) -> None:
    expression = gru.last_state("s", random_layer(2, 3))
    with duckdb.connect(str(tmp_path / "a.duckdb")) as con:
        con.execute(f"create macro state(s) as ({expression})")
        direct = con.execute(f"select {expression} from (select {literal([[1.0, 2.0]])} as s)")
        wanted = direct.fetchall()
    with duckdb.connect(str(tmp_path / "a.duckdb"), read_only=True) as con:
        assert con.execute("select state([[1.0, 2.0]])").fetchall() == wanted
