"""What a plan is made of: a step, and what is to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from behavsql.catalog.sql_file import SqlFile
from behavsql.plan.changes import Parts


@dataclass(frozen=True)
class Goal:
    """Which tasks are trained, and with what; the others are scored by the models they have."""

    tasks: tuple[str, ...] | None = None  # None: every task whose data or settings changed
    models: tuple[str, ...] = ()  # instead of those of the setting `models`

    def trains(self, task: str) -> bool:
        return self.tasks is None or task in self.tasks


@dataclass(frozen=True)
class Step:
    """One thing a run does. `reason` says why it must run, or may; None: it is up to date."""

    name: str  # "raw.events", "staging.events", "meta.tasks", "features.matrix", "train purchase"
    verb: (
        str  # "ingest" | "sql" | "resolve" | "judge" | "matrix" | "train" | "score" | "present" ...
    )
    reads: tuple[str, ...]  # results: tables, "cutoffs.windows[churn]", "verdicts", "models[churn]"
    parts: Parts  # of its own, see changes.py
    file: SqlFile | None = None
    models: tuple[str, ...] = ()  # that a training fits
    made_by: Mapping[str, str] = field(default_factory=dict)  # what it reads -> the step behind it
    reason: str | None = None
    is_certain: bool = True  # False: it runs only if what it reads turns out to have changed

    @property
    def parents(self) -> tuple[str, ...]:
        """The steps that make what it reads."""
        return tuple(dict.fromkeys(self.made_by.values()))

    @property
    def task(self) -> str:
        """The task of a label file, a training, a scoring, a compilation or an explanation."""
        return self.name.partition(" ")[2] or self.name.partition(".")[2]
