"""Networks over event sequences: what they reach on a process whose law is known."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from explain_data import check_explanation

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models import model_class
from behavsql.models.base import loss
from behavsql.models.parts import augmentation
from behavsql.models.parts.explanation import EVENTS
from behavsql.models.parts.sequence_encoder import (
    BUCKETS,
    FIRST_BUCKET,
    MISSING,
    NUMBERS,
    PADDING,
    SequenceEncoder,
    Vocabulary,
)  # fmt: skip
from behavsql.models.parts.sequence_network import SequenceNetwork
from behavsql.sequences import COLUMNS, DAY, Sequences

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Keras 3.15 on numpy 2: inside Keras, and nothing its caller can change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NAMES = ("cnn", "gru", "lstm", "transformer")
# LSTM and GRU are one file but for a word: the quick run leaves one out.
every_network = pytest.mark.parametrize(
    "name", ["cnn", "gru", pytest.param("lstm", marks=pytest.mark.slow), "transformer"]
)
LENGTH = 8
TINY = {
    "units": 16, "layers": 1, "dropout": 0.05, "learning_rate": 5e-3, "length": LENGTH, "epochs": 5, "max_rows": 2500,
}  # fmt: skip
ROLES = np.array(["view", "cart", "purchase"])


def chances(roles: np.ndarray, gaps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) P(label = 1): a cart that no purchase followed, and a short newest gap.

    The last two events alone count, in their order: cart, or cart and then view.
    """
    newest, before = (np.where(counts > k, roles[:, -1 - k], -1) for k in (0, 1))
    is_left = (newest == 1) | ((newest == 0) & (before == 1))
    logit = -3 + 3 * is_left + 2 * ((gaps[:, -1] < 1) & (counts > 1))
    return 1 / (1 + np.exp(-logit))


@cache
def asked(part: str, is_noise: bool = False) -> tuple[Table, np.ndarray]:
    """Questions with 0 to 10 events each, and the chance each label was drawn with."""
    seed, n = {"train": (1, 4000), "valid": (2, 800), "test": (3, 2000)}[part]
    random = np.random.default_rng(seed)
    counts, most = random.integers(0, 11, n), 10
    roles = random.choice(3, (n, most), p=[0.6, 0.25, 0.15])
    is_short = random.random((n, most)) < 0.4
    gaps = np.where(is_short, 0.01, 1) * random.uniform(
        1, 4, (n, most)
    )  # days since the one before
    chance = chances(roles, gaps, counts)
    if is_noise:
        chance = np.full(n, 0.4)
    known = np.arange(most) >= most - counts[:, np.newaxis]
    stop = np.cumsum(counts)
    at = np.cumsum(np.where(known, gaps, 0), axis=1) + 100 * np.arange(n)[:, np.newaxis]
    events = pl.DataFrame({
        "role": ROLES[roles[known]],
        "item": random.choice([f"i{k}" for k in range(9)], known.sum()),
        "category": pl.Series([None] * known.sum(), dtype=pl.String),
        "value": np.where(random.random(known.sum()) < 0.5, np.nan, 3.0),
        "at": (at[known] * DAY).astype(np.int64),
    }).with_columns(pl.col("role", "item", "category").cast(pl.Categorical), pl.col("value").fill_nan(None))  # fmt: skip
    cutoff = ((at[:, -1] + random.uniform(0, 3, n)) * DAY).astype(np.int64)
    sequences = Sequences(events, stop - counts, stop, cutoff)
    features = pl.DataFrame({"noise_1": random.normal(size=n), "noise_2": random.normal(size=n)})
    label = (random.random(n) < chance).astype(np.float64)
    users = np.arange(n, dtype=np.int64)
    table = Table(features, label, users, np.full(n, np.nan), "purchase", "binary", sequences)
    return table, chance


def fit(
    name: str, is_noise: bool = False, kind: str = "binary", **options: object
) -> SequenceNetwork:
    parts = [replace(asked(part, is_noise)[0], kind=kind) for part in ("train", "valid")]
    return model_class(name)(kind, 7, 1, {**TINY, **options}).fit(*parts)


@cache
def fitted(name: str) -> SequenceNetwork:
    slower = {"learning_rate": 4e-3, "epochs": 7, "max_rows": 4000}
    return fit(name, **(slower if name == "transformer" else {}))


