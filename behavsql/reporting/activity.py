"""Sessions and what they came to, over time."""

from datetime import datetime, timedelta

from behavsql.reporting import charts, numbers
from behavsql.reporting.blocks import Fact, Facts, Figure, Prose, Section, Table, grid_of, table
from behavsql.reporting.charts import Line, Words
from behavsql.reporting.context import Context
from behavsql.reporting.numbers import about, count, figure, share
from behavsql.reporting.svg import Axis, axis

STEPS = [timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7), timedelta(days=28),
         timedelta(days=91), timedelta(days=364)]  # fmt: skip
MOST_STEPS = 60
# Whole steps back from the last complete moment: the last is as long as the others.
OVER_TIME = """
with placed as (
    select sessions.*, cast(floor(epoch(?::timestamp - started_at) / ?) as integer) as back
    from sessions.sessions as sessions
    where started_at <= ?::timestamp
)
select back, count(*) as sessions, count(distinct user_id) as users,
    count(*) filter (where is_engaged) as engaged,
    count(*) filter (where count_views + count_clicks > 0) as looking,
    count(*) filter (where count_carts > 0) as carting,
    count(*) filter (where count_purchases > 0) as buying,
    cast(sum(value) as double) as value
from placed group by back order by back desc
"""
NEEDS = {"sessions.sessions": "user_id started_at is_engaged count_views count_clicks count_carts count_purchases value"}  # fmt: skip


def section(context: Context) -> Section:
    """Facts about sessions, four lines over time, and the funnel."""
    found = Section(
        "activity",
        "Sessions over time",
        "A session ends when a user pauses for longer than the session gap.",
        extra={"short": "Sessions"},
    )
    clock = context.clock
    end = clock.as_of
    complete = context.reader.rows("meta.clock")
    if complete and complete[0].get("complete_until"):
        end = min(complete[0]["complete_until"], end or complete[0]["complete_until"])
    if end is None or clock.first is None:
        found.blocks.append(Prose("There are no sessions yet.", "quiet"))
        return found
    step = _step(end - clock.first)
    rows = context.reader.ask(OVER_TIME, [end, step.total_seconds(), end], NEEDS)
    rows = [
        row for row in rows if end - step * (row["back"] + 1) >= clock.first - step * 0.02
    ] or rows
    if not rows:
        found.blocks.append(Prose("There are no sessions in this warehouse.", "quiet"))
        return found
    found.blocks.append(Facts(_facts(context)))
    found.blocks.extend(grid_of([*_figures(context, rows, step, end), *_funnel(rows)]))
    return found


def _step(span: timedelta) -> timedelta:
    return next((step for step in STEPS if span / step <= MOST_STEPS), STEPS[-1])


def _facts(context: Context) -> list[Fact]:
    row = context.reader.ask(
        "select count(*) as n, median(session_seconds) as seconds, avg(count_events) as events, "
        "count(*) filter (where is_engaged) / count(*) as engaged from sessions.sessions",
        needs={"sessions.sessions": "session_seconds count_events is_engaged"},
    )[0]
    return [
        Fact("sessions", count(row["n"])),
        Fact("events in a session", figure(row["events"]), "on average"),
        Fact("length", numbers.seconds(row["seconds"]), "median"),
        Fact("engaged", share(row["engaged"]), "of all sessions"),
    ]


def _figures(context: Context, rows: list[dict], step: timedelta, end: datetime) -> list:
    clock, each = context.clock, numbers.days(step / timedelta(days=1))
    for row in rows:
        row["from"] = end - step * (row["back"] + 1) + timedelta(microseconds=1)
        row["label"] = clock.when(row["from"])
        if not context.reader.enough(row["users"]):
            row |= dict.fromkeys(
                ("sessions", "users", "buying", "value", "engaged", "looking", "carting")
            )
    every = f"Each point is {each}; the last ends on {clock.when(end)}, where the data is complete."
    has_buys = any(row["buying"] for row in rows)
    asked = [("sessions", "sessions", count), ("users", "users", count)]
    asked += [("buying", "with a purchase", count), ("value", "money spent", about)] * has_buys
    numbers_ = table(f"Per {each}", [("label", "from", None), *asked], rows)
    lines = (
        [("sessions", "all", "la"), ("buying", "buying", "ls")]
        if has_buys
        else [("sessions", "", "la")]
    )
    found = [
        _over_time(context, lines, Words("activity-sessions", "Sessions", every), rows, numbers_),
        _over_time(context, [("users", "", "la")], Words("activity-users", "Users who came", "A user counts once in each point."), rows, numbers_),
    ]  # fmt: skip
    if has_buys:
        words = Words(
            "activity-value", "Money spent", "In the source's currency; returns are not deducted."
        )
        found.append(_over_time(context, [("value", "", "la")], words, rows, numbers_))
    return found


def _over_time(
    context: Context,
    lines: list[tuple[str, str, str]],
    words: Words,
    rows: list[dict],
    numbers_: Table,
) -> Figure:
    x = time_axis(context, [row["from"] for row in rows])
    drawn = [
        Line([(numbers.place(row["from"]), None if row[name] is None else float(row[name])) for row in rows], told, class_)
        for name, told, class_ in lines
    ]  # fmt: skip
    y = axis(
        [y for line in drawn for _, y in line.points if y is not None], numbers.tick, zero=True
    )
    return charts.curve(words, drawn, x, y, numbers_)


def time_axis(context: Context, moments: list[datetime]) -> Axis:
    """An axis of moments; up to four, evenly apart, are named."""
    low, high = numbers.place(min(moments)), numbers.place(max(moments))
    parts = min(3, len(moments) - 1)
    at = [low + (high - low) * place / max(parts, 1) for place in range(parts + 1)]
    form = lambda seconds: context.clock.short(numbers.moment(seconds))  # noqa: E731
    return Axis(low, high, at, form)


def _funnel(rows: list[dict]) -> list:
    """How many sessions got how far, in all the complete steps."""
    sums = {
        name: sum(row[name] or 0 for row in rows)
        for name in ("sessions", "looking", "carting", "buying")
    }
    names = {"sessions": "all sessions", "looking": "with a view or a click", "carting": "with a cart", "buying": "with a purchase"}  # fmt: skip
    there = [name for name in names if sums[name]]
    if len(there) < 3 or not sums["buying"]:
        return []
    listed = [
        {"name": names[name], "sessions": sums[name], "share": sums[name] / sums["sessions"]}
        for name in there
    ]
    numbers_ = table("Sessions by how far they got", [("name", "sessions", None), ("sessions", "count", count),
                                                      ("share", "share of all", share)], listed)  # fmt: skip
    words = Words(
        "funnel", "How far sessions get", "A session counts in each line it has an event for."
    )
    return [
        charts.ranking(
            words,
            [(f"{row['name']}: {count(row['sessions'])}", row["share"]) for row in listed],
            share,
            numbers_,
        )
    ]
