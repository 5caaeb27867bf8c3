"""What users did, in order: the last events before each question, over events that questions share.

A user is asked at many cutoffs, and each time the last events are mostly those of the time before.
So the events stand once, and a question is a stretch of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import duckdb
import numpy as np
import polars as pl

LENGTH = 50  # events of a question, as features.sequences has them
# Columns of features.sequences -> of the events, and their type.
LISTS = {"role_sequence": ("role", pl.String), "item_sequence": ("item", pl.String),
         "category_sequence": ("category", pl.String), "value_sequence": ("value", pl.Float64),
         "days_ago_sequence": ("at", pl.Float64)}  # fmt: skip
COLUMNS = tuple(LISTS)
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Items:
    """What is known of items whatever anybody does."""

    texts: pl.DataFrame  # (k, 2) item, text: title, category, description
    vectors: pl.DataFrame  # (v, 3) item, name, vector: list of Float64


@dataclass(frozen=True)
class Sequences:
    """The last events known to each of n questions, oldest first; a question may know none."""

    events: (
        pl.DataFrame
    )  # (E, 5) role, item, category: text; value: Float64; at: Int64 microseconds
    start: np.ndarray  # (n,) int64: the events of a question are start:stop, LENGTH at most
    stop: np.ndarray  # (n,) int64
    cutoff: np.ndarray  # (n,) int64 microseconds
    items: Items | None = None  # None: a model that needs them has them from its training

    def __len__(self) -> int:
        return len(self.start)

    def rows(self, those: np.ndarray) -> Self:
        """Only these questions (a mask or positions); the events stay, whoever knows them."""
        return replace(
            self, start=self.start[those], stop=self.stop[those], cutoff=self.cutoff[those]
        )

    def none(self) -> Self:
        """One question before which nothing happened."""
        nothing = np.zeros(1, np.int64)
        return replace(self, start=nothing, stop=nothing, cutoff=nothing)

    def seen(self) -> np.ndarray:
        """(E,) bool: the events that some question knows; of train, what may be learned from."""
        steps = np.zeros(self.events.height + 1, np.int64)
        np.add.at(steps, self.start, 1)
        np.add.at(steps, self.stop, -1)
        return np.cumsum(steps[:-1]) > 0

    def windows(self, length: int = LENGTH) -> np.ndarray:
        """(n, length) int64 rows of `events`, the newest last; -1 pads on the left."""
        at = self.stop[:, np.newaxis] - np.arange(length, 0, -1)
        return np.where(at >= self.start[:, np.newaxis], at, -1)

    def days_ago(self, windows: np.ndarray) -> np.ndarray:
        """(n, length) float64 days from each event to the cutoff; 0 where padding."""
        if not self.events.height:
            return np.zeros(windows.shape)
        at = self.events["at"].to_numpy()[windows]
        ago = (self.cutoff[:, np.newaxis] - at) / DAY
        return np.where(windows < 0, 0.0, ago)

    @classmethod
    def from_lists(cls, frame: pl.DataFrame) -> Self:
        """Of rows that hold the lists of features.sequences; the cutoffs are then 0.

        A NULL list is an empty one, and an event without a time is of the moment asked. Lists of a
        row must be of one length; of those longer than LENGTH the end counts.
        """
        lists = frame.select(
            pl.col(name).cast(pl.List(dtype)).fill_null([]).list.tail(LENGTH).alias(column)
            for name, (column, dtype) in LISTS.items()
        )
        counts = lists["role"].list.len().to_numpy().astype(np.int64)
        stop = np.cumsum(counts)
        flat = lists.filter(pl.Series(counts > 0, dtype=pl.Boolean)).explode(lists.columns)
        flat = flat.with_columns((-pl.col("at").fill_null(0) * DAY).round().cast(pl.Int64))
        return cls(_tidy(flat), stop - counts, stop, np.zeros(len(counts), np.int64))


def load(con: duckdb.DuckDBPyConnection, keys: pl.DataFrame) -> Sequences:
    """The events up to the cutoff of each question in `keys` (user_id, cutoff_at), in its order."""
    events = con.sql(
        "select user_id, event_id, role::varchar as role, item_id::varchar as item, "
        "category::varchar as category, value::double as value, epoch_us(event_at) as at "
        "from sessions.session_events order by user_id, event_id"
    ).pl()
    users = events.lazy().with_row_index("row").group_by("user_id").agg(
        pl.col("row").min().cast(pl.Int64).alias("first")
    )  # fmt: skip
    known = con.sql(
        "select known.user_id, known.cutoff_at, upto.last_event_id "
        "from cutoffs.known_days as known inner join sessions.user_totals as upto "
        "on upto.user_id = known.user_id and upto.day_number = known.count_days"
    ).pl()
    asked = (
        keys.lazy().select("user_id", "cutoff_at")
        .join(known.lazy(), on=["user_id", "cutoff_at"], how="left", maintain_order="left")
        .join(users, on="user_id", how="left", maintain_order="left")
        .select("cutoff_at", pl.col("first", "last_event_id").fill_null(0).cast(pl.Int64))
        .collect()
    )  # fmt: skip
    first = asked["first"].to_numpy()
    stop = first + asked["last_event_id"].to_numpy()
    cutoff = asked["cutoff_at"].cast(pl.Datetime("us")).to_physical().to_numpy()
    shared = _tidy(events.drop("user_id", "event_id"))
    return Sequences(shared, np.maximum(first, stop - LENGTH), stop, cutoff, _items(con))


def _items(con: duckdb.DuckDBPyConnection) -> Items:
    """What was known of an item before anybody met it: of whoever met it, it was known then.

    A category that only events tell is left out.
    """
    texts = con.sql(
        "select * from (select item_id::varchar as item, concat_ws(' ', "
        "case when described_at is null or described_at <= first_seen_at then title end, "
        "case when category_known_at is null then category end, "
        "case when described_at is null or described_at <= first_seen_at then description end"
        ") as text from staging.items) where text <> '' order by item"
    ).pl()
    vectors = con.sql(
        "select vectors.item_id::varchar as item, name, vector from staging.item_vectors as vectors "
        "inner join staging.items as items on items.item_id = vectors.item_id "
        "where known_at is null or known_at <= first_seen_at order by all"
    ).pl()
    return Items(texts, vectors)


def _tidy(events: pl.DataFrame) -> pl.DataFrame:
    """Texts as codes of a dictionary, because they repeat; values that are no number are missing."""
    texts: Sequence[str] = ("role", "item", "category")
    value = pl.when(pl.col("value").is_finite()).then(pl.col("value"))
    return events.with_columns(pl.col(texts).cast(pl.Categorical), value)
