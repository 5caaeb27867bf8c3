"""A whole build of a shop whose truth is known: what is published, what it says, what it accounts for."""

import itertools
from datetime import datetime

import duckdb
import numpy as np
import polars as pl
import pytest
from clickstream import clickstream, dirtied
from conftest import SHIPPED, Heard, Shop, project
from polars.testing import assert_frame_equal

from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.quoting import identifier
from behavsql.warehouse import connect

PUBLISHED = {
    "main": {"customers", "items", "model_card"},
    "predictions": {*SHIPPED, "scored"},
    "staging": {"events", "event_attributes", "items", "users", "sources", "rejected", "ledger"},
    "sessions": {"sessions", "session_events", "user_days"},
    "cutoffs": {"cutoffs", "splits", "populations", "windows"},
    "features": {"matrix", "latest", "sequences", "recency", "frequency", "monetary"},
    "labels": set(SHIPPED),
    "models": {"models", "metrics", "scores", "importance", "artifacts"},
    "report": {"leaderboard", "calibration", "lift"},
    "meta": {"runs", "builds", "tasks", "clock"},
}
BI_TYPES = {"BIGINT", "INTEGER", "DOUBLE", "BOOLEAN", "VARCHAR", "DATE", "TIMESTAMP"}
BINARY = ("churn", "click", "purchase")
# Who is asked about now, from the events alone; an hour or day is one bucket of the clock.
ACTIVE = """
    select distinct events.user_id from staging.events as events, meta.clock as clock, meta.tasks as tasks
    where tasks.task = ? and events.role not in ('return', 'other')
        and time_bucket(clock.bucket, events.event_at) > clock.as_of - tasks.active_within
"""


def _relations(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(con.execute(
        "select schema_name, table_name from duckdb_tables() where not internal union "
        "select schema_name, view_name from duckdb_views() where not internal"
    ).fetchall())  # fmt: skip


def test_everything_promised_is_published(con):
    missing = {
        (schema, name) for schema, names in PUBLISHED.items() for name in names
    } - _relations(con)
    assert not missing


def test_every_table_and_view_selects(con):
    for schema, name in sorted(_relations(con)):
        con.execute(f"select * from {identifier(schema, name)} limit 5").fetchall()


def test_the_input_as_read_is_not_published(con):
    assert "raw" not in {schema for schema, _ in _relations(con)}


@pytest.mark.parametrize(
    "query",
    [
        "select schema_name || '.' || table_name from duckdb_tables() where not internal and coalesce(comment, '') = ''",
        "select schema_name || '.' || view_name from duckdb_views() where not internal and coalesce(comment, '') = ''",
        "select schema_name || '.' || table_name || '.' || column_name from duckdb_columns() "
        "where not internal and coalesce(comment, '') = ''",
        "select function_name from duckdb_functions() where not internal and coalesce(comment, '') = ''",
    ],
    ids=["tables", "views", "columns", "macros"],
)
def test_everything_published_is_commented(con, query):
    assert con.execute(f"{query} order by 1").fetchall() == []


def test_tables_for_bi_use_plain_types(con):
    odd = con.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() where not internal "
        "and schema_name in ('main', 'predictions', 'report') and not list_contains(?, data_type)",
        [sorted(BI_TYPES)],
    ).fetchall()
    assert odd == []


def test_customers_has_one_row_per_user(shop, con):
    users = con.execute("select user_id from main.customers").fetchall()
    assert sorted(users) == sorted((user,) for user in shop.events["user"].unique())
    columns = [row[0] for row in con.execute("describe main.customers").fetchall()]
    measures = [f"{task}_{'probability' if task in BINARY else 'amount'}" for task in SHIPPED]
    assert columns[:3] == ["user_id", "first_seen_at", "last_seen_at"]
    assert set(columns[3:]) == {*measures, *(f"{task}_decile" for task in SHIPPED)}
    seen = con.execute(
        "select first_seen_at, last_seen_at from main.customers order by user_id"
    ).fetchall()
    assert seen == shop.events.group_by("user").agg(
        first=pl.col("at").min(), last=pl.col("at").max()
    ).sort("user").select("first", "last").rows()  # fmt: skip


@pytest.mark.parametrize("task", SHIPPED)
def test_predictions_are_for_who_was_active_lately(con, task):
    asked = {user for (user,) in con.execute(ACTIVE, [task]).fetchall()}
    users = [user for (user,) in con.execute(f"select user_id from predictions.{task}").fetchall()]
    assert len(users) == len(set(users)) and set(users) == asked
    customers = con.execute(
        f"select user_id from main.customers where {task}_decile is not null"
    ).fetchall()
    assert {user for (user,) in customers} == asked


