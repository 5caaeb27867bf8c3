"""Multimodal fusion: what only words, pictures or facts tell is found there, and said to be worth it."""

from dataclasses import replace
from functools import cache

import duckdb
import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import project
from explain_data import check_explanation

from behavsql.errors import ModelError
from behavsql.frames import Table, _modalities
from behavsql.models import model_class
from behavsql.models.base import loss
from behavsql.models.fusion import Fusion
from behavsql.models.parts.explanation import EVENTS
from behavsql.models.parts.item_vectors import ItemVectors
from behavsql.pipeline import train
from behavsql.progress import Progress
from behavsql.sequences import COLUMNS, DAY, Items, Sequences

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = {
    "units": 8, "dropout": 0.0, "learning_rate": 1e-2, "length": 5, "epochs": 5, "ablation": False,
}  # fmt: skip
ITEMS = [f"i{k}" for k in range(3000)]
IS_RED = np.arange(3000) % 2 == 0  # told by words
IS_LOUD = np.arange(3000) % 3 == 0  # told by a vector


def described() -> Items:
    words = [f"{'red' if red else 'blue'} thing" for red in IS_RED]
    sounds = [[1.0, 0.0] if loud else [0.0, 1.0] for loud in IS_LOUD]
    return Items(
        pl.DataFrame({"item": ITEMS, "text": words}),
        pl.DataFrame({"item": ITEMS, "name": "sound", "vector": sounds}),
    )


@cache
def asked(part: str) -> Table:
    """Five events each, of items hardly anybody meets twice; the label follows what the newest is."""
    seed, n = {"train": (1, 1000), "valid": (2, 400), "test": (3, 600)}[part]
    random = np.random.default_rng(seed)
    items = random.integers(0, 3000, (n, 5))
    member = random.random(n) < 0.5
    newest = items[:, -1]
    logit = -2 + 2.5 * IS_RED[newest] + 2.5 * IS_LOUD[newest] + 1.0 * member
    stop = np.arange(1, n + 1) * 5
    events = pl.DataFrame({
        "role": "view", "item": np.array(ITEMS)[items.ravel()],
        "category": pl.Series([None] * 5 * n, dtype=pl.String),
        "value": pl.Series([None] * 5 * n, dtype=pl.Float64),
        "at": (np.arange(5 * n) % 5) * DAY,
    }).with_columns(pl.col("role", "item", "category").cast(pl.Categorical))  # fmt: skip
    sequences = Sequences(events, stop - 5, stop, np.full(n, 6 * DAY), described())
    features = pl.DataFrame({"noise": random.normal(size=n), "member": member.astype(float)})
    label = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    return Table(
        features, label, np.arange(n), np.full(n, np.nan), "purchase", "binary", sequences,
        {"member": "user_facts"},
    )  # fmt: skip


def fit(**options: object) -> Fusion:
    return Fusion("binary", 7, 1, {**TINY, **options}).fit(asked("train"), asked("valid"))


@cache
def fitted(ablation: bool = True) -> Fusion:
    """Roles, values and gaps tell nothing here; without them a network is traced sooner."""
    return fit(ablation=ablation, without=("events",))


def test_uses_words_and_vectors_of_items_it_never_met():
    test = asked("test")
    member = test.features["member"].to_numpy()
    # The best that can be said without words and vectors: how often it happens by `member`.
    blind = np.where(member, *(test.label[member == side].mean() for side in (1, 0)))
    whole = loss("binary", test.label, fitted().predict(test))
    assert whole < loss("binary", test.label, blind) - 0.1


def test_events_and_features_add_up_to_the_answer():
    one = check_explanation(fitted(), asked("test"), left_over=0.1)
    assert one.features[0] == EVENTS and "member" in one.features


def test_each_modality_has_its_worth():
    model = fitted()
    worth = {row["modality"]: row for row in model.tables()["modalities"].to_dicts()}
    assert list(worth) == ["item_text", "sound", "features", "user_facts"]
    assert worth["item_text"]["low"] > 0 and worth["sound"]["low"] > 0
    assert worth["features"]["worth"] < worth["item_text"]["worth"]
    assert {row["count_questions"] for row in worth.values()} == {400}
    again = Fusion.load("binary", model.save())
    assert again.tables()["modalities"].equals(model.tables()["modalities"])


def test_what_is_no_modality_cannot_be_left_out():
    with pytest.raises(ModelError, match=r"without names 'sond'; allowed are events, .*, sound, "):
        fit(without=("sond",))


def test_load_answers_the_same_also_without_the_items():
    test = asked("test")
    again = model_class("fusion").load("binary", fitted().save())
    assert (again.predict(test) == fitted().predict(test)).all()
    bare = replace(test, sequences=replace(test.sequences, items=None), modality_of={})
    assert (again.predict(bare) == fitted().predict(test)).all()
    assert {*COLUMNS, "member"} <= {*again.features("purchase")}


def test_the_same_seed_makes_the_same_model_whether_modalities_are_compared_or_not():
    test = asked("test")
    assert (fitted(ablation=False).predict(test) == fitted().predict(test)).all()


