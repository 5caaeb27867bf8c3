"""Rows at the edges of what a model may meet: missing, infinite, unseen, exactly on a threshold."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from behavsql.sequences import COLUMNS

BASES = 24  # ordinary rows that the edges are cut into, in turn
LEAST = 8
ONE_IN = 97  # users among which the ordinary rows are looked for
MOST_TIES = 8  # thresholds tried per feature, from the smallest to the largest
NUMBERS = (None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.0, -1.0, 1e-36, 1e-5,
           1e15, -1e15, 1e300, -1e300)  # fmt: skip
TEXTS = (None, "", "never seen before", "it's {odd}", "0")


def make(
    rows: pl.DataFrame, ties: Mapping[str, Sequence[float]], features: Sequence[str]
) -> pl.DataFrame:
    """The rows themselves, rows without any value, and rows with one odd value of each feature.

    rows: (n, f), at least one row. ties: feature -> where comparisons turn; the numbers next to
    each on both sides are tried too. features: those to make odd.
    """
    changed = [(name, value) for name in features for value in _odd(rows[name], ties.get(name, ()))]
    picked = np.arange(len(changed)) % len(rows)
    edges = rows[picked]
    by_feature: dict[str, dict[int, object]] = {}
    for i, (name, value) in enumerate(changed):
        by_feature.setdefault(name, {})[i] = value
    columns = []
    for name, values in by_feature.items():
        column = edges[name].to_list()
        for i, value in values.items():
            column[i] = value
        columns.append(pl.Series(name, column, edges[name].dtype, strict=False))
    empty = pl.DataFrame({name: [None] for name in rows.columns}, schema=rows.schema)
    return pl.concat([rows, empty, edges.with_columns(columns)])


def events(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose lists of events are odd: none, one event, unknown roles, more than models read."""
    lists = [name for name in COLUMNS if name in rows.columns]
    whole, roles = pl.col(lists), pl.col("role_sequence")
    odd = [
        [pl.lit(None).cast(rows.schema[name]).alias(name) for name in lists],
        [whole.list.head(0)], [whole.list.head(1)], [whole.list.tail(1)],
        [pl.concat_list(name, name).alias(name) for name in lists],
        [roles.list.eval(pl.element() + " never seen before")],
        [roles.list.eval(pl.when(pl.element() == "").then(pl.element()))],  # all missing
        [pl.col("days_ago_sequence").list.eval(pl.element() * 0)],
        [pl.col("days_ago_sequence").list.eval(pl.element() * 10)],
    ]  # fmt: skip
    return pl.concat([rows.with_columns(change) for change in odd])


def _odd(column: pl.Series, ties: Sequence[float]) -> list[object]:
    if column.dtype != pl.Float64:
        return [*TEXTS, *column.drop_nulls().unique().sort().head(MOST_TIES).to_list()]
    with np.errstate(over="ignore"):
        return [*NUMBERS, *_ties(ties)]


def _ties(ties: Sequence[float]) -> list[float]:
    """Some of the thresholds, the numbers beside them, and the single precision nearest to them."""
    some = [ties[i] for i in np.linspace(0, len(ties) - 1, min(len(ties), MOST_TIES)).astype(int)]
    return [float(value) for tie in some for value in
            (tie, np.nextafter(tie, -np.inf), np.nextafter(tie, np.inf), np.float32(tie))]  # fmt: skip
