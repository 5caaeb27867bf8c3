"""Likeness and the order it leads to, by hand."""

import duckdb
import numpy as np
import pytest

from behavsql.recommenders.diversity import Likeness, reordered


def test_what_is_like_the_first_makes_way() -> None:
    share = np.array([[1.0, 0.9, 0.5], [1.0, 0.9, 0.0]])
    alike = np.zeros((2, 3, 3))
    alike[:, 0, 1] = alike[:, 1, 0] = 1.0
    is_there = np.array([[True, True, True], [True, True, False]])
    places, values = reordered(share, alike, is_there, 0.5)
    assert places.tolist() == [[0, 2, 1], [0, 1, 0]]
    assert values.tolist() == [[1.0, 0.45, 0.75], [1.0, 0.45, 0.0]]
    places, values = reordered(share, alike, is_there, 0.0)  # costs nothing, changes nothing
    assert places[0].tolist() == [0, 1, 2] and values[0].tolist() == share[0].tolist()


def test_values_fall_from_place_to_place() -> None:
    rng = np.random.default_rng(2)
    share = -np.sort(-rng.random((50, 12)), axis=1)
    alike = rng.random((50, 12, 12))
    alike = (alike + alike.transpose(0, 2, 1)) / 2
    places, values = reordered(share, alike, np.ones(share.shape, bool), 0.6)
    assert (np.sort(places, axis=1) == np.arange(12)).all()
    in_order = np.take_along_axis(values, np.argsort(places, axis=1), axis=1)
    assert (np.diff(in_order, axis=1) <= 1e-12).all()


@pytest.fixture
def con():
    with duckdb.connect() as con:
        con.execute("""
            create table next_items as select * from (values (1, 'a', null), (2, 'b', null),
                (3, 'c', null), (4, 'd', null), (5, 'e', 'red'), (6, 'f', 'red'))
                as t(item, item_id, category);
            -- Two groups of users, of whom one chooses 1, 2 and the other 3, 4; nobody chose 6.
            create table known as
            select who, item from range(40) as t(who), (values (1), (2), (3), (4), (5)) as s(item)
            where (who % 2 = 0) = (item <= 2) or hash(who, item) % 7 = 0
        """)
        yield con


def test_alike_is_who_is_chosen_by_the_same_or_of_one_kind(con: duckdb.DuckDBPyConnection) -> None:
    likeness = Likeness(con, "known", 7)
    (alike,) = likeness(np.array([[1, 2, 3, 5, 6, 0]]))
    assert alike[0, 1] > 0.7 > 0.3 > alike[0, 2]
    assert alike[3, 4] == 1 and alike[0, 4] == 0  # of one category; not known
    assert (alike == alike.T).all() and alike.max() <= 1
    assert likeness.distance(np.array([[1, 2]])) < likeness.distance(np.array([[1, 3]]))
    assert likeness.distance(np.array([[1, 0]])) is None
