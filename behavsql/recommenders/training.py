"""A task of kind `choice`: its recommenders fitted, compared, and the best one allowed to speak.

All are fitted three times: on what was known at the first valid cutoff, where the blend's weights
and the champion are chosen; at the first test cutoff, which decides nothing; and now.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np

from behavsql import model_tables
from behavsql.config import Settings
from behavsql.plan.changes import Parts
from behavsql.progress import Progress
from behavsql.recommenders import BLEND, REFERENCES, publishing
from behavsql.recommenders.base import Recommender
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.measure import Judged, gain, spread
from behavsql.recommenders.panel import Panel
from behavsql.tasks import Task


@dataclass
class Heard:
    """What one recommender said, and what it was worth."""

    name: str
    family: str
    weights: dict[str, float]  # of the members it is made of; itself, if it is none
    shape: str
    valid: Judged
    seconds: float
    answer_seconds: float
    test: Judged | None = None
    reason: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_reference(self) -> bool:
        return self.family == "reference"


def train_task(
    con: duckdb.DuckDBPyConnection, task: Task, settings: Settings, names: Sequence[str],
    learned: dict[str, Parts], progress: Progress,
) -> int:  # fmt: skip
    """Train a choice task's recommenders, judge them, publish the best; the users it speaks to."""
    choices = Choices.load(con, task.name, settings.seen_items, settings.seed)
    left = [] if choices.has_categories else ["segment_popularity"]
    left += [] if choices.has_words else ["content"]
    singles = [name for name in names if name not in (BLEND, *left)]
    panel = Panel(con, singles, choices.hides_seen, settings.seed, settings.threads)
    with progress.step(f"train {task.name}") as line:
        found = _on_valid(panel, choices, BLEND in names)
        published, champion = _promote(found, task, settings.seed)
        _on_test(panel, choices, found)
        line.rows = con.execute(
            "select count(*) from next_choices where chosen_at <= $until",
            {"until": choices.until["valid"]},
        ).fetchall()[0][0]
        line.note = (
            f"{published.name}: {task.metric} {published.valid.mean(task.metric):.4f} on valid"
        )
    for name, reason in panel.left_out.items():
        progress.say(f"  {task.name}: {name} is left out: {reason}")
    _tell(progress, task, champion, published)
    _store(con, task, found, champion, published, choices, settings, learned)
    model_tables.store_left_out(con, task.name, panel.left_out)
    panel.fit(choices.known("latest"))
    _keep(con, task, panel, published)
    return publishing.publish(con, task, panel, choices, published.weights, published.shape)


def _on_valid(panel: Panel, choices: Choices, blends: bool) -> list[Heard]:
    asked, known = choices.questions("valid"), choices.known("valid")
    panel.fit(known)
    tables = panel.ask(asked)
    found = [
        Heard(
            name, panel.members[name].family, {name: 1.0}, "share",
            panel.judge(table, asked, known), panel.seconds[name], panel.answer_seconds[name],
        )
        for name, table in tables.items()
    ]  # fmt: skip
    if blends and len(tables) > 1:
        started = time.perf_counter()
        weights, shape = panel.search(tables, choices.questions("valid", "is_fit_half"))
        took = time.perf_counter() - started + sum(panel.seconds[name] for name in weights)
        judged = panel.judge(panel.blended(weights, shape, tables), asked, known)
        answering = sum(panel.answer_seconds[name] for name in weights)
        found.append(Heard(BLEND, "ensemble", weights, shape, judged, took, answering))
    return found


def _on_test(panel: Panel, choices: Choices, found: list[Heard]) -> None:
    asked, known = choices.questions("test"), choices.known("test")
    panel.fit(known)
    tables = panel.ask(asked)
    for one in list(found):
        if not one.weights.keys() <= tables.keys():  # left out by now
            found.remove(one)
            continue
        said = tables.get(one.name) or panel.blended(one.weights, one.shape, tables)
        one.test = panel.judge(said, asked, known)


def _promote(found: list[Heard], task: Task, seed: int) -> tuple[Heard, Heard]:
    """(published, champion): the best on the half of valid that picks, if it surely beats the references."""
    metric = task.metric
    pick = ~found[0].valid.is_fit_half
    value = {one.name: one.valid.mean(metric, pick) for one in found}
    by_name = {one.name: one for one in found}
    references = {name: value[name] for name in REFERENCES if name in value}
    reference = by_name[max(sorted(references), key=lambda name: references[name])]
    candidates = [one for one in found if not one.is_reference]
    if not candidates:
        for one in found:
            one.reason = "reference; no other model was trained"
        return reference, reference
    champion = max(candidates, key=lambda one: value[one.name])
    for one in found:
        one.reason = "reference" if one.is_reference else (
            f"{metric} {value[one.name]:.4g} on valid, {champion.name} has {value[champion.name]:.4g}"
        )  # fmt: skip
    ahead = gain(champion.valid, reference.valid, metric, pick, seed)
    better = ahead.low > 0
    champion.reason = (
        f"{'beats' if better else 'does not surely beat'} {reference.name}: {metric} better by "
        f"{ahead.mean:.4g} [{ahead.low:.4g}, {ahead.high:.4g}] on valid"
    )
    return (champion if better else reference), champion


