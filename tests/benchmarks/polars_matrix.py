"""CSV -> feature matrix, by hand in Polars: the work `polars_pipeline.py` measures behavsql against.

Written for one clickstream and one machine's memory: days are rows sorted by user and time, every
count is a running total over all of them, and a window is the difference of two rows. So nothing is
grouped after the days are made, and a window costs a binary search and a gather.
"""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
from polars_days import (
    COUNTED,
    DAY_US,
    HOURS,
    LAST,
    WEEKDAYS,
    clean,
    item_days,
    populations,
    sessionise,
    user_days,
)

col, lit, when = pl.col, pl.lit, pl.when
SUMMED: dict[str, tuple[int | str, ...]] = {
    "events": (1, 7, 30, 90, "ever"), "sessions": (7, 30, 90, "ever"), "views": (7, 30, "ever"),
    "clicks": (7, 30, "ever"), "carts": (7, 30, "ever"), "orders": (7, 30, 90, "ever"),
    "purchases": (7, 30, 90, "ever"), "returns": (90, "ever"), "actions": (7, 30, "ever"),
    "active_day": (7, 30, 90, "ever"), "value": (1, 7, 30, 90, "ever"), "returned": (90, "ever"),
    "seconds": (30, "ever"), "engaged": (30, "ever"), "continued": ("ever",),
    **{name: ("ever",) for name in (*HOURS, *WEEKDAYS)},
    **{f"{gap}_gap_{part}": ("ever",)
       for gap in ("active", "orders") for part in ("count", "sum", "squares")},
}  # fmt: skip
NEWEST = (
    "events_that_day", "seconds_that_day", "last_at", "max_value", "longest_gap", "active_gap", "orders_gap",
    "active_on", "orders_on", *(f"last_{name}" for name in LAST),
)  # fmt: skip


def build(path: Path, moments: pl.DataFrame) -> pl.DataFrame:
    """The whole way; see `populations` for the moments."""
    events = sessionise(clean(path)).collect()
    days, items = user_days(events), item_days(events)
    del events
    known = sums(days, items, populations(days, moments))
    del days, items
    return features(known)


def _rows(days: pl.DataFrame, asked: pl.DataFrame, windows: Iterable[int]) -> pl.DataFrame:
    """How many rows of `days` lie up to each cutoff less a window: row_0, row_7 ... row_ever.

    One sorted column finds the user and the day: the user leads, and 65,536 days are enough.
    """
    keys, user = days["user_id"] * 65_536 + days["day"], asked["user_id"] * 65_536
    moments = {f"row_{window}": user + asked["cutoff"] - window for window in windows}
    found = {name: keys.search_sorted(at, side="right") for name, at in moments.items()}
    return pl.DataFrame(found | {"row_ever": keys.search_sorted(user, side="left")})


def _growth(days: pl.DataFrame, name: str, window: int | str) -> pl.Expr:
    """The sum over a window, from a column that is a running total; `ever`: over the user's days."""
    total = days[name]
    total = lit(pl.concat([total.clear(1).fill_null(0), total]))
    return total.gather(col("row_0")) - total.gather(col(f"row_{window}"))


def _newest(days: pl.DataFrame, name: str) -> pl.Expr:
    """The newest value of a column that is not NULL, on a day of the user's own."""
    number = pl.int_range(pl.len(), dtype=pl.Int32)
    told = days.select(when(col(name).is_not_null()).then(number).forward_fill()).to_series()
    at = lit(told).gather(col("row_0") - 1)
    return lit(days[name]).gather(when(at >= col("row_ever")).then(at))


