"""Partial dependence: the mean prediction where a feature is set to a value, others as they are."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from behavsql.calibration import Calibrator
from behavsql.frames import Table
from behavsql.models.base import Model
from behavsql.models.parts.discrete import quantile_edges
from behavsql.models.parts.encoding import as_numbers, is_text

MOST_FEATURES = 10
BINS = 12  # of a number, about equally full; beside them one for missing
MOST_CATEGORIES = 10
ROWS = 150  # that each value is put into
SCHEMA = {
    "feature": pl.String, "position": pl.Int32, "low": pl.Float64, "high": pl.Float64,
    "value": pl.String, "mean_prediction": pl.Float64, "count_questions": pl.Int64,
}  # fmt: skip


def curves(
    model: Model, calibrator: Calibrator, test: Table, features: list[str], seed: int
) -> pl.DataFrame:
    """The curves of some features over the rows of test, with how many rows each bin holds.

    A number's bins hold about as many rows each, and it is set to their median; a text to each of
    its most frequent values. Where rows lack it, missing is a point too. What lies far from where
    rows are was never seen together with the other features: hence the counts.
    Source: J. H. Friedman, 2001, Greedy function approximation, section 8.2.
    """
    random = np.random.default_rng(seed)
    some = test.rows(np.isin(np.arange(len(test)), random.permutation(len(test))[:ROWS]))
    points = [point for name in features for point in _points(name, test.features[name])]
    if not points or not len(some):
        return pl.DataFrame(schema=SCHEMA)
    rows = []
    for name in features:
        own = [point for point in points if point[0] == name]
        said = _said(model, calibrator, some, name, [value for *_, value, _, _ in own])
        rows += [(*point[:4], shown, mean, count)
                 for (*point, _, shown, count), mean in zip(own, said.tolist(), strict=True)]  # fmt: skip
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _said(model: Model, calibrator: Calibrator, some: Table, name: str, values: list) -> np.ndarray:
    """(v,) the mean prediction over some rows with the feature set to each of the values."""
    again = np.tile(np.arange(len(some)), len(values))
    asked = _rows_at(some, again)
    dtype = some.features[name].dtype
    column = pl.Series(name, values, dtype).gather(np.repeat(np.arange(len(values)), len(some)))
    asked = replace(asked, features=asked.features.with_columns(column))
    if name == f"{some.task}_last_window":
        asked = replace(asked, last_window=column.cast(pl.Float64).fill_null(np.nan).to_numpy())
    score = calibrator.transform(model.predict(asked))
    return score.reshape(len(values), len(some)).mean(axis=1)


def _rows_at(table: Table, at: np.ndarray) -> Table:
    """The rows at these places, which may come more than once."""
    return replace(
        table, features=table.features[at], label=None, users=table.users[at],
        last_window=table.last_window[at],
        sequences=None if table.sequences is None else table.sequences.rows(at),
    )  # fmt: skip


def _points(name: str, series: pl.Series) -> list[tuple]:
    """(feature, position, low, high, what it is set to, in words, rows)."""
    if is_text(series.dtype):
        counts = series.cast(pl.String).rename("value").value_counts(name="rows")
        counts = counts.sort(["rows", "value"], descending=[True, False]).head(MOST_CATEGORIES)
        return [
            (name, position, None, None, value, "missing" if value is None else value, rows)
            for position, (value, rows) in enumerate(counts.iter_rows(), 1)
        ]
    values = as_numbers(series.to_frame(), [name])[:, 0]
    known = np.sort(values[~np.isnan(values)])
    edges = quantile_edges(known, BINS) if len(known) else known
    bounds = [0, *np.searchsorted(known, edges), len(known)]
    found = []
    for start, stop in pairwise(bounds):
        if stop > start:
            middle = float(known[(start + stop - 1) // 2])
            low, high = float(known[start]), float(known[stop - 1])
            found.append((name, len(found) + 1, low, high, middle, f"{middle:.6g}", stop - start))
    if missing := len(values) - len(known):
        found.append((name, len(found) + 1, None, None, None, "missing", missing))
    return found
