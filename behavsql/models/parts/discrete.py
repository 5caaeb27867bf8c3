"""Feature columns -> a handful of states each, learned from train alone."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl

from behavsql.models.parts.encoding import FEWEST_ROWS, as_numbers, check_columns, is_text

FEWEST_PER_BIN = 20  # rows of train
OTHER, MISSING = "other", "missing"


@dataclass(frozen=True)
class Discrete:
    """One feature column as k states 0 .. k - 1, and the code k for what was not seen in train.

    numbers   bin i holds edges[i - 1] <= x < edges[i], the outer ones all that is beyond
    texts     one state per category, the most frequent first, then one for all `other`
    missing   null, NaN and infinities are the last state

    `other` and `missing` are states if enough rows of train were in them.
    """

    source: str
    edges: tuple[float, ...] | None  # None for a text
    categories: tuple[str, ...]  # () for a number
    has_other: bool
    has_missing: bool

    @classmethod
    def learn(cls, series: pl.Series, bins: int) -> Self:
        """At most `bins` states beside `other` and `missing`, filled about equally in train."""
        if not is_text(series.dtype):
            values = as_numbers(series.to_frame(), [series.name])[:, 0]
            known = values[np.isfinite(values)]
            has_missing = len(values) - len(known) >= FEWEST_ROWS
            return cls(series.name, tuple(quantile_edges(known, bins)), (), False, has_missing)
        texts = series.cast(pl.String).rename("value").drop_nulls()
        counts = texts.value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
        kept = counts.filter(pl.col("rows") >= FEWEST_ROWS).head(bins)
        has_other = len(texts) - (kept["rows"].sum() or 0) >= FEWEST_ROWS
        has_missing = len(series) - len(texts) >= FEWEST_ROWS
        return cls(series.name, None, tuple(kept["value"]), has_other, has_missing)

    @property
    def known(self) -> int:
        """States that are neither `other` nor `missing`."""
        return len(self.categories) if self.edges is None else len(self.edges) + 1

    @property
    def size(self) -> int:
        """k, the number of states, which is also the code of what was not seen."""
        return self.known + self.has_other + self.has_missing

    @property
    def other_code(self) -> int:
        """The code of a category that is not among `categories`."""
        return self.known if self.has_other else self.size

    @property
    def missing_code(self) -> int:
        """The code of null."""
        return self.size - 1 if self.has_missing else self.size

    @property
    def names(self) -> list[str]:
        """The k states in words.

        >>> Discrete("days", (3.0, 7.0), (), False, True).names
        ['< 3', '[3, 7)', '>= 7', 'missing']
        """
        last = [OTHER] * self.has_other + [MISSING] * self.has_missing
        if self.edges is None:
            quoted = [f"'{text}'" if text in (OTHER, MISSING) else text for text in self.categories]
            return quoted + last
        return bin_names(self.edges) + last

    def codes(self, series: pl.Series) -> np.ndarray:
        """(n,) int64: the state of every value."""
        if self.edges is None:
            texts = series.cast(pl.String)
            place = texts.cast(pl.Enum(self.categories), strict=False).to_physical().cast(pl.Int64)
            found = place.fill_null(self.other_code).to_numpy()
            return np.where(texts.is_null().to_numpy(), self.missing_code, found)
        values = as_numbers(series.to_frame(), [series.name])[:, 0]
        found = np.searchsorted(self.edges, values, side="right")
        return np.where(np.isnan(values), self.missing_code, found)

    def to_dict(self) -> dict:
        """Ready for JSON; floats survive the round trip exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict) -> Self:
        """The inverse of `to_dict`."""
        edges = None if stored["edges"] is None else tuple(stored["edges"])
        return cls(**stored | {"edges": edges, "categories": tuple(stored["categories"])})


def codes(features: list[Discrete], frame: pl.DataFrame) -> np.ndarray:
    """(f, n) int64, the states of several features; ModelError naming a column that is absent."""
    check_columns(frame, {feature.source: feature.edges is None for feature in features})
    found = np.empty((len(features), frame.height), dtype=np.int64)
    for row, feature in zip(found, features, strict=True):
        row[:] = feature.codes(frame[feature.source])
    return found


def quantile_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Where bins begin that hold about as many of the values (n,) each, itself values among them.

    A least value that many share, like 0, is a bin of its own; fewer bins if rows are few.

    >>> quantile_edges(np.repeat([0.0, 1.0, 2.0, 5.0], [70, 30, 30, 30]), 4).tolist()
    [1.0, 2.0, 5.0]
    """
    if len(values) == 0:
        return values
    above = values[values > values.min()]
    is_shared = len(values) - len(above) > len(values) / bins
    some, count = (above, bins - 1) if is_shared else (values, bins)
    count = min(count, len(some) // FEWEST_PER_BIN)
    if count < 1:
        return np.empty(0)
    steps = np.arange(0 if is_shared else 1, count) / count
    edges = np.unique(np.quantile(some, steps, method="higher"))
    return edges[edges > values.min()]


def bin_names(edges: tuple[float, ...] | np.ndarray) -> list[str]:
    """The intervals between the edges in words, all of them if there is no edge."""
    if len(edges) == 0:
        return ["any"]
    short = [f"{edge:.6g}" for edge in edges]
    if len(set(short)) < len(short):
        short = [repr(float(edge)) for edge in edges]
    inner = [f"[{low}, {high})" for low, high in pairwise(short)]
    return [f"< {short[0]}", *inner, f">= {short[-1]}"]
