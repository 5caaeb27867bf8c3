"""What a run would do and why: the reason of every step.

A step must run if its own parts changed (its SQL file, a setting, a source file) or if a result
that it reads is not the one it was made from. Whether a step that runs makes other rows than
before is known afterwards only: what reads it may run (`is_certain` False), and is looked at again
when its turn comes.
"""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from behavsql.catalog import Catalog
from behavsql.config import Config
from behavsql.errors import ConfigError, nearest
from behavsql.plan import changes
from behavsql.plan.params import FOUND_PARAMS as FOUND_PARAMS
from behavsql.plan.params import all_params as all_params
from behavsql.plan.params import settings_params as settings_params
from behavsql.plan.records import History, Record
from behavsql.plan.steps import JUDGE as JUDGE
from behavsql.plan.steps import NOT_UNDONE, OF_MODELS, Goal, Step, all_steps
from behavsql.plan.steps import PRETRAIN as PRETRAIN

STOPPED = "failed or was stopped last time"
SELECTED = "selected"
FULL = "--full"
ASKED = "asked for"
FORCED = {SELECTED, FULL, ASKED}  # run whatever came of the steps above


class Cause(NamedTuple):
    """Why a step must run, in words, and the step at which that began."""

    reason: str
    root: str


def make_plan(
    catalog: Catalog,
    config: Config,
    history: History | None = None,
    select: Iterable[str] = (),
    full: bool = False,
    goal: Goal | None = None,
) -> list[Step]:
    """Every step in order, each with its reason to run.

    select: names, patterns or schemas ("features.*", "labels"); `x+` takes what depends on x too,
    and only what is selected, and out of date above it, runs. full: every step runs, or every
    selected one. Raises ConfigError for a selection that matches nothing.
    """
    history, goal = history or History(), goal or Goal()
    steps = all_steps(catalog, config, goal)
    chosen = _selected(steps, select)
    forced = dict.fromkeys(chosen, SELECTED) if chosen is not None else {}
    if full and chosen is None:
        forced = {step.name: FULL for step in steps}
    forced |= {f"train {task}": ASKED for task in goal.tasks or ()}
    judged = _judged(steps, history, forced)
    return judged if chosen is None else _only(judged, chosen)


def without_skipped(steps: list[Step], usual: list[Step], history: History) -> list[Step]:
    """A plan of everything without what is of tasks that will be skipped again, as far as is known.

    usual: the plan of a build that is not full. Nothing is known where the events may be others.
    """
    above = itertools.takewhile(lambda step: step.verb != "resolve", usual)
    if any(step.reason for step in above):
        return steps
    resolve = next(step for step in usual if step.verb == "resolve")
    skipped = _stay_skipped(resolve, history)
    return [
        replace(step, reason=None) if _is_of_task(step) and step.task in skipped else step
        for step in steps
    ]


def cause(step: Step, history: History) -> Cause | None:
    """Why a step must run, as far as what is there now tells; None if it is up to date."""
    old = history.records.get(step.name)
    was_stopped = step.name in history.stopped
    if old is None:
        return Cause(STOPPED if was_stopped else "new", step.name)
    if step.name in history.lost and step.name not in history.roots:
        return Cause(history.lost[step.name], step.name)
    if old.parts is None:
        return Cause("built by an earlier behavsql", step.name)
    if told := changes.difference(old.parts, step.parts, step.file.where if step.file else ""):
        return Cause(told, step.name)
    if step.verb in NOT_UNDONE and was_stopped and step.name not in history.roots:
        return Cause(STOPPED, step.name)
    moved = _moved(step, old, history)
    if moved is None:
        return None
    maker, is_there = moved
    root = history.roots.get(maker, maker)
    if was_stopped:
        return Cause(STOPPED, root)
    if not is_there:
        return Cause(f"{maker} is gone", root)
    return Cause(_is_rebuilt(root, "is" if root in history.roots else "was"), root)


