"""One task's models: fitted, calibrated, compared, and the best one allowed to speak."""

import json
import os
import time
from dataclasses import dataclass, field

import duckdb
import numpy as np
import polars as pl

from behavsql import frames
from behavsql.bootstrap import Gain
from behavsql.calibration import Calibrator
from behavsql.config import Settings
from behavsql.errors import ModelError
from behavsql.frames import Asked
from behavsql.metrics import DIRECTION, best_threshold, evaluate, intervals, paired_gain
from behavsql.models import MODEL_SETS, model_class
from behavsql.models.base import LEAST_SHARE, Model
from behavsql.tasks import Task

# Threads that wait should sleep: spinning ones, on cores that other work shares, were seen to make
# a fit thirty times slower. Read when the first OpenMP library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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


@dataclass
class Trained:
    """A fitted model with what it said about every question that is scored."""

    model: Model
    calibrator: Calibrator
    raw: np.ndarray  # (n,) NaN for train rows
    score: np.ndarray  # (n,) the raw value calibrated
    seconds: float
    threshold: float | None = None
    pick: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_reference(self) -> bool:
        return self.model.family == "reference"


def train_task(
    con: duckdb.DuckDBPyConnection, task: Task, settings: Settings, fingerprint: str, progress
) -> None:
    """Train the model set for one task and write everything about it to the `models` schema.

    Models fit on train; half of valid (by user) stops, tunes and calibrates; the other half picks
    the champion and decides whether it may replace the references; test decides nothing.
    """
    asked = frames.load(con, task.name, task.kind, settings.max_train_rows, settings.seed)
    if asked.train_share < 1:
        progress.say(
            f"  {task.name}: trains on {asked.train_share:.1%} of the users, drawn by hash, to keep "
            f"max_train_rows = {settings.max_train_rows:,}"
        )
    trained = []
    for name in MODEL_SETS[settings.models]:
        cls = model_class(name)
        if task.kind not in cls.kinds:
            continue
        with progress.step(f"train {task.name} / {name}") as line:
            trained.append(_train_one(cls(task.kind, settings.seed), asked, task))
            line.rows = int(asked.split("train").sum())
            line.note = f"{task.metric} {trained[-1].pick[task.metric]:.4f} on valid"
    champion, published = _promote(trained, asked, task, settings.seed)
    progress.say(f"  {task.name}: {_verdict(champion, published)}")
    _store(con, task, asked, trained, champion, published, settings, fingerprint)


def _verdict(champion: Trained, published: Trained) -> str:
    if champion is published:
        return f"{champion.model.name} is published ({champion.reason})"
    return f"{published.model.name} is published; {champion.model.name}: {champion.reason}"


def _train_one(model: Model, asked: Asked, task: Task) -> Trained:
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    table, train, valid = asked.table, asked.split("train"), asked.split("valid")
    fit_half, pick_half = valid & asked.is_fit_half, valid & ~asked.is_fit_half
    raw = np.full(len(table), np.nan)
    # Matrices this narrow gain nothing from BLAS threads, and lose much on shared cores.
    with threadpool_limits(1, user_api="blas"):
        model.fit(table.rows(train), table.rows(fit_half))
        raw[~train] = model.predict(table.rows(~train))
    if not np.isfinite(raw[~train]).all():
        raise ModelError(
            f"model {model.name}, task {task.name}: {int((~np.isfinite(raw[~train])).sum())} predictions "
            f"are not finite; every prediction must be a number. Leave the model out and report this."
        )
    calibrator = Calibrator.floor(LEAST_SHARE * table.label[train].mean())
    if task.kind == "binary":
        calibrator = Calibrator().fit(raw[fit_half], table.label[fit_half])
    score = np.full(len(table), np.nan)
    score[~train] = calibrator.transform(raw[~train])
    label = table.label[pick_half]
    threshold = best_threshold(label, score[pick_half]) if task.kind == "binary" else None
    pick = evaluate(task.kind, label, score[pick_half], threshold)
    return Trained(model, calibrator, raw, score, time.perf_counter() - started, threshold, pick)


def _promote(
    trained: list[Trained], asked: Asked, task: Task, seed: int
) -> tuple[Trained, Trained]:
    """(champion, published): the best candidate, and itself or the reference it could not beat."""
    sign = DIRECTION[task.metric]
    best = lambda those: max(those, key=lambda one: sign * one.pick[task.metric])  # noqa: E731
    champion = best([one for one in trained if not one.is_reference])
    reference = best([one for one in trained if one.is_reference])
    pick = asked.split("valid") & ~asked.is_fit_half
    gain = paired_gain(
        task.kind, task.metric, asked.table.label[pick], champion.score[pick], reference.score[pick],
        asked.table.users[pick], seed=seed,
    )  # fmt: skip
    for one in trained:
        one.reason = (
            "reference" if one.is_reference
            else f"{task.metric} {one.pick[task.metric]:.4g} on valid, {champion.model.name} has "
            f"{champion.pick[task.metric]:.4g}"
        )  # fmt: skip
    better = gain.low > 0
    champion.reason = f"{'beats' if better else 'does not surely beat'} {reference.model.name}: {_told(task, gain)}"
    return champion, champion if better else reference


def _told(task: Task, gain: Gain) -> str:
    return f"{task.metric} better by {gain.mean:.4g} [{gain.low:.4g}, {gain.high:.4g}] on valid"


def _store(
    con: duckdb.DuckDBPyConnection, task: Task, asked: Asked, trained: list[Trained],
    champion: Trained, published: Trained, settings: Settings, fingerprint: str,
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
        scored = asked.split("valid", "test", "latest") if one is published else asked.split("valid", "test")
        _store_scores(con, model_id, task.name, asked, one, scored)
        _store_metrics(con, model_id, "valid", one.pick, {})
        label, users = asked.table.label[test], asked.table.users[test]
        found = evaluate(task.kind, label, one.score[test], one.threshold)
        spread = intervals(task.kind, label, one.score[test], users, one.threshold, seed=settings.seed)
        _store_metrics(con, model_id, "test", found, spread)
        rows = [(model_id, name, share, rank) for rank, (name, share) in
                enumerate(one.model.importance().items(), 1)]  # fmt: skip
        if rows:
            con.executemany("insert into models.importance values (?, ?, ?, ?)", rows)
        files = one.model.save() | {"calibration.json": json.dumps(one.calibrator.to_dict()).encode()}
        for file, content in files.items():
            con.execute("insert into models.artifacts values (?, ?, ?)", [model_id, file, content])


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the `models` tables where they are missing; `models.scores` has the ids' own type."""
    con.execute(_TABLES)
    con.execute(
        "create table if not exists models.scores as select null::varchar as model_id, null::varchar as task, "
        "null::varchar as split, user_id, cutoff_at, null::double as raw, null::double as score, "
        "null::double as label from cutoffs.cutoffs limit 0"
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
    con: duckdb.DuckDBPyConnection, model_id: str, task: str, asked: Asked, one: Trained, rows: np.ndarray
) -> None:
    scores = asked.keys.filter(pl.Series(rows)).select(
        pl.lit(model_id).alias("model_id"), pl.lit(task).alias("task"), "split", "user_id", "cutoff_at",
        pl.Series("raw", one.raw[rows]), pl.Series("score", one.score[rows]),
        pl.Series("label", asked.table.label[rows]).fill_nan(None),
    )  # fmt: skip
    con.register("new_scores", scores.to_arrow())
    con.execute("insert into models.scores by name from new_scores order by split, user_id, cutoff_at")
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
