"""Dropping out: asked where a source records who left for good, and of nobody else."""

import polars as pl
from clickstream import clickstream
from conftest import SHIPPED, Heard, few_files, project

from behavsql.catalog import Catalog
from behavsql.config import TaskSettings
from behavsql.demos import demo_config
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.roles import DEFAULT_TYPES
from behavsql.warehouse import connect


def test_its_words_are_no_activity() -> None:
    """Leaving is an entry in a register: it must not make a silent learner active."""
    words = Catalog.load().files["labels.dropout"].types
    assert set(words) <= set(DEFAULT_TYPES["other"].split())


def test_a_shop_and_a_bank_are_not_asked(tmp_path, quick) -> None:
    events = clickstream(150, 60)
    word = pl.when(pl.col("user") % 2 == 0).then(pl.lit("refund")).otherwise(pl.lit("withdrawal"))
    events = events.with_columns(
        pl.when(pl.col("quantity") < 0).then(word).otherwise("type").alias("type")
    )
    assert {"refund", "withdrawal"} < {*events["type"]}
    heard = Heard()
    path = build(project(tmp_path, events, only=()), progress=heard).path
    told = [line for line in heard.lines if "task dropout" in line]
    assert told == ["  task dropout skipped: the data has no dropout event"]
    with connect(path) as con:
        tables = con.execute(
            "select schema_name from duckdb_tables() where table_name = 'dropout'"
        ).fetchall()
        assert tables == []
        columns = [row[0] for row in con.execute("describe main.customers").fetchall()]
        assert not [name for name in columns if name.startswith("dropout")]


def test_courses_are_asked_and_answered(tmp_path, quick, monkeypatch) -> None:
    """The bundled courses: 420 withdrawals up to day 226, of a user of three columns."""
    few_files(monkeypatch)
    made = demo_config("courses", tmp_path / "warehouse", models="fast")
    off = {task: TaskSettings(enabled=False) for task in SHIPPED}
    settings = made.settings.model_copy(update={"threads": 1})
    made = made.model_copy(update={"tasks": off, "folder": tmp_path, "settings": settings})
    path = build(made, progress=Progress(quiet=True)).path
    with connect(path) as con:
        assert con.execute(
            "select event_type, role, count(*) from staging.events "
            "where source = 'withdrawals' group by all"
        ).fetchall() == [("unregister", "other", 420)]
        assert con.execute(
            "select rule, count(*) from staging.rejected where source = 'withdrawals' group by all"
        ).fetchall() == [("outside_since_until", 13)]
        # Every label against the register itself, by another road than the file's.
        wrong = con.execute(
            """select count(*) from labels.dropout as labels
               inner join meta.tasks as tasks on tasks.task = 'dropout'
               where label <> exists (
                   select 1 from staging.event_attributes
                   inner join staging.events using (user_id, event_id)
                   where source = 'withdrawals' and user_id = labels.user_id
                       and event_at > cutoff_at and event_at <= cutoff_at + tasks.horizon)"""
        ).fetchall()
        assert wrong == [(0,)]
        status, horizon = con.execute(
            "select status, horizon from meta.tasks where task = 'dropout'"
        ).fetchall()[0]
        assert (status, horizon.days) == ("ready", 28)
        rows, users, low, high = con.execute(
            "select count(*), count(distinct user_id), min(probability), max(probability) "
            "from predictions.dropout"
        ).fetchall()[0]
        assert rows == users > 1_000 and 0 < low <= high < 0.5
        # Clicks of the same learners as the register's: the composite user joins the two.
        assert con.execute(
            "select count(*) from staging.users where user_id like 'BBB|2013B|%'"
        ).fetchall() == [(1_537,)]
