"""What several recommenders say together: a weighted sum, its weights chosen on valid."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from behavsql.recommenders.measure import DEPTH

if TYPE_CHECKING:
    from behavsql.recommenders.panel import Panel

# How much an item at a rank, with a share of the best score of its list, counts: name -> SQL.
SHAPES = {
    "share": "share",
    "steep": "1.0 / rank",
    "flat": "1.0 / (10 + rank)",
}
WEIGHTS = (0.0, 0.05, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0)
ROUNDS = 2
ENOUGH = 1e-5  # of ndcg: less is no gain worth a member


@dataclass(frozen=True)
class Blend:
    """A weighted sum of what members say; what a single one says is a blend of it alone."""

    weights: dict[str, float]
    shape: str = "share"

    @property
    def members(self) -> tuple[str, ...]:
        """Those who must be asked."""
        return tuple(self.weights)

    def say(self, panel: "Panel", tables: dict[str, str], depth: int = DEPTH) -> str:
        """The table (question, item, score, rank, member) of what it makes of its members' tables."""
        return panel.blended(self.weights, self.shape, tables, depth)

    def params(self) -> dict[str, object]:
        """Ready for JSON."""
        return {"weights": self.weights, "shape": self.shape}

    def save(self) -> dict[str, bytes]:
        """What it learned beside `params`, as named files."""
        return {}


def fused(parts: dict[str, float], shape: str, tables: dict[str, str]) -> str:
    """The query for (question, item, score, member): who speaks most for it; from `say`'s tables."""
    terms = " union all ".join(
        f"select question, item, '{name}' as member, {float(weight)!r} * ({SHAPES[shape]}) as score "
        f"from (select *, coalesce(score / nullif(max(score) over (partition by question), 0), 0) "
        f"as share from {tables[name]})"
        for name, weight in parts.items() if weight > 0
    )  # fmt: skip
    return f"""
        select question, item, sum(cast(1073741824 * score as bigint)) / 1073741824.0 as score,
            arg_max(member, (score, member)) as member,
        from ({terms}) group by question, item
    """


class Search:
    """Finds weights for the members' lists of some questions; ndcg counts.

    said: (question, item, member, rank, share) of every list; answers: (question, item).
    """

    def __init__(self, said: pl.DataFrame, answers: pl.DataFrame, members: tuple[str, ...]) -> None:
        self.members = members
        wide = (
            said.lazy().group_by("question", "item")
            .agg(*[pl.col(kind).filter(pl.col("member") == name).first().alias(f"{kind} {name}")
                   for name in members for kind in ("rank", "share")])
            .join(answers.lazy().with_columns(is_hit=True), on=["question", "item"], how="left")
            .sort("question", "item").collect()
        )  # fmt: skip
        counts = answers.group_by("question").len().sort("question")
        place = {"question": counts["question"], "row": np.arange(len(counts))}
        wide = wide.join(pl.DataFrame(place), on="question").sort("row", "item")
        self.row = wide["row"].to_numpy()
        self.ideal = np.cumsum(1 / np.log2(np.arange(2, DEPTH + 2)))[
            np.minimum(counts["len"].to_numpy(), DEPTH) - 1
        ]
        self.shapes = {shape: self._matrix(wide, shape) for shape in SHAPES}
        # Each hit beside every candidate of its question: its rank is how many of them are before it.
        starts = np.searchsorted(self.row, np.arange(len(counts)))
        sizes = np.searchsorted(self.row, np.arange(len(counts)), side="right") - starts
        self.hits = np.flatnonzero(wide["is_hit"].fill_null(False).to_numpy())
        repeated = sizes[self.row[self.hits]]
        self.of_hit = np.repeat(np.arange(len(self.hits)), repeated)
        first = np.repeat(np.cumsum(repeated) - repeated, repeated)
        self.beside = starts[self.row[self.hits]][self.of_hit] + np.arange(repeated.sum()) - first

    def _matrix(self, wide: pl.DataFrame, shape: str) -> np.ndarray:
        columns = []
        for name in self.members:
            rank = wide[f"rank {name}"].fill_null(0).to_numpy().astype(np.float64)
            share = wide[f"share {name}"].fill_null(0.0).to_numpy()
            with np.errstate(divide="ignore"):
                value = {"share": share, "steep": 1 / rank, "flat": 1 / (10 + rank)}[shape]
            columns.append(np.where(rank > 0, value, 0.0))
        return np.column_stack(columns)

    def ndcg(self, score: np.ndarray) -> float:
        """Mean ndcg at 10 of the candidates in the order of a score (n,); ties go by item."""
        before = score[self.beside] > score[self.hits][self.of_hit]
        tied = (score[self.beside] == score[self.hits][self.of_hit]) & (
            self.beside < self.hits[self.of_hit]
        )
        rank = 1 + np.bincount(self.of_hit, before | tied, minlength=len(self.hits))
        gain = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)
        sums = np.bincount(self.row[self.hits], gain, minlength=len(self.ideal))
        return float(np.mean(sums / self._ideal10()))

    def _ideal10(self) -> np.ndarray:
        return np.minimum(self.ideal, np.sum(1 / np.log2(np.arange(2, 12))))

    def best(self) -> tuple[dict[str, float], str, float]:
        """(weights, shape, ndcg): coordinate by coordinate, from the best single member on."""
        found = []
        for shape, matrix in self.shapes.items():
            alone = [self.ndcg(column) for column in matrix.T]
            weights = np.eye(len(self.members))[int(np.argmax(alone))]
            value = max(alone)
            for _ in range(ROUNDS):
                before = value
                for position in range(len(self.members)):
                    weights, value = self._along(matrix, weights, position, value)
                if value - before < ENOUGH:
                    break
            found.append((value, shape, weights))
        value, shape, weights = max(found, key=lambda one: one[0])
        total = weights.sum()
        return (
            {name: float(w / total) for name, w in zip(self.members, weights, strict=True) if w > 0},
            shape, value,
        )  # fmt: skip

    def _along(
        self, matrix: np.ndarray, weights: np.ndarray, position: int, value: float
    ) -> tuple[np.ndarray, float]:
        rest = matrix @ weights - matrix[:, position] * weights[position]
        others = weights.sum() - weights[position]
        if others == 0:
            return weights, value
        for weight in WEIGHTS:
            tried = self.ndcg(rest + weight * others * matrix[:, position])
            if tried > value + ENOUGH:
                value, weights = tried, weights.copy()
                weights[position] = weight * others
        return weights, value
