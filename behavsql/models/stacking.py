"""A model of what the members' scores are worth, learned from what they said out of time."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from behavsql.metrics import FLOOR
from behavsql.models.parts.ensemble import Ensemble, Member

NEGLIGIBLE = 1e-3  # a weight below counts as none
POWERS = {"count": 1.0, "amount": 1.5}  # of the deviances that later decide


class Stacking(Ensemble):
    """A non-negative regression on the members' calibrated scores.

    binary         1 / (1 + exp(-(intercept + sum of weight times logit(score)))), log loss
    count, amount  intercept + sum of weight times score, intercept >= 0; Poisson deviance for a
                   count, Tweedie deviance of power 1.5 for an amount
    The weights need not sum to 1: several members that agree may be surer than each of them. They
    are learned from scores that training has members of the same make give to later cutoffs than
    they were fitted on, see behavsql/ensembles.py; the members that speak are fitted on all of
    train.
    Source: Wolpert 1992 (learn from held-out predictions); Breiman 1996, stacked regressions,
    section 3 (weights >= 0).
    """

    name: ClassVar[str] = "stacking"
    is_out_of_time: ClassVar[bool] = True

    def _weigh(
        self, members: Sequence[Member], scores: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, float]:
        from scipy.optimize import minimize

        binary = self.kind == "binary"
        unit = 1.0 if binary else max(float(label.mean()), FLOOR)  # so that tolerances fit
        terms = _logit(scores) if binary else scores / unit
        columns = np.column_stack([terms, np.ones(len(label))])
        objective = _logistic(columns, label) if binary else (
            _deviance(columns, label / unit, POWERS[self.kind])
        )  # fmt: skip
        bounds = [(0.0, None)] * len(members) + [(None if binary else FLOOR, None)]
        start = np.append(np.full(len(members), 1 / len(members)), 0.0 if binary else FLOOR)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        weights = np.where(found[:-1] < NEGLIGIBLE, 0.0, found[:-1])
        return weights, float(found[-1] * unit)

    def _term(self, member: Member, score: np.ndarray) -> np.ndarray:
        return _logit(score) if self.kind == "binary" else score

    def _term_sql(self, member: Member, score: str) -> str:
        return f"(ln({score}) - ln(1e0 - {score}))" if self.kind == "binary" else score

    def _answer(self, total: np.ndarray) -> np.ndarray:
        if self.kind != "binary":
            return total
        return 1 / (1 + np.exp(-np.clip(total, -500, 500)))

    def _answer_sql(self, total: str) -> str:
        if self.kind != "binary":
            return total
        return f"1e0 / (1e0 + exp(-greatest(least({total}, 500e0), -500e0)))"


def _logit(score: np.ndarray) -> np.ndarray:
    """Of calibrated probabilities, which are never 0 or 1."""
    return np.log(score) - np.log1p(-score)


Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]  # of the weights: loss and gradient


def _logistic(columns: np.ndarray, label: np.ndarray) -> Objective:
    def at(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = columns @ weights
        answer = 1 / (1 + np.exp(-np.clip(total, -500, 500)))
        value = np.mean(np.logaddexp(0, total) - label * total)
        return value, columns.T @ (answer - label) / len(label)

    return at


def _deviance(columns: np.ndarray, label: np.ndarray, power: float) -> Objective:
    """Half the mean unit deviance, but for what depends on the label alone."""

    def at(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = np.maximum(columns @ weights, FLOOR)
        if power == 1:
            value = mean - label * np.log(mean)
        else:
            value = mean ** (2 - power) / (2 - power) - label * mean ** (1 - power) / (1 - power)
        slope = (mean - label) / mean**power
        return value.mean(), columns.T @ slope / len(label)

    return at
