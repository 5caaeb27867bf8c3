"""What the models of a user's last events share: symbols in, one answer a question out."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, labels
from behavsql.models.parts.event_symbols import KNOWN, EventSymbols
from behavsql.sequences import COLUMNS, LENGTH

if TYPE_CHECKING:
    from behavsql.models.parts.explanation import Explanation

BLOCK_ROWS = 50_000  # questions whose symbols are in memory together


class EventModel(Model):
    """Reads the roles of the last events and their times, nothing else.

    Importance is how far answers on valid move when the roles, or the gaps and the silences, are
    those of other events there.
    """

    family: ClassVar[str] = "probabilistic"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    reads: ClassVar[str] = "sequences"
    steps: ClassVar[int] = LENGTH  # so many last symbols matter

    _symbols: EventSymbols

    @abstractmethod
    def _answer(self, codes: np.ndarray, silence: np.ndarray) -> np.ndarray:
        """(n,) of codes (n, steps) and silence (n,), see EventSymbols."""

    def predict(self, table: Table) -> np.ndarray:
        return self._by_blocks(table, self._answer, np.empty(0))

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact Shapley values of what happened, and of when, on top of the answer without events."""
        from behavsql.models.parts.explanation import Explanation

        (codes, silence), answer = self._codes(table), self.predict(table)
        nothing = np.zeros((1, self.steps), codes.dtype)
        quiet = self._symbols.silence(self._events(table).sequences.none())
        start = float(self._answer(nothing, quiet)[0])
        what = self._answer(codes, np.repeat(quiet, len(codes)))
        when = self._answer(np.repeat(nothing, len(codes), axis=0), silence)
        parts = np.column_stack([what - start + answer - when, when - start + answer - what]) / 2
        names = ("role_sequence", "days_ago_sequence")
        return Explanation.exact("Shapley values", names, start, parts, start, answer)

    def features(self, task: str) -> tuple[str, ...]:
        return COLUMNS

    def _by_blocks(self, table: Table, answer: object, none: np.ndarray) -> np.ndarray:
        """What `answer` says of the codes of all questions; `none` of no question."""
        parts = [none]
        for start in range(0, len(table), BLOCK_ROWS):
            parts.append(answer(*self._codes(table, slice(start, start + BLOCK_ROWS))))
        return np.concatenate(parts)

    def _codes(self, table: Table, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """(n, steps), (n,) the codes of events and of silences."""
        sequences = self._events(table).sequences.rows(rows)
        return self._symbols.transform(sequences, self.steps), self._symbols.silence(sequences)

    def _learned(self, train: Table, valid: Table) -> np.ndarray:
        """The labels of train, and its symbols learned; ModelError where there is nothing to learn."""
        label = labels(self, train, classes=2)
        labels(self, valid)
        self._symbols = EventSymbols().fit(self._events(train))
        if not self._symbols.roles:
            raise ModelError(
                f"model {self.name}, task {train.task}: none of the {len(train)} questions of train has "
                "an event before it; fitting needs some. Train without this model."
            )
        return label

    def _events(self, table: Table) -> Table:
        """The table, if it has events; else ModelError."""
        if table.sequences is None:
            raise ModelError(
                f"model {self.name}, task {table.task}: {len(table)} questions come without events; it "
                f"reads {', '.join(COLUMNS)}. Pass rows of features.sequences."
            )
        return table

    def _measure(self, valid: Table) -> None:
        """Set the importance, once the model is fitted."""
        (codes, silence), random = self._codes(valid), np.random.default_rng(self.seed)
        known, gaps = codes > 0, self._symbols.gap_classes
        role, gap = np.divmod(codes[known] - 1, gaps)
        follows = np.flatnonzero(gap >= KNOWN)  # the others have no gap to exchange
        others, times = gap.copy(), random.permutation(silence)
        others[follows] = gap[random.permutation(follows)]
        told = self._answer(codes, silence)

        def moved(roles: np.ndarray, gaps_after: np.ndarray, silence: np.ndarray) -> float:
            other = codes.copy()
            other[known] = roles * gaps + gaps_after + 1
            return float(np.abs(self._answer(other, silence) - told).sum())

        by = {
            "role_sequence": moved(random.permutation(role), gap, silence),
            "days_ago_sequence": moved(role, others, times),
        }
        total = sum(by.values())
        ranked = sorted(by.items(), key=lambda item: -item[1])
        self._importance = {name: value / total for name, value in ranked if total}


def one_each(table: Table, order: np.ndarray) -> np.ndarray:
    """(users,) a row of each user that knows events: the first one in `order` (n,)."""
    known = order[(table.sequences.start < table.sequences.stop)[order]]
    _, first = np.unique(table.users[known], return_index=True)
    return np.sort(known[first])
