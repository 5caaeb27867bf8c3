"""Networks that read items in order: they find what is planted, mask what is padding, and are kept whole."""

from collections.abc import Iterator

import duckdb
import numpy as np
import polars as pl
import pytest

from behavsql.recommenders import base, recommender_class, sequence_learning, top
from behavsql.recommenders.base import Recommender

ITEMS, USERS, LENGTH = 30, 120, 14
NETWORKS = ("item_gru", "item_transformer")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Users who walk three items further at each step, and one who chose nothing."""
    rng = np.random.default_rng(1)
    items = (rng.integers(0, ITEMS, (USERS, 1)) + 3 * np.arange(LENGTH)) % ITEMS + 1
    with duckdb.connect() as con:
        choices = pl.DataFrame({
            "who": np.repeat(np.arange(1, USERS + 1), LENGTH).astype(np.int32),
            "place": np.tile(np.arange(1, LENGTH + 1), USERS).astype(np.int32),
            "item": items.ravel().astype(np.int32),
        })  # fmt: skip
        con.register("given", choices.to_arrow())
        con.execute("""
            create temp table next_choices as
            select *, timestamp '2024-01-01' + to_hours(place) as chosen_at, who as visit from given;
            create temp table questions as
            select who - 1 as question, who, max(place)::integer as place, max(chosen_at) as cutoff_at
            from next_choices group by who union all select 1000, 1000, 0, timestamp '2024-02-01'
        """)
        number(con, 0)
        yield con


def number(con: duckdb.DuckDBPyConnection, shift: int) -> None:
    """Let item n have the id i<n>, and number `shift` more items after them."""
    con.execute(f"""create or replace temp table next_items as
        select n::integer as item, 'i' || n as item_id from range(1, {ITEMS + shift + 1}) as t(n)""")


@pytest.fixture(scope="module", params=NETWORKS)
def fitted(request: pytest.FixtureRequest, con: duckdb.DuckDBPyConnection) -> Recommender:
    return recommender_class(request.param)(seed=3, threads=1).fit(con, "next_choices")


def said(con: duckdb.DuckDBPyConnection, model: Recommender, depth: int = 5) -> list[tuple]:
    base.ask(con, "questions")
    return con.execute(
        f"from ({model.answer(con, depth)}) order by question, score desc, item"
    ).fetchall()


def test_what_is_planted_is_found(con: duckdb.DuckDBPyConnection, fitted: Recommender) -> None:
    first = {}
    for question, item, score in said(con, fitted):
        assert 0 < score <= 1
        first.setdefault(question, item)
    latest = dict(
        con.execute(
            "select who - 1, arg_max(item, place) from next_choices group by who"
        ).fetchall()
    )
    assert first.keys() == latest.keys()  # who chose nothing is told nothing
    right = [item == (latest[question] - 1 + 3) % ITEMS + 1 for question, item in first.items()]
    assert np.mean(right) > 0.9


def test_the_same_seed_says_the_same(
    con: duckdb.DuckDBPyConnection, fitted: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_learning, "EPOCHS", 1)
    one, other = (type(fitted)(5, 1).fit(con, "next_choices") for _ in range(2))
    assert said(con, one) == said(con, other) != said(con, fitted)


def test_what_is_kept_says_the_same_whatever_the_numbers(
    con: duckdb.DuckDBPyConnection, fitted: Recommender
) -> None:
    told, files = said(con, fitted), fitted.save()
    again = type(fitted)(threads=1)
    assert again.load(con, files) and said(con, again) == told
    number(con, 2)  # two items that nobody has learned of
    assert again.load(con, files) and said(con, again) == told
    number(con, 0)
    assert not type(fitted)().load(con, {})


def test_a_row_is_answered_alike_beside_any_others(
    con: duckdb.DuckDBPyConnection, fitted: Recommender
) -> None:
    told = [row for row in said(con, fitted) if row[0] >= 80]
    con.execute("create or replace temp table fewer as from questions where question >= 80")
    base.ask(con, "fewer")
    again = con.execute(
        f"from ({fitted.answer(con, 5)}) order by question, score desc, item"
    ).fetchall()
    assert again == told


def test_padding_and_what_comes_later_change_nothing(fitted: Recommender) -> None:
    network = fitted._network
    codes = np.array([[0, 0, 0, 4, 7, 10]], np.int32)
    whole = np.asarray(network.read(codes))[0]
    short = np.asarray(network.read(codes[:, 3:]))[0]
    np.testing.assert_allclose(whole[3:], short, atol=1e-5)
    if fitted.name == "item_gru":  # places of the Transformer are counted from the newest
        before = np.asarray(network.read(codes[:, :5]))[0]
        np.testing.assert_allclose(whole[:5], before, atol=1e-5)


def test_own_items_are_hidden_where_they_are_to_be(
    con: duckdb.DuckDBPyConnection, fitted: Recommender
) -> None:
    base.ask(con, "questions", hides_seen=True)
    base.say(con, "next_told", fitted.answer(con, 10), 10, hides_seen=True)
    own, counts = con.execute("""select
        (select count(*) from next_told semi join next_own using (question, item)),
        (select list(distinct n) from (select count(*) as n from next_told group by question))
    """).fetchall()[0]
    assert own == 0 and counts == [10]


def test_few_seconds_are_kept(con: duckdb.DuckDBPyConnection, fitted: Recommender) -> None:
    model = type(fitted)(threads=1)
    model.seconds = 0.0
    assert said(con, model.fit(con, "next_choices"))


@pytest.mark.parametrize("columns", [3, 50, 1_000])
def test_the_best_of_a_row(columns: int) -> None:
    score = np.random.default_rng(0).integers(0, 200, (40, columns)).astype(np.float32)
    depth = min(7, columns)
    row, column = top.best(score, depth)
    for one in range(len(score)):
        found = np.sort(score[one, column[row == one]])[::-1][:depth]
        assert (found == np.sort(score[one])[::-1][:depth]).all()
    assert len(row) <= max(40 * columns if columns < 60 else 40 * 40, 1)
