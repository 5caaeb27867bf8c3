"""One task's models: fitted, calibrated, compared, and the best one allowed to speak."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import duckdb
import numpy as np

from behavsql import drift, ensembles, frames, model_options, model_tables, selection, tuning
from behavsql.budget import Budget
from behavsql.calibration import Calibrator
from behavsql.compile import profile
from behavsql.config import Settings
from behavsql.errors import BehavsqlError, ModelError
from behavsql.frames import Asked
from behavsql.metrics import DIRECTION, best_threshold, evaluate
from behavsql.models import REFERENCES, model_class
from behavsql.models.base import LEAST_SHARE, Model
from behavsql.plan.changes import Parts
from behavsql.progress import Progress
from behavsql.promotion import promote
from behavsql.tasks import Task

# What is published of a task: its model, its value on test, and which questions that is measured on.
_ON_TEST = """
select any_value(models.model), any_value(metrics.value), count(*),
    bit_xor(hash(scores.user_id, scores.cutoff_at, scores.label))
from models.models as models
inner join models.metrics as metrics on metrics.model_id = models.model_id
inner join models.scores as scores on scores.model_id = models.model_id
where models.task = ? and models.is_published and metrics.metric = ?
    and metrics.split = 'test' and scores.split = 'test'
"""

# Threads that wait should sleep: spinning ones, on cores that other work shares, were seen to make
# a fit thirty times slower. Read when the first OpenMP library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TUNING_SHARE = 0.7  # of the time a model may take; the rest is for fitting with what was found


@dataclass
class Trained:
    """A fitted model with what it said about every question that is scored."""

    model: Model
    calibrator: Calibrator
    raw: np.ndarray  # (n,) NaN for train rows
    score: np.ndarray  # (n,) the raw value calibrated
    seconds: float  # that fitting took
    score_seconds: float = 0.0  # that the questions outside of train took to answer
    threshold: float | None = None
    pick: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_reference(self) -> bool:
        return self.model.family == "reference"


def train_task(
    con: duckdb.DuckDBPyConnection, task: Task, settings: Settings, names: Sequence[str],
    learned: dict[str, Parts], progress: Progress, budget: Budget | None = None,
    options: model_options.Given = MappingProxyType({}),
) -> None:  # fmt: skip
    """Train these models for one task and write everything about it to the `models` schema.

    Models fit on train; half of valid (by user) stops, tunes and calibrates; the other half picks
    the champion and decides whether it may replace the references; test decides nothing. A model
    that fails, or for which no time is left, is left out and said; references must not.
    """
    names = [name for name in names if task.kind in model_class(name).kinds]
    asked = frames.load(
        con, task.name, task.kind, settings.max_train_rows, settings.seed,
        with_sequences=any(model_class(name).reads != "table" for name in names),
    )  # fmt: skip
    if asked.train_share < 1:
        progress.say(
            f"  {task.name}: trains on {asked.train_share:.1%} of the users, drawn by hash, to keep "
            f"max_train_rows = {settings.max_train_rows:,}"
        )
    in_train = asked.split("train")
    features = asked.table.rows(in_train).features
    measured = profile.measure(con, features)
    frozen = drift.freeze(features, asked.keys.filter(in_train)["cutoff_at"])
    selected = selection.select(asked, settings, progress) if settings.select_features else None
    asked = selected.applied(asked) if selected else asked
    left_out: dict[str, str] = {}
    trained = train_all(
        con, names, asked, task, settings, budget or Budget(None), left_out, progress, options
    )
    for name, reason in left_out.items():
        progress.say(f"  {task.name}: {name} is left out: {reason}")
    champion, published = promote(trained, asked, task, settings.seed, profile.types(con))
    progress.say(f"  {task.name}: {_verdict(champion, published)}")
    before = _on_test(con, task)
    profile.store(con, task.name, measured, selected)
    drift.store(con, task.name, frozen)
    model_tables.store(con, task, asked, trained, champion, published, settings, learned)
    model_tables.store_left_out(con, task.name, left_out)
    if told := _worse_than_before(task, before, _on_test(con, task)):
        progress.say(f"  {told}")


def train_all(
    con: duckdb.DuckDBPyConnection, names: Sequence[str], asked: Asked, task: Task,
    settings: Settings, budget: Budget, left_out: dict[str, str], progress: Progress,
    options: model_options.Given = MappingProxyType({}),
) -> list[Trained]:  # fmt: skip
    """Each model for itself, then the ensembles, which combine what those say."""
    singles = [name for name in names if model_class(name).family != "ensemble"]
    clock = budget.of_task(singles)
    trained = []
    for name in clock.names:
        seconds = clock.seconds(name)
        if seconds is not None and seconds <= 0 and name not in REFERENCES:
            left_out[name] = "no time was left of time_budget"
            budget.ran_out = True
            continue
        make = lambda name=name, seconds=seconds: _train_one(  # noqa: E731
            _new(con, name, asked, settings, seconds, progress, options), asked, task
        )
        trained += attempt(name, make, task, asked, left_out, progress)
    budget.ran_out |= any(one.model.params().get("is_cut_short") for one in trained)
    alone, types = tuple(trained), profile.types(con)
    for name in names:
        if name not in singles:
            make = lambda name=name: _combine(  # noqa: E731
                name,
                alone,
                types,
                asked,
                task,
                settings,
                clock.left(),
                model_options.of(options, name, task.kind),
            )
            trained += attempt(name, make, task, asked, left_out, progress)
    return trained


def attempt(
    name: str, make: Callable[[], Trained], task: Task, asked: Asked, left_out: dict[str, str],
    progress: Progress,
) -> list[Trained]:  # fmt: skip
    """What `make` trains, on a line of its own; nothing where it fails, and why in `left_out`.

    Whatever a library raises about one model must not cost the others; a reference has no excuse.
    """
    try:
        with progress.step(f"train {task.name} / {name}") as line:
            trained = make()
            line.rows = int(asked.split("train").sum())
            line.note = f"{task.metric} {trained.pick[task.metric]:.4f} on valid"
    except Exception as error:
        if name in REFERENCES:
            raise
        told = next(iter(str(error).splitlines()), "") or "it says no more"
        left_out[name] = told if isinstance(error, BehavsqlError) else (
            f"it failed ({type(error).__name__}: {told})"
        )  # fmt: skip
        return []
    return [trained]


def _on_test(con: duckdb.DuckDBPyConnection, task: Task) -> tuple | None:
    if task.name not in model_tables.trained(con):
        return None
    return con.execute(_ON_TEST, [task.name, task.metric]).fetchall()[0]


def _worse_than_before(task: Task, before: tuple | None, after: tuple) -> str | None:
    """That a better model is replaced, where both were asked the same questions on test."""
    if before is None or None in (*before, *after) or before[2:] != after[2:]:
        return None
    (old, was, *_), (new, now, *_) = before, after
    if DIRECTION[task.metric] * (now - was) >= 0 or f"{now:.4g}" == f"{was:.4g}":
        return None
    return (
        f"{task.name}: {new} {now:.4g} replaces {old} {was:.4g} on test; "
        f"behavsql rollback takes it back"
    )


def _verdict(champion: Trained, published: Trained) -> str:
    if champion is published:
        return f"{champion.model.name} is published ({champion.reason})"
    return f"{published.model.name} is published; {champion.model.name}: {champion.reason}"


def _new(
    con: duckdb.DuckDBPyConnection, name: str, asked: Asked, settings: Settings,
    seconds: float | None, progress: Progress, given: model_options.Given,
) -> Model:  # fmt: skip
    """A model that is not fitted yet, with the options that are given, the others searched where they are."""
    cls, begun = model_class(name), time.monotonic()
    options = model_options.of(given, name, asked.table.kind)
    if settings.tune:
        limit = None if seconds is None else TUNING_SHARE * seconds
        options = tuning.best_options(con, cls, asked, settings, progress, limit, options)
        seconds = None if seconds is None else max(seconds - (time.monotonic() - begun), 0.0)
    model = cls(asked.table.kind, settings.seed, settings.threads, options, seconds)
    if "pretrained" in cls.needs:
        from behavsql import pretrained

        return pretrained.given(con, model)
    return model


def _train_one(model: Model, asked: Asked, task: Task) -> Trained:
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    table, train = asked.table, asked.split("train")
    fit_half = asked.split("valid") & asked.is_fit_half
    raw = np.full(len(table), np.nan)
    # Matrices this narrow gain nothing from BLAS threads, and lose much on shared cores.
    with threadpool_limits(1, user_api="blas"):
        model.fit(table.rows(train), table.rows(fit_half))
        fitted = time.perf_counter()
        raw[~train] = model.predict(table.rows(~train))
    answered = time.perf_counter()
    if not np.isfinite(raw[~train]).all():
        raise ModelError(
            f"model {model.name}, task {task.name}: {int((~np.isfinite(raw[~train])).sum())} predictions "
            f"are not finite; every prediction must be a number. Leave the model out and report this."
        )
    return judged(model, raw, asked, task, fitted - started, answered - fitted)


def _combine(
    name: str, trained: Sequence[Trained], types: Mapping[str, str], asked: Asked, task: Task,
    settings: Settings, seconds: float | None, options: Mapping[str, object],
) -> Trained:  # fmt: skip
    """An ensemble of some trained models; to answer takes it what it takes its members."""
    from threadpoolctl import threadpool_limits

    started = time.perf_counter()
    with threadpool_limits(1, user_api="blas"):
        chosen = ensembles.choose(trained, asked, task, types)
        model, raw = ensembles.build(name, chosen, asked, task, settings, seconds, options)
    took = time.perf_counter() - started
    members = {id(member.model) for member in model.members}
    answering = sum(one.score_seconds for one in trained if id(one.model) in members)
    return judged(model, raw, asked, task, took, answering)


def judged(
    model: Model, raw: np.ndarray, asked: Asked, task: Task, seconds: float, score_seconds: float
) -> Trained:
    """What a fitted model said, raw (n,) with NaN for train, calibrated on one half of valid and measured on the other."""
    table, train, valid = asked.table, asked.split("train"), asked.split("valid")
    fit_half, pick_half = valid & asked.is_fit_half, valid & ~asked.is_fit_half
    calibrator = Calibrator.floor(LEAST_SHARE * table.label[train].mean())
    if task.kind == "binary":
        learn = ensembles.gentle if model.family == "ensemble" else Calibrator().fit
        calibrator = learn(raw[fit_half], table.label[fit_half])
    score = np.full(len(table), np.nan)
    score[~train] = calibrator.transform(raw[~train])
    threshold = None
    if task.kind == "binary":
        threshold = best_threshold(table.label[fit_half], score[fit_half])
    pick = evaluate(task.kind, table.label[pick_half], score[pick_half], threshold)
    return Trained(model, calibrator, raw, score, seconds, score_seconds, threshold, pick)
