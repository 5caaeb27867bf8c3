"""Data that is small, lopsided or oddly named, and yet valid: built, published, and said plainly."""

import csv
import json
import random
from pathlib import Path

import duckdb
import pytest
from conftest import run

from behavsql.warehouse import connect

HEAD = "user_id,event,ts\n"


def stamp(n: int) -> str:
    return f"2024-{n % 6 + 1:02d}-{n % 28 + 1:02d} 10:00:{n % 60:02d}"


DATA = {
    "one user": [f"u,{'view' if n % 3 else 'purchase'},{stamp(n)}" for n in range(90)],
    "one event": ["u,view,2024-01-01 10:00:00"],
    "one instant": [f"u{n},view,2024-01-01 10:00:00" for n in range(90)],
    "no positives": [f"u{n % 9},view,2024-01-{n % 28 + 1:02d} 10:00:00" for n in range(90)],
    "everybody once": [f"u{n},view,{stamp(n)}" for n in range(1500)],
}
TOLD = {
    "one user": ("purchase", "refused", "4 positives of 14 in train, at least 50 needed"),
    "one event": ("churn", "refused", "0 train cutoffs, at least 3 needed: the data spans too"),
    "one instant": ("churn", "refused", "0 train cutoffs, at least 3 needed: the data spans too"),
    "no positives": ("purchase", "skipped", "the data has no purchase event"),
    "everybody once": ("next_visit", "refused", " labels in train are equal: there is nothing to"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_answers_nothing_is_published_and_says_why(here: Path, name: str) -> None:
    Path("events.csv").write_text(HEAD + "\n".join(DATA[name]) + "\n", encoding="utf-8")
    assert run("init", "events.csv").exit_code == 0
    result = run("build", "--models", "fast")
    assert result.exit_code == 0, result.stderr
    task, status, reason = TOLD[name]
    line = next(line for line in result.stdout.splitlines() if line.split()[:1] == [task])
    assert line.split()[1] == status and reason in line
    with connect("warehouse") as con:
        asked = con.execute("select status, reason from meta.tasks").fetchall()
        assert {status for status, _ in asked} <= {"refused", "skipped"}
        assert all(reason for _, reason in asked)
        users = len({row.split(",")[0] for row in DATA[name]})
        assert con.execute("select count(*) from customers").fetchall() == [(users,)]


def test_valid_without_a_positive_refuses_the_task(here: Path) -> None:
    """One class in valid: nothing could be tuned or chosen there."""
    rows = [
        f"u{n % 211},{'purchase' if n % 180 < 60 and n % 3 == 0 else 'view'},"
        f"2024-{n % 180 // 30 + 1:02d}-{n % 30 % 28 + 1:02d} {n % 24:02d}:00:00"
        for n in range(8000)
    ]
    Path("events.csv").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    run("init", "events.csv")
    result = run("build", "-s", "features.matrix", "-s", "meta.tasks")
    assert result.exit_code == 0, result.stderr
    con = duckdb.connect("warehouse/.work/build.duckdb", read_only=True)
    try:
        found = con.execute("select reason from meta.tasks where task = 'purchase'").fetchall()
    finally:
        con.close()
    assert "0 positives of " in found[0][0] and " in valid, at least 50 needed" in found[0][0]


# Names and values that would be SQL if anything were pasted into it

USERS = ["O'Brien", 'say "hi"', "a;b", "two\nlines", "'); drop table x; --", "日本 🙂", "%s {0} \\"]
COLUMNS = [
    'user "id"',
    "naïve; drop table x",
    "at ; time",
    "event_id",
    "select",
    "User_ID",
    "größe",
]


def odd_events(path: Path) -> None:
    rng = random.Random(5)
    users = [*USERS, *[f"u{n}" for n in range(50)]]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for n in range(3000):
            day, word = n // 25, "purchase" if rng.random() < 0.4 else "it's; a view"
            at = f"2024-{day // 28 + 1:02d}-{day % 28 + 1:02d} {n % 24:02d}:00:00"
            writer.writerow([rng.choice(users), word, at, f"e{n}", "x", n, "XL"])


def test_nothing_from_data_or_config_becomes_sql(here: Path) -> None:
    odd_events(Path("odd'; events.csv"))
    options = ("--user", COLUMNS[0], "--time", COLUMNS[2], "--type", COLUMNS[1])
    result = run("init", "odd'; events.csv", *options)
    assert result.exit_code == 0, result.stderr
    config = Path("behavsql.toml").read_text(encoding="utf-8")
    wanted = "".join(
        f"[tasks.{task}]\nenabled = false\n"
        for task in ("churn", "engagement", "next_visit", "spend")
    )
    words = config.replace('"it\'s; a view" = "action"', '"it\'s; a view" = "view"')
    Path("behavsql.toml").write_text(words + wanted, encoding="utf-8")
    result = run("build", "--models", "fast")
    assert result.exit_code == 0, result.stderr
    query = "select user_id from predictions.purchase where not regexp_full_match(user_id, 'u\\d+')"
    found = json.loads(run("query", query, "--json").stdout)
    assert sorted(row["user_id"] for row in found) == sorted(USERS)
    with connect("warehouse") as con:
        assert con.execute("select count(*) from customers").fetchall() == [(57,)]
        columns = [row[0] for row in con.execute("describe staging.event_attributes").fetchall()]
        assert columns == [
            "user_id", "event_id", "source_event_id", "select", "source_User_ID", "größe",
        ]  # fmt: skip
        assert con.execute(
            "select count(distinct source_event_id) from staging.event_attributes"
        ).fetchall() == [(3000,)]


def test_our_own_names_in_a_source_get_a_free_one(here: Path) -> None:
    Path("events.csv").write_text(
        "who,ts,event_id,source_event_id,EVENT_AT\n1,2024-01-01,a,b,c\n", encoding="utf-8"
    )
    assert run("init", "events.csv", "--user", "who", "--time", "ts").exit_code == 0
    assert run("build", "-q", "-s", "staging").exit_code == 0
    con = duckdb.connect("warehouse/.work/build.duckdb", read_only=True)
    try:
        cursor = con.execute("select * from staging.event_attributes")
        names = [column[0] for column in cursor.description]
        row = cursor.fetchall()[0]
    finally:
        con.close()
    assert dict(zip(names, row, strict=True)) == {
        "user_id": 1, "event_id": 1, "source_source_event_id": "a", "source_event_id": "b",
        "EVENT_AT": "c",
    }  # fmt: skip