def sums(days: pl.DataFrame, items: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """All that the features are made of, a row per cutoff: `<what>_<window>` and the newest values."""
    per_day = {f"{name}_{window}": _growth(days, name, window)
               for name, windows in SUMMED.items() for window in windows}  # fmt: skip
    per_day |= {name: _newest(days, name) for name in NEWEST}
    per_day["days"] = col("row_0") - col("row_ever")
    per_day["first_at"] = lit(days["first_at"]).gather(col("row_ever"))
    per_item = {f"item_{name}_{window}": _growth(items, name, window)
                for name in ("met", "fresh", "popularity") for window in (30, "ever")}  # fmt: skip
    per_item["item_squares"] = _growth(items, "squares", "ever")
    per_item["item_most"] = _newest(items, "most")
    rows = _rows(days, asked, (0, 1, 7, 30, 90)).lazy()
    item_rows = _rows(items, asked, (0, 30)).lazy()
    parts = pl.collect_all([
        rows.select(made.alias(name) for name, made in per_day.items()),
        item_rows.select(made.alias(name) for name, made in per_item.items()),
    ])  # fmt: skip
    return pl.concat([asked, *parts], how="horizontal")


def _ratio(above: str | pl.Expr, below: str | pl.Expr) -> pl.Expr:
    above, below = (col(x) if isinstance(x, str) else x for x in (above, below))
    return when(below != 0).then(above / below)


def _ago(moment: str) -> pl.Expr:
    """Days from a moment to the cutoff, the last microsecond of its day."""
    return ((col("cutoff").cast(pl.Int64) + 1) * DAY_US - 1 - col(moment).to_physical()) / DAY_US


def features(known: pl.DataFrame) -> pl.DataFrame:
    """The feature matrix: every column of `features.matrix` but `_last_window`."""
    groups = (counts(), money(), shapes(), habits(), rhythm(), recency(), tastes())
    every = {name: made for group in groups for name, made in group.items()}
    matrix = known.lazy().select(
        "user_id", "cutoff", *(made.alias(name) for name, made in every.items())
    )
    return matrix.with_columns(made.alias(name) for name, made in trends().items()).collect()


def counts() -> dict[str, pl.Expr]:
    named = {"active_day": "active_days"}
    return {
        f"count_{named.get(name, name)}_{'lifetime' if window == 'ever' else f'{window}d'}":
            col(f"{name}_{window}").cast(pl.Float64)
        for name in ("events", "sessions", "orders", *COUNTED, "active_day")
        for window in SUMMED[name]
    }  # fmt: skip


def money() -> dict[str, pl.Expr]:
    value = {w: col(f"value_{w}") / 1e4 for w in SUMMED["value"]}
    nothing = lit(0.0)  # this source has no quantities
    return {
        **{f"value_{w}d": value[w] for w in (1, 7, 30, 90)},
        "value_lifetime": value["ever"],
        "returned_value_90d": col("returned_90") / 1e4,
        "returned_value_lifetime": col("returned_ever") / 1e4,
        "quantity_30d": nothing,
        "quantity_lifetime": nothing,
        "value_per_order_lifetime": _ratio(value["ever"], "orders_ever"),
        "value_per_order_90d": _ratio(value[90], "orders_90"),
        "max_value_lifetime": col("max_value") / 1e4,
        "quantity_per_purchase_lifetime": _ratio(nothing, "purchases_ever"),
        "returned_value_share": _ratio(col("returned_ever") / 1e4, value["ever"]),
    }


def shapes() -> dict[str, pl.Expr]:
    """The funnel, and what a session is like."""
    pairs = {
        "clicks_per_view": ("clicks", "views"), "carts_per_view": ("carts", "views"),
        "purchases_per_view": ("purchases", "views"), "purchases_per_cart": ("purchases", "carts"),
        "orders_per_session": ("orders", "sessions"), "returns_per_purchase": ("returns", "purchases"),
        "events_per_session": ("events", "sessions"),
        "engaged_session_share": ("engaged", "sessions"),
        "sessions_per_active_day": ("sessions", "active_day"),
    }  # fmt: skip
    made = {f"{n}_lifetime": _ratio(f"{a}_ever", f"{b}_ever") for n, (a, b) in pairs.items()}
    for name in ("carts_per_view", "purchases_per_cart", "events_per_session"):
        made[f"{name}_30d"] = _ratio(*(f"{part}_30" for part in pairs[name]))
    seconds = {w: col(f"seconds_{w}") / 1e6 for w in (30, "ever")}
    return made | {
        "purchase_event_share": _ratio("purchases_ever", "events_ever"),
        "view_event_share": _ratio("views_ever", "events_ever"),
        "action_event_share": _ratio("actions_ever", "events_ever"),
        "has_open_cart": (
            col("last_cart").is_not_null()
            & (col("last_purchase").is_null() | (col("last_cart") > col("last_purchase")))
        ),
        "engaged_session_share_30d": _ratio("engaged_30", "sessions_30").clip(upper_bound=1),
        "bounce_share_lifetime": _ratio(
            col("sessions_ever") - col("continued_ever"), "sessions_ever"
        ),
        "seconds_per_session_lifetime": _ratio(seconds["ever"], "sessions_ever"),
        "seconds_per_session_30d": _ratio(seconds[30], "sessions_30"),
        "value_per_session_lifetime": _ratio(col("value_ever") / 1e4, "sessions_ever"),
        "count_events_on_last_day": col("events_that_day").cast(pl.Float64),
        "session_seconds_on_last_day": col("seconds_that_day") / 1e6,
    }


def habits() -> dict[str, pl.Expr]:
    names = lit(pl.Series(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]))
    hours = lit(pl.Series([f"{hour:02}" for hour in range(24)]))
    shares = {f"{name}_event_share": _ratio(f"{name}_ever", "events_ever")
              for name in (*HOURS, *WEEKDAYS)}  # fmt: skip
    return shares | {
        "last_event_hour": hours.gather(col("last_at").dt.hour()),
        "last_event_weekday": names.gather(col("last_at").dt.weekday() - 1),
        "cutoff_weekday": names.gather((col("cutoff") + 3) % 7),
    }


