"""What recommenders said in a training and what it was worth, stored in the `models` schema."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import duckdb
import numpy as np

from behavsql import model_tables
from behavsql.config import Settings
from behavsql.plan.changes import Parts
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.measure import Judged, spread
from behavsql.recommenders.panel import Panel
from behavsql.tasks import Task


class Mix(Protocol):
    """What is made of members' lists: a blend, a re-ranker."""

    members: tuple[str, ...]

    def say(self, panel: Panel, tables: dict[str, str], depth: int = ...) -> str:
        """The table (question, item, score, rank, member) of what it makes of its members' tables."""

    def params(self) -> dict[str, object]:
        """Ready for JSON."""

    def save(self) -> dict[str, bytes]:
        """What it learned beside `params`, as named files."""


@dataclass
class Heard:
    """What one said, and what it was worth."""

    name: str
    family: str
    mix: Mix
    valid: Judged | None  # None: it was not among those to choose from
    seconds: float
    answer_seconds: float
    test: Judged | None = None
    reason: str = ""

    @property
    def is_reference(self) -> bool:
        return self.family == "reference"


def store(
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
        params = one.mix.params() | {"hides_seen": choices.hides_seen}
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
        if one.valid:
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


def keep(con: duckdb.DuckDBPyConnection, task: Task, panel: Panel, published: Heard) -> None:
    """Store what the published one and its members learned, for `score`."""
    files = {f"{name}/{file}": content for name in published.mix.members
             for file, content in panel.members[name].save().items()}  # fmt: skip
    for file, content in (files | published.mix.save()).items():
        con.execute(
            "insert into models.artifacts values (?, ?, ?, ?)",
            [f"{task.name}__{published.name}", file, content, hashlib.sha256(content).hexdigest()],
        )


def kept(con: duckdb.DuckDBPyConnection, model_id: str) -> dict[str, dict[str, bytes]]:
    """The inverse of `keep`: whose -> file -> content."""
    files: dict[str, dict[str, bytes]] = {}
    for file, content in con.execute(
        "select file, content from models.artifacts where model_id = ?", [model_id]
    ).fetchall():
        name, _, own = file.partition("/")
        files.setdefault(name, {})[own] = content
    return files
