"""Reasons in words: of every shipped feature, at values that trip sentences up."""

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import Shop
from models_data import questions

from behavsql.explain.wording import sentence
from behavsql.frames import Table


def said(name: str, values: list, train: list, usual: float | None = None) -> list[str]:
    """The sentences of one feature's values."""
    base = questions("binary", 1, seed=1)
    words = sentence([name], Table(**{**vars(base), "features": pl.DataFrame({name: train})}))
    key = "t" if isinstance(train[0], str) else "v"
    with duckdb.connect() as con:
        con.execute("create table told (feature varchar, v double, t varchar, usual double)")
        for value in values:
            con.execute(
                f"insert into told (feature, {key}, usual) values (?, ?, ?)", [name, value, usual]
            )
        return [
            text for (text,) in con.execute(f"select {words} from told order by rowid").fetchall()
        ]


NUMBERS = np.arange(100.0).tolist()


def test_counts_say_how_many_and_whether_that_is_unusual() -> None:
    assert said("count_sessions_30d", [None, 0, 1, 3, 50, 99], NUMBERS) == [
        "no sessions in the last 30 days",
        "no sessions in the last 30 days, fewer than 19 in 20 users",
        "1 session in the last 30 days, fewer than 19 in 20 users",
        "3 sessions in the last 30 days, fewer than 19 in 20 users",
        "50 sessions in the last 30 days",
        "99 sessions in the last 30 days, more than 19 in 20 users",
    ]


def test_the_last_time_is_held_against_what_is_usual_for_the_user() -> None:
    name = "days_since_last_purchase"
    assert said(name, [None, 41.3], NUMBERS, usual=12.2) == [
        "no purchase yet", "last purchase 41 days ago, usually every 12 days"
    ]  # fmt: skip
    assert said(name, [0.4, 1.2, 15.0], NUMBERS) == [
        "last purchase less than a day ago, more recent than for 19 in 20 users",
        "last purchase 1 day ago, more recent than for 19 in 20 users",
        "last purchase 15 days ago, more recent than for 4 in 5 users",
    ]


def test_below_zero_is_not_due_yet() -> None:
    train = np.linspace(-9, 9, 99).tolist()
    assert said("visit_overdue_deviations", [-3.0, 2.0, None], train) == [
        "the next visit is not due yet",
        "the next visit is overdue by 2.0 times its usual variation",
        "no second visit yet",
    ]


def test_texts_become_weekdays_and_hours() -> None:
    assert said("last_event_weekday", ["Mon", "odd", None], ["Mon"]) == [
        "last came on a Monday", "last came on a odd", "no event yet"
    ]  # fmt: skip
    assert said("last_event_hour", ["07"], ["07"]) == ["last came between 07:00 and 07:59 (UTC)"]


@pytest.mark.parametrize("name", ["it's {odd} 100%", "big_purchases_90d", "days_since_first_order"])
def test_features_nobody_shipped_are_said_by_their_name(name: str) -> None:
    for text in said(name, [None, 0.0, 2.5], NUMBERS):
        assert text and "None" not in text and "{}" not in text


def test_every_feature_is_said_at_every_value(shop: Shop) -> None:
    with duckdb.connect(str(shop.built.path), read_only=True) as con:
        names = [name for (name,) in con.execute(
            "select distinct feature from models.features where median is not null"
        ).fetchall()]  # fmt: skip
    assert len(names) > 80
    for name in names:
        for text in said(name, [None, -2.5, 0.0, 0.4, 1.0, 12345.6], NUMBERS):
            assert text and "None" not in text and "{" not in text and "nan" not in text.lower()
