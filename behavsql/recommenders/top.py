"""The best of many scores, row by row."""

import numpy as np
import polars as pl

CHUNKS = 4  # times `depth`: into so many parts a row is cut


def best(score: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of scores (n, m) that hold the `depth` highest of each row, and few others.

    Cut into parts, a row has `depth` scores or more that reach the depth-th highest of the parts'
    maxima: one pass over all scores finds these, and only those above it are looked at again.
    """
    rows, columns = score.shape
    parts = CHUNKS * depth
    if columns < 2 * parts:
        return np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    whole = columns // parts * parts
    highest = score[:, :whole].reshape(rows, -1, parts).max(axis=1)
    least = np.partition(highest, parts - depth, axis=1)[:, parts - depth]
    return np.divmod(np.flatnonzero(score >= least[:, np.newaxis]), columns)


def listed(score: np.ndarray, questions: np.ndarray, depth: int) -> pl.DataFrame:
    """(question, item, score) of the items that hold each row's best `depth` scores above 0."""
    row, column = best(score, min(depth, score.shape[1]))
    value = score[row, column]
    is_said = value > 0
    return pl.DataFrame({
        "question": questions[row[is_said]].astype(np.int32),
        "item": (column[is_said] + 1).astype(np.int32), "score": value[is_said],
    })  # fmt: skip
