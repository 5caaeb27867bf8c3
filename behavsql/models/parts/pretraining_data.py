"""Whole histories -> the batches a Transformer is pre-trained on: no labels, only what came next."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import polars as pl

from behavsql.models.parts.sequence_encoder import NUMBERS, PADDING, TEXTS, SequenceEncoder
from behavsql.sequences import LENGTH, Sequences

SECOND = 1_000_000  # microseconds
# Seconds that part the classes of the time to the next event: the same for all data.
GAP_EDGES = (1, 10, 60, 300, 1_800, 7_200, 21_600, 86_400, 172_800, 345_600, 604_800, 1_209_600,
             2_419_200, 4_838_400, 9_676_800)  # fmt: skip
GAPS = len(GAP_EDGES) + 1
PLACES = 12  # of a row's tokens whose heads are asked in a step
MASKED_SHARE = 0.15  # Source: Devlin et al., 2018
SPECIAL = 2  # codes behind those of an encoder: MASK, then ASK
QUESTION = ("ago", "tenure", "count")  # the last axis of "question"
# Of the time until the next event, asked at the question, against one asked at an event, of which a
# row has many: tasks ask at a question.
QUESTION_WEIGHT = 8
AGO, VALUE = NUMBERS.index("ago"), NUMBERS.index("value")


@dataclass(frozen=True)
class Histories:
    """All that U users did up to a moment, one after the other, each oldest first."""

    events: pl.DataFrame  # (E, 5) role, item, category, value, at: as in Sequences
    first: np.ndarray  # (U,) int64: a user's first row; the next user's first is behind the last
    until: int  # microseconds: nothing later is known
    user: np.ndarray = field(init=False)  # (E,) int64
    at: np.ndarray = field(init=False)  # (E,) int64

    def __post_init__(self) -> None:
        counts = np.diff(self.first, append=self.events.height)
        object.__setattr__(self, "user", np.repeat(np.arange(len(self.first)), counts))
        object.__setattr__(self, "at", self.events["at"].to_numpy())

    @classmethod
    def of(cls, events: pl.DataFrame, until: int) -> Self:
        """From events with a column user_id, sorted by it and by time; later ones are left out."""
        known = events.filter(pl.col("at") <= until)
        user = known["user_id"].rle_id().cast(pl.Int64).to_numpy()
        texts = [pl.col(name).cast(pl.Categorical) for name in TEXTS]
        tidy = known.select("role", "item", "category", "value", "at").with_columns(texts)
        return cls(tidy, np.flatnonzero(np.diff(user, prepend=-1)), until)

    def asked(self, last: np.ndarray, cutoff: np.ndarray) -> Sequences:
        """Questions whose newest event is the row `last` (n,), at the moments `cutoff` (n,)."""
        stop = last + 1
        start = np.maximum(self.first[self.user[last]], stop - LENGTH)
        return Sequences(self.events, start, stop, cutoff)

    def all_events(self) -> Sequences:
        """Questions that together know every event: a user's are cut into LENGTH at a time."""
        number = np.arange(len(self.at)) - self.first[self.user]
        is_last = np.diff(self.user, append=-1) != 0
        last = np.flatnonzero(is_last | (number % LENGTH == LENGTH - 1))
        return self.asked(last, self.ends(last))

    def ends(self, last: np.ndarray) -> np.ndarray:
        """(n,) until when nothing came after a row: the user's next event, or the end of it all."""
        after = np.minimum(last + 1, len(self.at) - 1)
        return np.where(self._has_next(last), self.at[after], self.until)

    def draw(self, n: int, users: np.ndarray, random: np.random.Generator) -> Sequences:
        """n questions to some users: half after an event drawn at random, half at a random time.

        The former are many where much happens, the latter know users who have long been silent.
        """
        half = n // 2
        counts = np.diff(self.first, append=len(self.at))[users]
        pick = np.searchsorted(np.cumsum(counts), random.integers(counts.sum(), size=half), "right")
        row = self.first[users[pick]] + (random.random(half) * counts[pick]).astype(np.int64)
        between = random.random(half) * (self.ends(row) - self.at[row])
        some = random.choice(users, n - half)
        born = self.at[self.first[some]]
        moment = born + (random.random(n - half) * (self.until - born)).astype(np.int64)
        last = np.concatenate([row, self._last_before(some, moment)])
        cutoff = np.concatenate([self.at[row] + between.astype(np.int64), moment])
        return self.asked(last, np.maximum(cutoff, self.at[last]))

    def _has_next(self, rows: np.ndarray) -> np.ndarray:
        after = np.minimum(rows + 1, len(self.at) - 1)
        return (self.user[after] == self.user[rows]) & (after > rows)

    def _last_before(self, users: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """(n,) row of each user's last event up to a moment, to the second."""
        origin = int(self.at.min()) // SECOND
        span = self.until // SECOND - origin + 2
        key = self.user * span + (self.at // SECOND - origin)
        asked = users * span + (moments // SECOND - origin)
        return np.maximum(np.searchsorted(key, asked, "right") - 1, self.first[users])


def with_question(inputs: dict[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The inputs of a batch with one more step behind the events, the question itself, of role ASK.

    "question" (b, 3) float32 is what it knows of the events as a whole, in the order of QUESTION:
    the time since the newest and since the oldest, as the encoder scales them, and the logarithm of
    their number, from -1 for none to 1 for all there is room for. Attention takes means, so that it
    could not count. Without any event the times are 0. sizes: of the encoder.
    """
    mask, ago = inputs["mask"], inputs["numbers"][..., AGO]
    oldest = np.take_along_axis(ago, mask.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    times = np.where(mask[:, -1:], np.stack([ago[:, -1], oldest], axis=1), 0)
    count = 2 * np.log1p(mask.sum(axis=1)) / np.log1p(mask.shape[1]) - 1
    for name in TEXTS:
        code = sizes[name] + 1 if name == "role" else PADDING
        inputs[name] = np.pad(inputs[name], ((0, 0), (0, 1)), constant_values=code).astype(np.int32)
    inputs["numbers"] = np.pad(inputs["numbers"], ((0, 0), (0, 1), (0, 0)))
    inputs["mask"] = np.pad(mask, ((0, 0), (0, 1)), constant_values=True)
    inputs["is_causal"] = np.zeros((len(mask), 1), bool)
    inputs["question"] = np.column_stack([times, count]).astype(np.float32)
    return inputs


def gap_classes(gap: np.ndarray, is_over: np.ndarray) -> np.ndarray:
    """(..., GAPS) float32: the classes a time to the next event may be in, in microseconds.

    Where nothing came (is_over false) these are all that are not ruled out yet: censored.
    """
    of = np.searchsorted(GAP_EDGES, gap / SECOND, "right")[..., np.newaxis]
    classes = np.arange(GAPS)
    return np.where(is_over[..., np.newaxis], classes == of, classes >= of).astype(np.float32)


class Batches:
    """Draws batches from histories; the same numbers for the same seed, step and users.

    The first half of the rows is read forwards (`is_causal`): PLACES of their steps are asked for
    the role and item that came next, and for the time until then. In the other half a share of the
    events is masked, and asked for its role and item. The question itself is always asked for what
    comes next. `is_next` (b, PLACES) tells which is meant.
    """

    def __init__(self, histories: Histories, encoder: SequenceEncoder, users: np.ndarray,
                 rows: int, seed: int) -> None:  # fmt: skip
        self.histories, self.encoder, self.users = histories, encoder, users
        self.rows, self.seed = rows, seed
        self._codes = encoder.encode(histories.asked(histories.first[:1], histories.at[:1]))

    def batch(self, step: int) -> tuple[dict, dict, dict]:
        """Inputs, targets and weights of one training step."""
        random = np.random.default_rng([self.seed, step])
        asked = self.histories.draw(self.rows, self.users, random)
        asked = asked.rows(random.permutation(self.rows))
        encoded = replace(self._codes, sequences=asked)
        inputs = with_question(encoded.batch(slice(None)), self.encoder.sizes)
        inputs["is_causal"][: self.rows // 2] = True
        # How long ago an event was says how much is to come: not for who is asked what comes.
        inputs["numbers"][: self.rows // 2, :-1, AGO] = 0
        windows = np.concatenate([asked.windows(encoded.length), asked.stop[:, None] - 1], axis=1)
        place, is_asked = self._places(inputs, random)
        targets, weights = self._targets(asked, windows, place, is_asked, inputs["is_causal"])
        self._mask(inputs, place, is_asked)
        last = place == windows.shape[1] - 1
        inputs |= {"place": place, "is_next": inputs["is_causal"] | last}
        return inputs, targets, weights

    def _places(self, inputs: dict, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(b, PLACES) int32 steps to ask, the question last, and whether they are to be asked."""
        known = inputs["mask"][:, :-1]
        order = np.argsort(np.where(known, random.random(known.shape), 2.0), axis=1)
        place = np.zeros((len(known), PLACES), np.int64)
        most = min(PLACES - 1, known.shape[1])
        place[:, :most] = order[:, :most]
        counts = known.sum(axis=1, keepdims=True)
        masked = np.maximum(np.round(counts * MASKED_SHARE), 1)
        asked = np.where(inputs["is_causal"], counts, masked)
        is_asked = np.arange(PLACES) < np.minimum(asked, np.minimum(counts, most))
        place[:, -1], is_asked[:, -1] = known.shape[1], True
        return place.astype(np.int32), is_asked

    def _targets(self, asked: Sequences, windows: np.ndarray, place: np.ndarray,
                 is_asked: np.ndarray, is_causal: np.ndarray) -> tuple[dict, dict]:  # fmt: skip
        histories = self.histories
        row = np.maximum(np.take_along_axis(windows, place.astype(np.int64), axis=1), 0)
        is_last = place == windows.shape[1] - 1
        is_next = is_causal | is_last
        has_next = histories._has_next(row)
        wanted = np.where(is_next & has_next, row + 1, row)
        told = is_asked & (~is_next | has_next)
        since = np.where(is_last, asked.cutoff[:, np.newaxis], histories.at[row])
        codes = {name: self._codes.texts[name][wanted] for name in ("role", "item")}
        gap = np.maximum(histories.ends(row.ravel()).reshape(row.shape) - since, 0)
        targets = {**codes, "gap": gap_classes(gap, has_next)}
        weights = {
            "role": told, "item": told & (codes["item"] > 1),
            "gap": (is_asked & is_next) * np.where(is_last, QUESTION_WEIGHT, 1),
        }  # fmt: skip
        return targets, {name: weight.astype(np.float32) for name, weight in weights.items()}

    def _mask(self, inputs: dict, place: np.ndarray, is_asked: np.ndarray) -> None:
        """Hide the asked events of the rows that are not read forwards; when they were stays."""
        hidden = np.zeros(inputs["mask"].shape, bool)
        rows, columns = np.nonzero(is_asked[:, :-1] & ~inputs["is_causal"])
        hidden[rows, place[rows, columns]] = True
        for name, size in self.encoder.sizes.items():
            inputs[name] = np.where(hidden, np.int32(size), inputs[name])
        inputs["numbers"][hidden, VALUE:] = 0
