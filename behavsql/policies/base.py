"""What every policy promises."""

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.acting.decisions import Decisions

if TYPE_CHECKING:
    import polars as pl


class Policy(ABC):
    """One way to tell what each action is worth to each user, learned from logged decisions.

    `fit` learns from `train`, whose propensities are known; the last moments of it may be held out
    to stop early. The same seed and rows give the same policy.
    """

    name: ClassVar[str]  # "t_learner", its key in POLICIES
    is_reference: ClassVar[bool] = False
    looks_ahead: ClassVar[bool] = False  # whether gains count what comes after the horizon too

    def __init__(self, seed: int = 7, threads: int = 1, discount: float = 0.9) -> None:
        self.seed, self.threads, self.discount = seed, threads, discount

    @abstractmethod
    def fit(self, train: Decisions) -> Self:
        """Learn."""

    @abstractmethod
    def gains(self, decisions: Decisions) -> np.ndarray:
        """(n, k) float64: what each action brings beyond doing nothing, costs deducted; (n, 0) is 0."""

    @abstractmethod
    def save(self) -> dict[str, bytes]:
        """The policy as named files: JSON, LightGBM text, .npz; never pickle."""

    @classmethod
    @abstractmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The inverse of `save`: gains are the same bit for bit."""

    def table(self) -> "pl.DataFrame | None":
        """What it has to show: state, action, value, count_decisions; None if it is no table."""
        return None


def held_out(decisions: Decisions) -> np.ndarray:
    """(n,) bool: the last fifth of the moments, at least one, none if there is only one."""
    moments = np.unique(decisions.moment)
    last = max(1, len(moments) // 5) if len(moments) > 1 else 0
    return np.isin(decisions.moment, moments[len(moments) - last :])


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()
