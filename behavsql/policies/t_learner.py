"""Uplift as the difference of two models: one of the users acted upon, one of the others."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.acting.decisions import Decisions
from behavsql.policies import regression
from behavsql.policies.base import Policy, held_out

if TYPE_CHECKING:
    import lightgbm


class TLearner(Policy):
    """One regression of the reward for each action; gains are differences to that of doing nothing.

    Source: Künzel, Sekhon, Bickel and Yu 2019, Metalearners for estimating heterogeneous treatment
    effects, equation 3.
    """

    name: ClassVar[str] = "t_learner"

    def fit(self, train: Decisions) -> Self:
        late = held_out(train)
        self._models: list[lightgbm.Booster] = []
        for action in range(len(train.actions)):
            rows = train.action == action
            booster = regression.fitted(
                train.matrix[rows], train.reward[rows], late[rows], self.seed, self.threads
            )
            self._models.append(regression.from_text(regression.text(booster)))
        return self

    def values(self, decisions: Decisions) -> np.ndarray:
        """(n, k) float64: the reward expected of each action."""
        columns = [
            regression.predicted(model, decisions.matrix, self.threads) for model in self._models
        ]
        return np.stack(columns, axis=1)

    def gains(self, decisions: Decisions) -> np.ndarray:
        values = self.values(decisions)
        return values - values[:, :1]

    def save(self) -> dict[str, bytes]:
        return {
            f"arm_{place}.txt": regression.text(model) for place, model in enumerate(self._models)
        }

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        policy = cls()
        arms = [name for name in files if name.startswith("arm_")]
        policy._models = [regression.from_text(files[f"arm_{i}.txt"]) for i in range(len(arms))]
        return policy