def rhythm() -> dict[str, pl.Expr]:
    made = {}
    for name, gap, day in (("visit", "active_gap", "active"), ("order", "orders_gap", "orders")):
        n, total, squares = (col(f"{gap}_{part}_ever") for part in ("count", "sum", "squares"))
        mean = _ratio(total, n)
        deviation = _ratio(squares, n) - mean * mean
        deviation = when(n > 0).then(deviation.clip(lower_bound=0).sqrt())
        since = (
            (col("cutoff") + 1).cast(pl.Int64) * DAY_US
            - 1
            - col(f"{day}_on").cast(pl.Int64) * DAY_US
        ) / DAY_US
        made |= {
            f"{name}_gap_mean_days": mean,
            f"{name}_gap_deviation_days": deviation,
            f"{name}_gap_last_days": col(gap).cast(pl.Float64),
            f"{name}_due_ratio": _ratio(since, mean),
            f"{name}_overdue_deviations": _ratio(since - mean, deviation + 1),
        }
    return made | {"visit_gap_max_days": col("longest_gap").cast(pl.Float64)}


def recency() -> dict[str, pl.Expr]:
    return {
        "days_since_first_event": _ago("first_at"),
        "days_since_last_event": _ago("last_at"),
        **{f"days_since_last_{name}": _ago(f"last_{name}") for name in LAST},
    }


def tastes() -> dict[str, pl.Expr]:
    """Of items; this source names no categories. Who met no item has NULL everywhere."""
    met, most = col("item_met_ever"), col("item_most").cast(pl.Float64)
    made = {
        "count_distinct_items_lifetime": col("item_fresh_ever").cast(pl.Float64),
        "count_distinct_categories_lifetime": lit(0.0),
        "new_item_share_lifetime": _ratio("item_fresh_ever", met),
        "new_item_share_30d": _ratio("item_fresh_30", "item_met_30"),
        "favourite_item_share": _ratio(most, met),
        "count_favourite_item": most,
        "item_concentration": _ratio("item_squares", met.cast(pl.Float64) ** 2),
        "item_popularity_log_mean": _ratio("item_popularity_ever", met),
        "item_popularity_log_mean_30d": _ratio("item_popularity_30", "item_met_30"),
    }
    made = {name: when(met > 0).then(value) for name, value in made.items()}
    unknown = ("favourite_category_share", "category_concentration")
    return made | dict.fromkeys(unknown, lit(None, pl.Float64)) | {
        "favourite_category": lit(None, pl.String)
    }  # fmt: skip


def trends() -> dict[str, pl.Expr]:
    """What is made of other features."""
    first = col("days_since_first_event")
    return {
        "events_7d_to_30d_ratio": _ratio(col("count_events_7d") * 30, col("count_events_30d") * 7),
        "events_30d_to_90d_ratio": _ratio(col("count_events_30d") * 3, "count_events_90d"),
        "sessions_30d_to_90d_ratio": _ratio(col("count_sessions_30d") * 3, "count_sessions_90d"),
        "orders_30d_to_90d_ratio": _ratio(col("count_orders_30d") * 3, "count_orders_90d"),
        "value_30d_to_90d_ratio": _ratio(col("value_30d") * 3, "value_90d"),
        "events_30d_to_lifetime_ratio": _ratio(
            col("count_events_30d") / 30, col("count_events_lifetime") / first.clip(30)
        ),
        "value_90d_to_lifetime_ratio": _ratio(
            col("value_90d") / 90, col("value_lifetime") / first.clip(90)
        ),
        "events_7d_change": col("count_events_7d")
        - (col("count_events_30d") - col("count_events_7d")) * 7 / 23,
        "value_30d_change": col("value_30d") - (col("value_90d") - col("value_30d")) / 2,
        "active_days_share": col("count_active_days_lifetime") / first.ceil().clip(1),
    }
