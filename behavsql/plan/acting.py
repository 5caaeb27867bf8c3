"""The steps about acting upon users: a policy is learned from the log, and asked about each user."""

from collections.abc import Iterable

from behavsql import __version__
from behavsql.config import Config
from behavsql.plan.changes import text
from behavsql.plan.step import Goal, Step

LEARN, GAINS = "learn actions", "models.action_gains"  # the latter's table too
NO_CAP = 1_000_000  # actions within a window: more than anybody gets


def acting_steps(config: Config, goal: Goal) -> Iterable[Step]:
    """Learning, where all is trained, and the policy's word on each user, each time."""
    rules = {f"actions.{key}": text(value) for key, value in config.actions.model_dump().items()}
    package = {"behavsql": __version__}
    if goal.tasks is None:
        chosen = config.settings
        own = {"settings.seed": str(chosen.seed), "settings.models": chosen.models}
        read = ("actions.decisions", "actions.states", "actions.rewards", "actions.transitions")
        yield Step(LEARN, "learn", read, own | rules | package)
    read = (LEARN, "actions.decisions", "actions.states", "meta.clock")
    yield Step(GAINS, "weigh", read, rules | package)
