"""Who is acted upon: what acting gains each user, told from held-out decisions, and the rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from behavsql.acting.decisions import Decisions
from behavsql.off_policy import NORMAL_95


@dataclass(frozen=True)
class Line:
    """gain of an action = at + slope * (what the policy says - center), with its covariance."""

    center: float
    at: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def gains(self, said: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(expected, low, high), (n,) each: the mean gain of users of whom as much is said."""
        off = said - self.center
        ((a, b), (_, c)) = self.covariance
        expected = self.at + self.slope * off
        spread = NORMAL_95 * np.sqrt(np.maximum(a + 2 * b * off + c * off * off, 0))
        return expected, expected - spread, expected + spread


@dataclass(frozen=True)
class Calibration:
    """What gains a policy's words mean, for each action: the best line through held-out effects.

    Effects are the doubly robust ones, one noisy number for each decision, whose mean over any
    users is the true mean effect on them. Errors are robust, and users keep together. A slope
    below zero is none: the policy then cannot tell users apart, and all get the mean effect.
    Source: Chernozhukov, Demirer, Duflo and Fernandez-Val 2018, Generic machine learning inference
    on heterogeneous treatment effects: best linear predictor.
    """

    lines: tuple[Line, ...]  # of each action but the first, which is to do nothing

    @classmethod
    def of(
        cls, held: Decisions, said: np.ndarray, effects: np.ndarray,
        shifts: Sequence[np.ndarray] = (),
    ) -> Self:  # fmt: skip
        """From held-out decisions; said and effects: (n, k).

        shifts: (k,) each, how far the mean effects would lie elsewhere by what is unsure of
        propensities, which is part of the intervals.
        """
        more = np.square([*shifts, np.zeros(said.shape[1])]).sum(axis=0)
        return cls(tuple(
            _line(said[:, action], effects[:, action], held.users, float(more[action]))
            for action in range(1, said.shape[1])
        ))  # fmt: skip

    def gains(self, said: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(expected, low, high), (n, k) each; doing nothing gains nothing."""
        found = [np.zeros((3, len(said)))]
        for action, line in enumerate(self.lines, 1):
            found.append(np.stack(line.gains(said[:, action])))
        expected, low, high = np.stack(found, axis=2)
        return expected, low, high

    def to_list(self) -> list[dict]:
        return [vars(line) for line in self.lines]

    @classmethod
    def from_list(cls, lines: list[dict]) -> Self:
        return cls(tuple(Line(**line) for line in lines))


def _line(said: np.ndarray, effect: np.ndarray, users: np.ndarray, more: float) -> Line:
    """more: variance of the mean beside that of the draw of users."""
    center = float(said.mean()) if np.isfinite(said).all() and len(said) else 0.0
    off = np.where(np.isfinite(said), said - center, 0.0)
    has_slope = len(off) > 2 and off.std() > 1e-12 * max(abs(center), 1e-12)
    columns = np.stack([np.ones(len(off)), off], axis=1)
    if has_slope:
        beta, covariance = _regressed(columns, effect, users)
        covariance[0, 0] += more
        if beta[1] > 0:
            return Line(center, float(beta[0]), float(beta[1]), _pairs(covariance))
    beta, covariance = _regressed(columns[:, :1], effect, users)
    return Line(center, float(beta[0]), 0.0, ((float(covariance[0, 0]) + more, 0.0), (0.0, 0.0)))


def _pairs(matrix: np.ndarray) -> tuple:
    return tuple(tuple(map(float, row)) for row in matrix)


def _regressed(
    columns: np.ndarray, effect: np.ndarray, users: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, their covariance where the rows of a user depend on each other)."""
    bread = np.linalg.pinv(columns.T @ columns)
    beta = bread @ (columns.T @ effect)
    _, codes = np.unique(users, return_inverse=True)
    scores = np.stack(
        [np.bincount(codes, column * (effect - columns @ beta)) for column in columns.T], axis=1
    )
    return beta, bread @ (scores.T @ scores) @ bread


def effects(decisions: Decisions, expected: np.ndarray, clip: float) -> np.ndarray:
    """(n, k) effect of each action on each decision's reward, against doing nothing.

    One noisy number each, whose mean is right: doubly robust, see off_policy.estimate.
    Source: Robins, Rotnitzky and Zhao 1994: augmented inverse probability weighting.
    """
    rows, taken = np.arange(len(decisions)), decisions.action
    outcome = expected * decisions.reach
    residual = decisions.reward - expected[rows, taken]
    outcome[rows, taken] += residual / np.maximum(decisions.propensity[rows, taken], clip)
    return outcome - outcome[:, :1]


def chosen(decisions: Decisions, scores: np.ndarray, budget: float) -> np.ndarray:
    """(n,) int the action of each decision by the rules of predictions.next_action.

    At each moment the share `budget` of users with the highest score of any action, if it is above
    zero and they are not capped; ties go by the hash of the user.
    """
    best, gain, is_open = _wanted(decisions, scores)
    order = np.lexsort((decisions.users, -gain, ~is_open, decisions.moment))
    sizes = np.bincount(decisions.moment)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - starts[decisions.moment[order]]
    is_within = place < np.floor(budget * sizes[decisions.moment])
    return np.where(is_open & is_within, best, 0)


def drawn(decisions: Decisions, scores: np.ndarray, budget: float) -> np.ndarray:
    """(n, k) how likely each action is where all score alike, so that whom the budget reaches is drawn."""
    best, _, is_open = _wanted(decisions, scores)
    affordable = np.floor(budget * np.bincount(decisions.moment))
    share = np.minimum(1, affordable / np.maximum(np.bincount(decisions.moment, is_open), 1))
    found = np.zeros(scores.shape)
    found[np.arange(len(decisions)), best] = np.where(is_open, share[decisions.moment], 0)
    found[:, 0] = 1 - found[:, 1:].sum(axis=1)
    return found


def _wanted(decisions: Decisions, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((n,) the best action, (n,) its score, (n,) whether it may be done and is worth it)."""
    best = scores[:, 1:].argmax(axis=1) + 1
    gain = scores[np.arange(len(scores)), best]
    return best, gain, (gain > 0) & ~decisions.is_capped


def as_probabilities(action: np.ndarray, actions: int) -> np.ndarray:
    """(n, k) of a policy that is sure."""
    return np.eye(actions)[action]
