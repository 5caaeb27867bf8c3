"""The names that a step's results go by: kept where the rows are those of before (see content.py)."""

import functools
from collections.abc import Mapping

import duckdb

from behavsql import verdicts
from behavsql.config import Settings
from behavsql.plan import content
from behavsql.plan.changes import digest
from behavsql.plan.records import Record
from behavsql.plan.steps import BEFORE_MODELS, PRETRAIN, TELLS, VERDICTS, Step
from behavsql.quoting import identifier

# Small, or read in slices: what they hold is their name, so that nothing need be compared.
NAMED_BY_CONTENT = {"meta.tasks": ("meta.tasks", "meta.clock"), content.WINDOWS: (content.WINDOWS,),
                    PRETRAIN: ("models.pretrained",)}  # fmt: skip


class Results:
    """Names results in one run. raw_tables: those that SQL files read; new: the name of new ones."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, settings: Settings, raw_tables: list[str], new: str
    ) -> None:
        self.con, self.settings, self.raw_tables, self.new = con, settings, raw_tables, new

    @functools.cached_property
    def there(self) -> frozenset[str]:
        """The tables there were when the run came to the first that is replaced."""
        return content.there(self.con)

    def before(self, step: Step) -> dict[str, str]:
        """Fingerprints of what is about to be replaced, of tables worth comparing."""
        if not is_before_models(step) or step.name in NAMED_BY_CONTENT:
            return {}
        is_view = step.file is not None and step.file.materialized == "view"
        return {} if is_view else content.measure(self.con, self._made(step), self.there)

    def after(self, step: Step, old: Record | None, before: Mapping[str, str]) -> dict[str, str]:
        """Result -> name, of a step that has been done."""
        if step.name in NAMED_BY_CONTENT:
            return content.measure(self.con, NAMED_BY_CONTENT[step.name])
        if step.verb == "judge":
            return {VERDICTS: content.fingerprint(self.con, verdicts.VERDICTS)}
        if step.verb in TELLS:
            rows = self.rows(step)
            learned = rows | {f"fitted[{step.task}]": self.new} if step.verb == "train" else {}
            return {f"models[{step.task}]": self.new} | learned | _only(rows, "latest")
        if old is None or not before:
            return dict.fromkeys(self._made(step), self.new)
        known = None if step.verb == "ingest" else frozenset(self._made(step))
        after = content.measure(self.con, self._made(step), known)
        return content.names(old.results, before, after, self.new)

    def rows(self, step: Step) -> dict[str, str]:
        """Fingerprints of a task's rows: `rows[churn]` to learn from, `latest[churn]` asked now."""
        if "features.matrix" not in step.reads:  # of a choice: all that it reads
            told = [(name, content.fingerprint(self.con, identifier(*name.split("."))))
                    for name in step.reads if "." in name]  # fmt: skip
            found = dict.fromkeys(("rows", "latest"), digest(told))
        else:
            from behavsql import frames

            found = frames.fingerprints(self.con, step.task, self.settings)
        return {f"{part}[{step.task}]": value for part, value in found.items()}

    def are_known(self, step: Step, names: Mapping[str, str]) -> bool:
        """Whether a task's rows are those its models learned from and scored, though others moved.

        What they scored last may be newer than what they learned from.
        """
        rows = self.rows(step)
        asked = rows if step.verb == "train" else _only(rows, "latest")
        return all(names.get(key) == value for key, value in asked.items())

    def _made(self, step: Step) -> list[str]:
        return self.raw_tables if step.verb == "ingest" else [step.name]


def _only(rows: Mapping[str, str], part: str) -> dict[str, str]:
    return {key: value for key, value in rows.items() if key.startswith(f"{part}[")}


def is_before_models(step: Step) -> bool:
    """Whether a step comes up to the verdicts on tasks."""
    is_early = step.file is not None and step.file.stage_number <= BEFORE_MODELS
    return is_early or step.verb in ("ingest", "resolve", "judge")