@cache
def reloaded(name: str) -> SequenceNetwork:
    return model_class(name).load("binary", fitted(name).save())


# Known answers


@every_network
def test_comes_near_what_can_be_attained(name: str) -> None:
    test, chance = asked("test")
    attainable = loss("binary", test.label, chance)
    prevalence = loss("binary", test.label, np.full(len(test), test.label.mean()))
    reached = loss("binary", test.label, fitted(name).predict(test))
    assert prevalence - attainable > 0.15
    assert reached < attainable + 0.3 * (prevalence - attainable)
    shares = fitted(name).importance()
    assert set(list(shares)[:2]) == {"role_sequence", "days_ago_sequence"}
    assert sum(shares.values()) == pytest.approx(1)


@every_network
def test_events_and_features_add_up_to_the_answer(name: str) -> None:
    one = check_explanation(reloaded(name), asked("test")[0], left_over=0.1)
    size = dict(zip(one.features, np.abs(one.parts).mean(axis=0), strict=True))
    assert size[EVENTS] > 2 * max(size["noise_1"], size["noise_2"])


@pytest.mark.slow
@every_network
def test_learns_nothing_from_noise(name: str) -> None:
    test, chance = asked("test", is_noise=True)
    reached = loss("binary", test.label, fit(name, is_noise=True).predict(test))
    assert reached == pytest.approx(loss("binary", test.label, chance), abs=0.02)


def test_amounts_are_predicted_on_their_scale_from_features_beside_the_events() -> None:
    train, valid, test = (
        replace(part, kind="amount", label=part.label * 500, features=pl.DataFrame({"signal": part.label}))
        for part in (asked(name, is_noise=True)[0] for name in ("train", "valid", "test"))
    )  # fmt: skip
    model = model_class("cnn")("amount", 7, 1, TINY).fit(train, valid)
    answer = model.predict(test)
    assert model.features("spend") == (*COLUMNS, "signal")
    assert (answer >= 0).all()
    assert answer.mean() == pytest.approx(test.label.mean(), rel=0.1)
    assert np.corrcoef(answer, test.label)[0, 1] > 0.98


def test_balanced_classes_without_features_are_at_even_odds_on_noise() -> None:
    parts = [asked(name, is_noise=True)[0] for name in ("train", "valid", "test")]
    told = [replace(part, features=pl.DataFrame({"signal": part.label})) for part in parts]
    options = {**TINY, "with_features": False, "class_weight": "balanced", "learning_rate": 1e-3}
    model = model_class("cnn")("binary", 7, 1, options).fit(*told[:2])
    answer = model.predict(told[2])
    assert model.features("purchase") == COLUMNS
    assert told[2].label.mean() == pytest.approx(0.4, abs=0.04)
    assert answer.mean() == pytest.approx(0.5, abs=0.04)
    assert abs(np.corrcoef(answer, told[2].label)[0, 1]) < 0.06


# Without Keras


@pytest.mark.parametrize("layers", [1, 2])
def test_plain_arrays_say_what_the_network_of_keras_says(layers: int) -> None:
    model = fit("gru", layers=layers, epochs=1, max_rows=300)
    keras_model, arrays = model._build(), model._network
    for name in ("role", "category", "item"):
        keras_model.get_layer(f"embed_{name}").set_weights([arrays.embeddings[name]])
    for i, layer in enumerate(arrays.recurrent, 1):
        weights = [layer.kernel, layer.recurrent, layer.bias]
        keras_model.get_layer(f"recurrent_{i}").set_weights(weights)
    for name, layer in arrays.dense.items():
        keras_model.get_layer(name).set_weights([layer.kernel, layer.bias])
    test = asked("test")[0]
    encoded, features = model._inputs(test)
    inputs = encoded.batch(slice(None)) | {"features": features.astype(np.float32)}
    wanted = keras_model.predict_on_batch(inputs)[:, 0]
    assert np.ptp(wanted) > 0.05
    np.testing.assert_allclose(model.predict(test), wanted, rtol=0, atol=1e-5)


# What does not change an answer


@every_network
def test_padding_changes_no_answer(name: str) -> None:
    """The same weights in a network of 8 and of 50 events, asked about the same 5."""
    model, test = fitted(name), asked("test")[0]
    late = test.sequences.start + np.maximum(test.sequences.stop - test.sequences.start - 5, 0)
    test = replace(test, sequences=replace(test.sequences, start=late))
    other = model_class(name)("binary", options=model.options)
    other._unit, other._encoder = model._unit, model._encoder
    other._events = SequenceEncoder.from_dict({**model._events.to_dict(), "length": 50})
    other._network = model._network if name == "gru" else longer(model, other._build())
    assert np.allclose(other.predict(test), model.predict(test), rtol=0, atol=1e-6)


