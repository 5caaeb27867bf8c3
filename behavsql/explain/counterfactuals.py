"""The smallest changes of what a user may do that carry the model's score over a threshold.

They say what the model would answer for another row of features, not what would come of acting on
it: nothing here is causal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl

from behavsql.explain.moves import Move, applied
from behavsql.frames import Table
from behavsql.models.parts.encoding import as_numbers

GRID = 24  # values of a feature in train that are tried, beside the model's own breakpoints
MOST_VALUES = 120  # of one feature
PAIRED = 10  # single moves that come nearest are tried two by two
PAIR_VALUES = 8
HALVINGS = 14  # between a value that crosses and the user's own
RARE = 0.01  # shares at either end of train that no change goes to
SHOWN = 3  # of one feature, and of two

Ask = Callable[[Table], np.ndarray]


@dataclass(frozen=True)
class Change:
    """Moves and the values they take, with everything that changes along."""

    moves: tuple[Move, ...]
    values: tuple[float, ...]
    changed: dict[str, float | None]
    cost: float  # share of train rows that lie between the user and the values, added up
    score: float


@dataclass(frozen=True)
class Known:
    """Sorted values of each movable feature in train, and whether they are whole numbers."""

    values: dict[str, np.ndarray]
    whole: dict[str, bool]

    @classmethod
    def of(cls, train: pl.DataFrame, moves: Sequence[Move]) -> "Known":
        names = [move.feature for move in moves]
        columns = as_numbers(train, names)
        values = {name: np.sort(column[~np.isnan(column)]) for name, column in zip(names, columns.T, strict=True)}  # fmt: skip
        whole = {name: bool(len(known)) and bool((known == np.trunc(known)).all()) for name, known in values.items()}  # fmt: skip
        return cls(values, whole)

    def cost(self, name: str, before: float | None, value: float) -> float:
        """How far a value is from another, in shares of train; all of it from a missing one."""
        known = self.values[name]
        if before is None or not len(known):
            return 1.0
        low, high = sorted((before, value))
        between = np.searchsorted(known, high, "right") - np.searchsorted(known, low, "left")
        # Never 0: of two ways through nobody the shorter one is meant.
        return float(between / len(known) + 1e-6 * abs(value - before) / (1 + abs(before)))

    def candidates(self, name: str, breaks: Sequence[float]) -> np.ndarray:
        """Values such as all but a few rows of train have: quantiles, and what lies on either side of each break."""
        known = self.values[name]
        if not len(known):
            return known
        tried = [np.quantile(known, np.linspace(0, 1, GRID), method="nearest")]
        if len(breaks):
            at = np.asarray(breaks, np.float64)
            past = np.floor(at) + 1 if self.whole[name] else at + 1e-6 * np.maximum(1, np.abs(at))
            tried += [np.floor(at) if self.whole[name] else at, past]
        found = np.unique(np.concatenate(tried))
        low, high = np.quantile(known, (RARE, 1 - RARE))
        found = found[(found >= low) & (found <= high)]
        step = -(-len(found) // MOST_VALUES)
        return found[:: max(step, 1)]


class Search:
    """Looks for changes of one row. is_over: whether the score is to come to the threshold from below."""

    def __init__(
        self, ask: Ask, row: Table, known: Known, threshold: float, is_over: bool,
        breaks: dict[str, Sequence[float]],
    ) -> None:  # fmt: skip
        self.ask, self.table, self.known, self.breaks = ask, row, known, breaks
        self.threshold, self.is_over = threshold, is_over
        self.row = row.features.row(0, named=True)
        self.own = float(ask(row)[0])

    def single(self, moves: Sequence[Move]) -> list[Change]:
        """For each move alone the cheapest value tried that crosses, made smaller by halving."""
        tried = [
            ((move,), (float(value),))
            for move in moves for value in self.known.candidates(move.feature, self.breaks.get(move.feature, ()))
            if value != self.row[move.feature]
        ]  # fmt: skip
        said = self._said(tried)
        self._tried = list(zip(tried, said, strict=True))
        best: dict[str, Change] = {}
        for change in said:
            name = change.moves[0].feature
            if self._crosses(change.score) and (name not in best or change.cost < best[name].cost):
                best[name] = change
        return sorted(self._smaller(list(best.values())), key=lambda one: one.cost)

    def pairs(self, moves: Sequence[Move]) -> list[Change]:
        """Two moves at once, of those that come nearest alone; the cheapest of each pair."""
        nearest: dict[str, float] = {}
        for _, change in self._tried:
            name = change.moves[0].feature
            gap = self._gain(change.score)
            nearest[name] = max(nearest.get(name, -np.inf), gap)
        ranked = sorted(moves, key=lambda one: -nearest.get(one.feature, -np.inf))[:PAIRED]
        tried = []
        for first, second in combinations(ranked, 2):
            if second.feature in (*first.wider, *first.narrower, *first.at_most):
                continue
            if first.feature in (*second.wider, *second.narrower, *second.at_most):
                continue
            tried += [
                ((first, second), (a, b)) for a in self._few(first) for b in self._few(second)
            ]
        best: dict[tuple[str, ...], Change] = {}
        for change in self._said(tried):
            name = tuple(move.feature for move in change.moves)
            if self._crosses(change.score) and (name not in best or change.cost < best[name].cost):
                best[name] = change
        return sorted(best.values(), key=lambda one: one.cost)

    def _few(self, move: Move) -> list[float]:
        found = self.known.candidates(move.feature, self.breaks.get(move.feature, ()))
        places = np.unique(np.linspace(0, max(len(found) - 1, 0), PAIR_VALUES).astype(int))
        return [
            float(found[i]) for i in places if len(found) and found[i] != self.row[move.feature]
        ]

    def _gain(self, score: float) -> float:
        return score - self.own if self.is_over else self.own - score

    def _crosses(self, score: float) -> bool:
        return score >= self.threshold if self.is_over else score < self.threshold

    def _said(self, tried: Sequence[tuple[tuple[Move, ...], tuple[float, ...]]]) -> list[Change]:
        """What the model says of each; asked all at once."""
        if not tried:
            return []
        changes = []
        for moves, values in tried:
            row = dict(self.row)
            for move, value in zip(moves, values, strict=True):
                row |= applied(row, move, value)
            changed = {name: row[name] for name in row if row[name] != self.row[name]}
            cost = sum(
                self.known.cost(move.feature, self.row[move.feature], value)
                for move, value in zip(moves, values, strict=True)
            )
            changes.append((moves, values, changed, cost))
        score = self.ask(self._table([changed for _, _, changed, _ in changes]))
        return [Change(*change, float(one)) for change, one in zip(changes, score, strict=True)]

    def _table(self, changes: Sequence[dict[str, float | None]]) -> Table:
        """The row once for each change, with its features in their place."""
        count = len(changes)
        frame = self.table.features[np.zeros(count, np.int64)]
        columns = {name for change in changes for name in change}
        frame = frame.with_columns(
            pl.Series(name, [change.get(name, self.row[name]) for change in changes], frame.schema[name])
            for name in sorted(columns)
        )  # fmt: skip
        again = np.zeros(count, np.int64)
        sequences = self.table.sequences
        return replace(
            self.table, features=frame, users=self.table.users[again], label=None,
            last_window=self.table.last_window[again],
            sequences=None if sequences is None else sequences.rows(again),
        )  # fmt: skip

    def _smaller(self, found: list[Change]) -> list[Change]:
        """The same changes brought nearer to the user, as far as they still cross."""
        low = [self.row[change.moves[0].feature] for change in found]
        best = list(found)
        for _ in range(HALVINGS):
            tried, places = [], []
            for i, change in enumerate(best):
                if low[i] is None:
                    continue
                middle = (low[i] + change.values[0]) / 2
                if self.known.whole[change.moves[0].feature]:
                    middle = np.trunc(middle) if change.values[0] < low[i] else np.ceil(middle)
                    if middle in (low[i], change.values[0]):
                        continue
                tried.append((change.moves, (float(middle),)))
                places.append(i)
            for i, change in zip(places, self._said(tried), strict=True):
                if self._crosses(change.score):
                    best[i] = change
                else:
                    low[i] = change.values[0]
        return best


def found(
    ask: Ask, row: Table, train: pl.DataFrame, moves: Sequence[Move], threshold: float,
    breaks: dict[str, Sequence[float]],
) -> list[Change]:  # fmt: skip
    """The cheapest changes of one feature, and of two where they cost less than those or there is none."""
    moves = [move for move in moves if move.feature in row.features.columns
             and row.features.schema[move.feature] == pl.Float64]  # fmt: skip
    known = Known.of(train, moves)
    own = float(ask(row)[0])
    search = Search(ask, row, known, threshold, own < threshold, breaks)
    single = search.single(moves)[:SHOWN]
    cheapest = single[0].cost if single else np.inf
    pairs = [change for change in search.pairs(moves) if change.cost < cheapest]
    return single + pairs[:SHOWN]
