"""A GRU in SQL says what the layers say, step by step, zeros for none; and so does the model."""

import subprocess
import sys

import duckdb
import numpy as np
import polars as pl
import pytest
from models_data import said_in_sql

from behavsql import frames
from behavsql.calibration import Calibrator
from behavsql.compile import BatchForm, Form, RowForm, edge_rows, gru
from behavsql.compile.event_steps import FEW_ROWS
from behavsql.errors import ModelError
from behavsql.models import model_class
from behavsql.models.parts.dense_layers import Dense
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.ensemble import Member
from behavsql.models.parts.gru_layers import GRU
from behavsql.models.parts.gru_network import GRUNetwork
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import SequenceEncoder
from behavsql.quoting import literal
from behavsql.sequences import COLUMNS


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


def state_in_sql(steps: np.ndarray, known: np.ndarray, *layers: GRU) -> np.ndarray:
    return in_sql(steps, known, gru.last_state("steps", layers))


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
        expression = gru.last_state(none, [layer])
        found = in_sql(np.zeros((1, 0, 3)), np.zeros((1, 0), bool), expression)
        assert found.tolist() == [[0.0] * 4]


def test_a_layer_reads_what_the_layer_before_makes_of_each_step() -> None:
    layers = random_layer(5, 4), random_layer(4, 4), random_layer(4, 4)
    steps, known = random_steps(64, 9, 5)
    read = np.moveaxis(steps, 0, 1)
    for layer in layers:
        read = layer.states(read, known.T)[1:]
    assert np.ptp(read[-1]) > 0.5
    np.testing.assert_allclose(state_in_sql(steps, known, *layers), read[-1], rtol=0, atol=1e-9)


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
    expression = gru.last_state("s", [random_layer(2, 3)])
    with duckdb.connect(str(tmp_path / "a.duckdb")) as con:
        con.execute(f"create macro state(s) as ({expression})")
        direct = con.execute(f"select {expression} from (select {literal([[1.0, 2.0]])} as s)")
        wanted = direct.fetchall()
    with duckdb.connect(str(tmp_path / "a.duckdb"), read_only=True) as con:
        assert con.execute("select state([[1.0, 2.0]])").fetchall() == wanted


# The model


ODD = ["it's {odd}", 'say "so", [1]; or not', "", "null", " spaced ", "line\nbreak", "\x1f", "ünï"]
ITEMS = [*ODD, *(f"item {i}" for i in range(FEW_ROWS))]  # more than are written as numbers
TYPES = {name: "DOUBLE[]" if name[:5] in ("value", "days_") else "VARCHAR[]" for name in COLUMNS}
FEATURES = {"plan": "VARCHAR", "visits": "DOUBLE", "last_spent": "DOUBLE"}


