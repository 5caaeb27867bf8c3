"""Which questions are asked of this data, over which windows, and which ones it cannot answer."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from behavsql.catalog import Catalog, SqlFile
from behavsql.config import Config, parse_duration
from behavsql.errors import SourceError
from behavsql.metrics import DEFAULT_METRIC
from behavsql.quoting import identifier

DAY = timedelta(days=1)
SHORT_SPAN = 14 * DAY  # data shorter than this is cut into hours
LONGEST_STEP = 7 * DAY
STEPS = 24  # cutoffs that a short span is divided into
MIN_TRAIN_CUTOFFS = 3
MIN_POSITIVES = 50
MAX_HOLDOUT_CUTOFFS = 4

_TABLES = """
create schema if not exists meta;
create or replace table meta.clock (
    bucket interval, first_event_at timestamp, last_event_at timestamp, as_of timestamp,
    complete_until timestamp, has_dates boolean, has_time_of_day boolean
);
create or replace table meta.tasks (
    task varchar, purpose varchar, kind varchar, metric varchar, horizon interval,
    active_within interval, every interval, count_holdout_cutoffs integer,
    max_train_cutoffs integer, status varchar, reason varchar
);
"""


@dataclass(frozen=True)
class Task:
    """A question that is asked: its label file and its metric."""

    name: str
    kind: str
    metric: str


@dataclass(frozen=True)
class Clock:
    """The data's own time: its bucket, its span, and the last moment whose past is complete."""

    bucket: timedelta
    first_event_at: datetime
    last_event_at: datetime
    has_dates: bool
    has_time_of_day: bool

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
    """Take the clock from `staging.events`; SourceError if there is no event left."""
    first, last = con.execute("select min(event_at), max(event_at) from staging.events").fetchall()[
        0
    ]
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
    short = last - first < SHORT_SPAN and timed
    return Clock(timedelta(hours=1) if short else DAY, first, last, dates, timed)


def resolve(con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config) -> Clock:
    """Write `meta.clock` and `meta.tasks` from the events and the label files' headers."""
    clock = read_clock(con)
    con.execute(_TABLES)
    con.execute(
        "insert into meta.clock values (?, ?, ?, ?, ?, ?, ?)",
        [clock.bucket, clock.first_event_at, clock.last_event_at, clock.as_of,
         clock.complete_until, clock.has_dates, clock.has_time_of_day],
    )  # fmt: skip
    roles = {row[0] for row in con.execute("select distinct role from staging.events").fetchall()}
    rows = [_resolve_task(file, config, clock, roles) for file in catalog.label_files()]
    if rows:
        con.executemany(f"insert into meta.tasks values ({', '.join('?' * 11)})", rows)
    return clock


def _resolve_task(file: SqlFile, config: Config, clock: Clock, roles: set[str]) -> list:
    name, own = file.name, config.tasks.get(file.name)
    horizon = clock.buckets(_scaled(file.horizon, clock.span / 8))
    active_within = clock.buckets(_scaled(file.active_within, clock.span / 4))
    # With one kind of event, silence over purchase's own horizon would be purchase turned round.
    if name == "churn" and len(roles - {"return", "other"}) == 1:
        horizon, active_within = 3 * horizon, 3 * active_within
    if own:
        horizon = clock.buckets(own.horizon or horizon)
        active_within = clock.buckets(own.active_within or active_within)
    every = clock.buckets(min(LONGEST_STEP, clock.span / STEPS))
    holdout = min(MAX_HOLDOUT_CUTOFFS, max(1, math.floor(clock.span / every / 8)))
    missing = sorted(set(_roles(file)) - roles)
    status, reason = "ready", None
    if own and not own.enabled:
        status, reason = "skipped", f"disabled in {config.origin}"
    elif missing:
        status, reason = "skipped", f"the data has no {' and no '.join(missing)} event"
    metric = file.metric or DEFAULT_METRIC[file.kind]
    return [name, file.purpose, file.kind, metric, horizon, active_within, every, holdout,
            config.settings.max_train_cutoffs, status, reason]  # fmt: skip


