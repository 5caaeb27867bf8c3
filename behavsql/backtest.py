"""`models.backtest`: the published model's kind trained anew on the past of each earlier moment.

A fold is one cutoff that judges, up to two before it that stop, tune and calibrate, and all before
those that train; no label window crosses from one into the next, as in the splits. What is fitted
is what was published (for an ensemble its members too) and the references, so that a fold says how
good this way of doing it would have been then, not how good the model of today is.
"""

import json
from dataclasses import replace

import duckdb
import numpy as np
import polars as pl

from behavsql import frames
from behavsql.budget import Budget
from behavsql.config import Settings
from behavsql.frames import Asked
from behavsql.metrics import evaluate, intervals
from behavsql.model_options import Given
from behavsql.models import MODELS, REFERENCES, model_class
from behavsql.progress import Progress
from behavsql.tasks import Task
from behavsql.train import Trained, train_all
from behavsql.verdicts import MIN_TRAIN_CUTOFFS

FOLDS = 8
VALID_CUTOFFS = 2


def backtest(con: duckdb.DuckDBPyConnection, task: Task, settings: Settings, options: Given) -> int:
    """Replace a task's folds; how many questions they asked. None where time is too short for one."""
    con.execute("delete from models.backtest where task = ?", [task.name])
    names = _names(con, task)
    asked = frames.load(
        con, task.name, task.kind, settings.max_train_rows, settings.seed,
        "asked.split <> 'latest'", any(model_class(name).reads != "table" for name in names),
    )  # fmt: skip
    cutoffs = asked.keys["cutoff_at"]
    questions = 0
    for train, valid, test in folds(sorted(cutoffs.unique()), task):
        fold = _fold(asked, train, valid, test)
        if not all(fold.split(name).any() for name in ("train", "valid", "test")):
            continue
        left_out: dict[str, str] = {}
        trained = train_all(
            con, names, fold, task, settings.model_copy(update={"tune": False}), Budget(None),
            left_out, Progress(quiet=True), options,
        )  # fmt: skip
        rows = [_row(task, fold, one, train[-1], test, settings.seed) for one in trained]
        con.executemany(f"insert into models.backtest values ({', '.join('?' * 13)})", rows)
        questions += int(fold.split("test").sum())
    return questions


def folds(cutoffs: list, task: Task) -> list[tuple[list, list, object]]:
    """(train cutoffs, valid cutoffs, test cutoff), up to eight, spread over the past, the newest last."""
    found = []
    for test in cutoffs:
        before = [at for at in cutoffs if at + task.horizon <= test]
        valid = before[-VALID_CUTOFFS:]
        train = [at for at in before if valid and at + task.horizon <= valid[0]]
        if len(train) >= MIN_TRAIN_CUTOFFS:
            found.append((train, valid, test))
    if len(found) <= FOLDS:
        return found
    return [found[place] for place in np.linspace(0, len(found) - 1, FOLDS).round().astype(int)]


def _names(con: duckdb.DuckDBPyConnection, task: Task) -> list[str]:
    """The models of a fold, in the order of the registry."""
    model, params = con.execute(
        "select model, params from models.models where task = ? and is_published", [task.name]
    ).fetchall()[0]
    members = json.loads(params or "{}").get("weights") or {}
    wanted = {model, *REFERENCES, *(members if isinstance(members, dict) else {})}
    return [name for name in MODELS if name in wanted]


def _fold(asked: Asked, train: list, valid: list, test: object) -> Asked:
    """The questions of these cutoffs, as if they were all there are."""
    at = pl.col("cutoff_at")
    split = (
        pl.when(at.is_in(train)).then(pl.lit("train")).when(at.is_in(valid)).then(pl.lit("valid"))
        .when(at == test).then(pl.lit("test"))
    )  # fmt: skip
    keys = asked.keys.with_columns(split.alias("split"))
    inside = keys["split"].is_not_null().to_numpy()
    return replace(
        asked, table=asked.table.rows(inside), keys=keys.filter(pl.Series(inside)),
        is_fit_half=asked.is_fit_half[inside],
    )  # fmt: skip


def _row(
    task: Task, fold: Asked, one: Trained, until: object, test: object, seed: int
) -> tuple:  # fmt: skip
    rows = fold.split("test")
    label, score, users = fold.table.label[rows], one.score[rows], fold.table.users[rows]
    found = evaluate(task.kind, label, score, one.threshold)
    spread = intervals(task.kind, label, score, users, one.threshold, seed=seed)
    told = (
        found[task.metric], *spread[task.metric], found.get("roc_auc"), score.mean(), label.mean()
    )  # fmt: skip
    finite = [
        None if value is None or not np.isfinite(value) else float(value) for value in told
    ]  # fmt: skip
    return (
        task.name, one.model.name, test, until, int(fold.split("train").sum()), int(rows.sum()),
        task.metric, *finite,
    )  # fmt: skip
