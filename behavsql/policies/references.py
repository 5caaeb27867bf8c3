"""The two policies without any model: nobody is acted upon, or everybody alike."""

import json
from typing import ClassVar, Self

import numpy as np

from behavsql.acting.decisions import Decisions
from behavsql.policies.base import Policy, as_json


class Nobody(Policy):
    """Nothing is ever done."""

    name: ClassVar[str] = "nobody"
    is_reference: ClassVar[bool] = True

    def fit(self, train: Decisions) -> Self:
        return self

    def gains(self, decisions: Decisions) -> np.ndarray:
        gains = np.full((len(decisions), len(decisions.actions)), -np.inf)
        gains[:, 0] = 0.0
        return gains

    def save(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        return cls()


class Everybody(Policy):
    """Each action is worth the same to all: its mean gain, weighted by one over the propensity.

    Under a budget whoever comes first gets it: drawn by a hash of the user.
    """

    name: ClassVar[str] = "everybody"
    is_reference: ClassVar[bool] = True

    def fit(self, train: Decisions) -> Self:
        taken = train.propensity[np.arange(len(train)), train.action]
        weight = 1 / np.maximum(taken, 0.01)
        k = len(train.actions)
        sums = np.bincount(train.action, weight * train.reward, minlength=k)
        means = sums / np.maximum(np.bincount(train.action, weight, minlength=k), 1e-12)
        self._gains = means - means[0]
        return self

    def gains(self, decisions: Decisions) -> np.ndarray:
        return np.tile(self._gains, (len(decisions), 1))

    def save(self) -> dict[str, bytes]:
        return {"everybody.json": as_json({"gains": self._gains.tolist()})}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        policy = cls()
        policy._gains = np.array(json.loads(files["everybody.json"])["gains"])
        return policy
