"""The best of many scores, row by row."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql.recommenders.base import ASKED, ITEMS, OWN

if TYPE_CHECKING:
    from scipy import sparse

AT_ONCE = 2_000  # questions
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


def matrix(con: duckdb.DuckDBPyConnection, table: str) -> "sparse.csr_matrix":
    """(items, items) of a table (from_item, item, score)."""
    from scipy import sparse

    rows = con.execute(f"select from_item, item, score from {table}").fetchnumpy()
    items = con.execute(f"select count(*) from {ITEMS}").fetchall()[0][0]
    return sparse.csr_matrix(
        (rows["score"], (rows["from_item"] - 1, rows["item"] - 1)), (items, items)
    )


def said_by_pairs(
    con: duckdb.DuckDBPyConnection, name: str, pairs: "sparse.csr_matrix", read: int, depth: int
) -> str:
    """The query for (question, item, score) of what `summed` finds, `count_hidden` more where it hides."""
    hides = con.execute(f"select coalesce(max(count_hidden), 0) from {ASKED}").fetchall()[0][0]
    empty = pl.DataFrame(schema={"question": pl.Int32, "item": pl.Int32, "score": pl.Float64})
    found = pl.concat([empty, *summed(con, pairs, read, depth + hides)])
    con.register(f"next_{name}", found.to_arrow())
    return f"select question, item, score from next_{name}"


def summed(
    con: duckdb.DuckDBPyConnection, pairs: "sparse.csr_matrix", read: int, depth: int
) -> Iterator[pl.DataFrame]:
    """(question, item, score) of the best items beside a user's own: the sum of what their pairs have.

    pairs: (items, items). The n-th latest of a user's `read` latest items speaks with 1/n. Sums are
    made in the order of items, so that they are the same in any order of rows.
    """
    from scipy import sparse

    own = con.execute(
        f"select question, item, 1.0 / nth as weight from {OWN} where nth <= {read} order by question, item"
    ).fetchnumpy()
    questions, row = np.unique(own["question"], return_inverse=True)
    chosen = sparse.csr_matrix(
        (own["weight"], (row, own["item"] - 1)), (len(questions), pairs.shape[0])
    )
    for start in range(0, len(questions), AT_ONCE):
        said = chosen[start : start + AT_ONCE] @ pairs
        counts = np.diff(said.indptr)
        place = np.arange(said.nnz) - np.repeat(said.indptr[:-1], counts)
        of = np.repeat(np.arange(len(counts)), counts)
        shape = (len(counts), max(int(counts.max(initial=0)), 1))
        score, item = np.zeros(shape), np.zeros(shape, np.int32)
        score[of, place], item[of, place] = said.data, said.indices + 1
        rows, columns = best(score, min(depth, shape[1]))
        value = score[rows, columns]
        is_said = value > 0
        yield pl.DataFrame({
            "question": questions[start + rows[is_said]].astype(np.int32),
            "item": item[rows, columns][is_said], "score": value[is_said],
        })  # fmt: skip
