"""Which of a task's models is the best, and which one may speak."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from behavsql.bootstrap import Gain
from behavsql.compile import CompileError, RowForm
from behavsql.frames import Asked
from behavsql.metrics import DIRECTION, paired_gain
from behavsql.models import best_reference
from behavsql.tasks import Task

if TYPE_CHECKING:
    from behavsql.models.base import Model
    from behavsql.models.parts.ensemble import Member
    from behavsql.train import Trained

IN_PYTHON, OF_LISTS, OF_FEATURES = 0, 1, 2  # how far a model goes in the file
NEEDS_LESS = {IN_PYTHON: "which is a function in SQL and it is not",
              OF_LISTS: "which is a function without lists of events and it is not"}  # fmt: skip


def promote(
    trained: "Sequence[Trained]", asked: Asked, task: Task, seed: int, types: Mapping[str, str]
) -> "tuple[Trained, Trained]":
    """(champion, published): the best candidate on the half of valid that picks, and who speaks.

    That is the champion, if it surely beats the references: the 95% interval of the paired gain
    lies above 0. But where it goes less far in the file than another (only Python can ask it, or
    only by lists of events), it must surely beat that one too; for functions and live views are what
    a small gain is not worth losing. If no candidate may speak, the best reference does.
    types: of the features and of the lists of features.sequences.
    """
    sign = DIRECTION[task.metric]
    best = lambda those: max(those, key=lambda one: sign * one.pick[task.metric])  # noqa: E731
    by_value = {one.model.name: one.pick[task.metric] for one in trained if one.is_reference}
    name = best_reference(by_value, sign)
    reference = next(one for one in trained if one.model.name == name)
    candidates = [one for one in trained if not one.is_reference]
    if not candidates:
        for one in trained:
            one.reason = "reference; no other model was trained"
        return reference, reference
    champion = best(candidates)
    for one in trained:
        one.reason = "reference" if one.is_reference else (
            f"{task.metric} {one.pick[task.metric]:.4g} on valid, {champion.model.name} has "
            f"{champion.pick[task.metric]:.4g}"
        )  # fmt: skip
    gain = _gain(champion, reference, asked, task, seed)
    better = gain.low > 0
    champion.reason = f"{'beats' if better else 'does not surely beat'} {name}: {_told(task, gain)}"
    if not better:
        return champion, reference
    reaches = {id(one): reach(one.model, types, task) for one in candidates}
    further = [one for one in candidates if reaches[id(one)] > reaches[id(champion)]]
    if further:
        other = best(further)
        gain = _gain(champion, other, asked, task, seed)
        ahead = _gain(other, reference, asked, task, seed)
        if gain.low <= 0 < ahead.low:
            lacks = NEEDS_LESS[reaches[id(champion)]]
            champion.reason = (
                f"does not surely beat {other.model.name}, {lacks}: {_told(task, gain)}"
            )
            other.reason = f"beats {name}: {_told(task, ahead)}"
            return champion, other
    return champion, champion


def reach(model: "Model | Member", types: Mapping[str, str], task: Task) -> int:
    """How far a model goes in the file: a function of features, of the last events too, or none."""
    form = RowForm(types, task.name)
    try:
        model.to_sql(form)
    except CompileError:
        return IN_PYTHON
    return OF_LISTS if form.lists else OF_FEATURES


def _gain(one: "Trained", other: "Trained", asked: Asked, task: Task, seed: int) -> Gain:
    pick = asked.split("valid") & ~asked.is_fit_half
    return paired_gain(
        task.kind, task.metric, asked.table.label[pick], one.score[pick], other.score[pick],
        asked.table.users[pick], seed=seed,
    )  # fmt: skip


def _told(task: Task, gain: Gain) -> str:
    return f"{task.metric} better by {gain.mean:.4g} [{gain.low:.4g}, {gain.high:.4g}] on valid"