def longer(model: SequenceNetwork, network: object) -> object:
    """A network of more events with the model's weights."""
    for layer in model._network.layers:
        weights = layer.get_weights()
        if layer.name == "embed_place":  # places that no event takes may hold anything
            weights = [np.pad(weights[0], ((0, 50 - LENGTH), (0, 0)), constant_values=9.0)]
        network.get_layer(layer.name).set_weights(weights)
    return network


@every_network
def test_what_padding_holds_changes_no_answer(name: str) -> None:
    model, test = fitted(name), asked("test")[0]
    inputs = model._inputs(test)[0].batch(np.arange(200))
    inputs["features"] = np.zeros((200, len(model._encoder.columns)), np.float32)
    padding = ~inputs["mask"]
    strange = {key: values.copy() for key, values in inputs.items()}
    strange["role"][padding], strange["item"][padding], strange["numbers"][padding] = 3, 5, 4.0
    assert padding.any()
    assert np.array_equal(model._answer(strange), model._answer(inputs))


@every_network
def test_a_row_is_answered_alike_alone_and_among_others(name: str) -> None:
    model, test = fitted(name), asked("test")[0]
    together = model.predict(test)
    for those in ([0], [5, 1999, 700], np.arange(1999, 0, -7)):
        some = replace(test, features=test.features[those], users=test.users[those], label=None,
                       sequences=test.sequences.rows(those))  # fmt: skip
        assert np.array_equal(model.predict(some), together[those])
    assert model.predict(test.rows(np.zeros(len(test), bool))).shape == (0,)


@every_network
def test_saved_and_loaded_it_says_the_same(name: str) -> None:
    test, model, again = asked("test")[0], fitted(name), reloaded(name)
    assert set(model.save()) == {"model.json", "events.json", "network.npz"}
    assert np.array_equal(again.predict(test), model.predict(test))
    assert again.params() == model.params()
    assert again.importance() == model.importance()
    assert again.features("purchase") == (*COLUMNS, "noise_1", "noise_2")