def test_nothing_is_learned_from_items_that_train_has_not_met():
    some = Items(
        pl.DataFrame(
            {"item": ["a", "b", "c"], "text": ["red one", "red two", "green three three"]}
        ),
        pl.DataFrame(schema={"item": pl.String, "name": pl.String, "vector": pl.List(pl.Float64)}),
    )
    without = replace(some, texts=some.texts[:2])
    seen, alone = (ItemVectors.fit(items, {"a", "b"}, 7, ()) for items in (some, without))
    assert seen.items == ["a", "b", "c"] and seen.columns == alone.columns
    assert seen.matrix[:3].tolist() == alone.matrix.tolist()
    assert seen.matrix[3].tolist() == [0] * seen.matrix.shape[1], "no word of it was ever met"
    assert seen.codes(pl.Series(["c", None, "z", "a"])).tolist() == [3, 0, 0, 1]


@pytest.mark.parametrize("items", [
    None,
    Items(pl.DataFrame({"item": ["a", "b"], "text": ["!", "?"]}), described().vectors[:0]),
    Items(described().texts[:0], described().vectors[:0]),
])  # fmt: skip
def test_items_of_which_nothing_is_known(items: Items | None):
    vectors = ItemVectors.fit(items, {"a", "b", "i1"}, 7, ())
    assert vectors.matrix.shape == (1, 0) and vectors.codes(pl.Series(["a"])).tolist() == [0]


def test_a_vector_of_another_length_is_left_out():
    rows = pl.DataFrame(
        {"item": ["a", "b", "c"], "name": "p", "vector": [[1.0, 0.0], [0.0, 1.0], [1.0]]}
    )
    vectors = ItemVectors.fit(Items(described().texts[:0], rows), {"a", "b", "c"}, 7, ())
    assert vectors.items == ["a", "b"] and vectors.columns == {"p": (0, 2)}


def test_what_a_survey_alone_tells_is_a_kind_of_input_of_its_own():
    with duckdb.connect() as con:
        con.execute("""
            create schema features;
            create table features.user_facts (user_id int, cutoff_at timestamp, mood int, age int, zip int);
            create table features.locations (user_id int, cutoff_at timestamp, "km away" double);
        """)
        facts = {
            "mood": "user_facts",
            "age": "user_facts",
            "zip": "user_facts",
            "km away": "locations",
        }
        assert _modalities(con) == facts  # in a published file
        con.execute("""
            attach ':memory:' as raw;
            create table raw.sources as from (values ('poll', 'survey'), ('crm', 'users')) t(source, kind);
            create table raw.users (source varchar, features struct(mood int[], age int[], zip int[]));
            insert into raw.users values
                ('poll', {mood: [1], age: [30], zip: null}), ('poll', null),
                ('crm', {mood: null, age: [null], zip: [1]});
        """)
        assert _modalities(con) == facts | {"mood": "survey"}


@pytest.mark.slow
def test_facts_of_a_project_reach_the_model(tmp_path, rows, monkeypatch):
    """Texts and vectors of items, facts about users: from the files to models.modalities."""
    monkeypatch.setattr(Fusion, "OPTIONS", {**Fusion.OPTIONS, **TINY, "ablation": True})
    monkeypatch.setattr("behavsql.models.fusion.ABLATION_EPOCHS", 1)
    events = clickstream(300, 80, seed=4)
    known = events.select("item").drop_nulls().unique().sort("item").with_row_index("k")
    known.select(
        "item", name=pl.format("thing {}", pl.col("k") % 3),
        photo=pl.concat_list(pl.col("k").cast(pl.Float64), pl.lit(1.0)),
    ).write_parquet(tmp_path / "items.parquet")  # fmt: skip
    people = events.select("user").unique().sort("user").with_row_index("k")
    people.select(
        "user",
        age=20 + pl.col("k") % 50,
        zip=pl.format("0{}", pl.col("k") % 4),
        mood=pl.col("k") % 7,
        on=events["at"].dt.date().min(),
    ).write_csv(tmp_path / "people.csv")
    made = project(tmp_path, events, only=("purchase",))
    data = made.model_dump(exclude_unset=True)
    data["source"] += [
        {"name": "things", "kind": "items", "path": "items.parquet",
         "columns": {"item_id": "item", "title": "name"}, "vectors": ["photo"]},
        {"name": "people", "kind": "users", "path": "people.csv",
         "columns": {"user_id": "user"}, "features": ["age", "zip"]},
        {"name": "poll", "kind": "survey", "path": "people.csv",
         "columns": {"user_id": "user", "event_at": "on"}, "features": ["mood"]},
    ]  # fmt: skip
    from behavsql import config

    made = config.from_dict(data, tmp_path, "behavsql.toml")
    path = train(made, models=["fusion"], progress=Progress(quiet=True)).path
    assert rows(path, "select * from models.left_out") == []
    assert rows(path, "select modality from models.modalities order by modality") == [
        ("events",), ("features",), ("item_text",), ("photo",), ("survey",),
        ("user_facts",),
    ]  # fmt: skip
    types = "select distinct typeof(age), typeof(zip) from features.matrix"
    assert rows(path, types) == [("DOUBLE", "VARCHAR")]
    assert rows(path, "select count(*) > 0 from staging.item_vectors where len(vector) = 2") == [
        (True,)
    ]
