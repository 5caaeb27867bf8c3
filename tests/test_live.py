"""The live views: what was inserted changes them at once, as the next build would have it."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, Heard, project, shipped

from behavsql import live
from behavsql.config import Config
from behavsql.live.flattening import Flattener
from behavsql.live.rewriting import Rewriter
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build, load_catalog, score
from behavsql.progress import Progress
from behavsql.quoting import identifier, literal
from behavsql.tasks import Task

QUIET = Progress(quiet=True)
EVENTS = clickstream(260, 100, seed=3)
NEWEST: datetime = EVENTS["at"].max()
TASKS = ("churn", "purchase", "spend")
WINDOWS = {task: {"horizon": "7 days", "active_within": "21 days"} for task in TASKS}
WINDOWS["churn"] = {"horizon": "7 days", "active_within": "7 days"}
# A feature file of a project: it reads events themselves, and groups.
OWN = """
-- purpose: how many things the user met on weekends
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.events
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    count(distinct item_id)::double as count_weekend_items,
    list(staging.events.event_type order by event_id) as kinds_sequence,
from cutoffs.cutoffs
left join staging.events
    on staging.events.user_id = cutoffs.user_id
    and staging.events.event_at <= cutoffs.cutoff_at
    and isodow(event_at) > 5
group by cutoffs.user_id, cutoffs.cutoff_at
order by cutoffs.user_id, cutoffs.cutoff_at
"""
COLUMNS = ("user_id", "item_id", "event_type", "event_at", "value", "quantity")
_KNOWN = EVENTS.filter(pl.col("type") == "purchase").row(5, named=True)
_LAST = EVENTS.filter(pl.col("user") == _KNOWN["user"]).row(-1, named=True)
_BUSY = EVENTS.group_by("item").len().sort("len").row(-1)[0] or 0
EARLY = NEWEST - timedelta(days=30)
# What is inserted whatever else is: (user, item, type, time, value, quantity).
USUAL = [
    (_LAST["user"], 7, "purchase", _LAST["at"], 12.5, 1),  # at one instant with what is known
    (_LAST["user"], 7, "view", _LAST["at"], None, 1),
    (_LAST["user"], None, "CART", _LAST["at"], None, None),
    (_KNOWN["user"], _KNOWN["item"], "purchase", _KNOWN["at"], 99, 1),  # known: no event
    (3, _BUSY, "view", EARLY, None, 1),  # for a week that is over: others met the item after it
    (3, _BUSY, "view", EARLY, None, 1),  # inserted twice
    (3, _BUSY, "purchase", EARLY + timedelta(minutes=31), 20, 1),
    (4, 8, "purchase", NEWEST - timedelta(days=1), -20, -1),  # sent back
    (5, None, "mail", NEWEST + timedelta(days=3), None, None),  # done to the user: no new now
    (100_001, 5_001, "view", NEWEST, None, 1),  # a new user with a new item
    (100_001, 5_001, "purchase", NEWEST + timedelta(seconds=5), 30, 2),
    (6, 9, "wave", NEWEST, None, None),  # a word without a role
    (None, 9, "view", NEWEST, None, None),  # and what no event can be made of
    (6, 9, "view", None, None, None),
    (6, 9, "view", datetime(1970, 1, 1), None, None),
    (6, 9, "view", datetime(2199, 1, 1), None, None),
    (6, 9, "purchase", NEWEST, -5, 1),
    (6, 9, "purchase", NEWEST, 2e9, 1),
]
SCORES = (
    "select user_id, probability, as_of, model, model_version from predictions.purchase order by 1"
)
LATER = {
    "the same day": [],
    "the next day": [(1, 3, "cart", NEWEST + timedelta(days=1), None, 1)],
    "nine days later": [
        (1, 3, "cart", NEWEST + timedelta(days=2), None, 1),
        (2, 3, "purchase", NEWEST + timedelta(days=9), 8.25, 1),
        (100_002, 3, "view", NEWEST + timedelta(days=9), None, 1),
    ],
}


def _made(folder: Path) -> Config:
    return project(folder, only=TASKS, tasks=WINDOWS)


@pytest.fixture(scope="module", autouse=True)
def few_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK[:2])
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    (folder / "sql/4_features").mkdir(parents=True)
    (folder / "sql/4_features/weekends.sql").write_text(OWN.lstrip(), encoding="utf-8")
    EVENTS.write_parquet(folder / "events.parquet")
    build(_made(folder), progress=QUIET)
    return folder


def _insert(con: duckdb.DuckDBPyConnection, rows: list[tuple]) -> None:
    con.executemany(
        f"insert into live.inbox ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})",
        rows,
    )


def _differing(con: duckdb.DuckDBPyConnection, one: str, other: str, keys: str) -> dict[str, int]:
    """Column -> rows in which two tables of equal columns differ; a row of one alone counts in all.

    A task that the build refused, now that its last weeks are empty, has no last window any more.
    """
    columns = {
        name: [row[:2] for row in con.execute(f"describe {name}").fetchall()]
        for name in (one, other)
    }
    gone = [column for column in columns[one] if column not in columns[other]]
    assert [column for column in columns[one] if column not in gone] == columns[other]
    assert all(name.endswith("_last_window") for name, _ in gone)
    names = [name for name, _ in columns[other] if name not in keys.split(", ")]
    counts = ", ".join(
        f"count(*) filter (where one.{identifier(name)} is distinct from other.{identifier(name)})"
        for name in names
    )
    query = f"select {counts} from {one} as one full outer join {other} as other using ({keys})"
    found = zip(names, con.execute(query).fetchall()[0], strict=True)
    return {name: count for name, count in found if count}


@pytest.fixture(scope="module", params=LATER)
def both(request, template, tmp_path_factory):
    """A connection with `was.features`, `was.events`, `was.purchase`, as live before a build, which
    then made the current database of the same events."""
    folder = tmp_path_factory.mktemp("shop") / "made"
    shutil.copytree(template, folder)
    made = _made(folder)
    path, kept = made.warehouse / "behaviour.duckdb", folder / "was.duckdb"
    with duckdb.connect(str(path)) as con:
        _view(con, made)
        _insert(con, USUAL + LATER[request.param])
        con.execute(f"attach {literal(str(kept))} as was")
        for view in ("features", "events", "purchase"):
            con.execute(f"create table was.{view} as from live.{view}")
    build(made, progress=QUIET)
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute(f"attach {literal(str(kept))} as was (read_only)")
        yield con


def _view(con: duckdb.DuckDBPyConnection, made: Config, score: str = "count_events_7d / 2") -> str:
    with live.Views(con, load_catalog(made), made) as views:
        return views.create_task_view(
            Task("purchase", "binary", "log_loss"),
            f"select user_id, {score} as score from features", "linear", 3,
        )  # fmt: skip


def test_live_features_are_what_the_next_build_makes(both):
    found = both.execute("select count(*), count(distinct cutoff_at) from was.features").fetchall()
    assert found[0][0] > 50 and found[0][1] == 1
    assert _differing(both, "was.features", "features.latest", "user_id, cutoff_at") == {}


def test_live_events_are_what_the_next_build_makes(both):
    both.execute(
        "create or replace temp view batch as select * exclude (raw_row) from staging.events;"
        "create or replace temp view inserted as select * exclude (raw_row) from was.events"
    )
    assert _differing(both, "inserted", "batch", "user_id, event_id") == {}
    count = "select count(*) from was.events where raw_row is null and source = 'inbox'"
    # All that is usable, and not the one that is known nor the one that was inserted twice.
    assert both.execute(count).fetchall()[0][0] >= 10


def test_scores_are_of_those_the_task_asks_about(both):
    found = both.execute("select user_id, probability, as_of from was.purchase").fetchall()
    expected = both.execute(
        "select user_id, count_events_7d / 2, cutoff_at from features.latest "
        "semi join (from cutoffs.populations where task = 'purchase' and split = 'latest') "
        "using (user_id, cutoff_at)"
    ).fetchall()
    assert sorted(found) == sorted(expected) and len(found) > 40
    told = both.execute("select distinct model, model_version from was.purchase").fetchall()
    assert told == [("linear", 3)]


def test_without_an_insert_nothing_differs(template):
    with duckdb.connect(str(_made(template).warehouse / "behaviour.duckdb"), read_only=True) as con:
        assert _differing(con, "live.features", "features.latest", "user_id, cutoff_at") == {}
        assert _differing(con, "live.events", "staging.events", "user_id, event_id") == {}


def test_the_views_read_nothing_but_their_file_under_any_name(template, tmp_path):
    shutil.copyfile(_made(template).warehouse / "behaviour.duckdb", tmp_path / "other.duckdb")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as con:
        _view(con, _made(template))
        _insert(con, USUAL)
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(tmp_path / 'other.duckdb'))} as elsewhere (read_only)")
        for view in ("features", "events", "purchase"):
            text = con.execute(
                "select sql from duckdb_views() where schema_name = 'live' and view_name = ?", [view]
            ).fetchall()[0][0].lower()  # fmt: skip
            assert "getvariable" not in text and "raw." not in text
            assert not [macro.name for macro in shipped().macros if f"{macro.name}(" in text]
            assert con.execute(f"select count(*) from elsewhere.live.{view}").fetchall()[0][0] > 40


def test_one_user_is_asked_about_alone(template, tmp_path):
    shutil.copyfile(_made(template).warehouse / "behaviour.duckdb", tmp_path / "one.duckdb")
    with duckdb.connect(str(tmp_path / "one.duckdb")) as con:
        _insert(con, USUAL)
        for user in (3, 100_001, 50, -1):
            whole = con.execute(
                "with every as materialized (from live.features) from every where user_id = ?",
                [user],
            )
            expected = whole.fetchall()
            query = "from live.features where user_id = ?"
            assert con.execute(query, [user]).fetchall() == expected


@pytest.mark.parametrize("view", ["live.features", "live.purchase"])
def test_a_limit_does_not_stream_from_a_join(template, view):
    """Where it does, and the join is a right one, DuckDB 2.0 waits for ever."""
    with duckdb.connect(str(_made(template).warehouse / "behaviour.duckdb"), read_only=True) as con:
        for query in (f"select * from {view} limit 1", f"select exists (from {view})"):
            plan = con.execute(f"explain (format json) {query}").fetchall()[0][1]
            assert _first_that_collects(json.loads(plan)[0]) in ("ORDER_BY", "TOP_N"), query


def _first_that_collects(node: dict) -> str:
    """The operator whose rows the operators above it only pass on; a CTE's own rows are its last."""
    names = ("LIMIT", "PROJECTION", "CTE", "FILTER", "AGGREGATE", "CROSS_PRODUCT", "DUMMY_SCAN")
    while any(name in node["name"] for name in names):
        node = node["children"][-1]
    return node["name"].strip()


