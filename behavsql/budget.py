"""`time_budget`: what all trainings of a run may take together, shared by what a model may gain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from behavsql.models import REFERENCES

# What a model may take beside the others, by what it is expected to gain; those with the largest
# share come first. Quick ones do not use theirs up, and what they leave goes to those after them.
SHARES = {"lightgbm": 8.0, "logistic": 6.0, "linear": 6.0, "random_forest": 5.0}
SHARE = 2.0


@dataclass
class Budget:
    """The time of a run. seconds: None = no limit. trainings: tasks that are to share it."""

    seconds: float | None
    trainings: int = 1
    started: float = field(default_factory=lambda: monotonic())
    ran_out: bool = False  # whether it cut short what is being trained, which whoever trains resets

    def of_task(self, names: Sequence[str]) -> "TaskBudget":
        """The next task's share: an equal one of what is left."""
        if self.seconds is None:
            return TaskBudget(None, names)
        names = sorted(names, key=lambda name: (name not in REFERENCES, -SHARES.get(name, SHARE)))
        left = self.seconds - (monotonic() - self.started)
        share = left / max(self.trainings, 1)
        self.trainings -= 1
        return TaskBudget(share, names)


@dataclass
class TaskBudget:
    """The time of one task's models, in the order in which they are trained."""

    total: float | None
    names: Sequence[str]
    started: float = field(default_factory=lambda: monotonic())

    def seconds(self, name: str) -> float | None:
        """What the model may take: its part of what is left, beside those that are still to come."""
        left = self.left()
        if left is None:
            return None
        to_come = self.names[self.names.index(name) :]
        return left * SHARES.get(name, SHARE) / sum(SHARES.get(other, SHARE) for other in to_come)

    def left(self) -> float | None:
        """What nobody has used yet, in seconds; None = no limit."""
        return None if self.total is None else self.total - (monotonic() - self.started)
