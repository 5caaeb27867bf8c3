"""The tables of explanations: what they are called, made where they are missing, and filled."""

import duckdb
import numpy as np
import polars as pl

from behavsql import describe
from behavsql.explain.groups import Groups
from behavsql.parity import Published
from behavsql.quoting import identifier, literal

REASONS = "reasons"  # of the schema `predictions`
COMMENT = (
    "why the published model scores each user so, in words: what moves the score most, "
    "one row per user, task and reason"
)
MODELS = """
create table if not exists models.explanations (
    task varchar, model_id varchar, model varchar, version integer, method varchar, base double,
    count_questions bigint, largest_gap double, mean_residual double, largest_residual double,
    trained_at timestamp, explained_at timestamp
);
create table if not exists models.contributions (
    task varchar, model_id varchar, feature varchar, feature_group varchar, correlation double,
    mean_size double, count_questions bigint
);
create table if not exists models.permutation_importance (
    task varchar, model_id varchar, feature_group varchar, count_features integer, metric varchar,
    value double, low double, high double, count_questions bigint
);
create table if not exists models.dependence (
    task varchar, model_id varchar, feature varchar, position integer, low double, high double,
    value varchar, mean_prediction double, count_questions bigint
);
"""


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create them where they are missing; the ids of users are of the type they have now."""
    con.execute(f"create schema if not exists predictions; {MODELS}")
    kinds = con.execute(
        "select distinct data_type from duckdb_columns() where database_name = current_database() "
        "and column_name = 'user_id' and (schema_name, table_name) in "
        "(('predictions', ?), ('cutoffs', 'cutoffs'))", [REASONS]
    ).fetchall()  # fmt: skip
    # As in models.scores: ids that turned from numbers into text belong to models of before.
    replace = "or replace table" if len(kinds) > 1 else "table if not exists"
    con.execute(
        f"create {replace} predictions.reasons as select user_id, null::varchar as task, "
        "null::integer as rank, null::varchar as feature, null::varchar as value, "
        "null::double as contribution, null::integer as count_features, "
        "null::varchar as sentence from cutoffs.cutoffs limit 0"
    )
    con.execute(f"comment on table predictions.reasons is {literal(COMMENT)}")
    describe.comment_columns(con, "predictions", REASONS)


def forget(con: duckdb.DuckDBPyConnection, task: str) -> None:
    """Take away the reasons of a task; what is told of its models goes with them, see shown_tables."""
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'predictions' and table_name = ? "
        "and database_name = current_database()", [REASONS]
    ).fetchall()  # fmt: skip
    if known:
        con.execute("delete from predictions.reasons where task = ?", [task])


def replace(con: duckdb.DuckDBPyConnection, name: str, one: Published, rows: pl.DataFrame) -> None:
    """Put rows in the place of those that `models.<name>` has of a task."""
    table = identifier("models", name)
    con.execute(f"delete from {table} where task = ?", [one.task])
    con.register("explained", rows.to_arrow())
    con.execute(
        f"insert into {table} by name select ? as task, ? as model_id, * from explained",
        [one.task, one.model_id],
    )
    con.unregister("explained")


def groups(con: duckdb.DuckDBPyConnection, one: Published) -> Groups | None:
    """The groups of a model's features, if they were found for this very training."""
    is_told = con.execute(
        "select 1 from models.explanations as told inner join models.models as models "
        "on models.model_id = told.model_id and models.trained_at = told.trained_at "
        "where told.model_id = ?", [one.model_id]
    ).fetchall()  # fmt: skip
    if not is_told:
        return None
    rows = con.execute(
        "select feature, feature_group, correlation from models.contributions "
        "where model_id = ? order by rowid", [one.model_id]
    ).fetchall()  # fmt: skip
    leads = [lead for _, lead, _ in rows]
    names = tuple(dict.fromkeys(leads))
    member = np.array([names.index(lead) for lead in leads], np.int64)
    return Groups(tuple(name for name, *_ in rows), names, member, np.array([c for *_, c in rows]))
