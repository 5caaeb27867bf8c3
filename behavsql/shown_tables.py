"""What models have to show beside their scores, as tables of the `models` schema.

Those of the models here are always there, so that a query about them never fails; a model of one's
own may add others, see Model.tables and Model.per_user.
"""

from typing import TYPE_CHECKING

import duckdb
import polars as pl

from behavsql.quoting import identifier, literal

if TYPE_CHECKING:
    from behavsql.frames import Asked
    from behavsql.models.base import Model

TABLES = """
create table if not exists models.bayes_network (
    task varchar, model_id varchar, feature varchar, parent varchar, mutual_information double,
    conditional_mutual_information double, position integer, state varchar, parent_state varchar,
    label varchar, probability double, count_rows bigint
);
create table if not exists models.markov_states (
    task varchar, model_id varchar, state varchar, count_questions bigint, mean_label double
);
create table if not exists models.markov_transitions (
    task varchar, model_id varchar, from_state varchar, to_state varchar, probability double,
    count_events bigint
);
create table if not exists models.hmm_states (
    task varchar, model_id varchar, state bigint, name varchar, share double, mean_label double,
    start_probability double, top_symbols varchar
);
create table if not exists models.hmm_transitions (
    task varchar, model_id varchar, from_state bigint, to_state bigint, from_name varchar,
    to_name varchar, probability double
);
create table if not exists models.bg_nbd_parameters (
    task varchar, model_id varchar, parameter varchar, value double, meaning varchar
);
create table if not exists models.modalities (
    task varchar, model_id varchar, modality varchar, count_questions bigint, metric varchar,
    worth double, low double, high double
);
"""
# Beside task, model_id, and the user_id and cutoff_at of who was asked about when it was trained.
PER_USER = {
    "hmm_users": "state bigint, name varchar, probability double",
    "bg_nbd_users": "process varchar, horizon_days double, alive_probability double, "
    "expected_count double, expected_value_each double, expected_value double",
}


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables where they are missing; users are of the ids' own type."""
    con.execute(TABLES)
    keys = "null::varchar as task, null::varchar as model_id, user_id, cutoff_at"
    for name, columns in PER_USER.items():
        listed = (column.rsplit(" ", 1) for column in columns.split(", "))
        more = ", ".join(f"null::{type_} as {column}" for column, type_ in listed)
        con.execute(
            f"create table if not exists {identifier('models', name)} as "
            f"select {keys}, {more} from cutoffs.cutoffs limit 0"
        )


def store(
    con: duckdb.DuckDBPyConnection, task: str, model_id: str, model: "Model", asked: "Asked"
) -> None:
    """Add what a fitted model has to show, and what it knows of each user who is asked about now."""
    for name, rows in model.tables().items():
        _append(con, name, task, model_id, rows)
    latest = asked.split("latest")
    rows = model.per_user(asked.table.rows(latest)) if latest.any() else None
    if rows is not None:
        keys = asked.keys.filter(pl.Series(latest)).select("user_id", "cutoff_at")
        _append(con, f"{model.name}_users", task, model_id, keys.hstack(rows))


def forget(con: duckdb.DuckDBPyConnection, task: str, but: frozenset[str]) -> None:
    """Take away what a task's models showed; `but` are tables that belong to others."""
    found = con.execute(
        "select table_name, bool_or(column_name = 'model_id') and bool_or(column_name = 'task') "
        "from duckdb_columns() where schema_name = 'models' "
        "and database_name = current_database() group by table_name order by table_name"
    ).fetchall()
    for name, is_shown in found:
        if is_shown and name not in but:
            con.execute(f"delete from {identifier('models', name)} where task = ?", [task])


def _append(
    con: duckdb.DuckDBPyConnection, name: str, task: str, model_id: str, rows: pl.DataFrame
) -> None:
    """Add rows to `models.<name>`; a table of other columns, of an earlier version, begins anew."""
    table = identifier("models", name)
    con.register("shown", rows.to_arrow())
    select = f"select {literal(task)} as task, {literal(model_id)} as model_id, * from shown"
    con.execute(f"create table if not exists {table} as {select} limit 0")
    there = con.execute(
        "select column_name from duckdb_columns() where schema_name = 'models' "
        "and table_name = ? and database_name = current_database()", [name]
    ).fetchall()  # fmt: skip
    if {column for (column,) in there} != {"task", "model_id", *rows.columns}:
        con.execute(f"create or replace table {table} as {select} limit 0")
    con.execute(f"insert into {table} by name {select}")
    con.unregister("shown")