def _moved(step: Step, old: Record, history: History) -> tuple[str, bool] | None:
    """The maker of the first result that is not what `step` was made from; whether it is there."""
    for name in dict.fromkeys((*step.made_by, *old.inputs)):
        now = history.names.get(name) if name in step.made_by else None
        if now != old.inputs.get(name):
            return step.made_by.get(name, name.removeprefix("made ")), now is not None
    return None


def _is_rebuilt(step: str, verb: str = "is") -> str:
    """
    >>> _is_rebuilt("staging.events"), _is_rebuilt("train churn", "was")
    ('staging.events is rebuilt', 'churn was trained again')
    """
    kind, _, task = step.partition(" ")
    done = {"train": "trained again", "score": "scored again"}.get(kind)
    return f"{task} {verb} {done}" if done else f"{step} {verb} rebuilt"


def _judged(steps: list[Step], history: History, forced: Mapping[str, str]) -> list[Step]:
    """Each step with its reason: its own, else that of the first step above it that has one."""
    roots: dict[str, str] = {}
    skipped: frozenset[str] = frozenset()  # tasks of which it is known now
    judged = []
    for step in steps:
        above = next((roots[name] for name in step.parents if name in roots), None)
        if step.verb == "resolve" and not above and step.name not in forced:
            skipped = _stay_skipped(step, history)
        is_certain = True
        if step.name in forced:
            found = Cause(forced[step.name], step.name)
        elif _is_of_task(step) and step.task in skipped:
            found = None
        elif found := _own_cause(step, history):
            pass
        elif above:
            found, is_certain = Cause(_is_rebuilt(above), above), False
        if found:
            roots[step.name] = found.root
            step = replace(step, reason=found.reason, is_certain=is_certain)
        judged.append(step)
    return judged


def _stay_skipped(resolve: Step, history: History) -> frozenset[str]:
    """The skipped tasks that meta.tasks would skip again: neither events nor their settings moved."""
    old = history.records.get(resolve.name)
    if old is None or old.parts is None or _moved(resolve, old, history):
        return frozenset()
    names = {*old.parts, *resolve.parts}
    moved = [name for name in names if old.parts.get(name) != resolve.parts.get(name)]
    if any(not name.startswith(("tasks.", "labels.")) for name in moved):
        return frozenset()
    about = {re.split(r"[. ]", name)[1] for name in moved}
    return history.skipped - about


def _own_cause(step: Step, history: History) -> Cause | None:
    """As `cause`, but nothing is missing of a task that was refused, or skipped for its events."""
    closed = history.skipped if step.verb == "sql" else history.skipped | history.refused
    return None if _is_of_task(step) and step.task in closed else cause(step, history)


def _is_of_task(step: Step) -> bool:
    return step.verb in OF_MODELS or step.name.startswith("labels.")


def _selected(steps: list[Step], select: Iterable[str]) -> set[str] | None:
    """The names a selection means; None where there is none, which means all."""
    chosen: set[str] = set()
    names = [step.name for step in steps]
    for pattern in select:
        text, downstream = pattern.removesuffix("+"), pattern.endswith("+")
        found = {
            name for name in names
            if fnmatch.fnmatch(name, text) or name.partition(".")[0] == text
            or name == f"train {text}" or name == f"labels.{text}"
        }  # fmt: skip
        if not found:
            raise ConfigError(
                f"--select: nothing is called {text!r}; allowed are tables, schemas, tasks and "
                f"patterns such as features.*.{nearest(text, names)} See `behavsql sql list`."
            )
        chosen |= found | (_downstream(steps, found) if downstream else set())
    return chosen or None


def _downstream(steps: list[Step], seeds: set[str]) -> set[str]:
    reached = set(seeds)
    for step in steps:
        if reached.intersection(step.parents):
            reached.add(step.name)
    return reached


def _only(steps: list[Step], chosen: set[str]) -> list[Step]:
    """The chosen steps, and what they read as far as it is out of date.

    Without the latter a step would be recorded as made from inputs that it never saw.
    """
    needed = set(chosen)
    for step in reversed(steps):
        if step.name in needed:
            needed |= {other.name for other in steps if other.reason} & set(step.parents)
    return [
        step if step.name in needed else replace(step, reason=None, is_certain=True)
        for step in steps
    ]
