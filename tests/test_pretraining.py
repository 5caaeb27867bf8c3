"""The Transformer that learns without labels: what it sees, what it learns, what is carried over."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from behavsql.cli.main import app
from clickstream import clickstream
from conftest import Heard, project
from explain_data import check_explanation
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from behavsql import plan, pretrained
from behavsql.catalog import Catalog
from behavsql.compile import CompileError, RowForm
from behavsql.config import Config
from behavsql.database_file import open_file
from behavsql.errors import ConfigError, ModelError
from behavsql.frames import Table
from behavsql.models import MODEL_SETS, MODELS, NEED_PRETRAINED, model_class, pretrained_transformer
from behavsql.models.parts.pretraining import SIZES, Pretrained, Size, cost, pretrain
from behavsql.models.parts.pretraining_data import (
    AGO,
    GAPS,
    PLACES,
    SECOND,
    VALUE,
    Batches,
    Histories,
    gap_classes,
)
from behavsql.models.parts.pretraining_transfer import carried_over
from behavsql.models.parts.sequence_encoder import SequenceEncoder
from behavsql.models.pretrained_transformer import PretrainedTransformer
from behavsql.pipeline import build, train
from behavsql.sequences import COLUMNS
from behavsql.warehouse import Warehouse, connect

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Keras 3.15 on numpy 2: inside Keras, and nothing its caller can change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

DAY = 86_400 * SECOND
USERS, EVENTS, ITEMS = 120, 40, 6
UNTIL = 60 * DAY
TINY = Size(units=16, blocks=1, heads=2, steps=150, rows=32, rate=1e-2, dropout=0.0)


@cache
def log(prefix: str = "i") -> pl.DataFrame:
    """Users who go quickly upwards through the items, others slowly downwards; both rest when they bought."""
    random = np.random.default_rng(5)
    step = np.where(np.arange(USERS) % 2, 1, -1)[:, np.newaxis]
    jumps = random.random((USERS, EVENTS)) < 0.1
    moves = np.where(jumps, random.integers(ITEMS, size=jumps.shape), step)
    item = np.cumsum(moves, axis=1) % ITEMS
    bought = np.roll(item, 1, axis=1) % 3 == 0
    mean = np.where(bought, 3.0, 0.1) * np.where(step > 0, 0.4, 1.6)
    days = random.exponential(mean).cumsum(axis=1)
    return pl.DataFrame({
        "user_id": np.repeat(np.arange(USERS), EVENTS),
        "role": np.where(item.ravel() % 3, "view", "purchase"),
        "item": [f"{prefix}{code}" for code in item.ravel()],
        "category": [f"{prefix}c{code % 2}" for code in item.ravel()],
        "value": np.where(item.ravel() % 3, np.nan, 10.0),
        "at": (days.ravel() * DAY).astype(np.int64),
    })  # fmt: skip


@cache
def histories() -> Histories:
    return Histories.of(log(), UNTIL)


@cache
def learned() -> Pretrained:
    return pretrain(histories(), "small", threads=1, size=TINY)


def batches(rows: int = 64) -> Batches:
    encoder = SequenceEncoder().fit(histories().all_events())
    return Batches(histories(), encoder, np.arange(USERS), rows, seed=1)


def questions(n: int, seed: int) -> Table:
    """Whether a user goes upwards: told by the order of the events alone."""
    asked = histories().draw(n, np.arange(USERS), np.random.default_rng(seed))
    user = histories().user[asked.stop - 1]
    features = pl.DataFrame({"noise": np.random.default_rng(seed).normal(size=n)})
    return Table(features, (user % 2).astype(np.float64), user, np.full(n, np.nan), "up", "binary",
                 asked)  # fmt: skip


# What it sees


@pytest.fixture
def untraced(monkeypatch):
    """For steps so few that to trace a network would take longer than to train it untraced."""
    from behavsql.models.parts.quiet_keras import import_keras

    keras = import_keras(1)
    traced = keras.Model.compile
    untraced = lambda self, *a, **k: traced(self, *a, **{**k, "run_eagerly": True})  # noqa: E731
    monkeypatch.setattr(keras.Model, "compile", untraced)


def test_nothing_after_the_last_moment_and_the_same_bits_again(untraced):
    """Whatever comes later, to new users too, the artifact is the same to the last byte."""
    later = log().filter(pl.col("at") > UNTIL)
    assert len(later) > 100
    changed = later.with_columns(item=pl.lit("never"), role=pl.lit("click"), value=pl.lit(1e6))
    strangers = changed.with_columns(user_id=pl.col("user_id") + 1000)
    both = pl.concat([log().filter(pl.col("at") <= UNTIL), changed, strangers])
    again = Histories.of(both.sort("user_id", "at", maintain_order=True), UNTIL)
    short = replace(TINY, steps=5)
    one, other = (pretrain(read, "small", threads=1, size=short) for read in (histories(), again))
    assert one.to_bytes() == other.to_bytes()


def test_the_events_of_a_history_end_at_the_last_moment():
    assert histories().at.max() <= UNTIL < log()["at"].max()
    assert histories().all_events().seen().all()
    asked = histories().draw(500, np.arange(USERS), np.random.default_rng(0))
    assert (asked.cutoff <= UNTIL).all()
    newest = histories().at[asked.stop - 1]
    assert (newest <= asked.cutoff).all()
    # The event after it, if it is the same user's, is later than the question.
    following = np.minimum(asked.stop, len(histories().at) - 1)
    same = (histories().user[following] == histories().user[asked.stop - 1]) & (
        following == asked.stop
    )
    assert (histories().at[following][same] >= asked.cutoff[same]).all()
    assert (histories().user[asked.start] == histories().user[asked.stop - 1]).all()


def test_targets_are_the_next_event_and_hidden_ones_are_hidden():
    made = batches()
    inputs, targets, weights = made.batch(3)
    sizes, causal = made.encoder.sizes, inputs["is_causal"][:, 0]
    assert causal.sum() == 32 and (inputs["role"][:, -1] == sizes["role"] + 1).all()
    # Forwards: the item at the place after a place is what is to be said there.
    row, column = np.nonzero((weights["item"] > 0) & causal[:, np.newaxis])
    place = inputs["place"][row, column]
    inside = place < inputs["item"].shape[1] - 2
    said = targets["item"][row, column][inside]
    assert inside.sum() > 100
    assert np.array_equal(said, inputs["item"][row[inside], place[inside] + 1])
    assert (inputs["numbers"][causal][:, :-1, AGO] == 0).all()
    assert not (inputs["item"][causal] == sizes["item"]).any()
    # Masked: what is to be said there is nowhere in the inputs of that event.
    row, column = np.nonzero((weights["role"][:, :-1] > 0) & ~causal[:, np.newaxis])
    place = inputs["place"][row, column]
    for name, size in sizes.items():
        assert (inputs[name][row, place] == size).all(), name
    assert (inputs["numbers"][row, place][:, VALUE:] == 0).all()
    hidden = (inputs["item"] == sizes["item"]).sum(axis=1)[~causal]
    assert hidden.min() >= 1 and hidden.max() <= PLACES - 1
    assert np.array_equal(hidden, (weights["role"][:, :-1] > 0).sum(axis=1)[~causal])


def test_a_time_that_is_not_over_may_still_be_anything_longer():
    found = gap_classes(np.array([0, 90 * SECOND, 90 * SECOND]), np.array([True, True, False]))
    assert found[0].tolist() == [1] + [0] * (GAPS - 1)
    assert found[1].tolist() == [0, 0, 0, 1] + [0] * (GAPS - 4)
    assert found[2].tolist() == [0, 0, 0] + [1] * (GAPS - 3)


# What it learns


def test_it_is_less_surprised_than_by_the_shares_of_the_answers():
    losses, unigram = learned().card["losses"], learned().card["unigram"]
    assert losses["next item"] < 0.85 * unigram["next item"]
    assert losses["next role"] < 0.8 * unigram["next role"]
    assert losses["masked item"] < 0.95 * unigram["masked item"]
    assert losses["time to next"] < 0.95 * unigram["time to next"]
    first = learned().card["curve"][0]
    assert all(losses[name] < first[name] for name in ("next item", "masked item"))


def test_users_who_do_alike_are_neighbours():
    asked = questions(300, seed=8)
    long = (asked.sequences.stop - asked.sequences.start) >= 10
    asked = asked.rows(long)
    found = learned().embed(asked.sequences, threads=1)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    near = unit @ unit.T
    near[asked.users[:, np.newaxis] == asked.users] = -2  # not oneself at another time
    nearest = near.argmax(axis=1)
    assert np.mean(asked.label[nearest] == asked.label) > 0.85


def test_it_is_stored_without_pickle_and_embeds_the_same_whoever_stands_beside():
    stored = learned().to_bytes()
    again = Pretrained.from_bytes(stored)
    assert again.to_bytes() == stored
    asked = questions(40, seed=3).sequences
    together = learned().embed(asked, threads=1)
    assert together.dtype == np.float32
    some = np.array([7, 3, 31])
    assert np.array_equal(again.embed(asked.rows(some), threads=1), together[some])
    with pytest.raises(ModelError, match=r"pretrained: 5 bytes are no pre-trained model"):
        Pretrained.from_bytes(b"hello")


def test_too_few_users_are_refused():
    few = Histories.of(log().filter(pl.col("user_id") < 5), UNTIL)
    with pytest.raises(ModelError, match=r"5 users have done something .* needs at least 20"):
        pretrain(few)


# What is carried over


def test_fine_tuning_learns_and_a_reloaded_model_predicts_the_same_bits():
    chosen = {"epochs": 2, "frozen_epochs": 3, "learning_rate": 1e-2, "with_features": False}
    model = PretrainedTransformer("binary", threads=1, options=chosen)
    model.with_pretrained(learned().to_bytes()).fit(questions(300, 1), questions(150, 2))
    test = questions(200, 3)
    answer = model.predict(test)
    assert roc_auc_score(test.label, answer) > 0.9
    assert model.params()["pretrained"] == "small" and model.params()["units"] == TINY.units
    again = PretrainedTransformer.load("binary", model.save())
    assert np.array_equal(again.predict(test), answer)
    some = np.arange(len(test)) % 7 == 5
    assert np.array_equal(again.predict(test.rows(some)), answer[some])
    assert set(again.save()) == set(model.save())
    assert check_explanation(again, test, left_over=0.1).features == ("(events)",)


def test_only_what_is_tied_to_ids_begins_anew_on_other_data():
    from behavsql.models.parts import pretraining_network as networks

    new = SequenceEncoder().fit(Histories.of(log("other"), UNTIL).all_events())
    _, whole = networks.network(TINY, new.sizes, new.length + 1)
    fresh = networks.weights_of(whole)
    old, old_encoder = learned().weights, learned().encoder
    found = carried_over(old, old_encoder, new, fresh)
    assert set(found) == set(fresh) == set(old)
    tied = {path for path in found if not np.array_equal(found[path], old[path])}
    assert tied == {
        "embed_item/embeddings", "embed_category/embeddings", "say_item/kernel", "say_item/bias"
    }  # fmt: skip
    known = slice(2, new.sizes["item"])  # without padding, missing, masked
    assert np.array_equal(found["embed_item/embeddings"][known],
                          fresh["embed_item/embeddings"][known])  # fmt: skip
    assert np.array_equal(found["embed_item/embeddings"][-2:], old["embed_item/embeddings"][-2:])


def test_roles_are_carried_over_by_their_names():
    from behavsql.models.parts import pretraining_network as networks

    events = log().with_columns(role=pl.col("role").replace({"purchase": "cart"}))
    new = SequenceEncoder().fit(Histories.of(events, UNTIL).all_events())
    assert new.vocabularies["role"].values == ("view", "cart")
    _, whole = networks.network(TINY, new.sizes, new.length + 1)
    fresh = networks.weights_of(whole)
    found = carried_over(learned().weights, learned().encoder, new, fresh)["embed_role/embeddings"]
    old, cart, view = learned().weights["embed_role/embeddings"], 4, 3
    assert np.array_equal(found[view], old[view])
    assert np.array_equal(found[cart], fresh["embed_role/embeddings"][cart])


# What it takes


def test_parameters_are_counted_as_keras_counts_them():
    from behavsql.models.parts import pretraining_network as networks

    codes = {"role": 7, "category": 11, "item": 70}
    for size in (TINY, replace(SIZES["small"], blocks=3)):
        _, whole = networks.network(size, codes, 21)
        assert cost(size, codes, 21).count_parameters == whole.count_params()


def test_operations_of_the_smallest_case_by_hand():
    size = Size(units=2, blocks=1, heads=1, steps=10, rows=4, rate=1.0)
    found = cost(size, {"role": 3, "category": 3, "item": 4}, steps=5)
    # 12 d^2 weights of the block and 4 numbers x d, each times 2; keys and values of 5 steps.
    assert found.flops_per_token == 2 * (48 + 8) + 4 * 5 * 2
    place = 2 * (2 * 4 + 2 * (3 + 4 + GAPS))
    question = 2 * (3 * 2 + 4)
    whole = 5 * found.flops_per_token + question + PLACES * place
    assert found.flops_training == 3 * 10 * 4 * whole


# In a build


def test_the_models_that_need_it_are_named():
    needing = {name for name in MODELS if "pretrained" in model_class(name).needs}
    assert needing == set(NEED_PRETRAINED) <= set(MODEL_SETS["all"])


def test_it_is_a_step_only_where_a_model_needs_it(tmp_path: Path):
    names = lambda steps: [step.name for step in steps]  # noqa: E731
    made = project(tmp_path, clickstream(20, 20, seed=4), settings={"models": "standard"})
    assert plan.PRETRAIN not in names(plan.make_plan(Catalog.load(), made))
    made = project(tmp_path, settings={"models": "all"})
    steps = plan.make_plan(Catalog.load(), made)
    assert names(steps).index(plan.PRETRAIN) < names(steps).index("train churn")
    churn = next(step for step in steps if step.name == "train churn")
    assert plan.PRETRAIN in churn.parents and churn.parts["settings.pretrain_size"] == "small"


@pytest.fixture
def tiny(monkeypatch, untraced):
    """A small network, and little to tune it with."""
    monkeypatch.setitem(SIZES, "small", replace(TINY, steps=10))
    monkeypatch.setattr(pretrained_transformer, "LEAST_ROWS", 1)
    options = {**PretrainedTransformer.OPTIONS, "epochs": 1, "frozen_epochs": 1, "max_rows": 200}
    monkeypatch.setattr(PretrainedTransformer, "OPTIONS", options)


def test_a_build_pretrains_once_and_publishes_users_who_are_alike(tmp_path, rows, tiny, few):
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    heard = Heard()
    path = train(made, tasks=["purchase"], models=["pretrained_transformer"], progress=heard).path
    assert sum(line.strip().startswith("pretrain ") for line in heard.lines) == 1
    (found,) = rows(
        path, "select name, count_parameters, losses, seen_until from models.pretrained"
    )
    assert found[0] == "small" and found[1] > 0 and "next role" in json.loads(found[2])
    assert rows(path, "select min(cutoff_at) from cutoffs.splits where split = 'valid'") == [
        (found[3],)
    ]
    names = {name for (name,) in rows(path, "select model from models.models")}
    assert "pretrained_transformer" in names
    latest = rows(path, "select user_id from features.latest order by 1")
    assert rows(path, "select user_id from features.embeddings order by 1") == latest
    with connect(path, udfs=False) as con:
        near = con.execute("from similar_users(?, k := 3)", [latest[0][0]]).fetchall()
    assert len(near) == 3 and latest[0][0] not in {user for user, _ in near}
    assert [similarity for _, similarity in near] == sorted((s for _, s in near), reverse=True)
    # Of the models a build finds nothing to do; that of the actions in the log was not asked for.
    assert not {"pretrain", "train purchase"} & set(build(made, progress=Heard()).steps)
    assert build(made, progress=Heard()).steps == ()
    _saves_and_tells(made, tmp_path / "model.npz")
    with open_file(Warehouse(made.warehouse).build) as con:
        said = pretrained.ensure(con, made, str)
        assert said == ("learned from the same events", False)
        chosen = {"pretrained": "model.npz", "pretrain_size": "base"}
        other = made.model_copy(update={"settings": made.settings.model_copy(update=chosen)})
        with pytest.raises(
            ConfigError, match=r'"model.npz" is of size small, pretrain_size is base'
        ):
            pretrained.ensure(con, other, str)


def _saves_and_tells(made: Config, file: Path) -> None:
    place = ["--warehouse", str(made.warehouse)]
    saved = CliRunner().invoke(app, ["pretrained", *place, "--save", str(file)])
    assert saved.exit_code == 0 and Pretrained.from_bytes(file.read_bytes()).name == "small"
    told = json.loads(CliRunner().invoke(app, ["pretrained", *place, "--json"]).stdout)
    assert [size["name"] for size in told["sizes"]] == ["small", "base", "large"]
    assert told["model"]["losses"].keys() == told["model"]["unigram_losses"].keys()


def test_a_file_to_start_from_must_be_there_and_of_the_size(tmp_path):
    with pytest.raises(ConfigError, match=r"settings.pretrained: there is no file .*gone.npz; "):
        pretrained.read(tmp_path / "gone.npz")
    (tmp_path / "model.npz").write_bytes(learned().to_bytes())
    assert pretrained.read(tmp_path / "model.npz").to_bytes() == learned().to_bytes()


# Beside the features of another model


def test_another_model_reads_the_embedding_beside_the_features():
    """What the order of events tells and no feature does; stored with what it needs, and no SQL."""
    train, valid, test = questions(400, 1), questions(200, 2), questions(400, 3)
    given = learned().to_bytes()
    model = model_class("embedding_lightgbm")("binary", 7, 1).with_pretrained(given)
    answer = model.fit(train, valid).predict(test)
    assert roc_auc_score(test.label, answer) > 0.85
    assert next(iter(model.importance())) == "embedding"
    assert set(model.features("up")) <= {*COLUMNS, "noise"}
    again = model_class("embedding_lightgbm").load("binary", model.save())
    assert np.array_equal(again.predict(test), answer)
    one = np.arange(len(test)) == 7
    assert again.predict(test.rows(one)) == answer[one]
    assert "(events)" in check_explanation(again, test).features
    with pytest.raises(
        CompileError, match="model embedding_lightgbm: it reads what the pre-trained Transformer"
    ):
        model.to_sql(RowForm({}, "up"))


def test_without_a_pre_trained_model_there_is_no_embedding():
    with pytest.raises(ModelError, match="there is no pre-trained model to embed users with"):
        model_class("embedding_lightgbm")("binary").fit(questions(50, 1), questions(50, 2))
