"""The first half of `polars_matrix.py`: CSV -> clean events -> sessions -> sums per user and day."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

col, lit, when = pl.col, pl.lit, pl.when
DAY_US = 86_400_000_000
ROLES = {
    "view": "view", "search": "view", "cart": "cart", "purchase": "purchase",
    "campaign": "other", "leave": "other",
}  # fmt: skip
ROLE = pl.Enum(["view", "click", "cart", "purchase", "return", "action", "other"])
TEXT = ("event_type", "device", "user_agent", "campaign")
SCHEMA = {
    "user_id": pl.Int64, "item_id": pl.Int64, "event_type": pl.Categorical, "ts": pl.String,
    "price": pl.Float64, "device": pl.Categorical, "user_agent": pl.Categorical,
    "campaign": pl.Categorical,
}  # fmt: skip
COUNTED = ("views", "clicks", "carts", "purchases", "returns", "actions")
LAST = ("activity", "view", "click", "cart", "purchase", "return")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "weekend")
HOURS = ("night", "morning", "afternoon", "evening")


def clean(path: Path) -> pl.DataFrame:
    """Usable events once, sorted by user and time: the rules of staging.events."""
    latest = datetime.combine(date.today() + timedelta(days=1), datetime.min.time())
    events = (
        pl.scan_csv(path, schema=SCHEMA)
        .filter(col("user_id").is_not_null())
        .with_columns(_time().alias("at"))
        .filter(
            col("at").is_between(datetime(1990, 1, 1), latest),
            col("price").is_null() | col("price").is_between(0, 1e9),
        )
        .drop("ts")
        .collect()
    )
    agents = events["user_agent"].unique().drop_nulls()
    bots = [agent for agent in agents.cast(pl.String) if _is_crawler(agent)]
    parts = ["item_id", "price", *(col(name).to_physical() for name in TEXT)]
    role = col("event_type").replace_strict(ROLES, default="action", return_dtype=ROLE)
    kept = ("user_id", "at", "item_id", "price", role.alias("role"))
    events = (
        events.lazy()
        .filter(col("user_agent").is_null() | ~col("user_agent").is_in(bots))
        .select(*kept, pl.struct(parts).hash().alias("fingerprint"))
        .sort("user_id", "at", "fingerprint")
    )
    # One sort serves both: rows that are one event follow each other.
    same = [col(name).eq_missing(col(name).shift()) for name in ("user_id", "at", "fingerprint")]
    return events.filter(~pl.all_horizontal(same)).drop("fingerprint").collect()


def _time() -> pl.Expr:
    """`2026-06-01T19:00:02.000000`: three times as fast in two parts as in one format."""
    second = col("ts").str.slice(0, 19)
    fraction = col("ts").str.slice(20, 6).cast(pl.Int64, strict=False)
    at = second.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    return at + pl.duration(microseconds=fraction)


def _is_crawler(agent: str) -> bool:
    from crawleruseragents import is_crawler

    return bool(agent) and is_crawler(agent)


def _since_start(is_counted: pl.Expr) -> pl.Expr:
    """How many rows of the session were counted so far: a running total less its value at the start."""
    total = is_counted.cast(pl.Int32).cum_sum()
    return total - when("is_start").then(total - is_counted.cast(pl.Int32)).forward_fill()


def sessionise(events: pl.DataFrame) -> pl.LazyFrame:
    """Events with what they are to their session: 30 minutes of silence end one, and so do 24 hours."""
    is_new_user = col("user_id").ne_missing(col("user_id").shift())
    pause = col("at") - col("at").shift()
    return (
        events.lazy()
        .with_columns(
            is_new_chain=is_new_user | (pause > timedelta(minutes=30)),
            pause=pause.dt.total_microseconds(),
            day=(col("at").to_physical() // DAY_US).cast(pl.Int32),
            hour=col("at").dt.hour(),
        )
        .with_columns(chain_at=when("is_new_chain").then("at").forward_fill())
        .with_columns(part=(col("at") - col("chain_at")).dt.total_hours() // 24)
        .with_columns(is_start=col("is_new_chain") | (col("part") != col("part").shift()))
        .with_columns(
            long=col("at") - when("is_start").then("at").forward_fill() > timedelta(seconds=10),
            keys=_since_start(col("role").is_in(["cart", "purchase"])),
            views=_since_start(col("role") == "view"),
            orders=_since_start(col("role") == "purchase"),
        )
        .with_columns(is_engaged=col("long") | (col("keys") > 0) | (col("views") >= 2))
        .with_columns(
            becomes_engaged=col("is_engaged") & (col("is_start") | ~col("is_engaged").shift()),
            is_second=~col("is_start") & col("is_start").shift(),
            is_order=(col("role") == "purchase") & (col("orders") == 1),
            seconds=when("is_start").then(0).otherwise("pause"),
        )
    )


def user_days(events: pl.DataFrame) -> pl.DataFrame:
    """One row per user and day, sorted: totals over all rows so far, of this and earlier users alike.

    So a user's own sum over any days is the difference of two rows. Money counts in 1/10,000 and
    time in millionths of a second. `last_<what>` are of the user's own events, NULL if there is none.
    """
    is_active = ~col("role").is_in(["return", "other"])
    paid = (col("price") * 10_000).round().cast(pl.Int64)
    counts = {name: col("role") == name.removesuffix("s") for name in COUNTED}
    counts |= {
        "sessions": col("is_start"), "continued": col("is_second"),
        "engaged": col("becomes_engaged"), "orders": col("is_order"), "night": col("hour") < 6,
        "morning": col("hour").is_between(6, 11), "afternoon": col("hour").is_between(12, 17),
        "evening": col("hour") >= 18, "active": is_active,
    }  # fmt: skip
    amounts = {
        "value": when(col("role") == "purchase").then(paid).otherwise(0),
        "returned": when(col("role") == "return").then(paid.abs()).otherwise(0),
        "seconds": col("seconds"),
    }
    lasts = {name: col("role") == name for name in LAST[1:]} | {"activity": is_active}
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    same_day = [col(name).ne_missing(col(name).shift(-1)) for name in ("user_id", "day")]
    is_end = pl.any_horizontal(same_day)
    days = events.select(
        col("user_id", "day").filter(is_end),
        (number + 1).filter(is_end).alias("events"),
        col("at").filter(is_end).alias("last_at"),
        col("at").filter(is_end.shift(fill_value=True)).alias("first_at"),
        *(test.cast(pl.Int32).cum_sum().filter(is_end).alias(name) for name, test in counts.items()),
        *(made.fill_null(0).cum_sum().filter(is_end).alias(name) for name, made in amounts.items()),
        *(when(test).then(number).forward_fill().filter(is_end).alias(f"last_{name}")
          for name, test in lasts.items()),
    )  # fmt: skip
    bought = events.lazy().filter(col("role") == "purchase").group_by("user_id", "day")
    dearest = bought.agg(max_value=paid.max()).collect()
    days = days.join(dearest, on=["user_id", "day"], how="left", maintain_order="left")
    return _finished(days, events["at"])


def _that_day(name: str) -> pl.Expr:
    return col(name) - col(name).shift(fill_value=0)


def _finished(days: pl.DataFrame, at: pl.Series) -> pl.DataFrame:
    """Days with all that is told by days: gaps between visits and orders, weekdays, newest times."""
    weekday = (col("day") + 3) % 7  # 1970-01-01 was a Thursday
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    is_first = col("user_id").ne_missing(col("user_id").shift())
    days = days.with_columns(
        user_row=when(is_first).then(number).forward_fill(),
        user_event=when(is_first).then(_before("events")).forward_fill(),
        events_that_day=_that_day("events"),
        seconds_that_day=_that_day("seconds"),
        max_value=col("max_value").cum_max().over("user_id"),
    ).with_columns(
        *(
            lit(at).gather(when(col(name) >= col("user_event")).then(name)).alias(name)
            for name in (f"last_{name}" for name in LAST)
        ),
        *(
            when(weekday == number if number < 5 else weekday >= 5)
            .then("events_that_day").otherwise(0).cum_sum().alias(name)
            for number, name in enumerate(WEEKDAYS)
        ),
        (_that_day("active") > 0).cast(pl.Int32).cum_sum().alias("active_day"),
    )  # fmt: skip
    return days.with_columns(_gaps(days))


def _before(name: str) -> pl.Expr:
    return col(name).shift(fill_value=0)


def _gaps(days: pl.DataFrame) -> pl.DataFrame:
    """Days from the visit, or order, before to this one; totals of them so far."""
    made = []
    for name in ("active", "orders"):
        has = _that_day(name) > 0
        number = pl.int_range(pl.len(), dtype=pl.Int32)
        row = when(has).then(number).forward_fill().shift()
        on = when(has).then("day").forward_fill()
        gap = when(has & (row >= col("user_row"))).then(col("day") - on.shift())
        made += [
            gap.alias(f"{name}_gap"),
            when(has).then("day").alias(f"{name}_on"),
            gap.is_not_null().cast(pl.Int32).cum_sum().alias(f"{name}_gap_count"),
            gap.fill_null(0).cum_sum().alias(f"{name}_gap_sum"),
            gap.fill_null(0).cast(pl.Int64).pow(2).cum_sum().alias(f"{name}_gap_squares"),
        ]
    gaps = days.select("user_id", *made)
    return gaps.with_columns(longest_gap=col("active_gap").cum_max().over("user_id")).drop(
        "user_id"
    )


def item_days(events: pl.DataFrame) -> pl.DataFrame:
    """One row per user and day with items: how often each was met before, and how popular it was."""
    week = (col("day") - 4) // 7  # weeks begin on Mondays
    seen = events.lazy().filter(col("item_id").is_not_null())
    weekly = seen.group_by("item_id", week=week).agg(met=pl.len())
    popular = (
        pl.concat(weekly.with_columns(col("week") + ahead) for ahead in (1, 2, 3, 4))
        .group_by("item_id", "week")
        .agg(popularity=col("met").sum().cast(pl.Float64).log1p())
    )
    return (
        seen.filter(~col("role").is_in(["return", "other"]))
        .select("user_id", "item_id", "day", week=week)
        .with_columns(nth=col("item_id").cum_count().over("user_id", "item_id"))
        .join(popular, on=["item_id", "week"], how="left")
        .group_by("user_id", "day")
        .agg(
            met=pl.len().cast(pl.Int32),
            fresh=(col("nth") == 1).cast(pl.Int32).sum(),
            squares=(2 * col("nth").cast(pl.Int64) - 1).sum(),
            most=col("nth").max().cast(pl.Int32),
            popularity=col("popularity").sum(),
        )
        .sort("user_id", "day")
        .with_columns(
            col("met", "fresh", "squares", "popularity").cum_sum(),
            most=col("most").cum_max().over("user_id"),
        )
        .collect()
    )


def populations(days: pl.DataFrame, moments: pl.DataFrame) -> pl.DataFrame:
    """Who is asked when. moments: day (the cutoff ends it), active_within (days), sorted by day.

    A day with activity speaks for the moments from it to the next such day.
    """
    last = days.filter(_that_day("active") > 0).select("user_id", "day")
    until = when(col("user_id") == col("user_id").shift(-1)).then(col("day").shift(-1))
    reach = col("day") + moments["active_within"].max()
    last = last.with_columns(until=pl.min_horizontal(until, reach))
    at = moments["day"]
    first, end = (at.search_sorted(last[name], side="left") for name in ("day", "until"))
    return (
        last.lazy()
        .select("user_id", "day", pl.int_ranges(first, end).alias("moment"))
        .filter(col("moment").list.len() > 0)
        .explode("moment")
        .with_columns(
            cutoff=lit(at).gather(col("moment")),
            within=lit(moments["active_within"]).gather(col("moment")),
        )
        .filter(col("cutoff") < col("day") + col("within"))
        .select("user_id", "cutoff")
        .collect()
    )
