"""A Markov chain over events: what follows depends on the last one or two, and on the silence."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import loss
from behavsql.models.parts.event_model import EventModel, one_each
from behavsql.models.parts.event_symbols import EventSymbols

if TYPE_CHECKING:
    from behavsql.compile import Form

ORDERS = (0, 1, 2)  # how many last symbols a state may hold
STRENGTHS = (3.0, 30.0, 300.0)  # rows that the shorter state counts for in the mean of a longer one


class MarkovChain(EventModel):
    """The mean label of the user's present state: the silence, and the last symbols before it.

    A state of order k backs off to that of order k - 1, order 0 being the silence alone:
    mean(k) = (sum of labels + strength mean(k - 1)) / (rows + strength). Order and strength are
    those valid prefers; a state that train did not have answers as the longest one that it had.
    Transitions between symbols are counted over the last events of every user in train.
    Source: Katz 1987 (back-off); MacKay and Peto 1995, equation 9 (means as prior counts).
    """

    name: ClassVar[str] = "markov_chain"
    steps: ClassVar[int] = max(ORDERS)
    OPTIONS: ClassVar[dict[str, object]] = {
        "order": None,
        "strength": None,
    }  # None: chosen on valid

    def fit(self, train: Table, valid: Table) -> Self:
        label = self._learned(train, valid)
        keys = self._keys(*self._codes(train))
        asked = self._keys(*self._codes(valid))
        given, strength = self.option("order"), self.option("strength")
        scored = {}
        for order in ORDERS if given is None else (int(given),):
            for weight in STRENGTHS if strength is None else (float(strength),):
                self._learn(keys[: order + 1], label, weight)
                scored[order, weight] = loss(self.kind, valid.label, self._looked_up(asked))
        order, weight = min(scored, key=scored.get)
        self._learn(keys[: order + 1], label, weight)
        self._count(train)
        self._params = {
            "order": order,
            "strength": weight,
            "states": len(self._states[-1]),
            "roles": self._symbols.roles,
            "valid_loss": scored[order, weight],
            "valid_losses": {f"order {k}, strength {w:g}": v for (k, w), v in scored.items()},
        }
        self._measure(valid)
        return self

    def _answer(self, codes: np.ndarray, silence: np.ndarray) -> np.ndarray:
        return self._looked_up(self._keys(codes, silence))

    def _keys(self, codes: np.ndarray, silence: np.ndarray) -> list[np.ndarray]:
        """For each order (n,) int64 the number of the state."""
        keys, base = [silence.astype(np.int64)], self._symbols.count + 1
        for back in range(1, self.steps + 1):
            keys.append(keys[-1] * base + codes[:, -back])
        return keys

    def _learn(self, keys: list[np.ndarray], label: np.ndarray, strength: float) -> None:
        """Sorted numbers of the states of each order, their rows and means."""
        self._mean = float(label.mean())
        self._states, self._rows, self._means = [], [], []
        for key in keys:
            states, first, place, rows = np.unique(
                key, return_index=True, return_inverse=True, return_counts=True
            )
            shorter = self._looked_up([known[first] for known in keys[: len(self._states)]])
            means = (np.bincount(place, label) + strength * shorter) / (rows + strength)
            self._states.append(states)
            self._rows.append(rows)
            self._means.append(means)

    def _looked_up(self, keys: list[np.ndarray]) -> np.ndarray | float:
        """(n,) the mean of the longest state of each row that is known."""
        found = self._mean
        for key, states, means in zip(keys, self._states, self._means, strict=False):
            place = np.minimum(np.searchsorted(states, key), len(states) - 1)
            found = np.where(states[place] == key, means[place], found)
        return found

    def _count(self, train: Table) -> None:
        """(C, C) how often each symbol followed each other, over the last events of every user."""
        last = one_each(train, np.argsort(-train.sequences.cutoff, kind="stable"))
        codes = self._symbols.transform(train.sequences.rows(last)).astype(np.int64)
        before, after = codes[:, :-1].ravel(), codes[:, 1:].ravel()
        known, count = (before > 0), self._symbols.count
        pairs = (before[known] - 1) * count + after[known] - 1
        self._followed = np.bincount(pairs, minlength=count * count).reshape(count, count)

    def tables(self) -> dict[str, pl.DataFrame]:
        names = np.array(self._symbols.names())
        before, after = np.nonzero(self._followed)
        counts = self._followed[before, after]
        moves = {
            "from_state": names[before], "to_state": names[after],
            "probability": counts / self._followed.sum(axis=1)[before], "count_events": counts,
        }  # fmt: skip
        states = {
            "state": self._state_names(), "count_questions": self._rows[-1],
            "mean_label": self._means[-1],
        }  # fmt: skip
        return {
            "markov_transitions": pl.DataFrame(moves).sort("from_state", "probability", "to_state",
                                                           descending=[False, True, False]),
            "markov_states": pl.DataFrame(states).sort("mean_label", "state", descending=[True, False]),
        }  # fmt: skip

    def _state_names(self) -> list[str]:
        """The states of the highest order, the newest last: "view within a day; silent for up to a week"."""
        names, silences = ["", *self._symbols.names()], self._symbols.silence_names()
        base, told = len(names), []
        for key in self._states[-1].tolist():
            parts = []
            for _ in range(len(self._states) - 1):
                key, code = divmod(key, base)
                parts.append(names[code])
            told.append("; ".join([*filter(None, parts), silences[key]]))
        return told

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import event_symbols

        return event_symbols.looked_up(self._symbols, self._states, self._means, self._mean, form)

    def save(self) -> dict[str, bytes]:
        orders = [
            {"states": states.tolist(), "rows": rows.tolist(), "means": means.tolist()}
            for states, rows, means in zip(self._states, self._rows, self._means, strict=True)
        ]
        before, after = np.nonzero(self._followed)
        followed = [before.tolist(), after.tolist(), self._followed[before, after].tolist()]
        return self._card(
            symbols=self._symbols.to_dict(), mean=self._mean, orders=orders, followed=followed
        )

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model._symbols, model._mean = EventSymbols(**card["symbols"]), card["mean"]
        orders = card["orders"]
        model._states = [np.array(one["states"], np.int64) for one in orders]
        model._rows = [np.array(one["rows"], np.int64) for one in orders]
        model._means = [np.array(one["means"], np.float64) for one in orders]
        before, after, counts = (np.array(part, np.int64) for part in card["followed"])
        model._followed = np.zeros((model._symbols.count,) * 2, np.int64)
        model._followed[before, after] = counts
        return model
