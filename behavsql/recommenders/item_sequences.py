"""What the recommenders that read items in order share: learning, answers, files."""

import io
import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import duckdb
import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.recommenders.base import ASKED, CHOICES, ITEMS, OWN, Recommender
from behavsql.recommenders.ids import ids, places
from behavsql.recommenders.top import listed

UNITS = 64
HELD_OUT = 0.05  # the newest choices, by which training stops
MOST_ITEMS = 200_000
AT_ONCE = 256  # questions answered together, always as many: fewer are added up in another order


class ItemSequences(Recommender):
    """A network reads the last 50 choices; its product with an item's vector says what is likely next.

    See next_network.py. Training stops by the newest choices and goes once over all. Asked to learn
    again, from more choices, it goes on once from what it knows. Items that it has not learned are
    read over, and not listed; their numbers in the network are `_codes`, 0 = not learned.
    """

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        began = time.monotonic()
        rows = con.execute(f"""
            select who, item, chosen_at > (select quantile_disc(chosen_at, {1 - HELD_OUT}) from {known})
                as is_new
            from {known} order by who, place
        """).fetchnumpy()
        count = con.execute(f"select count(*) from {ITEMS}").fetchall()[0][0]
        if len(np.unique(rows["item"])) < 2 or count > MOST_ITEMS:
            raise ModelError(
                f"model {self.name}: {len(rows['item'])} choices of {count:,} items; it takes "
                f"2 chosen items or more, and {MOST_ITEMS:,} in all or fewer. Leave it out."
            )
        from behavsql.recommenders.sequence_learning import Learning, Steps

        is_fresh = not hasattr(self, "_network")
        if is_fresh:
            self._network = self._built(count)
        steps = Steps.of(rows["who"], rows["item"], np.asarray(rows["is_new"]))
        seconds = self.seconds and max(self.seconds - (time.monotonic() - began), 0.0)
        learning = Learning(self._network, steps, count, self.seed, seconds)
        if is_fresh:
            learning.until_it_stops()
        learning.once_more()
        self._ids, self._codes = ids(con), np.zeros(count, np.int32)
        self._codes[steps.items - 1] = steps.items
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        from behavsql.recommenders.next_network import reader

        vectors, bias = (
            layer.get_weights()[0] for layer in (self._network.vectors, self._network.bias)
        )
        vectors, bias = vectors[self._codes], bias[self._codes, 0]
        bias[self._codes == 0] = -np.inf
        hides = con.execute(f"select coalesce(max(count_hidden), 0) from {ASKED}").fetchall()[0][0]
        read, parts = reader(self._network), []
        for questions, windows in self._windows(con):
            score = (read.predict_on_batch(windows) @ vectors.T + bias)[: len(questions)]
            if hides:
                own = con.execute(f"select question, item from {OWN} where question between ? and ?",
                                  [int(questions[0]), int(questions[-1])]).fetchnumpy()  # fmt: skip
                at = np.searchsorted(questions, own["question"])
                is_here = questions[at.clip(max=len(questions) - 1)] == own["question"]
                score[at[is_here], own["item"][is_here] - 1] = -np.inf
            # Beside the likeliest: in the same order, and above 0.
            score -= score.max(axis=1, keepdims=True)
            found = listed(np.exp(score, out=score), questions, depth)
            parts.append(found)
        empty = {"question": pl.Int32, "item": pl.Int32, "score": pl.Float32}
        con.register(
            f"next_{self.name}", pl.concat([pl.DataFrame(schema=empty), *parts]).to_arrow()
        )
        return f"select question, item, score::double as score from next_{self.name}"

    def _windows(self, con: duckdb.DuckDBPyConnection) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Questions (n,), ascending, with what they chose (AT_ONCE, 50), the newest last, 0 = padding."""
        from behavsql.recommenders.sequence_learning import LONGEST

        rows = con.execute(f"""
            select question, item from {ASKED} as asked
            inner join {CHOICES} as choices on choices.who = asked.who
                and choices.place between asked.place - {LONGEST - 1} and asked.place
            order by question, choices.place
        """).fetchnumpy()
        codes = self._codes[rows["item"] - 1]
        question, codes = rows["question"][codes > 0], codes[codes > 0]
        questions, first, counts = np.unique(question, return_index=True, return_counts=True)
        for start in range(0, len(questions), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            back = np.arange(LONGEST, 0, -1)
            at = (first + counts)[some, np.newaxis] - back
            known = np.where(back <= counts[some, np.newaxis], codes[np.maximum(at, 0)], 0)
            yield questions[some], np.pad(known, [(0, AT_ONCE - len(known)), (0, 0)])

    def save(self) -> dict[str, bytes]:
        buffer = io.BytesIO()
        weights = {f"weight_{i}": array for i, array in enumerate(self._network.get_weights())}
        np.savez_compressed(buffer, ids=self._ids, codes=self._codes, **weights)
        return {"network.npz": buffer.getvalue()}

    def load(self, con: duckdb.DuckDBPyConnection, files: dict[str, bytes]) -> bool:
        if "network.npz" not in files:
            return False
        stored = np.load(io.BytesIO(files["network.npz"]), allow_pickle=False)
        self._network = self._built(len(stored["ids"]))
        self._network.set_weights([stored[f"weight_{i}"] for i in range(len(stored.files) - 2)])
        self._ids = ids(con)
        at = places(stored["ids"], self._ids)
        self._codes = np.where(at >= 0, stored["codes"][at], 0)
        return True

    def _built(self, items: int) -> object:
        """The network before it has learned anything."""
        from behavsql.models.parts.quiet_keras import import_keras

        keras = import_keras(self.threads)
        from behavsql.recommenders import next_network, sequence_learning

        keras.utils.set_random_seed(self.seed)
        network = next_network.NextItem(items, UNITS, self._body(UNITS), self.dropout)
        network.compile(
            optimizer=keras.optimizers.Adam(sequence_learning.RATE, clipnorm=1.0),
            loss=next_network.weighted_mean,
            jit_compile=False,
        )
        return network

    @abstractmethod
    def _body(self, units: int) -> object:
        """The Keras model [choices (b, t, d), mask (b, t)] -> what is known after each, (b, t, d)."""
