"""From feature columns to what BG/NBD and Gamma-Gamma know of a customer."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from behavsql.errors import ModelError

MOST = 1e5  # repeats, and days: what is larger counts as so many
MOST_VALUE = 1e15


@dataclass(frozen=True)
class Process:
    """What is counted, a day at most once, and the features that say so."""

    name: str
    count_days: str  # days on which it happened
    gap_mean: str  # mean days between two of them, missing before the second
    since: str  # days since the last
    value: str | None  # what they were worth together

    def columns(self, with_value: bool) -> tuple[str, ...]:
        known = (self.count_days, self.gap_mean, self.since)
        return (*known, self.value) if with_value and self.value else known


PROCESSES = {
    "orders": Process(
        "orders",
        "count_order_days_lifetime",
        "order_gap_mean_days",
        "days_since_last_purchase",
        "value_lifetime",
    ),
    "visits": Process(
        "visits",
        "count_active_days_lifetime",
        "visit_gap_mean_days",
        "days_since_last_activity",
        None,
    ),
}


@dataclass(frozen=True)
class Customers:
    """n customers, all (n,) float64; where one is not known the numbers mean nothing.

    Known is whose last time is known, and from the second day on the mean gap too.
    """

    is_known: np.ndarray  # bool
    x: np.ndarray  # days after the first on which it happened
    t_x: np.ndarray  # days from the first to the last of them
    age: np.ndarray  # days since the first
    value: np.ndarray  # mean of a day, NaN = unknown

    def rows(self, mask: np.ndarray) -> "Customers":
        return Customers(*(column[mask] for column in vars(self).values()))


def read(features: pl.DataFrame, process: Process, with_value: bool = True) -> Customers:
    """(n, f) features -> n customers. ModelError for a column that is not there."""
    columns = process.columns(with_value)
    for column in columns:
        if column not in features.columns:
            raise ModelError(
                f"features: column {column!r} is missing; the model was fitted with "
                f"{', '.join(columns)}. Build the features again."
            )
    days, gap, since = (
        _numbers(features, name) for name in (process.count_days, process.gap_mean, process.since)
    )
    is_known = (days >= 1) & np.isfinite(since) & ((days < 2) | np.isfinite(gap))
    days, gap, since = (
        np.where(is_known & np.isfinite(column), np.clip(column, low, MOST), low)
        for column, low in ((days, 1.0), (gap, 0.0), (since, 0.0))
    )
    x = np.floor(days) - 1
    t_x = np.minimum(x * gap, MOST)
    value = np.full(len(features), np.nan)
    if process.value in columns:
        value = np.clip(_numbers(features, process.value), 0.0, MOST_VALUE) / (x + 1)
    return Customers(is_known, x, t_x, t_x + since, value)


def _numbers(features: pl.DataFrame, name: str) -> np.ndarray:
    column = features[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isinf(column), np.nan, column)
