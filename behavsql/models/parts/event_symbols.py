"""Events as symbols: what kind of event, and how long after the one before; then the silence."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.sequences import DAY, LENGTH, Sequences

MINUTE, HOUR = DAY // 1440, DAY // 24
# Spans of time that people name; between two that are kept lies a good share of what train saw.
LADDER = {"30 minutes": 30 * MINUTE, "3 hours": 3 * HOUR, "a day": DAY, "3 days": 3 * DAY,
          "a week": 7 * DAY, "2 weeks": 14 * DAY, "4 weeks": 28 * DAY, "8 weeks": 56 * DAY,
          "16 weeks": 112 * DAY, "a year": 365 * DAY}  # fmt: skip
LEAST_SHARE = 0.05  # of the gaps, between two spans that are kept
FIRST, LATER, KNOWN = 0, 1, 2  # gap classes: the user's first event; gap not known; the shortest
OTHER = "unknown"  # the role of events whose role train did not have


@dataclass
class EventSymbols:
    """Numbers the symbols of events and of silences, with boundaries learned on train.

    Events of one role at one moment count once, for their order means nothing. A symbol is a role
    with a gap class: the gap to the event before, `first` for the first a user ever had, `later`
    for the first of a full list, whose gap is not known. Codes from 1, by role, then gap class;
    the first role is OTHER. Codes of silences from 0: by length, the last one for no event at all.
    """

    roles: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)  # names of LADDER, ascending
    silences: list[str] = field(default_factory=list)

    def fit(self, table: Table) -> Self:
        """Learn from the events and silences the questions of `table` know."""
        sequences = table.sequences
        known, any_event = sequences.seen(), sequences.start < sequences.stop
        roles = sequences.events["role"].filter(pl.Series(known, dtype=pl.Boolean))
        self.roles = roles.cast(pl.String).drop_nulls().unique().sort().to_list()
        known[sequences.start[any_event]] = False  # the event before may be another user's
        begins = _run_starts(sequences) == np.arange(len(known))
        inside, at = np.flatnonzero(known & begins), _at(sequences)
        self.gaps = _boundaries(at[inside] - at[inside - 1])
        self.silences = _boundaries(_silence(sequences)[any_event])
        return self

    @property
    def gap_classes(self) -> int:
        return KNOWN + len(self.gaps) + 1

    @property
    def count(self) -> int:
        """How many codes of events there are; they are 1 to count."""
        return (len(self.roles) + 1) * self.gap_classes

    @property
    def silence_count(self) -> int:
        """How many codes of silences there are; they are 0 to silence_count - 1."""
        return len(self.silences) + 2

    def of_role(self) -> np.ndarray:
        """(count,) the place of each code's role, 0 for OTHER."""
        return np.arange(self.count) // self.gap_classes

    def of_gap(self) -> np.ndarray:
        """(count,) each code's gap class."""
        return np.arange(self.count) % self.gap_classes

    def transform(self, sequences: Sequences, most: int = LENGTH) -> np.ndarray:
        """(n, most) int16 codes of the last events, the newest last; 0 pads on the left."""
        codes = np.zeros((len(sequences), most), np.int16)
        starts, role, inner = _run_starts(sequences), self._role(sequences), self._inner(sequences)
        start, event = sequences.start, sequences.stop - 1
        edge = np.where(sequences.stop - start < LENGTH, FIRST, LATER)
        rows = np.flatnonzero(event >= start)
        for place in range(most - 1, -1, -1):
            if not len(rows):
                break
            run = np.maximum(starts[event[rows]], start[rows])
            gap = np.where(run > start[rows], inner[run], edge[rows])
            codes[rows, place] = role[run] * self.gap_classes + gap + 1
            event[rows] = run - 1
            rows = rows[event[rows] >= start[rows]]
        return codes

    def silence(self, sequences: Sequences) -> np.ndarray:
        """(n,) int16 codes of the time from the last event to the cutoff."""
        edges = [LADDER[name] for name in self.silences]
        code = np.searchsorted(edges, _silence(sequences))
        code[sequences.start >= sequences.stop] = self.silence_count - 1
        return code.astype(np.int16)

    def names(self) -> list[str]:
        """What each code of an event is called.

        >>> EventSymbols(["view"], ["a day"], []).names()[4:]
        ['view, first', 'view, after an unknown gap', 'view within a day', 'view after more than a day']
        """
        spans = _spans(self.gaps, " within ", " after more than ", " after any gap")
        gaps = [", first", ", after an unknown gap", *spans]
        return [f"{role}{gap}" for role in [OTHER, *self.roles] for gap in gaps]

    def silence_names(self) -> list[str]:
        """
        >>> EventSymbols([], [], ["a day", "a week"]).silence_names()
        ['silent for up to a day', 'silent for up to a week', 'silent for more than a week', 'no event']
        """
        told = "silent for up to ", "silent for more than ", "silent for any time"
        return [*_spans(self.silences, *told), "no event"]

    def _role(self, sequences: Sequences) -> np.ndarray:
        """(E,) the place of each event's role, 0 for one that is not known."""
        known = sequences.events["role"].cast(pl.String).cast(pl.Enum(self.roles), strict=False)
        return known.to_physical().cast(pl.Int64).fill_null(-1).to_numpy() + 1

    def _inner(self, sequences: Sequences) -> np.ndarray:
        """(E,) the gap class of each event that has one of the same user before it."""
        edges = [LADDER[name] for name in self.gaps]
        return KNOWN + np.searchsorted(edges, np.diff(_at(sequences), prepend=0))

    def to_dict(self) -> dict:
        """Ready for JSON."""
        return {"roles": self.roles, "gaps": self.gaps, "silences": self.silences}


def _run_starts(sequences: Sequences) -> np.ndarray:
    """(E,) the first of the events of one role and moment that each event ends or continues."""
    place = np.arange(sequences.events.height)
    role, at = sequences.events["role"].to_physical(), _at(sequences)
    same = role.eq_missing(role.shift(1)).to_numpy() & (np.diff(at, prepend=0) == 0)
    same[:1] = False
    return np.maximum.accumulate(np.where(same, 0, place))


def _at(sequences: Sequences) -> np.ndarray:
    return sequences.events["at"].fill_null(0).to_numpy()


def _silence(sequences: Sequences) -> np.ndarray:
    """(n,) microseconds from the last event to the cutoff; 0 where there is none."""
    if not sequences.events.height:
        return np.zeros(len(sequences), np.int64)
    silence = sequences.cutoff - _at(sequences)[sequences.stop - 1]
    return np.where(sequences.start < sequences.stop, silence, 0)


def _boundaries(gaps: np.ndarray) -> list[str]:
    """Of LADDER, from below, what parts off a good share of the gaps and leaves one above."""
    kept, below, least = [], 0, LEAST_SHARE * max(len(gaps), 1)
    for name, span in LADDER.items():
        upto = int(np.count_nonzero(gaps <= span))
        if upto - below >= least and len(gaps) - upto >= least:
            kept.append(name)
            below = upto
    return kept


def _spans(edges: list[str], within: str, beyond: str, always: str) -> list[str]:
    if not edges:
        return [always]
    return [*(f"{within}{edge}" for edge in edges), f"{beyond}{edges[-1]}"]