@pytest.mark.parametrize("task", SHIPPED)
def test_a_prediction_has_all_its_parts(con, task):
    measure = "probability" if task in BINARY else "amount"
    columns = [row[0] for row in con.execute(f"describe predictions.{task}").fetchall()]
    assert columns == [
        "user_id",
        measure,
        "decile",
        "band",
        "as_of",
        "horizon_days",
        "model",
        "model_version",
        "scored_at",
    ]
    low, high, missing, moments, horizons = con.execute(
        f"select min({measure}), max({measure}), count(*) - count({measure}), count(distinct as_of), "
        f"count(distinct horizon_days) from predictions.{task}"
    ).fetchall()[0]
    assert low >= 0 and missing == 0 and moments == 1 and horizons == 1
    if task in BINARY:
        assert low > 0 and high < 1
    champions = con.execute(
        "select model, version from models.models where task = ? and is_published", [task]
    ).fetchall()
    assert (
        con.execute(f"select distinct model, model_version from predictions.{task}").fetchall()
        == champions
    )


@pytest.mark.parametrize("task", SHIPPED)
def test_deciles_are_tenths_in_the_order_of_the_scores(con, task):
    rows = con.execute(
        "select decile, count(*), min(score), max(score) from predictions.scored where task = ? group by 1 order by 1",
        [task],
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, 11))
    sizes = [row[1] for row in rows]
    assert max(sizes) - min(sizes) <= 1
    assert all(better[2] >= worse[3] for better, worse in itertools.pairwise(rows))


def test_as_of_ends_the_bucket_of_the_newest_event(shop, con):
    newest: datetime = shop.events["at"].max()
    end = newest.replace(hour=23, minute=59, second=59, microsecond=999_999)
    assert con.execute("select distinct as_of from predictions.scored").fetchall() == [(end,)]


def test_splits_are_purged(con):
    ends = con.execute(
        "select task, split, min(cutoff_at), max(window_ends_at), count(*) from cutoffs.splits group by 1, 2"
    ).fetchall()
    found = {(task, split): rest for task, split, *rest in ends}
    for task in SHIPPED:
        assert found[task, "train"][1] <= found[task, "valid"][0]
        assert found[task, "valid"][1] <= found[task, "test"][0]
        assert found[task, "train"][2] >= 3
    complete = con.execute("select complete_until from meta.clock").fetchall()[0][0]
    assert max(found[task, "test"][1] for task in SHIPPED) <= complete


def test_train_rows_are_never_scored(con):
    splits = con.execute("select distinct split from models.scores order by 1").fetchall()
    assert splits == [("latest",), ("test",), ("valid",)]
    wrong = con.execute(
        "select count(*) from models.scores as scores inner join cutoffs.splits as splits "
        "using (task, cutoff_at) where splits.split <> scores.split or splits.split = 'train'"
    ).fetchall()
    assert wrong == [(0,)]
    assert con.execute(
        "select count(*) from models.scores where split = 'latest' and label is not null"
    ).fetchall() == [(0,)]


def test_references_stand_in_the_leaderboard(con):
    found = con.execute(
        "select task, model from report.leaderboard where family = 'reference' and is_deciding_metric order by all"
    ).fetchall()
    assert found == [(task, model) for task in SHIPPED for model in ("persistence", "prevalence")]
    per_task = con.execute(
        "select task, count(*) filter (where is_published), count(*) filter (where is_champion) from models.models group by 1"
    ).fetchall()
    assert sorted(per_task) == [(task, 1, 1) for task in SHIPPED]


@pytest.mark.parametrize("task", ["purchase", "engagement", "spend"])
def test_the_model_beats_doing_nothing_where_the_answer_is_known(con, task):
    better, low, high = con.execute(
        "select test_value, least(persistence_value, prevalence_value), test_high from main.model_card where task = ?",
        [task],
    ).fetchall()[0]
    assert better < low, "every deciding metric is a loss"
    assert con.execute(
        "select family from models.models where task = ? and is_published", [task]
    ).fetchall() != [("reference",)]
    assert high is not None


def test_scores_rank_users_by_what_they_truly_do(shop, con):
    """Who bought most so far is known from the input; the purchase score must agree with it."""
    scores = con.sql("select user_id as user, probability from predictions.purchase").pl()
    bought = (
        shop.events.filter((pl.col("type") == "purchase") & (pl.col("quantity") > 0))
        .group_by("user")
        .len("bought")
    )
    both = scores.join(bought, on="user", how="left").fill_null(0)
    assert both.select(pl.corr("probability", "bought", method="spearman")).item() > 0.6


def test_the_reports_add_up(con):
    observed = con.execute(
        "select task, model, sum(count_questions * observed_rate) / sum(count_questions) from report.calibration group by all"
    ).fetchall()
    for task, model, rate in observed:
        expected = con.execute(
            "select avg(label) from models.scores where model_id = ? and split = 'test'",
            [f"{task}__{model}"],
        ).fetchall()[0][0]
        assert rate == pytest.approx(expected)
    assert (
        con.execute(
            "select max(abs(captured_share - 1)) from report.lift where decile = 10"
        ).fetchall()[0][0]
        < 1e-9
    )


