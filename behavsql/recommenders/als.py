"""Matrix factorisation: users and items as vectors whose product says how likely a choice is.

Source: Hu, Koren and Volinsky 2008 (confidence 1 + alpha x count, alternating least squares);
Takacs, Pilaszy and Tikk 2011 (conjugate gradients, all rows at once here).
"""

import io
from typing import Self

import duckdb
import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.recommenders.base import ASKED, ITEMS, OWN, Recommender
from behavsql.recommenders.ids import ids, places
from behavsql.recommenders.top import listed

FACTORS = 64
SWEEPS = 8
STEPS = 3  # of conjugate gradients in a sweep
FOLD_IN_STEPS = 8  # for a user whose vector begins at zero
ALPHA = 10.0
PENALTY = 5.0
NUMBERS_AT_ONCE = 8_000_000  # floats of a temporary array
MOST_ITEMS = 200_000  # a list ranks all of them


class ALS(Recommender):
    """Only items are remembered: a user's vector is solved for when asked, out of what they chose."""

    name, source = "als", "similar taste"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        from scipy import sparse
        from threadpoolctl import threadpool_limits

        rows = con.execute(
            f"select who, item, count(*) as times from {known} group by who, item order by who, item"
        ).fetchnumpy()
        items = con.execute(f"select count(*) from {ITEMS}").fetchall()[0][0]
        if len(rows["who"]) < 2 or items > MOST_ITEMS:
            raise ModelError(
                f"model {self.name}: {len(rows['who'])} pairs of users and {items:,} items; it takes "
                f"2 pairs or more and {MOST_ITEMS:,} items or fewer. Leave it out."
            )
        who = np.unique(rows["who"], return_inverse=True)[1]
        weight = (ALPHA * np.log1p(rows["times"])).astype(np.float32)
        chosen = sparse.csr_matrix((weight, (who, rows["item"] - 1)), (who.max() + 1, items))
        back = chosen.T.tocsr()
        rng = np.random.default_rng(self.seed)
        users = np.zeros((chosen.shape[0], FACTORS), np.float32)
        self.vectors = rng.normal(0, 0.1, (items, FACTORS)).astype(np.float32)
        with threadpool_limits(self.threads, user_api="blas"):
            for _ in range(SWEEPS):
                users = solved(users, self.vectors, chosen, STEPS)
                self.vectors = solved(self.vectors, users, back, STEPS)
        self.vectors[np.diff(back.indptr) == 0] = 0  # nothing is known of who was never chosen
        self.ids = ids(con)
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        from scipy import sparse
        from threadpoolctl import threadpool_limits

        own = con.execute(f"select question, item, times from {OWN} order by question").fetchnumpy()
        hides = con.execute(f"select coalesce(max(count_hidden), 0) from {ASKED}").fetchall()[0][0]
        questions, rows = np.unique(own["question"], return_inverse=True)
        weight = (ALPHA * np.log1p(own["times"])).astype(np.float32)
        shape = (len(questions), len(self.vectors))
        chosen = sparse.csr_matrix((weight, (rows, own["item"] - 1)), shape)
        parts = []
        with threadpool_limits(self.threads, user_api="blas"):
            at_once = max(1, NUMBERS_AT_ONCE // max(shape[1], 1))
            for start in range(0, shape[0], at_once):
                some = chosen[start : start + at_once]
                empty = np.zeros((some.shape[0], FACTORS), np.float32)
                score = solved(empty, self.vectors, some, FOLD_IN_STEPS) @ self.vectors.T
                if hides:
                    score[some.nonzero()] = 0
                parts.append(listed(score, questions[start : start + at_once], depth))
        empty = {"question": np.empty(0, np.int32), "item": np.empty(0, np.int32),
                 "score": np.empty(0, np.float32)}  # fmt: skip
        frame = pl.concat([pl.DataFrame(empty), *parts])
        con.register("next_als", frame.to_arrow())
        return "select question, item, score::double as score from next_als"

    def save(self) -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, vectors=self.vectors, ids=self.ids)
        return {"factors.npz": buffer.getvalue()}

    def load(self, con: duckdb.DuckDBPyConnection, files: dict[str, bytes]) -> bool:
        if "factors.npz" not in files:
            return False
        stored = np.load(io.BytesIO(files["factors.npz"]), allow_pickle=False)
        self.ids = ids(con)
        at = places(stored["ids"], self.ids)
        self.vectors = np.where(at[:, np.newaxis] >= 0, stored["vectors"][at], np.float32(0))
        return True


def solved(start: np.ndarray, other: np.ndarray, chosen: "object", steps: int) -> np.ndarray:
    """Rows x (n, f) of (Y'Y + Y'WY + penalty) x = Y'(W + 1) for the pairs in `chosen` (n, m).

    W: the pairs' weights, what confidence exceeds 1 by. Conjugate gradients on all rows at once.
    """
    gram = other.T @ other + PENALTY * np.eye(other.shape[1], dtype=np.float32)
    wanted = chosen.copy()
    wanted.data = chosen.data + 1
    x = start.copy()
    residual = wanted @ other - _applied(x, gram, other, chosen)
    direction, size = residual.copy(), np.einsum("ij,ij->i", residual, residual)
    for _ in range(steps):
        ahead = _applied(direction, gram, other, chosen)
        curve = np.einsum("ij,ij->i", direction, ahead)
        step = np.divide(size, curve, out=np.zeros_like(size), where=curve > 1e-20)[:, None]
        x += step * direction
        residual -= step * ahead
        before, size = size, np.einsum("ij,ij->i", residual, residual)
        turn = np.divide(size, before, out=np.zeros_like(size), where=before > 1e-20)[:, None]
        direction = residual + turn * direction
    return x


def _applied(x: np.ndarray, gram: np.ndarray, other: np.ndarray, chosen: "object") -> np.ndarray:
    """The left side of the equation for rows x; temporary arrays are cut into pieces."""
    row = np.repeat(np.arange(chosen.shape[0]), np.diff(chosen.indptr))
    weighted = chosen.copy()
    piece = max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(row), piece):
        some = slice(start, start + piece)
        product = np.einsum("ij,ij->i", x[row[some]], other[chosen.indices[some]])
        weighted.data[some] = chosen.data[some] * product
    return x @ gram + weighted @ other
