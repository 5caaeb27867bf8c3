"""The published model of a task asks nobody anew: loaded from the warehouse, it scores who is there now."""

import duckdb
import numpy as np
import polars as pl

from behavsql import frames, model_tables, parity
from behavsql.config import Settings
from behavsql.errors import ModelError
from behavsql.quoting import identifier


def score_task(
    con: duckdb.DuckDBPyConnection, task: str, settings: Settings, users: str | None = None
) -> int:
    """Replace a task's latest scores by what its published model says of today's features; rows.

    users: the table of those whose features changed; None: all are asked about.

    Raises ModelError if the model cannot be loaded, or lacks a column it learned from.
    """
    one = next(one for one in parity.published_models(con) if one.task == task)
    model, calibrator = parity.load(con, one)
    model.threads = settings.threads or model.threads
    only = f"user_id in (from {identifier(users)})" if users else "true"
    asked = frames.load(
        con, task, one.kind, settings.max_train_rows, settings.seed,
        f"{frames.LATEST} and asked.{only}" if users else frames.LATEST,
        model.reads != "table",
    )  # fmt: skip
    raw = model.predict(asked.table) if len(asked.table) else np.empty(0)
    if not np.isfinite(raw).all():
        raise ModelError(
            f"model {one.model}, task {task}: {int((~np.isfinite(raw)).sum())} predictions are not "
            f"finite; every prediction must be a number. Run `behavsql train -t {task}`."
        )
    scores = asked.keys.with_columns(
        pl.Series("raw", raw, pl.Float64), pl.Series("score", calibrator.transform(raw), pl.Float64)
    )
    model_tables.replace_latest(con, one.model_id, task, scores, only)
    return len(raw)