def _tell(progress: Progress, task: Task, champion: Heard, published: Heard) -> None:
    told = f"{champion.name} is published ({champion.reason})"
    if published is not champion:
        told = f"{published.name} is published; {champion.name}: {champion.reason}"
    progress.say(f"  {task.name}: {told}")


def _store(
    con: duckdb.DuckDBPyConnection, task: Task, found: list[Heard], champion: Heard,
    published: Heard, choices: Choices, settings: Settings, learned: dict[str, Parts],
) -> None:  # fmt: skip
    """Replace a task's models by these: what they are, and how good."""
    version = model_tables.forget(con, task.name) + 1
    rows = con.execute("select count(*) from next_choices").fetchall()[0][0]
    best = max(one.test.mean(task.metric) for one in found if one.is_reference)
    for one in found:
        model_id = f"{task.name}__{one.name}"
        ends = spread(one.test, settings.seed)
        params = {"weights": one.weights, "shape": one.shape, "hides_seen": choices.hides_seen}
        row = {
            "model_id": model_id, "task": task.name, "model": one.name, "family": one.family,
            "version": version, "is_champion": one is champion, "is_published": one is published,
            "reason": one.reason, "calibration": "none", "count_train_rows": rows,
            "train_until": choices.until["valid"], "count_features": 0,
            "train_seconds": round(one.seconds, 3), "params": json.dumps(params),
            "feature_digests": json.dumps(learned),
            "is_worse_on_test": one is published and not one.is_reference
            and ends[task.metric][1] < best,
            "score_microseconds": round(one.answer_seconds / max(len(one.test.who), 1) * 1e6, 3),
        }  # fmt: skip
        con.execute(
            f"insert into models.models ({', '.join(row)}, trained_at, scored_at) values "
            f"({', '.join('?' * len(row))}, now()::timestamp, now()::timestamp)",
            list(row.values()),
        )
        _store_metrics(con, model_id, "valid", one.valid, {}, ~one.valid.is_fit_half)
        _store_metrics(con, model_id, "test", one.test, ends)


def _store_metrics(
    con: duckdb.DuckDBPyConnection, model_id: str, split: str, judged: Judged,
    ends: Mapping[str, tuple[float, float]], rows: np.ndarray | None = None,
) -> None:  # fmt: skip
    values = {name: judged.mean(name, rows) for name in judged.values}
    if split == "test":
        values |= judged.of_lists | {"count_questions": len(judged.who)}
    finite = lambda x: None if x is None or not np.isfinite(x) else float(x)  # noqa: E731
    con.executemany(
        "insert into models.metrics values (?, ?, ?, ?, ?, ?)",
        [(model_id, split, name, finite(value), *map(finite, ends.get(name, (None, None))))
         for name, value in values.items()],
    )  # fmt: skip


def _keep(con: duckdb.DuckDBPyConnection, task: Task, panel: Panel, published: Heard) -> None:
    """Store what the published recommender's members learned, for `score`."""
    for name in published.weights:
        member: Recommender = panel.members[name]
        for file, content in member.save().items():
            con.execute(
                "insert into models.artifacts values (?, ?, ?, ?)",
                [f"{task.name}__{published.name}", f"{name}/{file}", content,
                 hashlib.sha256(content).hexdigest()],
            )  # fmt: skip


def score_task(con: duckdb.DuckDBPyConnection, task: Task, settings: Settings) -> int:
    """Let the published recommender speak to who is there now: counts anew, nothing is chosen anew."""
    model_id, text = con.execute(
        "select model_id, params from models.models where task = ? and is_published", [task.name]
    ).fetchall()[0]
    params = json.loads(text)
    seen = "drop" if params["hides_seen"] else "keep"
    choices = Choices.load(con, task.name, seen, settings.seed)
    kept: dict[str, dict[str, bytes]] = {}
    for file, content in con.execute(
        "select file, content from models.artifacts where model_id = ?", [model_id]
    ).fetchall():
        name, _, own = file.partition("/")
        kept.setdefault(name, {})[own] = content
    names = dict.fromkeys([*REFERENCES, *params["weights"]])
    panel = Panel(con, names, choices.hides_seen, settings.seed, settings.threads)
    panel.fit(choices.known("latest"), kept)
    con.execute(
        "update models.models set scored_at = now()::timestamp where model_id = ?", [model_id]
    )
    return publishing.publish(con, task, panel, choices, params["weights"], params["shape"])
