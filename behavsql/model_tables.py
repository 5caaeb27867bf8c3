"""The `models` schema: what was trained, how good it is, what it said, and the models themselves."""

import json
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql.config import Settings
from behavsql.frames import Asked
from behavsql.metrics import evaluate, intervals
from behavsql.tasks import Task

if TYPE_CHECKING:
    from behavsql.train import Trained

_TABLES = """
create schema if not exists models;
create table if not exists models.models (
    model_id varchar, task varchar, model varchar, family varchar, version integer,
    is_champion boolean, is_published boolean, reason varchar, calibration varchar,
    threshold double, count_train_rows bigint, count_features integer, train_seconds double,
    params varchar, feature_fingerprint varchar, trained_at timestamp
);
create table if not exists models.metrics (
    model_id varchar, split varchar, metric varchar, value double, low double, high double
);
create table if not exists models.importance (
    model_id varchar, feature varchar, importance double, rank integer
);
create table if not exists models.artifacts (model_id varchar, file varchar, content blob);
"""


def store(
    con: duckdb.DuckDBPyConnection, task: Task, asked: Asked, trained: "list[Trained]",
    champion: "Trained", published: "Trained", settings: Settings, fingerprint: str,
) -> None:  # fmt: skip
    version = forget(con, task.name) + 1
    test = asked.split("test")
    for one in trained:
        model_id = f"{task.name}__{one.model.name}"
        con.execute(
            "insert into models.models values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now()::timestamp)",
            [model_id, task.name, one.model.name, one.model.family, version, one is champion,
             one is published, one.reason, one.calibrator.method, one.threshold,
             int(asked.split("train").sum()), asked.table.features.width, round(one.seconds, 3),
             json.dumps(one.model.params()), fingerprint],
        )  # fmt: skip
        scored = (
            asked.split("valid", "test", "latest")
            if one is published
            else asked.split("valid", "test")
        )
        _store_scores(con, model_id, task.name, asked, one, scored)
        _store_metrics(con, model_id, "valid", one.pick, {})
        label, users = asked.table.label[test], asked.table.users[test]
        found = evaluate(task.kind, label, one.score[test], one.threshold)
        spread = intervals(
            task.kind, label, one.score[test], users, one.threshold, seed=settings.seed
        )
        _store_metrics(con, model_id, "test", found, spread)
        rows = [(model_id, name, share, rank) for rank, (name, share) in
                enumerate(one.model.importance().items(), 1)]  # fmt: skip
        if rows:
            con.executemany("insert into models.importance values (?, ?, ?, ?)", rows)
        files = one.model.save() | {
            "calibration.json": json.dumps(one.calibrator.to_dict()).encode()
        }
        for file, content in files.items():
            con.execute("insert into models.artifacts values (?, ?, ?)", [model_id, file, content])


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the `models` tables where they are missing; `models.scores` has the ids' own type."""
    con.execute(_TABLES)
    kinds = con.execute(
        "select distinct data_type from duckdb_columns() where database_name = current_database() "
        "and column_name = 'user_id' and (schema_name, table_name) in "
        "(('models', 'scores'), ('cutoffs', 'cutoffs'))"
    ).fetchall()
    # Another source may turn the ids from numbers into text; every task then trains anew.
    replace = "or replace table" if len(kinds) > 1 else "table if not exists"
    con.execute(
        f"create {replace} models.scores as select null::varchar as model_id, "
        "null::varchar as task, null::varchar as split, user_id, cutoff_at, null::double as raw, "
        "null::double as score, null::double as label from cutoffs.cutoffs limit 0"
    )


def forget(con: duckdb.DuckDBPyConnection, task: str) -> int:
    """Remove a task's earlier models; the version they had (0 = there were none)."""
    last = con.execute("select coalesce(max(version), 0) from models.models where task = ?", [task])
    version = last.fetchall()[0][0]
    owned = "(select model_id from models.models where task = ?)"
    for table in ("metrics", "importance", "artifacts"):
        con.execute(f"delete from models.{table} where model_id in {owned}", [task])
    con.execute("delete from models.scores where task = ?", [task])
    con.execute("delete from models.models where task = ?", [task])
    return version


def _store_scores(
    con: duckdb.DuckDBPyConnection,
    model_id: str,
    task: str,
    asked: Asked,
    one: "Trained",
    rows: np.ndarray,
) -> None:
    scores = asked.keys.filter(pl.Series(rows)).select(
        pl.lit(model_id).alias("model_id"), pl.lit(task).alias("task"), "split", "user_id", "cutoff_at",
        pl.Series("raw", one.raw[rows]), pl.Series("score", one.score[rows]),
        pl.Series("label", asked.table.label[rows]).fill_nan(None),
    )  # fmt: skip
    con.register("new_scores", scores.to_arrow())
    con.execute(
        "insert into models.scores by name from new_scores order by split, user_id, cutoff_at"
    )
    con.unregister("new_scores")


def _store_metrics(
    con: duckdb.DuckDBPyConnection, model_id: str, split: str, values: dict, spread: dict
) -> None:
    finite = lambda number: None if number is None or not np.isfinite(number) else float(number)  # noqa: E731
    rows = []
    for metric, value in values.items():
        low, high = spread.get(metric, (None, None))
        rows.append((model_id, split, metric, finite(value), finite(low), finite(high)))
    con.executemany("insert into models.metrics values (?, ?, ?, ?, ?, ?)", rows)
