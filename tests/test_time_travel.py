"""No feature sees past its cutoff, and one that does is named; other users change next to nothing."""

import functools
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import project, shipped, stage
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from behavsql import tasks, transform
from behavsql.pipeline import build, load_catalog
from behavsql.progress import Progress
from behavsql.time_travel import find_leaks

SQL_STAGES = ("raw.events", "staging", "meta", "sessions", "cutoffs", "features", "labels")
LEAKS = {
    # The classic: the session that is open at the cutoff is known with its end.
    "whole_sessions": """-- purpose: the last session, seen whole
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.sessions
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    count(*) as count_sessions_begun,
    arg_max(sessions.session_seconds, sessions.started_at) as last_session_seconds,
from cutoffs.cutoffs as cutoffs
inner join sessions.sessions as sessions
    on sessions.user_id = cutoffs.user_id
    and sessions.started_at <= cutoffs.cutoff_at
group by cutoffs.user_id, cutoffs.cutoff_at
""",
    "all_events": """-- purpose: how many events there are, the coming ones too
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.events
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    epoch(min(events.event_at)) as first_at,
    count(*) as count_events_ever,
from cutoffs.cutoffs as cutoffs
inner join staging.events as events on events.user_id = cutoffs.user_id
group by cutoffs.user_id, cutoffs.cutoff_at
""",
}


def _cutoffs(path: Path) -> list[datetime]:
    with duckdb.connect(str(path), read_only=True) as con:
        return [
            at
            for (at,) in con.execute(
                "select distinct cutoff_at from cutoffs.cutoffs order by 1"
            ).fetchall()
        ]


@pytest.mark.parametrize("place", [0, 5, -2, -1])
def test_the_shipped_features_see_only_the_past(shop, place):
    cutoff = _cutoffs(shop.built.path)[place]
    assert [str(leak) for leak in find_leaks(shop.config, shipped(), cutoff)] == []


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """A project with two feature files that look ahead; built up to the matrix, not trained."""
    folder = tmp_path_factory.mktemp("leaking")
    (folder / "sql" / "4_features").mkdir(parents=True)
    for name, text in LEAKS.items():
        (folder / "sql" / "4_features" / f"{name}.sql").write_text(text)
    events = clickstream(300, 90)
    # Someone is always in the shop at midnight, so that sessions span the cutoffs.
    night = pl.concat([
        events.filter(pl.col("type") == "view").with_columns(pl.col("at").dt.truncate("1d") + timedelta(seconds=shift))
        for shift in (-120, 120)
    ])  # fmt: skip
    made = project(folder, pl.concat([events, night]))
    build(made, select=SQL_STAGES, progress=Progress(quiet=True))
    return made


def test_features_that_look_ahead_are_named_by_file_and_column(leaking):
    catalog = load_catalog(leaking)
    with duckdb.connect(str(leaking.warehouse / ".work" / "build.duckdb"), read_only=True) as con:
        cutoff = con.execute(
            "select quantile_disc(cutoff_at, 0.5) from cutoffs.cutoffs"
        ).fetchall()[0][0]
    leaks = find_leaks(leaking, catalog, cutoff)
    found = {(Path(leak.file).name, leak.column) for leak in leaks}
    assert found == {
        ("all_events.sql", "count_events_ever"),
        ("whole_sessions.sql", "last_session_seconds"),
    }
    for leak in leaks:
        assert leak.count_rows > 10
        assert f"sql/4_features/{Path(leak.file).name}: column {leak.column} differs for " in str(
            leak
        )


# --- laws: what is added to the past of some users changes no row it should not change ---

BASE = clickstream(40, 60, seed=3)
USERS, CUTOFF = 40, datetime(2024, 2, 14, 23, 59, 59, 999_999)
META = ("tasks", "clock")
GLOBAL = (
    "item_popularity_log_mean",
    "item_popularity_log_mean_30d",
)  # the one thing told from other users


@functools.cache
def _meta() -> dict[str, list[tuple]]:
    """Tasks and clock of the base events: windows and cutoffs are settings and stay as resolved."""
    with _staged(BASE, {}) as con:
        return {name: con.execute(f"from meta.{name}").fetchall() for name in META}


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="laws-"))


def _staged(events: pl.DataFrame, meta: dict[str, list[tuple]]) -> duckdb.DuckDBPyConnection:
    made = project(_folder(), events)
    con = stage(made)
    tasks.resolve(con, shipped(), made)
    for name, rows in meta.items():
        con.execute(f"delete from meta.{name}")
        con.executemany(f"insert into meta.{name} values ({', '.join('?' * len(rows[0]))})", rows)
    con.execute("set variable bucket = interval '1 day'")
    return con


def _features(events: pl.DataFrame, until: datetime) -> dict[str, pl.DataFrame]:
    """File -> its rows of the base's users at cutoffs up to `until`."""
    with _staged(events, _meta()) as con:
        for file in shipped().files.values():
            if 2 <= file.stage_number <= 4:
                transform.run_file(con, file)
        return {
            file.name: con.sql(
                f"from {file.table} where user_id < {USERS} and cutoff_at <= timestamp '{until}' order by user_id, cutoff_at"
            ).pl()
            for file in shipped().feature_files()
        }


@functools.cache
def _base(until: datetime) -> dict[str, pl.DataFrame]:
    return _features(BASE, until)


def _events(user: st.SearchStrategy, earliest: datetime) -> st.SearchStrategy:
    """Some events; an item keeps its category, as it does in a shop."""
    moments = st.datetimes(earliest, earliest + timedelta(days=40))
    words = st.sampled_from(["view", "click", "cart", "purchase", "mail", "like"])
    amount = st.one_of(st.none(), st.floats(0, 1e6).map(lambda price: round(price, 2)))
    row = st.tuples(user, st.integers(0, 119), words, moments, amount, st.sampled_from([-1, 1, 3]))
    return st.lists(row, min_size=1, max_size=40).map(
        lambda rows: pl.DataFrame(
            [(*each, f"category_{each[1] % 10}", "phone") for each in rows],
            schema=BASE.schema,
            orient="row",
        )
    )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(_events(st.integers(0, USERS + 5), CUTOFF + timedelta(microseconds=1)))
def test_later_events_change_no_feature(added):
    assert len(_base(CUTOFF)["frequency"]) > 50
    for name, rows in _features(pl.concat([BASE, added]), CUTOFF).items():
        assert_frame_equal(rows, _base(CUTOFF)[name], check_exact=True)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(_events(st.integers(USERS, USERS + 5), datetime(2024, 1, 10)))
def test_other_users_change_only_the_popularity_of_items(added):
    end = datetime(2025, 1, 1)
    for name, rows in _features(pl.concat([BASE, added]), end).items():
        known = _base(end)[name]
        gone = [column for column in GLOBAL if column in rows.columns]
        assert bool(gone) == (name == "affinity")
        assert_frame_equal(rows.drop(gone), known.drop(gone), check_exact=True)
