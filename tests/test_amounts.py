"""Amounts as people write them, and the columns `init` takes for them."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from conftest import project, stage

from behavsql.input.amounts import number_in
from behavsql.sniffing import Choices, column_names, sniff


def read(text: str, decimal: str) -> Decimal | None:
    query = f"select {number_in('written', decimal)} from (select ?::varchar as written)"
    return duckdb.connect().execute(query, [text]).fetchall()[0][0]


@pytest.mark.parametrize(
    ("written", "point", "comma"),
    [
        ("12", 12, 12),
        ("-5", -5, -5),
        ("12.50", "12.5", None),
        ("12,50", None, "12.5"),
        ("$1,234.56", "1234.56", None),
        ("1.234,56 €", None, "1234.56"),
        ("12,50 €", None, "12.5"),
        ("€ 12.50", "12.5", None),
        ("-$5.00", "-5", None),
        ("$-5.00", "-5", None),
        ("US$ 7", 7, 7),
        ("EUR 12.50", "12.5", None),
        ("12,50 EUR", None, "12.5"),
        ("99 kr", 99, 99),
        ("1,234,567", 1234567, None),
        ("1,23,456.78", "123456.78", None),
        ("1.234.567", None, 1234567),
        ("1'234.50", "1234.5", None),
        ("1 234,50", None, "1234.5"),
        ("1\u00a0234,50\u00a0€", None, "1234.5"),
        ("1,234", 1234, "1.234"),
        ("1.234", "1.234", 1234),
        ("10 20", None, None),
        ("12,3,4", None, None),
        ("1e3", 1000, 1000),
        ("abc", None, None),
        ("EUR", None, None),
        ("x5", None, None),
        ("", None, None),
    ],
)
def test_a_text_is_read_with_a_point_and_with_a_comma(written: str, point, comma) -> None:
    for decimal, value in ((".", point), (",", comma)):
        assert read(written, decimal) == (None if value is None else Decimal(value)), decimal


def priced(folder: Path, prices: list[str]) -> Path:
    path = folder / "events.csv"
    lines = [f'u{n % 3},2024-01-{n % 28 + 1:02d},"{price}"' for n, price in enumerate(prices)]
    path.write_text("user_id,day,price\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("prices", "decimal", "first"),
    [
        (["1.234,56 €", "12,50 €", "3 €"], ",", "1234.56"),
        (["$1,234.56", "$12.50", "$3"], None, "1234.56"),
        (["12,50", "3,99"], ",", "12.5"),
        (["12.50", "3.99"], None, "12.5"),
    ],
)
def test_the_decimal_sign_is_told_from_the_amounts(tmp_path: Path, prices, decimal, first) -> None:
    found = sniff([str(priced(tmp_path, prices * 5))], Choices())[0]
    assert found.raw.get("decimal") == decimal
    assert found.rows[0][found.shown.index("value")] == Decimal(first)
    assert not any(doubt.startswith("decimal") for doubt in found.doubts)
    columns = {"user_id": "user_id", "event_at": "day", "price": "price"}
    settings = {"decimal": decimal} if decimal else {}
    con = stage(project(tmp_path, path="events.csv", columns=columns, **settings))
    assert con.execute("select max(value) from staging.events").fetchall() == [
        (max(Decimal(read(price, decimal or ".")) for price in prices),)
    ]
    assert con.execute("select count(*) from staging.rejected").fetchall() == [(0,)]


def test_a_comma_that_may_be_either_is_said(tmp_path: Path) -> None:
    found = sniff([str(priced(tmp_path, ["1,234", "5,678"] * 5))], Choices())[0]
    assert "decimal" not in found.raw
    assert (
        "decimal: '1,234' was read with a decimal point; if its comma or point means the other "
        'thing, set decimal = ",".' in found.doubts
    )


def test_an_amount_in_the_other_decimal_sign_is_counted(tmp_path: Path) -> None:
    priced(tmp_path, ["12,50"] * 9 + ["12.50"])
    columns = {"user_id": "user_id", "event_at": "day", "price": "price"}
    con = stage(project(tmp_path, path="events.csv", columns=columns, decimal=","))
    assert con.execute("select rule, reason from staging.rejected").fetchall() == [
        ("unparsable_value", "not a number: 12.50")
    ]
    found = sniff([str(tmp_path / "events.csv")], Choices())[0]
    assert "price: 1 rows hold no readable number and will be rejected." in found.doubts


# Times


def timed(folder: Path, moments: list[str]) -> Path:
    path = folder / "events.csv"
    lines = [f"u{n % 3},{moment}" for n, moment in enumerate(moments)]
    path.write_text("user_id,ts\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("moments", "is_said"),
    [
        (["2024-01-01 10:00", "2024-01-02 11:00"], True),
        (["2024-01-01T10:00:00Z", "2024-01-02T11:00:00+02:00"], False),
        (["2024-01-01T10:00:00Z", "2024-01-02T11:00:00"], True),
        (["2024-01-01", "2024-01-02"], False),
        (["31/12/2024", "30/12/2024"], False),
        (["31/12/2024 10:00", "30/12/2024 11:00"], True),
        (["17/May/2015:10:05:03 +0000", "18/May/2015:10:05:03 +0200"], False),
    ],
)
def test_only_times_without_a_zone_are_said_to_be_utc(tmp_path, moments, is_said) -> None:
    found = sniff([str(timed(tmp_path, moments))], Choices())[0]
    told = "at_timezone: times without a zone are taken as UTC." in found.doubts
    assert told == is_said


def test_since_and_until_are_in_the_zone_of_the_source(tmp_path: Path) -> None:
    timed(
        tmp_path, ["2024-01-01 00:30", "2023-12-31 23:30", "2024-01-02 23:59", "2024-01-03 00:01"]
    )
    columns = {"user_id": "user_id", "event_at": "ts"}
    con = stage(
        project(
            tmp_path, path="events.csv", columns=columns, at_timezone="Asia/Tokyo",
            since="2024-01-01", until="2024-01-02",
        )
    )  # fmt: skip
    assert con.execute("select event_at from staging.events order by 1").fetchall() == [
        (datetime(2023, 12, 31, 15, 30),), (datetime(2024, 1, 2, 14, 59),),
    ]  # fmt: skip
    con = stage(
        project(
            tmp_path, path="events.csv", columns=columns, at_timezone="Asia/Tokyo",
            since="2024-01-01T00:00:00Z",
        )
    )  # fmt: skip
    assert con.execute("select count(*) from staging.events").fetchall() == [(2,)]


def test_an_epoch_counts_from_utc_whatever_the_zone(tmp_path: Path) -> None:
    timed(tmp_path, ["1704067201"])
    columns = {"user_id": "user_id", "event_at": "ts"}
    con = stage(
        project(
            tmp_path, path="events.csv", columns=columns, at_unit="epoch", at_timezone="Asia/Tokyo"
        )
    )
    assert con.execute("select event_at from staging.events").fetchall() == [
        (datetime(2024, 1, 1, 0, 0, 1),)
    ]


# User agents

AGENTS = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/7.68.0", "Googlebot/2.1 (+http://www.google.com/bot.html)"]  # fmt: skip


@pytest.mark.parametrize("name", ["user_agent", "UserAgent", "ua", "agent", "http_user_agent"])
def test_names_of_the_user_agent(name: str) -> None:
    assert column_names.is_user_agent(name)


@pytest.mark.parametrize(
    ("name", "values", "is_taken"),
    [("user_agent", AGENTS, True), ("client", AGENTS, True), ("agent", ["Ann", "Bob", "Eve"], False),
     ("path", ["a/b", "c/d", "/e/1"], False)],
)  # fmt: skip
def test_a_user_agent_is_told_and_stays_an_attribute(tmp_path, name, values, is_taken) -> None:
    lines = [f'u{n},2024-01-01 10:00:0{n},"{value}"' for n, value in enumerate(values)]
    path = tmp_path / "events.csv"
    path.write_text(f"user_id,ts,{name}\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = sniff([str(path)], Choices())[0]
    assert (found.raw["columns"].get("user_agent") == name) == is_taken
    columns = {"user_id": "user_id", "event_at": "ts"} | ({"user_agent": name} if is_taken else {})
    con = stage(project(tmp_path, path="events.csv", columns=columns, settings={"bots": "keep"}))
    kept = con.execute(f"select {name} from staging.event_attributes order by user_id").fetchall()
    assert [value for (value,) in kept] == values
    agents = con.execute("select user_agent from raw.events order by user_id").fetchall()
    assert [agent for (agent,) in agents] == (values if is_taken else [None] * 3)
