"""What every part of the page knows: the tasks, their published models, the moment, the users named."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from behavsql.metrics import DIRECTION
from behavsql.reporting import numbers
from behavsql.reporting.reader import Reader
from behavsql.reporting.svg import slug

FIRST = ("purchase", "spend", "churn", "dropout", "click", "engagement", "next_visit", "next_item")
# Of the shipped tasks, and "" for any other: what users will do, who did, what is counted.
DOING = {
    "purchase": ("will buy", "buyers"),
    "click": ("will click", "users who click"),
    "churn": ("will fall silent", "users who fall silent"),
    "dropout": ("will drop out", "learners who drop out"),
    "": ("are expected to answer yes", "users with a yes"),
}
METRICS = {
    "log_loss": "log loss", "brier": "Brier score", "roc_auc": "ranking (ROC AUC)",
    "average_precision": "average precision", "poisson_deviance": "Poisson deviance",
    "tweedie_deviance": "Tweedie deviance", "rmse": "root mean squared error",
    "mae": "mean absolute error", "r2": "R²", "spearman": "rank correlation",
    "lift_top_decile": "lift of the top tenth", "ndcg_at_10": "NDCG of the first ten",
    "hit_rate_at_10": "hit rate of the first ten",
}  # fmt: skip
ROUNDS = """
select scores.task, scores.split, scores.cutoff_at, count(*) as count_questions,
    sum(scores.score) as predicted, sum(scores.label) as observed
from models.scores as scores
inner join models.models as models on models.model_id = scores.model_id
where models.is_published and scores.split in ('test', 'latest')
group by all order by all
"""


@dataclass(frozen=True)
class Round:
    """What was predicted at one cutoff in all, and what then happened (None: still to come)."""

    cutoff_at: object
    count_questions: int
    predicted: float
    observed: float | None


@dataclass(frozen=True)
class Task:
    """A question, what answers it, and how often it was answered already."""

    name: str
    row: Mapping[str, object]  # of meta.tasks
    published: Mapping[str, object] | None  # of models.models
    board: Sequence[Mapping[str, object]] = ()  # of report.leaderboard
    rounds: Sequence[Round] = ()
    now: Round | None = None
    advice: Mapping[str, object] | None = None  # of report.advice
    profit: Mapping[str, object] | None = None  # of report.profit: the best tenths of the published
    lift: Sequence[Mapping[str, object]] = field(default_factory=tuple)  # of the published model

    @property
    def key(self) -> str:
        """The name as a part of ids on the page."""
        return slug(self.name)

    @property
    def kind(self) -> str:
        return str(self.row.get("kind"))

    @property
    def metric(self) -> str:
        return str(self.row.get("metric"))

    @property
    def is_ready(self) -> bool:
        return self.row.get("status") == "ready" and self.published is not None

    @property
    def model(self) -> str:
        return str(self.published["model"]) if self.published else ""

    @property
    def horizon(self) -> str:
        return numbers.days(self.row.get("horizon_days"))

    @property
    def question(self) -> str:
        """The label file's purpose, as a sentence."""
        text = str(self.row.get("purpose") or self.name)
        return text[:1].upper() + text[1:]

    @property
    def doing(self) -> tuple[str, str]:
        return DOING.get(self.name, DOING[""])

    @property
    def is_lower_better(self) -> bool:
        return self.kind != "choice" and DIRECTION.get(self.metric, -1) < 0

    def measured(self, metric: str, model: str | None = None) -> Mapping[str, object] | None:
        """A row of the leaderboard; of the published model unless named."""
        model = model or self.model
        found = [row for row in self.board if (row["metric"], row["model"]) == (metric, model)]
        return found[0] if found else None

    @property
    def reference(self) -> Mapping[str, object] | None:
        """The better of the references, by the deciding metric, on test."""
        known = [row for row in self.board if row["metric"] == self.metric
                 and row["family"] == "reference" and row["value"] is not None]  # fmt: skip
        sign = 1 if self.is_lower_better else -1
        return min(known, key=lambda row: sign * row["value"], default=None)

    @property
    def is_reference(self) -> bool:
        return bool(self.published) and self.published.get("family") == "reference"

    def gain(self) -> tuple[float, float | None, float | None] | None:
        """By how much the published model's error lies below the best reference's, with its interval."""
        ours, theirs = self.measured(self.metric), self.reference
        if not ours or not theirs or ours["value"] is None or not theirs["value"]:
            return None
        if self.is_lower_better:
            ends = [ours["value"], ours["high"], ours["low"]]
            return tuple(None if end is None else 1 - end / theirs["value"] for end in ends)
        ends = [ours["value"], ours["low"], ours["high"]]
        return tuple(None if end is None else end / theirs["value"] - 1 for end in ends)


class Context:
    """The warehouse as the page's parts see it."""

    def __init__(self, reader: Reader, only: Sequence[str] = (), users: Sequence[str] = ()) -> None:
        self.reader, self.users = reader, users
        clock = reader.rows("meta.clock")
        self.clock = numbers.Clock(clock[0] if clock else None)
        self.all_tasks = self._tasks()
        self.tasks = [task for task in self.all_tasks if not only or task.name in only]
        self.is_part = bool(only)

    @property
    def ready(self) -> list[Task]:
        """The tasks that are answered."""
        return [task for task in self.tasks if task.is_ready]

    @cached_property
    def comments(self) -> dict[tuple[str, str], str]:
        """(schema.table, column) -> what it holds."""
        rows = self.reader.ask(
            "select schema_name || '.' || table_name as name, column_name, comment from meta.columns",
            needs={"meta.columns": "schema_name table_name column_name comment"},
        )
        return {(row["name"], row["column_name"]): row["comment"] or "" for row in rows}

    def feature(self, name: str) -> str:
        """What a feature holds, in few words; its name where that is a formula, or nothing is known."""
        from behavsql.describe import describe

        told = (
            self.comments.get(("features.matrix", name)) or describe(name, "features.matrix") or ""
        )
        short = re.split(r"[;:]| \(", told)[0].strip()
        return name.replace("_", " ") if not short or short.startswith("(") else short

    def _tasks(self) -> list[Task]:
        read = self.reader
        published = {row["task"]: row for row in read.rows("models.models", is_published=True)}
        rounds = read.ask(ROUNDS, needs={"models.scores": "model_id split cutoff_at score label",
                                         "models.models": "model_id is_published"})  # fmt: skip
        found = []
        for row in read.rows("meta.tasks", "task"):
            name, model = row["task"], (published.get(row["task"]) or {}).get("model")
            own = [one for one in rounds if one["task"] == name]
            past = [_round(one) for one in own if one["split"] == "test"]
            now = [_round(one) for one in own if one["split"] == "latest"]
            advice = read.rows("report.advice", task=name)
            best = read.rows("report.profit", "decile", task=name, model=model, is_best=True)
            lift = read.rows("report.lift", "decile", task=name, model=model)
            board = read.rows("report.leaderboard", task=name)
            found.append(
                Task(
                    name,
                    row,
                    published.get(name),
                    board,
                    past,
                    now[0] if now else None,
                    advice[0] if advice else None,
                    best[0] if best else None,
                    lift,
                )
            )
        place = {name: number for number, name in enumerate(FIRST)}
        return sorted(found, key=lambda one: (place.get(one.name, len(FIRST)), one.name))


def _round(row: Mapping[str, object]) -> Round:
    observed = row["observed"]
    return Round(row["cutoff_at"], row["count_questions"], float(row["predicted"] or 0),
                 None if observed is None else float(observed))  # fmt: skip
