"""Uplift learned from imputed effects, for actions that few users got."""

import json
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.acting.decisions import Decisions
from behavsql.policies import regression
from behavsql.policies.base import Policy, as_json, held_out

if TYPE_CHECKING:
    import lightgbm

FOLDS = 2


class XLearner(Policy):
    """What each user would have brought under the other choice is imputed, by models of other users;
    the differences are regressed, for those acted upon and for the others, and the two weighted.

    gain = share * tau_not_acted + (1 - share) * tau_acted, the share being that of the acted upon.
    Source: Künzel, Sekhon, Bickel and Yu 2019, Metalearners for estimating heterogeneous treatment
    effects, equations 6 to 9; cross-fitted over users, as Chernozhukov et al. 2018.
    """

    name: ClassVar[str] = "x_learner"

    def fit(self, train: Decisions) -> Self:
        self._actions = len(train.actions)
        self._shares: list[float] = []
        self._models: list[lightgbm.Booster] = []
        late, fold = held_out(train), (train.users % FOLDS).astype(np.int64)
        for action in range(1, self._actions):
            acted, others = train.action == action, train.action == 0
            effect = np.full(len(train), np.nan)
            for one in range(FOLDS):
                here, there = fold == one, fold != one
                for group, other, sign in ((acted, others, 1), (others, acted, -1)):
                    model = self._regression(train, train.reward, late, other & there)
                    rows = group & here
                    told = regression.predicted(model, train.matrix[rows], self.threads)
                    effect[rows] = sign * (train.reward[rows] - told)
            self._models += [
                self._regression(train, effect, late, rows) for rows in (others, acted)
            ]
            self._shares.append(float(acted.sum() / max((acted | others).sum(), 1)))
        self._models = [regression.from_text(regression.text(model)) for model in self._models]
        return self

    def _regression(
        self, train: Decisions, target: np.ndarray, late: np.ndarray, rows: np.ndarray
    ) -> "lightgbm.Booster":
        return regression.fitted(
            train.matrix[rows], target[rows], late[rows], self.seed, self.threads
        )

    def gains(self, decisions: Decisions) -> np.ndarray:
        gains = np.zeros((len(decisions), self._actions))
        for action, share in enumerate(self._shares, 1):
            not_acted, acted = (
                regression.predicted(model, decisions.matrix, self.threads)
                for model in self._models[2 * action - 2 : 2 * action]
            )
            gains[:, action] = share * not_acted + (1 - share) * acted
        return gains

    def save(self) -> dict[str, bytes]:
        files = {f"tau_{i}.txt": regression.text(model) for i, model in enumerate(self._models)}
        return files | {"shares.json": as_json(self._shares)}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        policy = cls()
        policy._shares = json.loads(files["shares.json"])
        policy._actions = len(policy._shares) + 1
        count = 2 * len(policy._shares)
        policy._models = [regression.from_text(files[f"tau_{i}.txt"]) for i in range(count)]
        return policy