def test_an_inserted_event_moves_the_score_to_what_the_next_build_says(tmp_path):
    EVENTS.write_parquet(tmp_path / "events.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK)
        made = project(tmp_path, only=("purchase",), tasks={"purchase": WINDOWS["purchase"]})
        path = build(made, progress=QUIET).path
        with duckdb.connect(str(path)) as con:
            before = con.execute("from live.purchase order by user_id").fetchall()
            assert _same_scores(before, con.execute(SCORES).fetchall())
            _insert(con, USUAL)
            after = con.execute("from live.purchase order by user_id").fetchall()
        assert after != before
        score(made, progress=QUIET)
    with duckdb.connect(str(path), read_only=True) as con:
        assert _same_scores(after, con.execute(SCORES).fetchall())
        assert con.execute("from live.purchase order by user_id").fetchall() == after


def _same_scores(live: list[tuple], told: list[tuple]) -> bool:
    """The same rows, scores to the tolerance of the models' functions."""
    rest = [[(row[0], *row[2:]) for row in rows] for rows in (live, told)]
    return rest[0] == rest[1] and [row[1] for row in live] == pytest.approx(
        [row[1] for row in told], abs=1e-9
    )


def test_views_and_columns_are_described(template):
    with duckdb.connect(str(_made(template).warehouse / "behaviour.duckdb"), read_only=True) as con:
        query = "select {} from duckdb_{}() where schema_name = 'live' and comment is null"
        for name, kind in (("view_name", "views"), ("table_name", "tables")):
            assert con.execute(query.format(name, kind)).fetchall() == []
        names = query.format("table_name || '.' || column_name", "columns")
        assert con.execute(names).fetchall() == []


def test_a_feature_of_what_is_not_published_is_told(template, tmp_path):
    shutil.copytree(template, tmp_path / "made")
    (tmp_path / "made/sql/4_features/weekends.sql").write_text(
        "-- purpose: how many rows the source has about the user\n-- grain:   user_id, cutoff_at\n"
        "-- inputs:  cutoffs.cutoffs, raw.events\n-- version: 2\nselect cutoffs.user_id, "
        "cutoffs.cutoff_at, count(*)::double as count_raw_rows from cutoffs.cutoffs "
        "inner join raw.events as events on events.user_id = cutoffs.user_id "
        "and events.event_at <= cutoffs.cutoff_at group by cutoffs.user_id, cutoffs.cutoff_at",
        encoding="utf-8",
    )
    heard = Heard()
    build(_made(tmp_path / "made"), progress=heard)
    told = "no live.features: features.weekends reads raw.events, which is not published"
    path = _made(tmp_path / "made").warehouse / "behaviour.duckdb"
    with duckdb.connect(str(path), read_only=True) as con:
        assert (
            con.execute(
                "select view_name from duckdb_views() where schema_name = 'live'"
            ).fetchall()
            == []
        )
    assert [line for line in heard.lines if told in line]


@pytest.mark.parametrize("user", [pl.String, pytest.param(pl.Int64, marks=pytest.mark.slow)])
def test_courses_without_dates_or_hours(tmp_path, user):
    """Days counted from anywhere; as text, users are 's7', else numbers."""
    prefix = "s" if user == pl.String else ""
    events = EVENTS.select(
        pl.format(prefix + "{}", "user").cast(user).alias("student"),
        pl.format("page {}", "item").alias("page"),
        pl.col("type").replace("purchase", "submit").alias("what"),
        ((pl.col("at") - pl.lit(EVENTS["at"].min())).dt.total_days() - 20).alias("day"),
    )
    events.write_parquet(tmp_path / "events.parquet")
    made = project(
        tmp_path, only=("churn",), at_unit="days", tasks={"churn": WINDOWS["churn"]},
        columns={"user_id": "student", "item_id": "page", "event_type": "what", "event_at": "day"},
    )  # fmt: skip
    build(made, progress=QUIET)
    path, day = made.warehouse / "behaviour.duckdb", datetime(2000, 1, 1)
    with duckdb.connect(str(path)) as con:
        last = con.execute("select max(event_at) from staging.events").fetchall()[0][0]
        known = con.execute(
            "select user_id, max(event_at) from staging.events semi join features.latest "
            "using (user_id) group by user_id order by max(event_at) desc, user_id limit 1"
        )
        who, when = known.fetchall()[0]
        _insert(con, [
            (who, "page 3", "view", when, None, None),
            (who, "page 3", "cart", when + timedelta(hours=5), None, None),
            (f"{prefix}90001", "page 999", "view", last, None, None),
            (f"{prefix}90001", "", "submit", last + timedelta(days=2), None, None),
            (f"{prefix}3", "page 4", "view", day - timedelta(days=40), None, None),
        ])  # fmt: skip
        con.execute(f"attach {literal(str(tmp_path / 'was.duckdb'))} as was")
        con.execute("create table was.features as from live.features")
        con.execute("create table was.events as select * exclude (raw_row) from live.events")
    build(made, progress=QUIET)
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute(f"attach {literal(str(tmp_path / 'was.duckdb'))} as was (read_only)")
        con.execute("create temp view batch as select * exclude (raw_row) from staging.events")
        assert con.execute("select count(*) from was.features").fetchall()[0][0] > 20
        assert _differing(con, "was.features", "features.latest", "user_id, cutoff_at") == {}
        assert _differing(con, "was.events", "batch", "user_id, event_id") == {}


CHAIN = """from cutoffs.known_days as known inner join sessions.user_totals as upto
    on upto.user_id = known.user_id and upto.day_number = known.count_days"""
KEYS = "select known.user_id, known.cutoff_at"


def _columns_of(table: str) -> list[str]:
    columns = {"sessions.user_totals": ["user_id", "day_number", "value", "visit_gap_max"]}
    return columns.get(table, ["user_id", "cutoff_at", "count_days"])


def _flattener(*queries: str) -> tuple[Flattener, Rewriter]:
    """Over queries that are called features.a, features.b ..."""
    rewriter = Rewriter(duckdb.connect(), shipped(), {})
    trees = {
        f"features.{name}": rewriter.tree(sql) for name, sql in zip("abc", queries, strict=False)
    }
    return Flattener(shipped(), trees.__getitem__, _columns_of), rewriter


def test_what_only_calculates_is_one_query():
    flattener, rewriter = _flattener(
        f"{KEYS}, safe_ratio(upto.value, count_days) as rate {CHAIN}",
        f"with measured as (select known.*, visit_gap_max / 2 as half {CHAIN}) "
        "select user_id, cutoff_at, half + 1 as due from measured",
        "select a.user_id, a.cutoff_at, rate * due as both_ways from features.a as a "
        "inner join features.b as b on b.user_id = a.user_id and a.cutoff_at = b.cutoff_at",
    )
    assert flattener.merged(["features.a", "features.b", "features.c"]) == [
        ["features.a", "features.b", "features.c"]
    ]
    tree = flattener.query(["features.a", "features.c"], {"both_ways"})
    assert rewriter.text(tree) == (
        "SELECT known.user_id AS user_id, known.cutoff_at AS cutoff_at, (CASE  WHEN ((known.count_days "
        '!= 0)) THEN ((CAST(upto."value" AS double) / CAST(known.count_days AS double))) ELSE NULL '
        "END * ((upto.visit_gap_max / 2) + 1)) AS both_ways FROM (cutoffs.known_days AS known INNER "
        "JOIN sessions.user_totals AS upto ON (((upto.user_id = known.user_id) AND (upto.day_number "
        "= known.count_days))))"
    )


@pytest.mark.parametrize(
    "query",
    [
        f"{KEYS}, sum(upto.value) as x {CHAIN} group by all",
        f"{KEYS}, sum(upto.value) over () as x {CHAIN}",
        f"{KEYS}, upto.value as x {CHAIN} where count_days > 1",
        f"select distinct known.user_id, known.cutoff_at, upto.value as x {CHAIN}",
        f"{KEYS}, user_id as x {CHAIN}",  # of which table?
        f"{KEYS}, upto.value as x {CHAIN.replace(' and upto.day_number = known.count_days', '')}",
        f"{KEYS}, upto.value as x {CHAIN.replace('inner', 'right')}",
        f"{KEYS}, upto.* exclude (value) {CHAIN}",
        f"{KEYS}, (select 1) as x {CHAIN}",
    ],
)
def test_what_does_more_is_left_as_it_is(query):
    assert _flattener(query)[0].flat("features.a") is None


def test_only_files_with_the_same_rows_are_one_query():
    less = CHAIN.replace("inner", "left")
    flattener, _ = _flattener(
        f"{KEYS}, upto.value as x {CHAIN}", f"{KEYS}, upto.visit_gap_max as y {less}"
    )
    assert flattener.merged(["features.a", "features.b"]) == []
