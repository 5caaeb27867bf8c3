"""Windows over the choices of all users, and a network that learns from them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from behavsql.recommenders.next_network import NextItem

LENGTHS = (8, 20, 50)  # of windows; one is padded to the next of these
LONGEST = LENGTHS[-1]
BATCHES = 150  # of an epoch, roughly: a batch grows with the number of windows, up to
BATCH = 128  # windows
EPOCHS, PATIENCE = 20, 2
RATE = 2e-3
MOST_WINDOWS = 40_000  # of an epoch, drawn anew each time
JUDGED_WINDOWS = 4_000  # by which training stops
FULL = 2_000  # up to so many items, all of them are rivals; of more, so many are drawn:
RIVALS = 512

Batch = tuple[tuple[np.ndarray, ...], np.ndarray]


@dataclass(frozen=True)
class Steps:
    """The E choices of all users, one user after the other, in order."""

    items: np.ndarray  # (E,) int32, from 1
    left: np.ndarray  # (E,) int32: how many of the user's come after
    is_first: np.ndarray  # (E,) bool: the user's first, which nothing leads to
    is_new: np.ndarray  # (E,) bool: among the newest, by which training stops

    @classmethod
    def of(cls, who: np.ndarray, items: np.ndarray, is_new: np.ndarray) -> "Steps":
        starts = np.flatnonzero(np.diff(who, prepend=who[0] - 1))
        ends = np.append(starts[1:], len(who))
        left = np.repeat(ends, ends - starts) - np.arange(len(who)) - 1
        is_first = np.zeros(len(who), bool)
        is_first[starts] = True
        if not (is_new & ~is_first).any():  # all at one time: the last choice of every tenth user
            is_new = np.zeros(len(who), bool)
            is_new[ends[::10] - 1] = True
        return cls(items.astype(np.int32), left.astype(np.int32), is_first, is_new)

    def windows(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(first, last) place of the targets of each window; where users are cut is drawn."""
        block = (self.left + random.integers(0, LONGEST)) // LONGEST
        begins = self.is_first | (np.diff(block, prepend=block[:1]) != 0)
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(block)) - 1
        first = first + self.is_first[first]
        is_some = last >= first
        return first[is_some], last[is_some]


class Learning:
    """A network that learns from steps, batch by batch; the same seed, the same weights."""

    def __init__(
        self, network: "NextItem", steps: Steps, items: int, seed: int, seconds: float | None
    ) -> None:
        self.network, self.steps, self.seed, self.epoch = network, steps, seed, 0
        self.until = None if seconds is None else time.monotonic() + seconds
        counts = np.bincount(steps.items, minlength=items + 1)[1:].astype(np.float64)
        windows = len(steps.windows(np.random.default_rng(seed))[0])
        self.size = int(2 ** np.clip(np.round(np.log2(windows / BATCHES)), 4, np.log2(BATCH)))
        self.rivals = 0 if items <= FULL else RIVALS
        share = np.sqrt(counts) / np.sqrt(counts).sum()
        self._shares = np.cumsum(share)
        with np.errstate(divide="ignore"):
            drawn = np.log(np.maximum(self.rivals, 1) * share)
        self._drawn = np.concatenate([[0.0], np.maximum(drawn, -30)]).astype(np.float32)

    def until_it_stops(self) -> None:
        """Learn from all but the newest choices until these are said no better."""
        best, waited, kept = float("inf"), 0, self.network.get_weights()
        for _ in range(EPOCHS):
            self._learn(~self.steps.is_new)
            loss = self._judged()
            if loss < best:
                best, waited, kept = loss, 0, self.network.get_weights()
            else:
                waited += 1
            if waited == PATIENCE or self._is_late():
                break
        self.network.set_weights(kept)

    def once_more(self) -> None:
        """Learn once from all choices."""
        if not self._is_late():
            self._learn(np.ones(len(self.steps.items), bool))

    def _learn(self, those: np.ndarray) -> None:
        random = np.random.default_rng([self.seed, len(self.steps.items), self.epoch])
        self.epoch += 1
        first, last = self._some(*self.steps.windows(random), MOST_WINDOWS, random)
        for inputs, weight in self._batches(first, last, those, random):
            self.network.train_on_batch(inputs, weight)
            if self._is_late():
                break

    def _judged(self) -> float:
        random = np.random.default_rng(self.seed)
        first, last = self.steps.windows(random)
        is_new = self.steps.is_new[last]
        first, last = self._some(first[is_new], last[is_new], JUDGED_WINDOWS, random)
        total = weights = 0.0
        for inputs, weight in self._batches(first, last, self.steps.is_new, random):
            total += float((self.network.predict_on_batch(inputs) * weight).sum())
            weights += float(weight.sum())
        return total / max(weights, 1.0)

    @staticmethod
    def _some(
        first: np.ndarray, last: np.ndarray, most: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(first) > most:
            those = np.sort(random.choice(len(first), most, replace=False))
            first, last = first[those], last[those]
        return first, last

    def _batches(
        self, first: np.ndarray, last: np.ndarray, those: np.ndarray, random: np.random.Generator
    ) -> Iterator[Batch]:
        """Windows of about one length together, in random order; always as many."""
        size = np.searchsorted(LENGTHS, last - first + 1)
        order = random.permutation(len(first))
        alike = (order[size[order] == place] for place in range(len(LENGTHS)))
        cuts = [
            rows[start : start + self.size]
            for rows in alike
            for start in range(0, len(rows), self.size)
        ]
        for place in random.permutation(len(cuts)):
            rows = cuts[place]
            yield self._batch(first[rows], last[rows], LENGTHS[size[rows[0]]], those, random)

    def _batch(
        self, first: np.ndarray, last: np.ndarray, length: int, those: np.ndarray,
        random: np.random.Generator,
    ) -> Batch:  # fmt: skip
        target = last[:, np.newaxis] - np.arange(length - 1, -1, -1)
        is_there = target >= first[:, np.newaxis]
        target = np.where(is_there, target, 1)
        codes = np.where(is_there, self.steps.items[target - 1], 0)
        targets = np.where(is_there, self.steps.items[target], 0)
        weight = (is_there & those[target]).astype(np.float32)
        more = [(0, self.size - len(first)), (0, 0)]
        draws = random.random(self.rivals)
        rivals = np.minimum(np.searchsorted(self._shares, draws) + 1, len(self._shares))
        inputs = (np.pad(codes, more).astype(np.int32), np.pad(targets, more).astype(np.int32),
                  rivals.astype(np.int32), self._drawn)  # fmt: skip
        return inputs, np.pad(weight, more)

    def _is_late(self) -> bool:
        return self.until is not None and time.monotonic() > self.until
