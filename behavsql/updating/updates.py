"""What an update would do: the new files, or why everything has to be brought up to date instead."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb

from behavsql import plan
from behavsql.config import INBOX, Config
from behavsql.errors import ConfigError, WarehouseError, nearest
from behavsql.input import arrivals
from behavsql.input.arrivals import Arrivals
from behavsql.plan import changes
from behavsql.plan.records import History
from behavsql.plan.results import is_before_models
from behavsql.plan.steps import Step

INGEST = "raw.events"
# Verbs of steps that must have been done before, so that there is something to add to.
MADE_BEFORE = ("sql", "resolve", "judge")


@dataclass(frozen=True)
class Found:
    """New files; why_whole: the reason, in words, why they are not all that has to be looked at."""

    steps: list[Step]
    news: Arrivals
    why_whole: str = ""

    @property
    def is_needed(self) -> bool:
        return bool(self.news or self.why_whole or any(step.reason for step in self.steps))


def named(config: Config, names: Iterable[str]) -> frozenset[str]:
    """The sources that are meant; ConfigError for a name that is none."""
    known = [source.name for source in config.source]
    for name in names:
        if name not in (*known, INBOX):
            raise ConfigError(
                f'update: no source "{name}"; allowed are {", ".join([*known, INBOX])}.'
                f"{nearest(name, known)}"
            )
    return frozenset(names) or frozenset([*known, INBOX])


def check_built(history: History) -> None:
    """WarehouseError where there is nothing to bring up to date."""
    if not history.records:
        raise WarehouseError(
            "update: nothing was built yet; allowed is a warehouse that a build has made. "
            "Run `behavsql build`."
        )


def find(
    con: duckdb.DuckDBPyConnection, config: Config, steps: list[Step], history: History,
    only: frozenset[str],
) -> Found:  # fmt: skip
    """What came, and whether it can be added; steps: the plan of a `score`."""
    old = history.records.get(INGEST)
    news = arrivals.find(con, config)
    left_out = {name for name in news.files if name not in only}
    news.files = {name: files for name, files in news.files.items() if name in only}
    reason = _why_whole(steps, history, news)
    if reason or old is None or old.parts is None:
        return Found(steps, news, reason or "nothing was built yet")
    if not news.files:
        # What is left is what a run before this one did not come to.
        steps = [replace(step, reason=None) if step.name == INGEST else step for step in steps]
        late = {step.name for step in steps if step.reason and plan.cause(step, history)}
        kept = [step if step.name in late else replace(step, reason=None) for step in steps]
        return Found(kept, news)
    return Found([_limited(step, old.parts, left_out) for step in steps], news)


def _limited(step: Step, was: changes.Parts, left_out: set[str]) -> Step:
    """The ingest as made from what is read: of sources left out, the files of before."""
    if step.name != INGEST:
        return step
    is_left_out = lambda part: part.partition(":")[0] in {f"source {name}" for name in left_out}  # noqa: E731
    parts = {name: value for name, value in step.parts.items() if not is_left_out(name)}
    return replace(step, parts=parts | {name: was[name] for name in was if is_left_out(name)})


def _why_whole(steps: list[Step], history: History, news: Arrivals) -> str:
    """The first thing that changed beside new files, in words; empty if nothing did."""
    if INGEST in history.stopped:
        return f"{INGEST}: {plan.STOPPED}"
    if INGEST in history.lost and INBOX not in history.lost[INGEST]:
        return history.lost[INGEST]
    for step in steps:
        if step.name == INGEST:
            old = history.records.get(INGEST)
            if old and old.parts is not None:
                told = changes.difference(_settings(old.parts), _settings(step.parts))
                if told:
                    return told
        elif (
            step.verb in MADE_BEFORE and is_before_models(step) and step.reason and step.is_certain
        ):
            return f"{step.name}: {step.reason}"
    # Whom that run had touched is not known any more.
    for step in steps:
        is_known = step.name in history.records or step.name in history.stopped
        is_left = is_known and step.reason and plan.cause(step, history)
        if is_left and _is_of_users(step):
            return f"{step.name}: {plan.STOPPED}"
    return news.why_not


def _is_of_users(step: Step) -> bool:
    """Whether a step makes of what was read what is told of users, up to their scores."""
    return step.name != INGEST and (step.verb in ("matrix", "score") or is_before_models(step))


def _settings(parts: changes.Parts) -> changes.Parts:
    """All but the files, and but the inbox, whose files are the rows that were inserted."""
    return {
        name: value for name, value in parts.items()
        if ": file " not in name and not name.startswith(f"source {INBOX}:")
    }  # fmt: skip
