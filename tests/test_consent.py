"""Consent as a filter, tested by attack: what somebody would try to use data that was not agreed to."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import project, stage
from test_forgetting import columns_that_hold

from behavsql import config
from behavsql.database_file import reading
from behavsql.errors import ConfigError
from behavsql.pipeline import build, update
from behavsql.progress import Progress

QUIET = Progress(quiet=True)
pytestmark = pytest.mark.usefixtures("quick")
EVENTS = clickstream(300, 80, seed=4).with_columns(user=pl.format("person-{}-of-shop", "user"))
CONSENT = {"name": "crm", "kind": "consent", "path": "crm.csv",
           "columns": {"user_id": "who", "purpose": "what", "granted": "yes", "event_at": "at"}}  # fmt: skip
BUSY, OTHER = EVENTS["user"].value_counts().sort("count", "user")["user"][-1], "person-7-of-shop"


def made(
    folder: Path, words: list[tuple], *, unknown: str = "granted", events: pl.DataFrame = EVENTS,
    **parts: object,
) -> config.Config:  # fmt: skip
    """A shop, and a source of consent with these words: (who, what, yes, at)."""
    shop = project(folder, events, only=("purchase",), **parts)
    text = "".join(f"{','.join(map(str, word))}\n" for word in words)
    (folder / "crm.csv").write_text(f"who,what,yes,at\n{text}")
    data = shop.model_dump(exclude_unset=True)
    data["source"] = [*data["source"], *([CONSENT] if words else [])]
    return config.from_dict(data | {"privacy": {"unknown_consent": unknown}}, folder, "b")


def events_of(con: duckdb.DuckDBPyConnection, user: str) -> list[tuple]:
    return con.execute(
        "select event_at, event_type, item_id from staging.events where user_id = ? order by all", [user]
    ).fetchall()  # fmt: skip


def told(events: pl.DataFrame, user: str) -> list[tuple]:
    return sorted(
        events.filter(pl.col("user") == user).select("at", "type", "item").rows(),
        key=lambda row: (row[0], row[1], row[2] is not None, row[2]),
    )


@pytest.mark.parametrize("unknown", ["granted", "refused"])
def test_who_is_not_spoken_of_is_as_the_setting_says(tmp_path, unknown):
    con = stage(made(tmp_path, [(BUSY, "prediction", "yes", "2020-01-01")], unknown=unknown))
    others = con.execute(
        "select count(*) from staging.events where user_id <> ?", [BUSY]
    ).fetchall()
    assert (others[0][0] > 0) == (unknown == "granted")
    assert len(events_of(con, BUSY)) == len(told(EVENTS, BUSY))


def test_without_a_source_of_consent_everything_is_allowed(tmp_path):
    con = stage(made(tmp_path, [], unknown="refused"))
    assert con.execute("select count(*) from staging.events").fetchall() == [(len(EVENTS),)]
    assert con.execute("select count(*) from staging.consents").fetchall() == [(0,)]


def test_events_count_from_the_word_on_and_all_are_gone_when_it_is_taken_back(tmp_path):
    middle = EVENTS.filter(pl.col("user") == BUSY)["at"].median()
    words = [(BUSY, "prediction", "yes", middle), (OTHER, "all", "yes", "2020-01-01"),
             (OTHER, "all", "no", middle)]  # fmt: skip
    con = stage(made(tmp_path, words, unknown="refused"))
    assert events_of(con, BUSY) == told(EVENTS.filter(pl.col("at") >= middle), BUSY)
    assert events_of(con, OTHER) == []
    account = dict(con.execute(
        "select rule, count_rows_removed from staging.ledger where source = 'shop'"
    ).fetchall())  # fmt: skip
    kept = con.execute("select count(*) from staging.events").fetchall()[0][0]
    assert account["no_consent"] == len(EVENTS) - kept
    crm = con.execute(
        "select max(count_rows_in), min(count_rows_out) from staging.ledger where source = 'crm'"
    ).fetchall()
    assert crm == [(3, 3)]


def test_other_purposes_give_no_leave_to_predict(tmp_path):
    words = [(BUSY, "marketing", "yes", "2020-01-01"), (BUSY, "analytics", "yes", "2020-01-01"),
             (OTHER, "prediction", "perhaps", "2020-01-01"), (OTHER, "prediktion", "yes", "2020-01-01")]  # fmt: skip
    con = stage(made(tmp_path, words, unknown="refused"))
    assert con.execute("select count(*) from staging.events").fetchall() == [(0,)]
    rules = con.execute(
        "select rule from staging.rejected where source = 'crm' order by all"
    ).fetchall()
    assert rules == [("unclear_consent",), ("unknown_purpose",)]


def test_a_refused_user_is_nowhere_and_no_insert_brings_one_back(tmp_path):
    words = [(OTHER, "prediction", "no", "2024-02-01"), (BUSY, "marketing", "no", "2024-02-01")]
    shop = made(tmp_path, words)
    path = build(shop, progress=QUIET).path
    assert columns_that_hold(path, OTHER) <= {"staging.consents.user_id"}
    assert "predictions.purchase.user_id" in columns_that_hold(path, BUSY)
    insert = "insert into live.inbox (user_id, event_type, event_at) select ?, 'purchase', as_of from meta.clock"
    with closing(duckdb.connect(str(path))) as con:
        con.execute(insert, [OTHER])
        con.execute(insert, [BUSY])
        now = con.execute("select user_id from live.events where source = 'inbox'").fetchall()
        assert now == [(BUSY,)]
        assert con.execute(
            "select count(*) from live.purchase where user_id = ?", [OTHER]
        ).fetchall() == [(0,)]
    build(shop, progress=QUIET)
    assert columns_that_hold(path, OTHER) <= {"staging.consents.user_id"}


def test_a_cutoff_before_the_word_does_not_know_the_user_and_later_ones_only_what_came_since(
    tmp_path,
):
    """As if the shop had met the user on that day."""
    since = EVENTS.filter(pl.col("user") == BUSY)["at"].median()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    met = EVENTS.filter((pl.col("user") != BUSY) | (pl.col("at") >= since))
    words = [(BUSY, "prediction", "no", "2020-01-01"), (BUSY, "prediction", "yes", since)]
    asked = made(tmp_path / "a", words)
    plain = made(tmp_path / "b", [], events=met)
    rows = []
    for one in (asked, plain):
        build(one, select=["features.matrix"], progress=QUIET)
        with reading(one.warehouse / ".work/build.duckdb") as con:
            found = con.execute(
                "from features.matrix where cutoff_at >= ? order by user_id, cutoff_at", [since]
            ).fetchall()  # fmt: skip
            early = con.execute(
                "select count(*) from cutoffs.cutoffs where user_id = ? and cutoff_at < ?",
                [BUSY, since - timedelta(days=1)],
            ).fetchall()
        assert early == [(0,)]
        rows.append(found)
    assert rows[0] == rows[1] and any(row[0] == BUSY for row in rows[0])


def test_an_update_obeys_what_was_agreed_to(tmp_path, few):
    cut = EVENTS["at"].max() - timedelta(days=3)
    shop = made(tmp_path, [(OTHER, "prediction", "no", "2024-02-01")], path="events*.parquet",
                events=EVENTS.filter(pl.col("at") < cut))  # fmt: skip
    path = build(shop, progress=QUIET).path
    late = EVENTS.filter(pl.col("at") >= cut)
    more = late.head(3).with_columns(user=pl.lit(OTHER))
    pl.concat([late, more]).write_parquet(tmp_path / "events2.parquet")
    update(shop, progress=QUIET)
    assert columns_that_hold(path, OTHER) <= {"staging.consents.user_id"}


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ({"columns": {"user_id": "who", "event_at": "at"}}, "maps no granted"),
        ({"kind": "users"}, 'maps purpose, which kind = "consent" has'),
    ],
)
def test_a_source_of_consent_says_what_it_must(tmp_path, parts, wrong):
    events = {"name": "e", "path": "e.csv", "columns": {"user_id": "u", "event_at": "t"}}
    with pytest.raises(ConfigError, match=wrong):
        config.from_dict({"source": [events, CONSENT | parts]}, tmp_path, "b")
