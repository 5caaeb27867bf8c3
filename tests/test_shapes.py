"""GA4's, Snowplow's and Segment's events by the shape alone: users, words, items, values."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from conftest import run, stage

from behavsql import config
from behavsql.errors import ConfigError, SourceError
from behavsql.input import shapes

NOON = datetime(2024, 5, 17, 12)
MICROS = 1_715_947_200_000_000
TEA = {"item_id": "tea", "item_name": "Tea", "item_category": "drinks", "price": 2.5, "quantity": 3}
CUP = {
    "item_id": None,
    "item_name": "Cup",
    "item_category": "(not set)",
    "price": 4.0,
    "quantity": None,
}
GA4 = {
    "event_date": "20240517", "event_timestamp": MICROS, "event_name": "purchase",
    "event_params": [{"key": "page", "value": {"string_value": "/"}}], "event_value_in_usd": 11.5,
    "user_id": None, "user_pseudo_id": "77.1", "items": [TEA, CUP],
}  # fmt: skip
_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
_PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
SNOWPLOW = {
    "collector_tstamp": "2024-05-17 12:00:01", "derived_tstamp": "2024-05-17 12:00:00",
    "event": "unstruct", "event_name": "snowplow_ecommerce_action", "event_id": "e1",
    "user_id": None, "domain_userid": "d1", "useragent": "Firefox",
    _ACTION: {"type": "transaction"},
    _PRODUCT: [{"id": "tea", "name": "Tea", "category": "drinks", "price": 2.5, "quantity": 3}],
}  # fmt: skip
SEGMENT = {
    "messageId": "m1", "anonymousId": "a1", "userId": None, "type": "track",
    "event": "Order Completed", "timestamp": "2024-05-17T12:00:00.000Z",
    "context": {"userAgent": "Firefox"},
    "properties": {"revenue": 9.0, "products": [
        {"product_id": "tea", "name": "Tea", "category": "drinks", "price": "2.50", "quantity": 3}]},
}  # fmt: skip
ONE = {"ga4": GA4, "snowplow": SNOWPLOW, "segment": SEGMENT}


def made(folder: Path, shape: str, *rows: dict, **parts: object) -> config.Config:
    (folder / "events.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "web", "shape": shape, "path": "events.json"}
    return config.from_dict(
        {"source": [source | parts], "settings": {"max_rejected_share": 1.0}},
        folder,
        "behavsql.toml",
    )


def events(project: config.Config, columns: str) -> list[tuple]:
    return stage(project).execute(f"select {columns} from staging.events order by all").fetchall()


@pytest.mark.parametrize("shape", [*shapes.SHAPES])
def test_what_was_bought_is_an_event_for_each_item(tmp_path, shape):
    found = events(made(tmp_path, shape, ONE[shape]),
                   "event_at, item_id, role, quantity, cast(value as double)")  # fmt: skip
    assert (NOON, "tea", "purchase", 3, 7.5) in found
    assert len(found) == (2 if shape == "ga4" else 1)


def test_an_item_without_an_id_goes_by_its_name(tmp_path):
    con = stage(made(tmp_path, "ga4", GA4))
    told = con.execute("select item_id, title, category from staging.items order by all").fetchall()
    assert told == [("Cup", "Cup", None), ("tea", "Tea", "drinks")]


@pytest.mark.parametrize(("shape", "change", "word", "role"), [
    ("ga4", {"event_name": "page_view", "items": []}, "page_view", "view"),
    ("ga4", {"event_name": "view_item_list"}, "view_item_list", "view"),
    ("ga4", {"event_name": "session_start", "items": None}, "session_start", "other"),
    ("ga4", {"event_name": "select_item", "items": [TEA]}, "select_item", "click"),
    ("ga4", {"event_name": "add_to_cart", "items": [TEA]}, "add_to_cart", "cart"),
    ("ga4", {"event_name": "refund", "items": [TEA]}, "refund", "return"),
    ("snowplow", {"event": "page_view", "event_name": "page_view", _ACTION: None, _PRODUCT: None},
     "page_view", "view"),
    ("snowplow", {"event": "page_ping", "event_name": "page_ping", _ACTION: None}, "page_ping", "other"),
    ("snowplow", {_ACTION: {"type": "add_to_cart"}}, "add_to_cart", "cart"),
    ("snowplow", {_ACTION: {"type": "list_view"}}, "list_view", "view"),
    ("snowplow", {"event": "transaction_item", "event_name": "transaction_item", _ACTION: None},
     "transaction_item", "purchase"),
    ("snowplow", {"event": "transaction", "event_name": "transaction", _ACTION: None},
     "transaction_total", "other"),
    ("segment", {"type": "page", "event": None, "properties": {}}, "page", "view"),
    ("segment", {"type": "identify", "event": None, "properties": {}}, "identify", "other"),
    ("segment", {"event": "Product Added"}, "Product Added", "cart"),
    ("segment", {"event": "Product List Viewed"}, "Product List Viewed", "view"),
    ("segment", {"event": "Order Refunded"}, "Order Refunded", "return"),
])  # fmt: skip
def test_words_have_roles(tmp_path, shape, change, word, role):
    assert events(made(tmp_path, shape, ONE[shape] | change), "event_type, role")[0] == (word, role)


@pytest.mark.parametrize(("shape", "change"), [
    ("ga4", {"event_name": "view_item_list"}),
    ("snowplow", {_ACTION: {"type": "list_view"}}),
    ("segment", {"event": "Product List Viewed"}),
])  # fmt: skip
def test_what_was_only_shown_in_a_list_is_no_event(tmp_path, shape, change):
    found = events(made(tmp_path, shape, ONE[shape] | change), "item_id")
    assert found == [(None,)]


def test_an_event_about_no_item_has_the_events_value(tmp_path):
    told = {"event_name": "generate_lead", "items": []}
    assert events(made(tmp_path, "ga4", GA4 | told), "cast(value as double)") == [(11.5,)]


A, B = ({"price": 10, "quantity": 2}, {"price": "", "quantity": 3})


@pytest.mark.parametrize(("items", "values"), [
    ([{"id": "a", **A}, {}], [20, None]),  # its own price, and the total not on top of it
    ([{"id": "a", **A}, {"price": 5}], [20, 5]),
    ([{"id": "a", **A}, {"id": "b", **B}], [20, None]),
    ([{"id": "a", **B}, {"id": "b", **B}], [40, None]),  # the total, once
    ([{"id": "a", "price": 0}], [40]),
    ([{"id": "a", "price": "free"}], [40]),
    ([{}, {}, {}], [40]),  # of what names no item all are one, which has the total
    ([], [40]),
])  # fmt: skip
@pytest.mark.parametrize("shape", ["ga4", "segment"])
def test_an_order_is_worth_what_it_is_worth(tmp_path, shape, items, values):
    if shape == "ga4":
        items = [{"item_id": one.get("id") or "(not set)", "price": str(one.get("price") or ""),
                  "quantity": one.get("quantity")} for one in items]  # fmt: skip
        told = {"items": items, "event_value_in_usd": 50.0, "ecommerce": {"purchase_revenue": 40.0}}
    else:
        items = [{"product_id": one.pop("id", None), **one} for one in map(dict, items)]
        told = {"properties": {"revenue": 40.0, "products": items}}
    found = events(
        made(tmp_path, shape, ONE[shape] | told, dedupe="key"), "cast(value as double), item_id"
    )
    assert sorted((value for value, _ in found), key=str) == sorted(values, key=str)


def test_what_an_item_brought_comes_before_its_price(tmp_path):
    """In the currency that prices are in, and not in dollars."""
    item = TEA | {"item_revenue": 6.0, "item_revenue_in_usd": 7.0}
    told = {"items": [item], "event_value_in_usd": 7.0}
    assert events(made(tmp_path, "ga4", GA4 | told), "cast(value as double)") == [(6.0,)]


def test_who_somebody_was_before_is_no_attribute(tmp_path):
    call = SEGMENT | {"type": "alias", "event": None, "userId": "ann", "previousId": "a1"}
    con = stage(made(tmp_path, "segment", call))
    names = {row[0] for row in con.execute("describe staging.event_attributes").fetchall()}
    assert names.isdisjoint({"previousId", "userId", "anonymousId"})


@pytest.mark.parametrize("shape", ["snowplow", "segment"])
def test_what_a_collector_received_twice_is_one_event(tmp_path, shape):
    again = {
        "snowplow": {"collector_tstamp": "2024-05-17 12:00:09"},
        "segment": {"messageId": "m2"},
    }
    project = made(tmp_path, shape, ONE[shape], ONE[shape] | again[shape])
    assert len(events(project, "event_id")) == 1


def test_bots_are_told_by_the_shapes_agent(tmp_path):
    con = stage(made(tmp_path, "segment", SEGMENT | {"context": {"userAgent": "curl/8.5.0"}}))
    assert con.execute("select rule from staging.rejected").fetchall() == [("bot",)]


def test_fields_that_are_not_there_are_missing(tmp_path):
    """An export may have any part of the columns, nested or flat, as long as the signs are there."""
    row = {key: GA4[key] for key in ("event_timestamp", "event_name", "user_pseudo_id")}
    pl.DataFrame([row]).write_parquet(tmp_path / "events.parquet")
    found = events(made(tmp_path, "ga4", path="events.parquet"), "item_id, value, role")
    assert found == [(None, None, "purchase")]


def test_parquet_as_bigquery_exports_it(tmp_path):
    pl.DataFrame([GA4]).write_parquet(tmp_path / "events.parquet")
    found = events(made(tmp_path, "ga4", path="events.parquet"), "item_id, cast(value as double)")
    assert found == [("Cup", 4.0), ("tea", 7.5)]


def test_a_source_of_another_shape_says_what_is_missing(tmp_path):
    with pytest.raises(SourceError) as error:
        stage(made(tmp_path, "ga4", SEGMENT))
    told = str(error.value)
    assert 'has no column "event_timestamp", which shape = "ga4" is known by' in told
    assert 'Mend `shape`, or map the columns. Did you mean "timestamp"?' in told


def test_an_unknown_shape_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'ga4', 'snowplow' or 'segment'"):
        made(tmp_path, "amplitude", GA4)


def test_only_events_have_a_shape(tmp_path):
    with pytest.raises(ConfigError, match='kind "users" sets shape, which only events have'):
        made(tmp_path, "ga4", GA4, kind="users")


@pytest.mark.parametrize("shape", [*shapes.SHAPES])
def test_init_knows_the_shape_by_its_columns(here, shape):
    Path("events.json").write_text("".join(json.dumps(ONE[shape]) + "\n" for _ in range(9)))
    assert run("init", "events.json").exit_code == 0
    text = Path("behavsql.toml").read_text()
    assert f'shape = "{shape}"  # by its columns\n' in text
    loaded = config.load(Path("behavsql.toml"))
    assert loaded.source[0].shape == shape
    assert stage(loaded).execute("select count(*) > 0 from staging.events").fetchall() == [(True,)]