def questions(n: int, seed: int, items: list = ITEMS) -> pl.DataFrame:
    """Rows of features and lists of 0 to 59 events; some roles, items and values are missing."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 60, n)

    def drawn(values: list, missing: float = 0.1) -> list[list]:
        return [[None if random.random() < missing else values[i] for i in random.integers(0, len(values), k)]
                for k in counts]  # fmt: skip

    values = [-3.5, 0.0, 1e-3, 20.0, 1e300, float("inf"), float("nan")]
    days = [sorted(np.round(random.exponential(30, k), 6).tolist(), reverse=True) for k in counts]
    item = pl.Int64 if isinstance(items[0], int) else pl.String
    return pl.DataFrame({
        "plan": random.choice(["free", "pro", None], n).tolist(),
        "visits": pl.Series(random.poisson(3, n).astype(float)).set(pl.Series(random.random(n) < 0.1), None),
        "last_spent": random.normal(0, 50, n), "role_sequence": drawn(["view", "cart"]),
        "item_sequence": drawn(items), "category_sequence": drawn(["a", "b's", "c"], 0.5),
        "value_sequence": drawn(values, 0.4), "days_ago_sequence": days,
    }, schema_overrides={"plan": pl.String, "item_sequence": pl.List(item)}, strict=False)  # fmt: skip


def random_model(rows: pl.DataFrame, kind: str = "binary", layers: int = 1, features: bool = True):
    """A GRU that learned nothing but the scales of these rows; its weights are drawn."""
    random, d, hidden = np.random.default_rng(3), 6, 7
    drawn = lambda *shape: random.normal(0, 0.6, shape).astype(np.float32)  # noqa: E731
    model = model_class("gru")(kind)
    model._unit, model._encoder = 1.0 if kind == "binary" else 37.5, None
    model._events = SequenceEncoder().fit(frames.unlabelled(rows, "churn", kind).sequences, 40)
    last = "sigmoid" if kind == "binary" else "softplus"
    dense = {"embed_numbers": Dense(drawn(4, d), drawn(d), "linear"),
             "hidden": Dense(drawn(d + features * 5, hidden), drawn(hidden), "relu"),
             "answer": Dense(drawn(hidden, 1), drawn(1), last)}  # fmt: skip
    if features:
        model._encoder = Encoder(log=True).fit(rows.select(*FEATURES))
        width = len(model._encoder.columns)
        dense["features_dense"] = Dense(drawn(width, 5), drawn(5), "relu")
    embeddings = {name: drawn(size, d) for name, size in model._events.sizes.items()}
    recurrent = tuple(GRU(drawn(d, 3 * d), drawn(d, 3 * d), drawn(2, 3 * d)) for _ in range(layers))
    model._network = GRUNetwork(embeddings, recurrent, dense)
    return type(model).load(kind, model.save())


@pytest.mark.parametrize("form_class", [RowForm, BatchForm])
@pytest.mark.parametrize(
    ("kind", "layers", "features"), [("binary", 1, True), ("amount", 2, True), ("count", 1, False)]
)
def test_sql_says_what_the_model_says(
    kind: str, layers: int, features: bool, form_class: type[Form]
) -> None:
    model = random_model(questions(200, 1), kind, layers, features)
    some = questions(150, 2, [*ITEMS, "never seen", "ñor this"])
    unknown = some.head(20).with_columns(  # when something was is not known
        pl.col("days_ago_sequence").list.eval(pl.when(pl.element() > 20).then(pl.element()))
    )
    odd = edge_rows.make(some.head(9), {}, list(FEATURES))
    rows = pl.concat([some, unknown, edge_rows.events(some.head(12)), odd])
    wanted = model.predict(frames.unlabelled(rows, "churn", kind))
    assert np.isfinite(wanted).all() and np.ptp(wanted) > 0.5
    form = form_class(TYPES | FEATURES, "churn")
    np.testing.assert_allclose(
        said_in_sql(form, model.to_sql(form), rows), wanted, rtol=1e-10, atol=1e-10
    )
    assert set(form.features) == (set(FEATURES) if features else set())
    assert set(form.lists) == set(COLUMNS)


def test_ids_that_are_numbers_are_looked_up_as_text() -> None:
    rows = questions(80, 4, list(range(40)))
    model = random_model(rows)
    form = RowForm(TYPES | FEATURES | {"item_sequence": "BIGINT[]"}, "churn")
    wanted = model.predict(frames.unlabelled(rows, "churn", "binary"))
    np.testing.assert_allclose(
        said_in_sql(form, model.to_sql(form), rows), wanted, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("form_class", [RowForm, BatchForm])
def test_what_combines_it_is_in_sql_too(form_class: type[Form]) -> None:
    rows = questions(60, 6)
    voting = model_class("voting")("binary")
    voting._intercept = 0.0
    members = [Member(random_model(rows, layers=layers), Calibrator()) for layers in (1, 2)]
    voting._adopt(members, np.array([0.5, 0.5]))
    assert voting.reads == "both"
    wanted = voting.predict(frames.unlabelled(rows, "churn", "binary"))
    form = form_class(TYPES | FEATURES, "churn")
    said = said_in_sql(form, voting.to_sql(form), rows)
    np.testing.assert_allclose(said, wanted, rtol=0, atol=1e-10)


def test_a_model_answers_without_keras(tmp_path) -> None:
    rows = questions(60, 5)
    model = random_model(rows)
    for name, content in model.save().items():
        (tmp_path / name).write_bytes(content)
    rows.write_parquet(tmp_path / "rows.parquet")
    code = (
        "import sys, pathlib, polars as pl\n"
        "from behavsql import frames\nfrom behavsql.models import model_class\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "files = {f.name: f.read_bytes() for f in folder.iterdir() if f.suffix != '.parquet'}\n"
        "rows = frames.unlabelled(pl.read_parquet(folder / 'rows.parquet'), 'churn', 'binary')\n"
        "print(*model_class('gru').load('binary', files).predict(rows).tolist())\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = model.predict(frames.unlabelled(rows, "churn", "binary"))
    assert [float(word) for word in done.stdout.split()] == wanted.tolist()
