"""The `models` schema: what was trained, how good it is, what it said, and the models themselves."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql import drift, shown_tables
from behavsql.acting import tables as acting_tables
from behavsql.config import Settings
from behavsql.frames import Asked
from behavsql.gains import gains
from behavsql.metrics import DIRECTION, evaluate, intervals
from behavsql.plan.changes import Parts
from behavsql.quoting import identifier
from behavsql.recommenders import publishing
from behavsql.tasks import Task

if TYPE_CHECKING:
    from behavsql.train import Trained

PRETRAINED = """
create table if not exists models.pretrained (
    name varchar, started_from varchar, seen_until timestamp, count_users bigint,
    count_events bigint, count_parameters bigint, flops_per_token bigint, flops_training double,
    train_seconds double, losses varchar, unigram_losses varchar, history varchar,
    learned_from varchar, trained_at timestamp, content blob
);
alter table models.pretrained add column if not exists count_steps bigint;
alter table models.pretrained add column if not exists is_cut_short boolean;
"""
_TABLES = """
create schema if not exists models;
create table if not exists models.models (
    model_id varchar, task varchar, model varchar, family varchar, version integer,
    is_champion boolean, is_published boolean, reason varchar, calibration varchar,
    threshold double, count_train_rows bigint, count_features integer, train_seconds double,
    params varchar, feature_digests varchar, trained_at timestamp, scored_at timestamp,
    is_worse_on_test boolean, score_microseconds double, count_bytes bigint,
    train_from timestamp, train_until timestamp
);
create table if not exists models.metrics (
    model_id varchar, split varchar, metric varchar, value double, low double, high double
);
create table if not exists models.gains (
    model_id varchar, decile integer, value double, low double, high double
);
create table if not exists models.backtest (
    task varchar, model varchar, cutoff_at timestamp, trained_until timestamp,
    count_train_rows bigint, count_questions bigint, metric varchar, value double, low double,
    high double, roc_auc double, predicted_mean double, observed_mean double
);
create table if not exists models.left_out (task varchar, model varchar, reason varchar);
create table if not exists models.importance (
    model_id varchar, feature varchar, importance double, rank integer
);
create table if not exists models.features (
    task varchar, position integer, feature varchar, data_type varchar, low double, median double,
    high double, most_frequent varchar, missing_share double, is_kept boolean, reason varchar
);
create table if not exists models.trials (
    task varchar, model varchar, trial integer, options varchar, value double, state varchar,
    seconds double, started_at timestamp, losses varchar, search varchar
);
create table if not exists models.parity (
    macro varchar, task varchar, model_id varchar, model varchar, version integer, form varchar,
    is_published boolean, reason varchar, count_test_rows bigint, count_edge_rows bigint,
    largest_difference double, tolerance double, count_bytes bigint, checked_at timestamp
);
create table if not exists models.artifacts (
    model_id varchar, file varchar, content blob, sha256 varchar
);
"""

_NOT_SHOWN = frozenset({"models", "parity", "scores"})  # have a task and a model_id too

# Warehouses of earlier versions lack these.
_LATER_COLUMNS = {
    "models.feature_digests": "varchar", "models.scored_at": "timestamp",
    "models.is_worse_on_test": "boolean", "models.score_microseconds": "double",
    "models.count_bytes": "bigint", "models.train_from": "timestamp",
    "models.train_until": "timestamp", "features.is_kept": "boolean", "features.reason": "varchar",
    "artifacts.sha256": "varchar",
}  # fmt: skip


def trained(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The tasks that have models."""
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'models' and table_name = 'models' "
        "and database_name = current_database()"
    ).fetchall()
    if not known:
        return set()
    return {task for (task,) in con.execute("select distinct task from models.models").fetchall()}


def store(
    con: duckdb.DuckDBPyConnection, task: Task, asked: Asked, trained: "list[Trained]",
    champion: "Trained", published: "Trained", settings: Settings, learned: dict[str, Parts],
) -> None:  # fmt: skip
    """Replace a task's models by these. learned: what they learned from, see learned.py."""
    version = forget(con, task.name) + 1
    test = asked.split("test")
    on_test: dict[str, tuple[dict, dict]] = {}
    for one in trained:
        model_id = f"{task.name}__{one.model.name}"
        files = one.model.save() | {
            "calibration.json": json.dumps(one.calibrator.to_dict()).encode()
        }
        size = sum(map(len, files.values()))
        _store_model(con, model_id, version, task, asked, one, champion, published, learned, size)
        scored = asked.split("valid", "test", *(["latest"] if one is published else []))
        _store_scores(con, model_id, task.name, asked, one, scored)
        _store_metrics(con, model_id, "valid", one.pick, {})
        label, users = asked.table.label[test], asked.table.users[test]
        found = evaluate(task.kind, label, one.score[test], one.threshold)
        spread = intervals(
            task.kind, label, one.score[test], users, one.threshold, seed=settings.seed
        )
        _store_metrics(con, model_id, "test", found, spread)
        _store_gains(con, model_id, label, one.score[test], one.raw[test], users, settings.seed)
        on_test[one.model.name] = (found, spread)
        rows = [(model_id, name, share, rank) for rank, (name, share) in
                enumerate(one.model.importance().items(), 1)]  # fmt: skip
        if rows:
            con.executemany("insert into models.importance values (?, ?, ?, ?)", rows)
        shown_tables.store(con, task.name, model_id, one.model, asked)
        for file, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            row = [model_id, file, content, digest]
            con.execute("insert into models.artifacts values (?, ?, ?, ?)", row)
    references = [on_test[one.model.name][0] for one in trained if one.is_reference]
    is_worse = not published.is_reference and _is_worse(
        task.metric, references, on_test[published.model.name][1]
    )
    con.execute(
        "update models.models set is_worse_on_test = ? where task = ? and is_published",
        [is_worse, task.name],
    )


