"""Tabular Q-learning: what each action is worth in each of a few states, the future included."""

import json
from typing import ClassVar, Self

import numpy as np
import polars as pl

from behavsql.acting.decisions import GONE, Decisions
from behavsql.policies.base import Policy, as_json

PRIOR = 25  # decisions that a state's and action's mean reward must outweigh
MOST_SWEEPS = 2_000
TOLERANCE = 1e-10  # of the largest value, between two sweeps


class QTable(Policy):
    """Q(s, a) <- mean over logged decisions of r + discount * max_b Q(s', b), swept until it stands.

    That is Q-learning with step size 1 / visits over a log read again and again. Where a state saw
    an action seldom, its mean reward leans on the state's own and the action's overall gain. Who is
    gone brings nothing more; a decision whose next one is not known yet tells its reward alone.
    Source: Watkins and Dayan 1992, Q-learning; Ernst, Geurts and Wehenkel 2005, Tree-based batch
    mode reinforcement learning, for the log.
    """

    name: ClassVar[str] = "q_table"
    looks_ahead: ClassVar[bool] = True

    def fit(self, train: Decisions) -> Self:
        s, k = len(train.states), len(train.actions)
        self._states, self._actions = train.states, train.actions
        cell = train.state * k + train.action
        count = np.bincount(cell, minlength=s * k).reshape(s, k)
        total = np.bincount(cell, train.reward, minlength=s * k).reshape(s, k)
        reward = (total + PRIOR * _prior(total, count)) / (count + PRIOR)
        moves = _moves(train, s, k)
        value = np.zeros((s, k))
        for _ in range(MOST_SWEEPS):
            swept = reward + self.discount * moves @ value.max(axis=1)
            change = np.abs(swept - value).max()
            value = swept
            if change <= TOLERANCE * max(np.abs(value).max(), 1e-300):
                break
        self._value, self._count = value, count
        return self

    def gains(self, decisions: Decisions) -> np.ndarray:
        gain = self._value - self._value[:, :1]
        # A state that train never saw is worth what all are on average.
        mean = (gain * self._count.sum(axis=1, keepdims=True)).sum(axis=0)
        table = np.vstack([gain, mean / max(self._count.sum(), 1)])
        places = {state: place for place, state in enumerate(self._states)}
        known = np.array([places.get(state, -1) for state in decisions.states] + [-1])
        return table[known[decisions.state]]

    def table(self) -> pl.DataFrame:
        s, k = self._value.shape
        return pl.DataFrame({
            "state": np.repeat(np.array(self._states, dtype=object), k).tolist(),
            "action": list(self._actions) * s,
            "value": self._value.ravel(),
            "count_decisions": self._count.ravel(),
        })  # fmt: skip

    def save(self) -> dict[str, bytes]:
        parts = {"states": self._states, "actions": self._actions, "value": self._value.tolist(),
                 "count": self._count.tolist()}  # fmt: skip
        return {"q_table.json": as_json(parts)}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        policy, parts = cls(), json.loads(files["q_table.json"])
        policy._states, policy._actions = tuple(parts["states"]), tuple(parts["actions"])
        policy._value, policy._count = np.array(parts["value"]), np.array(parts["count"])
        return policy


def _prior(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(s, k) what is expected of a cell before it was seen: the state's mean, the action's gain."""
    overall = total.sum() / max(count.sum(), 1)
    state = (total.sum(axis=1) + PRIOR * overall) / (count.sum(axis=1) + PRIOR)
    # The action's gain within states, so that whom it was given to does not count.
    beyond = (total - count * state[:, None]).sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    return state[:, None] + beyond[None, :]


def _moves(train: Decisions, s: int, k: int) -> np.ndarray:
    """(s, k, s) how likely each state comes after, what is left being gone.

    A cell leans on where its state leads whatever is done.
    """
    seen = np.zeros((s, k, s + 1))
    is_known = train.is_next_known
    after = np.where(train.next_state == GONE, s, train.next_state)
    np.add.at(seen, (train.state[is_known], train.action[is_known], after[is_known]), 1)
    of_state = seen.sum(axis=1) + 1 / (s + 1)
    prior = of_state / of_state.sum(axis=1, keepdims=True)
    smoothed = seen + PRIOR * prior[:, None, :]
    return (smoothed / smoothed.sum(axis=2, keepdims=True))[:, :, :s]