def _roles(file: SqlFile) -> tuple[str, ...]:
    return tuple(file.roles or ())


def _scaled(text: str, most: timedelta) -> timedelta:
    return min(parse_duration(text), most)


def ready(con: duckdb.DuckDBPyConnection) -> list[Task]:
    """The tasks that are asked, in the order of their names."""
    rows = con.execute(
        "select task, kind, metric from meta.tasks where status = 'ready' order by task"
    ).fetchall()
    return [Task(*row) for row in rows]


def judge(con: duckdb.DuckDBPyConnection) -> None:
    """Refuse the tasks whose labels are too few, skip those that repeat another's question."""
    for task in ready(con):
        if reason := _refusal(con, task):
            _close(con, task.name, "refused", reason)
    asked = ready(con)
    for position, task in enumerate(asked):
        for earlier in asked[:position]:
            if relation := _repeats(con, task, earlier):
                _close(
                    con,
                    task.name,
                    "skipped",
                    f"its labels are {relation} of {earlier.name} on every row",
                )
                break


def _close(con: duckdb.DuckDBPyConnection, task: str, status: str, reason: str) -> None:
    con.execute(
        "update meta.tasks set status = ?, reason = ? where task = ?", [status, reason, task]
    )


def _refusal(con: duckdb.DuckDBPyConnection, task: Task) -> str | None:
    """Why the data cannot answer, with the numbers; None if it can."""
    cutoffs = con.execute(
        "select count(*) from cutoffs.splits where task = ? and split = 'train'", [task.name]
    ).fetchall()[0][0]
    if cutoffs < MIN_TRAIN_CUTOFFS:
        return f"{cutoffs} train cutoffs, at least {MIN_TRAIN_CUTOFFS} needed: the data spans too little time"
    for split in ("train", "valid", "test"):
        rows, yes = con.execute(
            "select count(*), count(*) filter (where cast(label as double) > 0) "
            "from cutoffs.populations as asked "
            f"inner join {identifier('labels', task.name)} as labels using (user_id, cutoff_at) "
            "where task = ? and split = ?", [task.name, split]
        ).fetchall()[0]  # fmt: skip
        word = "positives" if task.kind == "binary" else "labels above zero"
        if yes < MIN_POSITIVES:
            return f"{yes:,} {word} of {rows:,} in {split}, at least {MIN_POSITIVES} needed"
        if task.kind == "binary" and rows - yes < MIN_POSITIVES:
            return (
                f"{rows - yes:,} negatives of {rows:,} in {split}, at least {MIN_POSITIVES} needed"
            )
    return None


def _repeats(con: duckdb.DuckDBPyConnection, task: Task, other: Task) -> str | None:
    """Whether two binary tasks are one question: equal labels, or each other's complement."""
    if task.kind != other.kind:
        return None
    same, opposite, rows = con.execute(
        f"""select bool_and(a.label = b.label),
                   bool_and(cast(a.label as double) = 1 - cast(b.label as double)), count(*)
            from cutoffs.populations as mine
            inner join cutoffs.populations as theirs using (user_id, cutoff_at)
            inner join {identifier("labels", task.name)} as a using (user_id, cutoff_at)
            inner join {identifier("labels", other.name)} as b using (user_id, cutoff_at)
            where mine.task = ? and theirs.task = ? and mine.split <> 'latest'""",
        [task.name, other.name],
    ).fetchall()[0]
    alike = con.execute(
        "select count(distinct (horizon, active_within)) = 1 from meta.tasks where task in (?, ?)",
        [task.name, other.name],
    ).fetchall()[0][0]
    if not rows or not alike:
        return None
    return (
        "those"
        if same
        else "the complement of those"
        if opposite and task.kind == "binary"
        else None
    )