def _store_model(
    con: duckdb.DuckDBPyConnection, model_id: str, version: int, task: Task, asked: Asked,
    one: "Trained", champion: "Trained", published: "Trained", learned: dict[str, Parts], size: int,
) -> None:  # fmt: skip
    scored = max(int((~asked.split("train")).sum()), 1)
    learned_at = asked.keys.filter(pl.Series(asked.split("train")))["cutoff_at"]
    row = {
        "model_id": model_id, "task": task.name, "model": one.model.name,
        "family": one.model.family, "version": version, "is_champion": one is champion,
        "is_published": one is published, "reason": one.reason,
        "calibration": one.calibrator.method, "threshold": one.threshold,
        "count_train_rows": int(asked.split("train").sum()),
        "count_features": asked.table.features.width, "train_seconds": round(one.seconds, 3),
        "params": json.dumps(one.model.params()), "feature_digests": json.dumps(learned),
        "score_microseconds": round(one.score_seconds / scored * 1e6, 3), "count_bytes": size,
        "train_from": learned_at.min(), "train_until": learned_at.max(),
    }  # fmt: skip
    con.execute(
        f"insert into models.models ({', '.join(row)}, trained_at, scored_at) "
        f"values ({', '.join('?' * len(row))}, now()::timestamp, now()::timestamp)",
        list(row.values()),
    )


def store_left_out(con: duckdb.DuckDBPyConnection, task: str, reasons: Mapping[str, str]) -> None:
    """Replace what is said of a task's models that could not be trained."""
    con.execute("delete from models.left_out where task = ?", [task])
    for model, reason in reasons.items():
        con.execute("insert into models.left_out values (?, ?, ?)", [task, model, reason])


def _is_worse(metric: str, references: list[dict], spread: dict) -> bool:
    """Whether the whole interval of what is published lies on the wrong side of the best reference.

    Test decides nothing, so such a model stays: but it must not pass for a good one.
    """
    sign = DIRECTION[metric]
    known = [found[metric] for found in references if found.get(metric) is not None]
    ends = spread.get(metric, (None, None))
    if not known or None in ends or not np.isfinite(ends).all():
        return False
    return all(sign * end < max(sign * value for value in known) for end in ends)


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the `models` tables where they are missing; `models.scores` has the ids' own type."""
    from behavsql.explain import tables

    con.execute(_TABLES + PRETRAINED + drift.TABLES)
    tables.prepare(con)
    shown_tables.prepare(con)
    publishing.prepare(con)
    acting_tables.prepare(con)
    for name, type_ in _LATER_COLUMNS.items():
        table, column = name.split(".")
        con.execute(f"alter table models.{table} add column if not exists {column} {type_}")
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
    if task not in trained(con):
        return 0
    last = con.execute("select coalesce(max(version), 0) from models.models where task = ?", [task])
    version = last.fetchall()[0][0]
    owned = "(select model_id from models.models where task = ?)"
    for table in ("metrics", "importance", "artifacts", "gains"):
        con.execute(f"delete from {identifier('models', table)} where model_id in {owned}", [task])
    shown_tables.forget(con, task, _NOT_SHOWN)
    for table in ("left_out", "backtest"):
        con.execute(f"delete from {identifier('models', table)} where task = ?", [task])
    con.execute("delete from models.scores where task = ?", [task])
    con.execute("delete from models.models where task = ?", [task])
    return version


def replace_digests(con: duckdb.DuckDBPyConnection, task: str, learned: dict[str, Parts]) -> None:
    """Say anew what a task's models learned from, see learned.py; nothing if that is what they say."""
    text = json.dumps(learned)
    con.execute(
        "update models.models set feature_digests = $text where task = $task "
        "and feature_digests is distinct from $text", {"text": text, "task": task}
    )  # fmt: skip


def replace_latest(
    con: duckdb.DuckDBPyConnection, model_id: str, task: str, scores: "pl.DataFrame",
    only: str = "true",
) -> None:  # fmt: skip
    """Put new scores (user_id, cutoff_at, split, raw, score) in the place of a task's latest ones.

    only: the condition on the rows that are replaced.
    """
    con.execute(f"delete from models.scores where task = ? and split = 'latest' and {only}", [task])
    con.register("new_scores", scores.to_arrow())
    con.execute(
        "insert into models.scores by name select ? as model_id, ? as task, * from new_scores "
        "order by user_id", [model_id, task]
    )  # fmt: skip
    con.unregister("new_scores")
    con.execute(
        "update models.models set scored_at = now()::timestamp where model_id = ?", [model_id]
    )


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


def _store_gains(con: duckdb.DuckDBPyConnection, model_id: str, *told: object) -> None:
    found = [[None if np.isnan(end) else end for end in row] for row in gains(*told)]
    rows = [(model_id, decile, *row) for decile, row in enumerate(found, 1)]
    con.executemany("insert into models.gains values (?, ?, ?, ?, ?)", rows)


def _store_metrics(
    con: duckdb.DuckDBPyConnection, model_id: str, split: str, values: dict, spread: dict
) -> None:
    finite = lambda number: None if number is None or not np.isfinite(number) else float(number)  # noqa: E731
    rows = []
    for metric, value in values.items():
        low, high = spread.get(metric, (None, None))
        rows.append((model_id, split, metric, finite(value), finite(low), finite(high)))
    con.executemany("insert into models.metrics values (?, ?, ?, ?, ?, ?)", rows)
