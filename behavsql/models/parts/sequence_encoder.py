"""Event sequences -> arrays a network takes, learned from the events that train knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import md5
from typing import Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.sequences import LENGTH, Sequences

PADDING, MISSING, FIRST_BUCKET = 0, 1, 2  # codes; the known values come after the buckets
FEWEST_EVENTS = 5  # a value of rarer events is not learned from: it shares a bucket
SCALE_ROWS = 10_000  # questions that the scale of `ago` is learned from
FARTHEST = 5.0  # standard deviations from the mean: what is past them is no farther
BUCKETS = {"role": 1, "category": 1, "item": 64}  # of unseen and rare values
MOST_KNOWN = {"role": 30, "category": 300, "item": 2_000}
TEXTS = tuple(BUCKETS)
NUMBERS = ("gap", "ago", "value", "is_known")  # the last axis of "numbers"


@dataclass(frozen=True)
class Vocabulary:
    """Texts as codes: 0 padding, 1 missing, then the buckets, then the values learned.

    A value that was not learned falls into a bucket by the first 32 bits of its MD5, which is the
    same in every process, and in SQL.
    """

    values: tuple[str, ...]  # most frequent first
    buckets: int

    @property
    def size(self) -> int:
        """How many codes there are, padding included."""
        return FIRST_BUCKET + self.buckets + len(self.values)

    @classmethod
    def fit(cls, texts: pl.Series, most: int, buckets: int) -> Self:
        """The `most` frequent values; on a tie the first by the alphabet."""
        counts = (
            texts.cast(pl.String).drop_nulls().value_counts(name="events")
            .filter(pl.col("events") >= FEWEST_EVENTS)
            .sort("events", texts.name, descending=[True, False])
        )  # fmt: skip
        return cls(tuple(counts[texts.name].head(most)), buckets)

    def codes(self, texts: pl.Series) -> np.ndarray:
        """(E,) int32 of texts (E,), which are hashed once for each distinct one."""
        if texts.dtype != pl.Categorical:
            texts = texts.cast(pl.String).cast(pl.Categorical)
        distinct = texts.drop_nulls().unique()
        if not len(distinct):
            return np.full(len(texts), MISSING, np.int32)
        known = {value: i for i, value in enumerate(self.values, FIRST_BUCKET + self.buckets)}
        codes = [
            known.get(value, FIRST_BUCKET + _hashed(value) % self.buckets)
            for value in distinct.cast(pl.String)
        ]
        places = distinct.to_physical().to_numpy()
        code_of = np.full(int(places.max()) + 2, MISSING, np.int32)  # the last: of null
        code_of[places] = codes
        return code_of[texts.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()]


@dataclass(frozen=True)
class EncodedEvents:
    """n questions over E shared events as numbers; a window is only made for the rows asked."""

    texts: dict[str, np.ndarray]  # role, category, item: (E,) int32 codes
    gap: np.ndarray  # (E,) float64 log time since the event before, scaled
    value: np.ndarray  # (E,) float64 log value, scaled; 0 = the mean, also where missing
    is_known: np.ndarray  # (E,) float64 1 where there is a value
    sequences: Sequences
    ago: tuple[float, float]  # mean and std of the log time before the cutoff
    length: int

    def __len__(self) -> int:
        return len(self.sequences)

    def rows(self, those: np.ndarray) -> Self:
        """Only these questions (a mask or positions); the events stay."""
        return replace(self, sequences=self.sequences.rows(those))

    def batch(self, rows: np.ndarray | slice, length: int | None = None) -> dict[str, np.ndarray]:
        """The inputs of these b questions, t = `length` events each, the newest last.

        role, category, item (b, t) int32, 0 = padding; numbers (b, t, 4) float32 in the order of
        NUMBERS, 0 = padding; mask (b, t) bool. The first event a question knows has a gap of 0,
        the mean: what came before it is not known.
        """
        inputs = self.exact(rows, length)
        return {**inputs, "numbers": inputs["numbers"].astype(np.float32)}

    def exact(self, rows: np.ndarray | slice, length: int | None = None) -> dict[str, np.ndarray]:
        """As `batch`, but for numbers in double precision."""
        asked = self.sequences.rows(rows)
        windows = asked.windows(length or self.length)  # (b, t)
        mask = windows >= 0
        inputs = {name: np.where(mask, _at(codes, windows), PADDING)
                  for name, codes in self.texts.items()}  # fmt: skip
        has_gap = windows > asked.start[:, np.newaxis]
        ago = _scaled(_log_hours(asked.days_ago(windows)), self.ago)
        numbers = np.stack([
            np.where(has_gap, _at(self.gap, windows), 0), np.where(mask, ago, 0),
            np.where(mask, _at(self.value, windows), 0),
            np.where(mask, _at(self.is_known, windows), 0),
        ], axis=-1)  # fmt: skip
        return {**inputs, "numbers": numbers, "mask": mask}


class SequenceEncoder:
    """What train knows of the events: vocabularies of texts, and scales of gaps, times, values."""

    def fit(self, sequences: Sequences, length: int = LENGTH) -> Self:
        """Learn from the events some question knows; ModelError where none knows any.

        length: how many events a window has at most; fewer if no question knows so many.
        """
        seen = sequences.seen()
        if not seen.any():
            raise ModelError(
                f"sequences: none of the {len(sequences)} questions of train knows any event; at "
                "least one must. Train on a longer period, or leave sequence models out."
            )
        events = sequences.events.filter(pl.Series(seen, dtype=pl.Boolean))
        self.length = int(min(length, (sequences.stop - sequences.start).max()))
        self.vocabularies = {
            name: Vocabulary.fit(events[name], MOST_KNOWN[name], BUCKETS[name]) for name in TEXTS
        }
        gaps = _log_gaps(sequences.events)[_has_gap(sequences)]
        values = _log_values(events["value"])
        some = sequences.rows(_spread(len(sequences), SCALE_ROWS))
        windows = some.windows(self.length)
        ago = _log_hours(some.days_ago(windows)[windows >= 0])
        known = {"gap": gaps, "ago": ago, "value": values[~np.isnan(values)]}
        self.scales = {name: _scale(numbers) for name, numbers in known.items()}
        return self

    def encode(self, sequences: Sequences) -> EncodedEvents:
        """All events once; whatever was not learned is taken care of (see Vocabulary)."""
        events = sequences.events
        values = _log_values(events["value"])
        is_known = ~np.isnan(values)
        value = _scaled(np.where(is_known, values, 0), self.scales["value"])
        return EncodedEvents(
            {name: of.codes(events[name]) for name, of in self.vocabularies.items()},
            _scaled(_log_gaps(events), self.scales["gap"]),
            np.where(is_known, value, 0),
            is_known.astype(np.float64),
            sequences,
            self.scales["ago"],
            self.length,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Codes, padding included, of role, category and item."""
        return {name: of.size for name, of in self.vocabularies.items()}

    def to_dict(self) -> dict:
        """Ready for JSON; floats survive the round trip exactly."""
        texts = {name: {"values": list(of.values), "buckets": of.buckets}
                 for name, of in self.vocabularies.items()}  # fmt: skip
        scales = {name: list(scale) for name, scale in self.scales.items()}
        return {"length": self.length, "vocabularies": texts, "scales": scales}

    @classmethod
    def from_dict(cls, stored: dict) -> Self:
        """The inverse of `to_dict`."""
        encoder = cls()
        encoder.length = stored["length"]
        encoder.vocabularies = {
            name: Vocabulary(tuple(of["values"]), of["buckets"])
            for name, of in stored["vocabularies"].items()
        }
        encoder.scales = {name: (mean, std) for name, (mean, std) in stored["scales"].items()}
        return encoder


