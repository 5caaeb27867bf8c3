"""A small shop whose truth is known: who visits how often, who buys, who has left for good.

Each user visits as a Poisson process, at a rate of their own, from joining until leaving. A visit
is some views, sometimes a click, sometimes a cart, and from the cart a purchase with the user's own
propensity. A mail goes to a random tenth of the users each week; some purchases are sent back.
Times are unique, so no order of the rows can matter.
"""

from datetime import datetime

import numpy as np
import polars as pl

START = datetime(2024, 1, 1)
COLUMNS = {
    "user_id": "user", "item_id": "item", "event_type": "type", "event_at": "at",
    "price": "price", "quantity": "quantity", "category": "category",
}  # fmt: skip
ITEMS = 120
MALFORMED = ("7,12,view", "8,13,view,2024-02-01 10:00:00,1.5,1,toys,phone,too,many")
DIRT = {
    "missing_user": {"user": None},
    "unparsable_time": {"at": "the day before"},
    "missing_time": {"at": None},
    "future_time": {"at": "2199-01-01 00:00:00"},
    "time_before_min_date": {"at": "1970-01-01 00:00:00"},
    "unparsable_value": {"price": "cheap"},
    "negative_value": {"price": "-4.5", "quantity": "1"},
    "absurd_value": {"price": "2000000000", "quantity": "1"},
    "duplicate": {},
}


def clickstream(
    users: int = 700, days: int = 120, seed: int = 1, start: datetime = START
) -> pl.DataFrame:
    """Clean events in the order of their times: user, item, type, at, price, quantity, ..."""
    random = np.random.default_rng(seed)
    rate = random.gamma(0.9, 0.25, users) + 0.02
    buys = random.beta(0.8, 2.0, users)
    joined = random.uniform(0, days * 0.6, users)
    left = np.minimum(joined + random.exponential(days, users), days)
    visitor = np.repeat(np.arange(users), random.poisson(rate * (left - joined)))
    visit_at = random.uniform(joined[visitor], left[visitor]) * 86_400
    carted = random.random(len(visitor)) < 0.15 + 0.6 * buys[visitor]
    bought = carted & (random.random(len(visitor)) < buys[visitor] + 0.1)
    views = np.repeat(np.arange(len(visitor)), 1 + random.poisson(1.5, len(visitor)))
    clicks = np.flatnonzero(random.random(len(visitor)) < 0.3)
    sold, returned = (
        np.flatnonzero(bought),
        np.flatnonzero(bought & (random.random(len(visitor)) < 0.05)),
    )
    # Visit, type, how many seconds into the visit at least.
    parts = [(views, "view", 0), (clicks, "click", 200), (np.flatnonzero(carted), "cart", 400),
             (sold, "purchase", 600), (returned, "refund", 86_400)]  # fmt: skip
    events = pl.concat(
        _part(visitor[visits], word, visit_at[visits] + after, random)
        for visits, word, after in parts
    )
    mailed = np.nonzero(random.random((users, days // 7)) < 0.1)
    mails = _part(mailed[0], "mail", mailed[1] * 7 * 86_400.0 + 32_400, random)
    events = pl.concat([events, mails]).filter(pl.col("second") < days * 86_400)
    return _finished(events, random, start)


def _part(
    users: np.ndarray, word: str, second: np.ndarray, random: np.random.Generator
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": users,
            "type": [word] * len(users),
            "second": second + random.uniform(0, 190, len(users)),
        }
    )


def _finished(events: pl.DataFrame, random: np.random.Generator, start: datetime) -> pl.DataFrame:
    prices = np.round(np.exp(random.normal(3, 0.8, ITEMS)), 2)
    # Users keep to their own tenth of the items, most of the time.
    own = random.random(len(events)) < 0.8
    drawn = random.integers(0, ITEMS // 10, len(events)) * 10
    item = drawn + np.where(
        own, events["user"].to_numpy() % 10, random.integers(0, 10, len(events))
    )
    is_mail, is_refund = pl.col("type") == "mail", pl.col("type") == "refund"
    at = pl.lit(start, dtype=pl.Datetime("us")) + pl.duration(
        microseconds=(pl.col("second") * 1e6).cast(pl.Int64)
    )
    # A refund is a purchase of less than nothing, as in an invoice table.
    return events.with_columns(item=item, price=prices[item]).select(
        "user",
        pl.when(~is_mail).then("item").alias("item"),
        pl.when(is_refund).then(pl.lit("purchase")).otherwise("type").alias("type"),
        at.alias("at"),
        pl.when(pl.col("type").is_in(["cart", "purchase", "refund"])).then("price").alias("price"),
        pl.when(is_refund).then(-1).when(~is_mail).then(1).alias("quantity"),
        pl.when(~is_mail).then(pl.format("category_{}", pl.col("item") % 10)).alias("category"),
        pl.when(pl.col("user") % 3 == 0).then(pl.lit("phone")).otherwise(pl.lit("laptop")).alias("device"),
    ).unique(["user", "at"], keep="first", maintain_order=True).sort("at", "user")  # fmt: skip


def dirtied(events: pl.DataFrame, seed: int = 2) -> tuple[str, dict[str, int]]:
    """The events as a shuffled CSV with spoilt copies among them, and how many each rule must find."""
    text = events.with_columns(pl.all().cast(pl.String))
    counts = {rule: 11 + 3 * number for number, rule in enumerate(DIRT)}
    parts = [text]
    for number, (rule, spoilt) in enumerate(DIRT.items()):
        copies = text.filter(pl.col("type") == "cart").sample(counts[rule], seed=seed + number)
        parts.append(
            copies.with_columns(
                pl.lit(value, pl.String).alias(name) for name, value in spoilt.items()
            )
        )
    lines = pl.concat(parts).sample(fraction=1, shuffle=True, seed=seed).write_csv().splitlines()
    for number, line in enumerate(MALFORMED, 1):
        lines.insert(1_000 * number, line)
    return "\n".join(lines) + "\n", counts | {"malformed_line": len(MALFORMED)}
