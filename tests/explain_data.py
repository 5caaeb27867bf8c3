"""What every explanation must hold to, asked of a fitted model and some rows."""

from dataclasses import replace

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import Model
from behavsql.models.parts.explanation import EVENTS, Explanation, most_of
from behavsql.sequences import COLUMNS


def usual(table: Table) -> Table:
    """One row of medians and most frequent texts."""
    columns = [
        pl.Series(one.name, [one.median() if one.dtype.is_numeric() else one.drop_nulls().mode().sort()[0]], one.dtype)
        for one in table.features
    ]  # fmt: skip
    first = table.rows(np.arange(len(table)) == 0)
    return replace(first, features=pl.DataFrame(columns), last_window=np.array([np.nan]))


def check_explanation(model: Model, table: Table, left_over: float = 1e-9) -> Explanation:
    """Parts add up, on the raw scale and after it; few rows are told as among many.

    left_over: the most that may be residual, beside the spread of the sums.
    """
    one, answer = model.explain(table, usual(table)), model.predict(table)
    assert len(set(one.features)) == len(one.features)
    assert set(one.features) <= {
        *table.features.columns,
        *COLUMNS,
        EVENTS,
        *model.features(table.task),
    }
    assert one.parts.shape == (len(table), len(one.features))
    assert one.method and np.isfinite(one.parts).all() and np.isfinite(one.residual).all()
    assert np.abs(one.answer - answer).max() <= model.tolerance * max(1, np.abs(answer).max())
    total = one.base + one.parts.sum(axis=1) + one.residual
    assert np.abs(one.residual).max() <= left_over * max(total.std(), 1e-3)
    # Where the parts add up to more the answer is no lower, whatever scale they are on.
    order = np.argsort(total, kind="stable")
    unsure = max(model.tolerance, 1e-9) * max(1, np.abs(answer).max())
    assert (np.diff(one.answer[order]) >= -unsure).all()
    told = one.rescaled(one.start, one.answer, most_of(model.kind, one.start, one.answer))
    added = told.base + told.parts.sum(axis=1) + told.residual
    assert np.abs(added - one.answer).max() <= 1e-9 * max(1, np.abs(answer).max())
    few = np.arange(len(table)) % 97 == 5
    again = model.explain(table.rows(few), usual(table))
    assert np.allclose(
        again.parts, one.parts[few], atol=1e-5 * max(1, np.abs(one.parts).max(initial=0))
    )
    nobody = model.explain(table.rows(np.zeros(len(table), dtype=bool)), usual(table))
    assert nobody.parts.shape == (0, len(one.features)) and nobody.answer.shape == (0,)
    return one
