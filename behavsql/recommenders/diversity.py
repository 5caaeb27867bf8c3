"""How alike items are, and lists whose items are less so.

Source: Carbonell and Goldstein 1998 (maximal marginal relevance).
"""

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql.recommenders.base import ITEMS
from behavsql.recommenders.measure import DEPTH

if TYPE_CHECKING:
    from behavsql.recommenders.heard import Mix
    from behavsql.recommenders.panel import Panel

NUMBERS = 32  # of an item's vector
AT_ONCE = 2_000  # lists


class Likeness:
    """Two items of one category are alike 1, others by the cosine of who chose them, at least 0.

    The cosine is that of the vectors of a singular value decomposition of users and items, without
    the first, which is how popular an item is.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, known: str, seed: int) -> None:
        rows = con.execute(
            f"select distinct who, item from {known} order by who, item"
        ).fetchnumpy()
        kinds = con.execute(
            f"select coalesce(dense_rank() over (order by category), 0) * (category is not null)::int "
            f"as kind from {ITEMS} order by item"
        ).fetchnumpy()["kind"]
        self._kinds = np.concatenate([[0], kinds]).astype(np.int32)  # 0 = none; row 0 is no item
        self._vectors = _vectors(rows["who"], rows["item"], len(self._kinds), seed)

    def __call__(self, items: np.ndarray) -> np.ndarray:
        """Items (n, k), 0 = none -> (n, k, k) how alike any two of a row are."""
        vectors, kinds = self._vectors[items], self._kinds[items]
        alike = np.maximum(vectors @ vectors.transpose(0, 2, 1), 0)
        same = (kinds[:, :, np.newaxis] == kinds[:, np.newaxis, :]) & (kinds > 0)[:, :, np.newaxis]
        return np.where(same, np.float32(1), np.minimum(alike, 1))

    def distance(self, items: np.ndarray) -> float | None:
        """The mean of 1 - likeness over all pairs of all rows (n, k); None where there is no pair."""
        total, pairs = 0.0, 0
        for start in range(0, len(items), AT_ONCE):
            some = items[start : start + AT_ONCE]
            both = (some[:, :, np.newaxis] > 0) & (some[:, np.newaxis, :] > 0)
            both &= ~np.eye(some.shape[1], dtype=bool)
            total += float((1 - self(some))[both].sum(dtype=np.float64))
            pairs += int(both.sum())
        return total / pairs if pairs else None


class Diverse:
    """Another's lists in an order in which what is like something before it stands further down.

    Each place goes to the item of the highest (1 - strength) x share of the list's best score +
    strength x (1 - its likeness to the most alike before it), which is its new score.
    """

    def __init__(self, mix: "Mix", strength: float) -> None:
        self.mix, self.strength, self.members = mix, strength, mix.members

    def say(self, panel: "Panel", tables: dict[str, str], depth: int = DEPTH) -> str:
        """The table (question, item, score, rank, member)."""
        con = panel.con
        said = con.sql(
            f"select * from {self.mix.say(panel, tables, depth)} order by question, rank"
        ).pl()
        row = said["question"].rle_id().to_numpy()
        place = said["rank"].to_numpy() - 1
        shape = (int(row[-1]) + 1 if len(row) else 0, depth)
        items, score = np.zeros(shape, np.int32), np.zeros(shape)
        items[row, place], score[row, place] = said["item"], said["score"]
        ranks, values = np.zeros(shape, np.int32), np.zeros(shape)
        for start in range(0, shape[0], AT_ONCE):
            some = slice(start, start + AT_ONCE)
            share = score[some] / np.maximum(score[some, :1], 1e-300)
            ranks[some], values[some] = reordered(
                share, panel.likeness()(items[some]), items[some] > 0, self.strength
            )
        told = said.with_columns(
            pl.Series("rank", ranks[row, place] + 1), pl.Series("score", values[row, place])
        )
        con.register("next_reordered", told.to_arrow())
        con.execute("create or replace temp table next_said_diverse as from next_reordered")
        con.unregister("next_reordered")
        return "next_said_diverse"

    def params(self) -> dict[str, object]:
        """Ready for JSON."""
        return self.mix.params() | {"diversity": self.strength}

    def save(self) -> dict[str, bytes]:
        """What the other learned; likeness is counted anew."""
        return self.mix.save()


def reordered(
    share: np.ndarray, alike: np.ndarray, is_there: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shares (n, k) and likeness (n, k, k) -> each item's new place, from 0, and its value there.

    Values fall from place to place: what is left can only become more like what stands.
    """
    lists = np.arange(len(share))
    nearest = np.zeros(share.shape)
    places, values = np.zeros(share.shape, np.int32), np.zeros(share.shape)
    is_left = is_there.copy()
    for place in range(share.shape[1]):
        value = (1 - strength) * share + strength * (1 - nearest)
        pick = np.where(is_left, value, -1.0).argmax(axis=1)
        taken = is_left[lists, pick]
        places[lists[taken], pick[taken]] = place
        values[lists[taken], pick[taken]] = value[lists, pick][taken]
        is_left[lists, pick] = False
        nearest = np.maximum(nearest, alike[lists, pick])
    return places, values


def _vectors(who: np.ndarray, item: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """(rows, NUMBERS) float32 of length 1; zeros for an item that nobody has chosen."""
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    found = np.zeros((rows, NUMBERS), np.float32)
    user = np.unique(who, return_inverse=True)[1]
    if len(item) < 2:
        return found
    of_user, of_item = np.bincount(user), np.maximum(np.bincount(item, minlength=rows), 1)
    weight = (1 / np.sqrt(of_user[user] * of_item[item])).astype(np.float32)
    chosen = sparse.csr_matrix((weight, (user, item)), (len(of_user), rows))
    most = min(NUMBERS + 1, *chosen.shape)
    _, size, items = randomized_svd(chosen, most, n_iter=3, random_state=seed)
    vectors = (size[1:, np.newaxis] * items[1:]).T / np.sqrt(of_item)[:, np.newaxis]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    is_known = np.bincount(item, minlength=rows) > 0
    found[is_known, : vectors.shape[1]] = (vectors / np.maximum(length, 1e-12))[is_known]
    return found
