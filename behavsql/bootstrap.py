"""Drawing users with replacement, to see how far a number could have come out otherwise."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np

from behavsql.errors import ModelError

CHUNK = 1 << 18  # replicates x rows held at once: small enough to stay in the CPU's cache


class Gain(NamedTuple):
    """What a challenger improves on a reference; positive = the challenger is better."""

    mean: float  # on the rows as they are, not the mean of the replicates
    low: float
    high: float
    p_better: float  # share of replicates in which the challenger wins; a draw counts half

    @classmethod
    def of(cls, observed: float, replicates: np.ndarray) -> Self:
        """Summarise the replicates (r,) of a gain; NaN as in `percentiles`."""
        low, high = percentiles(replicates, 0.95)
        if np.isnan(low):
            return cls(observed, low, high, float("nan"))
        defined = replicates[np.isfinite(replicates)]
        wins = np.mean(defined > 0) + np.mean(defined == 0) / 2
        return cls(observed, low, high, float(wins))


class Resampling:
    """Bootstrap replicates of n rows that stay together by user.

    Users are numbered in the order of their codes, so the same users and seed give the same
    draws to every model and every order of the rows.
    Source: Field and Welsh 2007, cluster bootstrap.
    """

    def __init__(self, users: np.ndarray, rows: int) -> None:
        users = np.asarray(users)
        if users.shape != (rows,):
            raise ModelError(
                f"metrics: users has shape {users.shape}; allowed is one user for each of {rows} "
                "rows. Pass the users of the same table."
            )
        distinct, self.codes = np.unique(users, return_inverse=True)
        self.users = len(distinct)

    def draws(self, replicates: int, seed: int) -> Iterator[np.ndarray]:
        """How often each user was drawn: chunks (r, users) that add up to all replicates."""
        rng = np.random.default_rng(seed)
        step = max(1, CHUNK // len(self.codes))
        for start in range(0, replicates, step):
            size = min(step, replicates - start)
            picks = rng.integers(self.users, size=(size, self.users))
            picks += self.users * np.arange(size)[:, None]
            counts = np.bincount(picks.ravel(), minlength=size * self.users)
            yield counts.reshape(size, self.users).astype(np.float64)

    def weights(self, draw: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Multiplicity of each row, rows in the given order: (r, users) -> (r, n)."""
        return np.take(draw, self.codes[order], axis=1)


def percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """The middle `level` of the defined values; NaN where fewer than half are defined."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < max(len(values), 1):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
