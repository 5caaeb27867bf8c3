"""Steps that an update leaves alone, though something they read is another by now.

The live views show what tables hold; some reports are of past questions, whose answers stay.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from behavsql.plan.records import Record
from behavsql.plan.steps import MADE_WITH, Step
from behavsql.updating.past import CATEGORIES, is_of_past

if TYPE_CHECKING:
    from behavsql.updating import Update

REPORT = 7  # the stage of the reports
META = ("meta.clock", "meta.tasks")


def stands(update: "Update", step: Step, old: Record, names: Mapping[str, str]) -> bool:
    """Whether what a step made before stands. names: what the results are called by now."""
    if not update.are_tasks_same:
        return False
    passed, ended = META, set()
    if step.verb == "live" and not update.is_reshaped:
        passed = ("features.matrix", *META)
    elif step.file is None or step.file.stage_number != REPORT:
        return False
    elif is_of_past(step.file):
        passed, ended = ("models[", *META), _ended(update, step, old)
    elif step.file.inputs != ("meta.tasks",) or "meta.tasks" in update.reach.diffs:
        return False  # META is compared as a whole, with the clock
    return old.parts == step.parts and all(
        old.inputs.get(name) == names.get(name)
        for name in step.reads if not name.startswith(passed) and name not in ended
    )  # fmt: skip


def _ended(update: "Update", step: Step, old: Record) -> set[str]:
    """What a report of the past was made from that has not changed since as far as it looks."""
    found = update.past.unchanged(step.name)
    if CATEGORIES in found and not update.is_reshaped:
        found.add(MADE_WITH[CATEGORIES])
    return {name for name in found if old.inputs.get(name) == update.names.get(name)}
