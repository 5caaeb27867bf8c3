"""The data's own time: what a day is, where it begins and ends, and how far it is complete."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from behavsql.errors import SourceError

DAY = timedelta(days=1)
SHORT_SPAN = 14 * DAY  # data shorter than this is cut into hours


@dataclass(frozen=True)
class Clock:
    """The data's own time: its bucket, its span, and the last moment whose past is complete."""

    bucket: timedelta
    first_event_at: datetime
    last_event_at: datetime
    has_dates: bool
    has_time_of_day: bool
    is_stitched: bool = False  # whether anonymous ids were seen with users
    outgrown: str = ""  # which kept windows the data would no longer get, in words

    @property
    def as_of(self) -> datetime:
        """The last microsecond of the newest event's bucket: the moment predictions are for."""
        return self._floor(self.last_event_at) + self.bucket - timedelta(microseconds=1)

    @property
    def complete_until(self) -> datetime:
        """The last microsecond of the bucket before: later windows have not been seen whole."""
        return self._floor(self.last_event_at) - timedelta(microseconds=1)

    @property
    def span(self) -> timedelta:
        return max(self.complete_until - self.first_event_at, timedelta(0))

    def _floor(self, moment: datetime) -> datetime:
        return moment - (moment - datetime(1970, 1, 1)) % self.bucket

    def buckets(self, length: timedelta) -> timedelta:
        """A length of time in whole buckets, at least one."""
        return self.bucket * max(1, round(length / self.bucket))


def read_clock(con: duckdb.DuckDBPyConnection) -> Clock:
    """Take the clock from `staging.events`; SourceError if there is no event left.

    It ends with the last thing that a user did: a mail or a return may come months later, when
    nobody is there to be asked about. Where nobody does anything, it ends with the last event.
    """
    first, last = con.execute(
        "select min(event_at), coalesce(max(event_at) filter (where role not in ('return', 'other')), "
        "max(event_at)) from staging.events"
    ).fetchall()[0]
    if first is None:
        rules = con.execute(
            "select rule, sum(count_rows_removed) as n from staging.ledger group by rule having n > 0"
        ).fetchall()
        told = ", ".join(f"{rule} {int(count):,}" for rule, count in rules) or "no rows"
        raise SourceError(
            f"staging.events: no usable event is left ({told}); allowed is any number above zero. "
            f"Look at staging.rejected and mend the mapping."
        )
    dates, timed = con.execute(
        "select bool_and(has_dates), bool_and(has_time_of_day) from staging.sources"
    ).fetchall()[0]
    # Whose an anonymous event is, is known at the end of its day (input/identities.py).
    stitched = con.execute("select count(*) > 0 from staging.identities").fetchall()[0][0]
    short = last - first < SHORT_SPAN and timed and not stitched
    return Clock(timedelta(hours=1) if short else DAY, first, last, dates, timed, stitched)


def tomorrow() -> datetime:
    """The first moment (UTC) that is certainly in the future wherever the events were recorded."""
    return datetime.combine(datetime.now(UTC).date(), datetime.min.time()) + timedelta(days=1)