def _hashed(text: str) -> int:
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:4])


def _has_gap(sequences: Sequences) -> np.ndarray:
    """(E,) bool: the events that some question knows together with the event before."""
    later = sequences.start + (sequences.stop > sequences.start)
    return replace(sequences, start=later).seen()


def _spread(n: int, most: int) -> np.ndarray:
    """At most `most` positions of n, evenly apart."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _log_gaps(events: pl.DataFrame) -> np.ndarray:
    """(E,) log(1 + seconds since the event before), whoever's it was; 0 for the first."""
    at = events["at"].to_numpy()
    return np.log1p(np.maximum(np.diff(at, prepend=at[:1]), 0) / 1e6)


def _log_hours(days: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(days, 0) * 24)


def _log_values(values: pl.Series) -> np.ndarray:
    """(E,) sign(x) log(1 + |x|), NaN = missing."""
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.sign(numbers) * np.log1p(np.abs(numbers))


def _scale(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, which is 1 where nothing varies but for rounding."""
    if not len(numbers):
        return 0.0, 1.0
    mean, std = float(numbers.mean()), float(numbers.std())
    return mean, std if std > 1e-9 * max(abs(mean), 1) else 1.0


def _scaled(numbers: np.ndarray, scale: Sequence[float]) -> np.ndarray:
    mean, std = scale
    return np.clip((numbers - mean) / std, -FARTHEST, FARTHEST)


def _at(values: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """values[windows]; where there are no events at all, zeros."""
    return values[windows] if len(values) else np.zeros(windows.shape, values.dtype)
