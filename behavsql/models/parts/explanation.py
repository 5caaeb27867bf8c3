"""Why a model says what it says: a base, and what each feature adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

EVENTS = "(events)"  # stands for the last events where a model takes them together
CANCELLED = 1e-9  # parts whose sum is so small a share of their sizes cancel each other out


@dataclass(frozen=True)
class Explanation:
    """base + the sum of a row's parts + residual, on the model's own raw scale, for n rows.

    The raw scale is that on which the parts add up: log odds, log of the mean, or the answer's
    own. `start` is the model's answer where only the base is known, `answer` its answer for the row.
    """

    method: str  # "TreeSHAP", in the words of `models.explanations`
    features: tuple[str, ...]  # f names; EVENTS for a reading of the events as a whole
    base: float
    parts: np.ndarray  # (n, f)
    residual: np.ndarray  # (n,) what the method leaves over
    start: float
    answer: np.ndarray  # (n,)

    @classmethod
    def exact(
        cls, method: str, features: Sequence[str], base: float, parts: np.ndarray, start: float,
        answer: np.ndarray,
    ) -> Self:  # fmt: skip
        """One that leaves nothing over."""
        residual = np.zeros(len(answer))
        return cls(method, tuple(features), float(base), parts, residual, float(start), answer)

    def rescaled(self, start: float, answer: np.ndarray, most: np.ndarray | float) -> Self:
        """The same parts in another unit, in which they lead from `start` to `answer` (n,).

        All of a row's parts are multiplied by one factor: the steepness of the way between the two.
        Where it would make one of them larger than `most`, because parts cancel each other out or
        the way is a step, the factor is smaller and the rest is residual.
        Source: A. Shrikumar, P. Greenside and A. Kundaje, 2017, Learning important features through
        propagating activation differences, section 3.5.1 (the rescale rule).
        """
        change = answer - start
        total = self.parts.sum(axis=1) + self.residual
        size = np.abs(self.parts).sum(axis=1) + np.abs(self.residual)
        tells = np.abs(total) > CANCELLED * size
        factor = np.where(tells, change / np.where(tells, total, 1.0), 0.0)
        largest = np.abs(self.parts).max(axis=1, initial=0.0) * np.abs(factor)
        factor = factor * np.minimum(1.0, most / np.maximum(largest, 1e-300))
        parts = self.parts * factor[:, np.newaxis]
        residual = change - parts.sum(axis=1)
        return replace(
            self, base=float(start), parts=parts, residual=residual, start=float(start), answer=answer
        )  # fmt: skip

    def only(self, rows: np.ndarray | slice) -> Self:
        """Of some rows."""
        return replace(
            self, parts=self.parts[rows], residual=self.residual[rows], answer=self.answer[rows]
        )


def most_of(kind: str, start: float, answer: np.ndarray) -> np.ndarray | float:
    """How large a part of an answer may be: a probability's whole range, or twice what is said."""
    return 1.0 if kind == "binary" else 2 * (abs(start) + np.abs(answer)) + 1e-300


def summed(
    weighted: Sequence[tuple[Explanation, float]], base: float
) -> tuple[tuple[str, ...], float, np.ndarray, np.ndarray]:
    """Features, base, parts and residual of the weighted sum of explanations, added to a base."""
    names = tuple(dict.fromkeys(name for one, _ in weighted for name in one.features))
    place = {name: j for j, name in enumerate(names)}
    rows = len(weighted[0][0].answer) if weighted else 0
    parts, residual = np.zeros((rows, len(names))), np.zeros(rows)
    for one, weight in weighted:
        parts[:, [place[name] for name in one.features]] += weight * one.parts
        residual += weight * one.residual
        base += weight * one.base
    return names, base, parts, residual


def together(names: Sequence[str], parts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns (n, m) of the same name added up: the names once, in order, and (n, f).

    >>> together(["a", "b", "a"], np.array([[1.0, 2.0, 3.0]]))
    (('a', 'b'), array([[4., 2.]]))
    """
    found = tuple(dict.fromkeys(names))
    place = {name: j for j, name in enumerate(found)}
    which = np.zeros((len(names), len(found)))
    which[np.arange(len(names)), [place[name] for name in names]] = 1.0
    return found, parts @ which
