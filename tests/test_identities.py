"""Anonymous ids: whose an event is, as of its own day, and never told by what comes after."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import project, run, shipped, stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from updating import advance, copied, differences, pretend, write

from behavsql import config, tasks
from behavsql.errors import ConfigError, SourceError
from behavsql.input.identities import PREFIX
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.time_travel import find_leaks

COLUMNS = {"user_id": "user", "anonymous_id": "cookie", "event_at": "at", "event_type": "type"}
START = datetime(2024, 1, 1)


def made(folder: Path, *rows: str, columns: dict | None = None, **parts: object) -> config.Config:
    """Rows of `user cookie day hour`; `-` is missing."""
    told = [[None if cell == "-" else cell for cell in row.split()] for row in rows]
    at = [START + timedelta(days=int(row[2]), hours=int(row[3])) for row in told]
    write(folder / "events.csv",
          [(row[0], row[1], when, "view") for row, when in zip(told, at, strict=True)],
          "user cookie at type")  # fmt: skip
    source = {"name": "web", "path": "events.csv", "columns": columns or COLUMNS}
    return config.from_dict(
        {"source": [source | parts], "settings": {"max_rejected_share": 1.0}},
        folder,
        "behavsql.toml",
    )


def owners(project: config.Config) -> list[str]:
    """Of each input row in its order, whose it is."""
    con = stage(project)
    return [
        user
        for (user,) in con.execute("select user_id from raw.events order by raw_row").fetchall()
    ]


@pytest.mark.parametrize(("rows", "expected"), [
    # Earlier the same day and ever after the user's; on the days before the cookie's own.
    (["- c 0 9", "- c 1 9", "u c 1 10", "- c 1 11", "- c 7 0"], ["anonymous:c", "u", "u", "u", "u"]),
    # A device of two people: whoever was seen there last.
    (["u c 0 9", "- c 0 10", "v c 0 11", "- c 0 12"], ["u", "u", "v", "v"]),
    (["- c 0 1", "v c 0 11", "u c 0 9"], ["u", "v", "u"]),
    # Several devices of one person.
    (["u c 0 9", "u d 0 9", "- c 1 9", "- d 1 9", "- e 1 9"], ["u", "u", "u", "u", "anonymous:e"]),
    # Whoever never signs in stays a user; an id of both kinds is two users.
    (["- c 0 9", "c d 0 9"], ["anonymous:c", "c"]),
    # Rows without either are nobody's; a user without a cookie is no less one.
    (["- - 0 9", "u - 0 9"], [None, "u"]),
    # At one moment two users: always the same one, whatever the order of the rows.
    (["v c 0 9", "u c 0 9", "- c 0 9"], ["v", "u", "u"]),
    (["u c 0 9", "v c 0 9", "- c 0 9"], ["u", "v", "u"]),
    # The last hour of a day and the first of the next are two days.
    (["- c 0 23", "u c 1 0"], ["anonymous:c", "u"]),
])  # fmt: skip
def test_whose_an_event_is(tmp_path, rows, expected):
    assert owners(made(tmp_path, *rows)) == expected


def test_ids_are_numbers_where_everybody_has_signed_in(tmp_path):
    assert owners(made(tmp_path, "1 c 0 9", "2 c 0 10")) == [1, 2]


def test_a_source_may_know_cookies_alone(tmp_path):
    """Another source tells whose they are."""
    project = made(tmp_path, "u c 0 9")
    write(tmp_path / "pages.csv", [("c", START + timedelta(hours=10))], "cookie at")
    pages = {"name": "pages", "path": "pages.csv",
             "columns": {"anonymous_id": "cookie", "event_at": "at"}}  # fmt: skip
    web = project.source[0].model_dump(include={"name", "path"}) | {"columns": COLUMNS}
    both = config.from_dict({"source": [web, pages]}, tmp_path, "behavsql.toml")
    assert owners(both) == ["u", "u"]


def test_nothing_is_lost_and_counts_are_right(tmp_path):
    con = stage(made(tmp_path, "- c 0 9", "- - 0 9", "u c 0 10", "- c 0 10", "- c 3 9"))
    told = con.execute("select rule, count_rows_removed, count_rows_out from staging.ledger "
                       "where count_rows_removed > 0 or rule = 'kept'").fetchall()  # fmt: skip
    # The anonymous row of 10 o'clock is, once it is the user's, the same event as theirs.
    assert told == [("missing_user", 1, 4), ("duplicate", 1, 3), ("kept", 0, 3)]


def test_the_past_of_a_user_stands_beside_them(tmp_path):
    con = stage(made(tmp_path, "- c 0 9", "- c 1 9", "u c 3 9", "v c 4 9", "u d 5 9"))
    told = "select anonymous_id, user_id, known_at, count_events from staging.identities"
    assert con.execute(told).fetchall() == [
        ("c", "u", START + timedelta(days=3, hours=9), 2),
        ("c", "v", START + timedelta(days=4, hours=9), 0),
        ("d", "u", START + timedelta(days=5, hours=9), 0),
    ]


@pytest.mark.parametrize(("columns", "parts", "message"), [
    (COLUMNS | {"anonymous_id": "user"}, {}, 'takes "user" for both user_id and anonymous_id; where it is'),
    ({"user_id": "user", "anonymous_id": "cookie"}, {"kind": "users"},
     'of kind "users" maps anonymous_id, which only events have'),
    ({"event_at": "at"}, {}, 'of kind "events" maps no user_id'),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(tmp_path, columns, parts, message):
    with pytest.raises(ConfigError) as error:
        made(tmp_path, "u c 0 9", columns=columns, **parts)
    assert message in str(error.value)


def test_cookies_have_pseudonyms_where_users_have(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHAVSQL_PRIVACY_KEY", "correct horse battery staple, twice")
    plain = made(tmp_path, "- c 0 9", "u c 1 9", "- c 1 10", "- d 2 9")
    data = plain.model_dump(exclude_unset=True) | {"privacy": {"pseudonyms": True}}
    found = owners(config.from_dict(data, tmp_path, "behavsql.toml"))
    assert found[1] == found[2]
    assert [len(user.removeprefix(PREFIX)) for user in found] == [32] * 4
    assert len({*found}) == 3


def test_a_cookie_that_would_be_landed_as_it_is_is_refused(tmp_path):
    source = {"name": "web", "url": "sqlite:///a.db", "table": "t", "columns": COLUMNS}
    data = {"source": [source], "privacy": {"pseudonyms": True}}
    with pytest.raises(
        ConfigError, match=r'set coarsen = \{ cookie = "pseudonym" \} for the source'
    ):
        config.from_dict(data, tmp_path, "behavsql.toml")
    data["source"] = [source | {"coarsen": {"cookie": "pseudonym"}}]
    config.from_dict(data, tmp_path, "behavsql.toml")


def test_a_user_called_like_an_anonymous_one_is_refused(tmp_path):
    with pytest.raises(SourceError) as error:
        owners(made(tmp_path, "- c 0 9", "anonymous:c c 0 9"))
    assert str(error.value) == (
        'source "web": the user_id "anonymous:c" begins with anonymous:, as the ids of users do whom '
        "only an anonymous_id is known of; allowed are other ids. Rename these in the source."
    )


def test_the_sql_knows_the_prefix():
    assert f"'{PREFIX}'" in shipped().files["staging.identities"].sql


@pytest.mark.parametrize(("shape", "row", "own"), [
    ("ga4", {"event_timestamp": 1_715_947_200_000_000, "event_name": "page_view", "user_pseudo_id": "c"}, "user_id"),
    ("snowplow", {"collector_tstamp": "2024-05-17 12:00:01", "event_name": "page_view", "domain_userid": "c"}, "user_id"),
    ("segment", {"messageId": "m", "anonymousId": "c", "type": "page", "timestamp": "2024-05-17T12:00:00Z"}, "userId"),
])  # fmt: skip
def test_exports_are_stitched_as_they_are(tmp_path, shape, row, own):
    rows = [row | {own: None}, row | {own: "u"}]
    (tmp_path / "e.json").write_text("".join(json.dumps(one) + "\n" for one in rows))
    source = {"name": "web", "shape": shape, "path": "e.json"}
    assert owners(config.from_dict({"source": [source]}, tmp_path, "behavsql.toml")) == ["u", "u"]


def test_init_takes_the_cookie_of_rows_without_a_user(here):
    rows = [
        f"{f'u{n % 5}' if n % 3 else ''},c{n % 5},2024-01-{n % 28 + 1:02d} 10:00:00,{n % 4}"
        for n in range(90)
    ]
    Path("events.csv").write_text("\n".join(["user_id,cookie_id,ts,item_id", *rows]) + "\n")
    assert run("init", "events.csv").exit_code == 0
    columns = config.load(Path("behavsql.toml")).source[0].columns
    assert (columns.user_id, columns.anonymous_id) == ("user_id", "cookie_id")


# Point in time


def shoppers(folder: Path) -> config.Config:
    """Forty people over sixty days on devices that some share; a third of what they do is signed in."""
    number = pl.int_range(pl.len())
    frame = pl.select(n=pl.int_range(3000)).with_columns(
        person=number * 7 % 40, hour=number * 31 % (24 * 60), told=number * 13 % 3 == 0,
    ).select(
        user=pl.when("told").then(pl.format("u{}", "person")),
        cookie=pl.format("c{}", (pl.col("person") + pl.col("hour") // 400) % 45),
        at=pl.lit(START) + pl.duration(hours="hour", minutes=pl.col("n") % 60),
        type=pl.when(pl.col("n") % 5 == 0).then(pl.lit("purchase")).otherwise(pl.lit("view")),
    )  # fmt: skip
    # Nobody signs in for the first days: there is a past that is somebody's later.
    frame = frame.with_columns(user=pl.when(pl.col("at") > START + timedelta(days=20)).then("user"))
    return project(folder, frame, only=("purchase", "churn"), columns=COLUMNS)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> config.Config:
    made = shoppers(tmp_path_factory.mktemp("shoppers"))
    build(made, select=("features",), progress=Progress(quiet=True))
    return made


def _database(project: config.Config) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(project.warehouse / ".work" / "build.duckdb"), read_only=True)


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 1])
def test_no_cutoff_knows_who_signs_in_after_it(built, place):
    with _database(built) as con:
        cutoffs = [at for (at,) in con.execute(
            "select distinct cutoff_at from cutoffs.cutoffs order by 1").fetchall()]  # fmt: skip
    cutoff = cutoffs[round(place * (len(cutoffs) - 1))]
    assert [str(leak) for leak in find_leaks(built, shipped(), cutoff)] == []


def test_the_anonymous_past_is_known_from_the_first_sign_in_on(built):
    with _database(built) as con:
        early, late = (con.execute(
            "select count(count_anonymous_events), coalesce(sum(count_anonymous_events), 0) "
            "from cutoffs.cutoffs left join features.anonymous_past using (user_id, cutoff_at) "
            f"where user_id like 'u%' and cutoff_at {sign} timestamp '2024-01-21'"
        ).fetchall()[0] for sign in ("<", ">"))  # fmt: skip
    assert early == (0, 0)
    assert late[1] > 100


def test_stitched_data_of_a_few_days_is_cut_into_days(tmp_path):
    """Hours would see whose an event is before it is known."""
    con = stage(made(tmp_path, "- c 0 9", "u c 0 10", "- c 5 9"))
    clock = tasks.resolve(con, shipped(), made(tmp_path, "- c 0 9", "u c 0 10", "- c 5 9"))
    assert clock.bucket == timedelta(days=1)


# Updates

steps = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 69), st.integers(0, 23)),
             min_size=1, max_size=12),
    min_size=1, max_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> config.Config:
    folder = tmp_path_factory.mktemp("start")
    told = [(n % 7, n * 3 % 6, n * 11 % 60, n % 24) for n in range(300)]
    _write(folder / "events1.csv", told)
    source = {"name": "web", "path": "events*.csv", "columns": COLUMNS}
    off = {
        task: {"enabled": False}
        for task in ("click", "engagement", "spend", "next_visit", "next_item", "dropout")
    }
    chosen = {"threads": 1, "late_days": 3650, "max_rejected_share": 1.0}
    made = config.from_dict(
        {"source": [source], "settings": chosen, "tasks": off}, folder, "behavsql.toml"
    )
    advance(made, by_update=False)
    pretend(made)
    advance(made, by_update=False)
    return made


def _write(path: Path, told: list[tuple[int, ...]]) -> None:
    """User 0 has not signed in, cookie 0 is none."""
    write(path, [
        (f"u{user}" if user > 3 else None, f"c{cookie}" if cookie else None,
         START + timedelta(days=day, hours=hour), ("view", "purchase")[day % 2])
        for user, cookie, day, hour in told
    ], "user cookie at type")  # fmt: skip


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=steps)
def test_an_update_knows_whose_old_events_are_by_now(start, tmp_path_factory, stream):
    folder = tmp_path_factory.mktemp("stream")
    updated, whole = copied(start, folder / "updated"), copied(start, folder / "whole")
    for number, told in enumerate(stream, 2):
        _write(updated.folder / f"events{number}.csv", told)
        _write(whole.folder / f"events{number}.csv", told)
        assert advance(updated, by_update=True) == ""
    assert advance(whole, by_update=False) == ""
    assert differences(updated, whole) == []