def test_importance_is_shares(con):
    for (total,) in con.execute(
        "select sum(importance) from models.importance group by model_id"
    ).fetchall():
        assert total == pytest.approx(1)


def test_the_ledger_accounts_for_every_planted_row(shop: Shop, con):
    ledger = con.execute(
        "select rule, count_rows_in, count_rows_removed, count_rows_out from staging.ledger order by step_number"
    ).fetchall()
    assert {rule: removed for rule, _, removed, _ in ledger if removed} == shop.dirt
    assert ledger[0][1] == len(shop.events) + sum(shop.dirt.values()), "rows read"
    assert ledger[-1] == ("kept", len(shop.events), 0, len(shop.events))
    assert all(after[1] == before[3] for before, after in itertools.pairwise(ledger))
    rejected = con.execute("select rule, count(*) from staging.rejected group by 1").fetchall()
    assert dict(rejected) == shop.dirt


def test_the_kept_events_are_the_clean_ones(shop, con):
    kept = con.sql(
        "select user_id as user, item_id as item, event_type as type, event_at as at, value::double as value, "
        "role from staging.events"
    ).pl().sort("user", "at")  # fmt: skip
    clean = shop.events.sort("user", "at")
    assert_frame_equal(
        kept.select("user", "item", "type", "at"),
        clean.select("user", "item", "type", "at"),
        check_dtypes=False,
    )
    value = (pl.col("price") * pl.col("quantity")).alias("value")
    assert_frame_equal(kept.select("value"), clean.select(value), abs_tol=1e-9)
    roles = set(kept.select("type", "role").unique().rows())
    assert roles == {("view", "view"), ("click", "click"), ("cart", "cart"), ("purchase", "purchase"),
                     ("purchase", "return"), ("mail", "other")}  # fmt: skip


STAGES = ("staging", "sessions", "cutoffs", "features", "labels")
ABOUT_THE_INPUT = {"rejected", "ledger", "sources", "source_counts", "quality"}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two warehouses of the same events: from a dirty and shuffled CSV, and clean, in order, from Parquet."""
    opened, events = [], clickstream(400, 90, seed=5)
    for name in ("events.csv", "events.parquet"):
        folder = tmp_path_factory.mktemp("twin")
        (folder / "events.csv").write_text(dirtied(events)[0])
        made = project(folder, events, path=name, only=("purchase", "spend"))
        opened.append(connect(build(made, progress=Progress(quiet=True)).path))
    yield opened
    for con in opened:
        con.close()


def test_neither_dirt_nor_the_order_of_rows_changes_a_table(twins):
    names = [
        name
        for name in sorted(_relations(twins[0]))
        if name[0] in STAGES and name[1] not in ABOUT_THE_INPUT
    ]
    assert len(names) > 20
    for schema, name in names:
        columns = "* exclude (raw_row)" if (schema, name) == ("staging", "events") else "*"
        left, right = (
            con.sql(f"select {columns} from {schema}.{name} order by all").pl() for con in twins
        )
        assert_frame_equal(left, right, check_exact=True)


@pytest.mark.parametrize(
    "what", ["predictions.scored", "models.metrics", "models.scores", "models.importance"]
)
def test_neither_dirt_nor_the_order_of_rows_changes_a_score(twins, what):
    columns = "* exclude (scored_at)" if what == "predictions.scored" else "*"
    left, right = (con.sql(f"select {columns} from {what} order by all").pl() for con in twins)
    assert len(left) > 50
    assert_frame_equal(left, right, check_exact=True)


LUCK = """-- purpose: will the coin fall on heads within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows
-- entity:  user
-- kind:    binary
-- horizon: 7 days
-- active_within: 28 days
-- version: 1
select user_id, cutoff_at, hash(user_id, cutoff_at, 42) % 10 < 4 as label
from cutoffs.windows
where task = 'luck'
"""


def test_a_champion_that_beats_no_reference_is_not_published(tmp_path, few):
    folder = tmp_path / "sql" / "5_labels"
    folder.mkdir(parents=True)
    (folder / "luck.sql").write_text(LUCK)
    heard = Heard()
    path = build(project(tmp_path, clickstream(300, 90), only=()), progress=heard).path
    with connect(path) as con:
        published, champion = (
            con.execute(f"select model, family, reason from models.models where {flag}").fetchall()[
                0
            ]
            for flag in ("is_published", "is_champion")
        )
        assert published[1] == "reference"
        assert champion[1] != "reference" and champion[2].startswith("does not surely beat ")
        assert con.execute("select distinct model from predictions.luck").fetchall() == [
            (published[0],)
        ]
        assert con.execute(
            "select model, reason from main.model_card where task = 'luck'"
        ).fetchall() == [(published[0], champion[2])]
        scores = con.sql("select probability from predictions.luck").pl()["probability"].to_numpy()
    assert np.all((scores > 0.2) & (scores < 0.6)), "no score strays far from the base rate of 0.4"
    assert any(
        f"luck: {published[0]} is published; {champion[0]}: does not" in line
        for line in heard.lines
    )