@pytest.mark.parametrize(
    "name", ["cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    test, first = asked("test")[0], fitted(name)
    again = fit(name, **first.options)
    assert np.array_equal(again.predict(test), first.predict(test))
    assert again.params() == first.params()


@every_network
def test_lists_of_features_sequences_say_the_same(name: str) -> None:
    """As functions in SQL ask: without the other questions' events, and relative to the cutoff."""
    test = asked("test")[0].rows(np.arange(2000) < 300)
    windows = test.sequences.windows(10)
    ago, lists = test.sequences.days_ago(windows), {}
    for column, source in zip(COLUMNS[:4], ("role", "item", "category", "value"), strict=True):
        values = test.sequences.events[source]
        values = values.cast(pl.String) if source != "value" else values
        lists[column] = [values.gather(row[row >= 0]).to_list() for row in windows]
    lists["days_ago_sequence"] = [a[row >= 0].tolist() for a, row in zip(ago, windows, strict=True)]
    frame = pl.DataFrame(lists, schema_overrides={"category_sequence": pl.List(pl.String)})
    listed = replace(test, sequences=Sequences.from_lists(frame))
    assert np.array_equal(fitted(name).predict(listed), fitted(name).predict(test))


@every_network
def test_unseen_items_and_questions_without_events_are_answered(name: str) -> None:
    model, test = fitted(name), asked("test")[0]
    strange = test.sequences.events.with_columns(
        pl.lit(None, pl.String).cast(pl.Categorical).alias("role"),
        (pl.col("item").cast(pl.String) + " new").cast(pl.Categorical).alias("item"),
        pl.lit("unheard of").cast(pl.Categorical).alias("category"),
        pl.lit(1e300).alias("value"),
    )
    answer = model.predict(replace(test, sequences=replace(test.sequences, events=strange)))
    nobody = Sequences(strange.clear(), *[np.zeros(len(test), np.int64)] * 2, test.sequences.cutoff)
    silence = model.predict(replace(test, sequences=nobody))
    assert ((answer > 0) & (answer < 1)).all()
    assert np.isfinite(silence).all()
    without = test.sequences.stop == test.sequences.start
    assert without.any()
    assert np.array_equal(silence[without], model.predict(test)[without])


# Options


def test_a_time_limit_ends_training_after_a_batch() -> None:
    parts = asked("train")[0], asked("valid")[0]
    options = {
        **TINY,
        "optimizer": "sgd",
        "loss": "squared_error",
        "augment": "all",
        "max_rows": 200,
    }
    model = model_class("cnn")("binary", 7, 1, options, seconds=0.0).fit(*parts)
    assert model.params()["is_cut_short"]
    assert model.params()["epochs"] == 1
    assert model.params()["optimizer"] == "sgd"
    assert model.params()["valid_loss"] < 0.4  # a Brier score: cross-entropy is 0.69 at first
    assert model.params()["augment"] == list(augmentation.WAYS)
    assert model.params()["rows"] == 200
    assert not fitted("cnn").params()["is_cut_short"]


def test_what_cannot_be_is_refused() -> None:
    test = asked("test")[0]
    with pytest.raises(ModelError, match="optimizer: it is 'rmsprop'; allowed are adam, sgd"):
        fit("cnn", optimizer="rmsprop")
    with pytest.raises(ModelError, match="augment: it is 'cut'; allowed are none, all, crop"):
        fit("cnn", augment="cut")
    with pytest.raises(ModelError, match=r"come without their events; .* Join features.sequences"):
        fitted("cnn").predict(replace(test, sequences=None))
    nothing = replace(test.sequences, stop=test.sequences.start)
    with pytest.raises(ModelError, match="none of the 2000 questions of train knows any event"):
        model_class("cnn")("binary").fit(replace(test, sequences=nothing), test)


# The encoder


def test_a_vocabulary_by_hand() -> None:
    texts = pl.Series("item", ["a"] * 6 + ["b"] * 9 + ["c"] * 5 + ["d"] * 2 + [None] * 3)
    words = Vocabulary.fit(texts, most=2, buckets=4)
    assert words.values == ("b", "a")
    assert words.size == 8
    codes = words.codes(pl.Series("item", ["b", None, "a", "c", "never seen", "b"]))
    assert codes.dtype == np.int32
    known = FIRST_BUCKET + 4
    assert codes[[0, 1, 2, 5]].tolist() == [known, MISSING, known + 1, known]
    # the MD5 of "c" and of "never seen"
    assert codes[[3, 4]].tolist() == [FIRST_BUCKET + 0x4A8A08F0 % 4, FIRST_BUCKET + 0xEFFDB4E0 % 4]


def test_a_batch_by_hand() -> None:
    hours = np.array([0, 1, 1, 30, 0, 5])
    events = pl.DataFrame({
        "role": ["view"] * 5 + ["cart"], "item": ["a"] * 6, "category": [None] * 6,
        "value": [None, 1.0, None, -1.0, None, None], "at": hours * 3_600_000_000,
    }, schema_overrides={"category": pl.String})  # fmt: skip
    cutoff = np.array([31, 31, 6]) * 3_600_000_000
    sequences = Sequences(events, np.array([0, 4, 4]), np.array([4, 4, 6]), cutoff)
    encoder = SequenceEncoder().fit(sequences, length=3)
    batch = encoder.encode(sequences).batch(slice(None))
    assert batch["mask"].tolist() == [[True] * 3, [False] * 3, [False, True, True]]
    view = FIRST_BUCKET + BUCKETS["role"]
    unseen = FIRST_BUCKET  # "cart" was too rare to be learned
    assert batch["role"].tolist() == [[view] * 3, [PADDING] * 3, [PADDING, view, unseen]]
    numbers = dict(zip(NUMBERS, np.moveaxis(batch["numbers"], -1, 0), strict=True))
    gaps = np.log1p(np.array([3600, 0, 29 * 3600, 5 * 3600]))
    scaled = (gaps - gaps.mean()) / gaps.std()
    assert numbers["gap"][0] == pytest.approx(scaled[:3], abs=1e-6)
    assert numbers["gap"][2] == pytest.approx([0, 0, scaled[3]], abs=1e-6)  # 0: not known
    ago = np.log1p([30, 30, 1, 6, 1])
    scaled = (ago - ago.mean()) / ago.std()
    assert numbers["ago"][0] == pytest.approx(scaled[:3], abs=1e-6)
    assert numbers["value"][0] == pytest.approx([1, 0, -1], abs=1e-6)
    assert numbers["is_known"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert not batch["numbers"][~batch["mask"]].any()


def test_only_the_events_that_train_knows_are_learned_from() -> None:
    sequences = asked("train")[0].sequences
    first = sequences.rows(np.arange(len(sequences)) < 500)
    later = first.stop.max()
    known = pl.int_range(pl.len()) < later
    changed = sequences.events.with_columns(
        pl.when(known).then(pl.col("item").cast(pl.String)).otherwise(pl.lit("later"))
        .cast(pl.Categorical).alias("item"),
        pl.when(known).then("value").otherwise(1e6).alias("value"),
        pl.when(known).then("at").otherwise(pl.col("at") * 3).alias("at"),
    )  # fmt: skip
    other = SequenceEncoder().fit(replace(first, events=changed))
    encoder = SequenceEncoder().fit(first)
    assert other.to_dict() == encoder.to_dict()
    assert json.loads(json.dumps(encoder.to_dict())) == encoder.to_dict()


# Augmentation


def batch() -> dict[str, np.ndarray]:
    sequences = asked("train")[0].sequences
    return SequenceEncoder().fit(sequences).encode(sequences).batch(np.arange(400))


@pytest.mark.parametrize("way", augmentation.WAYS)
def test_a_view_keeps_what_it_should(way: str) -> None:
    before, kept = batch(), batch()
    after = augmentation.augment(before, [way], np.random.default_rng(1))
    again = augmentation.augment(before, [way], np.random.default_rng(1))
    for name, values in before.items():
        assert np.array_equal(values, kept[name])  # the batch itself is left alone
        assert np.array_equal(after[name], again[name])
        assert values.dtype == after[name].dtype
    changed = (after["numbers"] != before["numbers"]).any((1, 2)) | (after["item"] != before["item"]).any(1)  # fmt: skip
    assert 0.05 < changed.mean() < 0.55
    assert not after["numbers"][~after["mask"]].any()
    assert not after["item"][~after["mask"]].any()
    counts, left = before["mask"].sum(1), after["mask"].sum(1)
    if way == "crop":
        assert (left >= counts / 2).all()
        assert (left < counts).any()
        assert np.array_equal(after["item"][counts > 0, -1], before["item"][counts > 0, -1])
    else:
        assert np.array_equal(left, counts)
    if way == "mask":
        hidden = after["item"] != before["item"]
        assert (after["item"][hidden] == MISSING).all()
        assert np.array_equal(after["numbers"][..., :2], before["numbers"][..., :2])
    if way == "reorder":
        assert np.array_equal(np.sort(after["item"], axis=1), np.sort(before["item"], axis=1))
        assert np.array_equal(after["numbers"][..., :2], before["numbers"][..., :2])
    if way == "noise":
        assert np.array_equal(after["item"], before["item"])
        assert np.abs(after["numbers"] - before["numbers"]).max() < 0.6


def test_ways_are_named_singly_or_together() -> None:
    assert augmentation.checked("none") == ()
    assert augmentation.checked("all") == tuple(augmentation.WAYS)
    assert augmentation.checked(["noise", "crop"]) == ("crop", "noise")


# Another backend

TORCH = """
import sys, json, pathlib
import numpy as np
import test_sequence_models as own
folder = pathlib.Path(sys.argv[1])
test = own.asked("test")[0].rows(np.arange(2000) < 256)
for name in own.NAMES:
    files = {file.name: file.read_bytes() for file in (folder / name).iterdir()}
    np.save(folder / f"{name}.npy", own.model_class(name).load("binary", files).predict(test))
    own.fit(name, max_rows=64, epochs=1).predict(test)
import keras
print(keras.config.backend())
"""


@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed: KERAS_BACKEND=torch is not tried here")  # fmt: skip
def test_pytorch_answers_as_tensorflow_does(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        for file, content in fitted(name).save().items():
            (tmp_path / name / file).write_bytes(content)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", TORCH, str(tmp_path)], capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch\n"
    test = asked("test")[0].rows(np.arange(2000) < 256)
    for name in NAMES:
        answer = np.load(tmp_path / f"{name}.npy")
        assert np.allclose(answer, fitted(name).predict(test), rtol=0, atol=1e-5)
