"""Whether propensities can be believed: weighted by them, who was acted upon looks like all.

Told on decisions they were not learned from, and where some could not be reached on those who were
surely there: seen later.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from behavsql.acting.decisions import Decisions
from behavsql.off_policy import NORMAL_95

BINS = 10
MOST_APART = 0.1  # deviations that a weighted mean may surely be off
SURELY = 3.0  # standard errors: some twenty columns are looked at


@dataclass(frozen=True)
class Balance:
    """Action by action how far off each column of the state is, in its standard deviations."""

    columns: tuple[str, ...]
    actions: tuple[str, ...]  # (a,) without doing nothing
    before: np.ndarray  # (a, f) mean of those acted upon less that of all
    after: np.ndarray  # (a, f) the same, weighted by one over the propensity
    error: np.ndarray  # (a, f) standard error of the latter

    @classmethod
    def of(cls, held: Decisions, clip: float) -> "Balance":
        there = _there(held)
        matrix = _standardised(there.matrix)
        parts = [
            _apart(matrix[there.action == action], 1 / np.maximum(
                there.propensity[there.action == action, action], clip))
            for action in range(1, len(there.actions))
        ]  # fmt: skip
        return cls(there.columns, there.actions[1:], *np.stack(parts, axis=1))

    def worst(self) -> str:
        """The column that is surely too far off, in words; empty where there is none."""
        over = np.abs(self.after) - SURELY * self.error
        if not over.size or not np.nanmax(over, initial=0.0) > MOST_APART:
            return ""
        action, column = np.unravel_index(np.nanargmax(over), over.shape)
        return (
            f"propensities do not explain who got {self.actions[action]}: weighted by them, "
            f"{self.columns[column]} is {abs(self.after[action, column]):.2f} deviations off, allowed "
            f"is {MOST_APART}"
        )

    def table(self) -> pl.DataFrame:
        a, f = self.after.shape
        return pl.DataFrame({
            "action": np.repeat(np.array(self.actions, dtype=object), f).tolist(),
            "feature": list(self.columns) * a, "difference_before": self.before.ravel(),
            "difference": self.after.ravel(), "standard_error": self.error.ravel(),
        })  # fmt: skip


def calibration(held: Decisions) -> pl.DataFrame:
    """In tenths by propensity: how many got the action, of how many by the propensities."""
    there, parts = _there(held), []
    for place, action in enumerate(there.actions[1:], 1):
        chance = there.propensity[:, place]
        edges = (
            np.unique(np.quantile(chance, np.linspace(0, 1, BINS + 1)[1:-1])) if len(chance) else []
        )
        tenth = np.searchsorted(edges, chance, side="right")
        frame = pl.DataFrame({"tenth": tenth, "chance": chance, "is_acted": there.action == place})
        parts.append(
            frame.group_by("tenth").agg(
                pl.len().cast(pl.Int64).alias("count_decisions"),
                pl.col("chance").mean().alias("mean_propensity"),
                pl.col("is_acted").mean().alias("acted_share"),
            ).sort("tenth").select(
                pl.lit(action).alias("action"), (pl.col("tenth") + 1).alias("bin"),
                "count_decisions", "mean_propensity", "acted_share",
                *_wilson(pl.col("acted_share"), pl.col("count_decisions")),
            )
        )  # fmt: skip
    return pl.concat(parts)


def _wilson(share: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Source: Wilson 1927, Probable inference, the law of succession, and statistical inference."""
    z = NORMAL_95
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (share * (1 - share) / count + z * z / (4 * count**2)).sqrt() / (1 + z * z / count)
    return (middle - half).alias("low"), (middle + half).alias("high")


def _there(held: Decisions) -> Decisions:
    return held.rows(held.is_seen_later) if (held.reach < 1).any() else held


def _standardised(matrix: np.ndarray) -> np.ndarray:
    """(n, f) missing ones at the mean."""
    known = ~np.isnan(matrix)
    count = np.maximum(known.sum(axis=0), 1)
    off = np.where(known, matrix - np.where(known, matrix, 0).sum(axis=0) / count, 0)
    spread = np.sqrt(np.square(off).sum(axis=0) / count)
    return off / np.where(spread > 0, spread, 1)


def _apart(matrix: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(3, f): means, weighted means, their standard errors; NaN where there is no row."""
    if not len(matrix):
        return np.full((3, matrix.shape[1]), np.nan)
    share = weight / weight.sum()
    mean = share @ matrix
    error = np.sqrt(np.square(share[:, None] * (matrix - mean)).sum(axis=0))
    return np.stack([matrix.mean(axis=0), mean, error])
