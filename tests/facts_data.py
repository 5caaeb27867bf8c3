"""A clickstream with all that may be told beside it: surveys, attributes, prices, each with its time."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from clickstream import COLUMNS, START, clickstream

from behavsql import config
from behavsql.config import Config

USERS, DAYS = 220, 90
SOURCES = [
    {"name": "people", "path": "people.csv", "kind": "users", "features": ["country"],
     "columns": {"user_id": "who"}},
    {"name": "poll", "path": "poll.csv", "kind": "survey",
     "columns": {"user_id": "who", "event_at": "when", "question": "asked", "answer": "said"}},
    {"name": "form", "path": "form.csv", "kind": "survey", "features": ["stars", "heard_of_us"],
     "columns": {"user_id": "who", "event_at": "when"}},
    {"name": "bought", "path": "bought.csv", "kind": "attributes", "features": ["segment", "income"],
     "columns": {"user_id": "who", "valid_from": "since", "valid_to": "until"}},
    {"name": "catalogue", "path": "catalogue.csv", "kind": "items", "texts": ["words"],
     "columns": {"item_id": "sku", "valid_from": "since", "price": "price", "title": "name",
                 "category": "shelf"}},
    {"name": "tests", "path": "tests.csv", "kind": "attributes", "features": ["grade"],
     "columns": {"item_id": "sku", "valid_from": "since"}},
]  # fmt: skip


def project(folder: Path, events: pl.DataFrame | None = None, **settings: object) -> Config:
    """All kinds of facts in one project; their times are spread over those of the events."""
    (clickstream(USERS, DAYS, seed=5) if events is None else events).write_parquet(
        folder / "events.parquet"
    )
    for name, rows in _tables().items():
        rows.write_csv(folder / f"{name}.csv")
    shop = {"name": "shop", "path": "events.parquet", "columns": COLUMNS}
    tasks = {
        task: {"enabled": task in ("churn", "purchase")}
        for task in ("churn", "click", "engagement", "next_visit", "purchase", "spend")
    }
    return config.from_dict(
        {"source": [shop, *SOURCES], "tasks": tasks,
         "settings": {"models": "fast", "threads": 1} | settings},
        folder, "behavsql.toml",
    )  # fmt: skip


def _tables() -> dict[str, pl.DataFrame]:
    users = pl.DataFrame({"who": range(USERS)})
    turns = pl.DataFrame({"turn": range(5)})
    places = pl.DataFrame({"sku": range(120)})
    day = (pl.col("who") * 7 + pl.col("turn") * 23) % (DAYS + 10)  # some lie after the last event
    told = users.join(turns, how="cross").with_columns(
        at=pl.lit(START) + pl.duration(days=day, minutes=pl.col("who") * 11 % 1440)
    )
    asked = pl.concat([
        told.select("who", when="at", asked=pl.lit("Happy?"),
                    said=pl.when(pl.col("turn") % 2 == 0).then(pl.lit("yes")).otherwise(pl.lit("no"))),
        told.select("who", when="at", asked=pl.lit("score"), said=(pl.col("turn") * 2).cast(pl.String)),
    ])  # fmt: skip
    form = told.filter(pl.col("turn") < 2).select(
        "who", when="at", stars=pl.when(pl.col("turn") == 0).then(pl.col("who") % 5),
        heard_of_us=pl.lit("friend"),
    )  # fmt: skip
    starts = START + timedelta(days=0)
    bought = users.join(turns, how="cross").select(
        "who", since=(pl.lit(starts) + pl.duration(days=pl.col("turn") * 20)).dt.date(),
        until=pl.when(pl.col("turn") % 2 == 1).then(
            (pl.lit(starts) + pl.duration(days=pl.col("turn") * 20 + 9)).dt.date()),
        segment=pl.lit("s") + ((pl.col("who") + pl.col("turn")) % 3).cast(pl.String),
        income=pl.when(pl.col("turn") != 2).then(pl.col("who") * 1000),
    )  # fmt: skip
    prices = places.join(pl.DataFrame({"week": range(14)}), how="cross").select(
        "sku", since=(pl.lit(START) + pl.duration(days=pl.col("week") * 7 + pl.col("sku") % 7)).dt.date(),
        price=5 + (pl.col("sku") * 13 + pl.col("week") * 5) % 17,
        name=pl.lit("thing ") + pl.col("sku").cast(pl.String) + pl.lit(" of week ") + pl.col("week").cast(pl.String),
        shelf=pl.lit("shelf ") + (pl.col("sku") % 4).cast(pl.String), words=pl.lit("as sold"),
    )  # fmt: skip
    grades = places.filter(pl.col("sku") % 2 == 0).select(
        "sku", since=pl.lit(datetime(2024, 2, 15)), grade=(pl.col("sku") % 3).cast(pl.String)
    )
    people = users.filter(pl.col("who") % 2 == 0).with_columns(country=pl.lit("Malta"))
    return {"people": people, "poll": asked, "form": form, "bought": bought,
            "catalogue": prices, "tests": grades}  # fmt: skip
