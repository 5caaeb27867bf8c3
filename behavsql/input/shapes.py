"""Ready mappings of well-known exports: GA4 in BigQuery, Snowplow's events, Segment's calls.

Every row is looked at as JSON, so that it does not matter whether a field is nested, a column of
its own or not there at all. An event about several items is told as one event for each of them.
What a shape makes is added to the source's columns as `<shape>_user`, `<shape>_item` and so on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from behavsql.errors import SourceError, nearest
from behavsql.quoting import identifier, literal

PARTS = (
    "user",
    "anonymous",
    "at",
    "event",
    "item",
    "title",
    "category",
    "quantity",
    "value",
    "agent",
)
_COLUMNS = {
    "user": "user_id", "anonymous": "anonymous_id", "at": "event_at", "event": "event_type", "item": "item_id",
    "title": "title", "category": "category", "quantity": "quantity", "value": "value",
    "agent": "user_agent",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Paths into a row (`$.a`) and into one of its items (`one.a`); of several the first that is there.

    signs: columns that tell the shape, all needed. event: SQL over `told`, the row. items: the path
    of its list of items. unlisted: events whose items were only shown in a list and are no events.
    value: what the event is worth where it is about no item. words: event word -> role.
    """

    signs: tuple[str, ...]
    user: tuple[str, ...]
    anonymous: tuple[str, ...]
    at: tuple[str, ...]
    event: str
    items: str
    unlisted: tuple[str, ...]
    item: tuple[str, ...]
    title: tuple[str, ...]
    category: tuple[str, ...]
    price: tuple[str, ...]
    quantity: tuple[str, ...]
    value: tuple[str, ...]
    agent: tuple[str, ...]
    words: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)  # keys of the source


def _words(**roles: str) -> dict[str, str]:
    """Role -> words divided by commas, as word -> role."""
    return {word.strip(): role for role, text in roles.items() for word in text.split(",")}


_PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1.type"
SHAPES = {
    "ga4": Shape(
        signs=("event_timestamp", "event_name", "user_pseudo_id"),
        user=("$.user_id",),
        anonymous=("$.user_pseudo_id",),
        at=("$.event_timestamp",),
        event="told ->> '$.event_name'",
        items="$.items[*]",
        unlisted=("view_item_list", "view_promotion"),
        item=("one.item_id", "one.item_name"),
        title=("one.item_name",),
        category=("one.item_category",),
        price=("one.price",),
        quantity=("one.quantity",),
        value=("$.event_value_in_usd", "$.ecommerce.purchase_revenue"),
        agent=(),
        words=_words(
            other="session_start, first_visit, first_open, user_engagement, view_promotion, app_remove",
            view="view_cart",
            click="select_promotion, file_download",
            purchase="in_app_purchase",
            action="scroll, video_start, video_progress, video_complete, form_start, form_submit, "
            "share, sign_up, login, generate_lead, add_to_wishlist",
        ),
        settings={"at_unit": "epoch_us"},
    ),
    "snowplow": Shape(
        signs=("collector_tstamp", "event_name", "domain_userid"),
        user=("$.user_id",),
        anonymous=("$.domain_userid", "$.network_userid"),
        at=("$.derived_tstamp", "$.collector_tstamp"),
        # Old e-commerce tells the total and each item: the items are what was bought.
        event="case told ->> '$.event' when 'transaction' then 'transaction_total' "
        "when 'struct' then told ->> '$.se_action' else coalesce("
        f"told ->> '$.{_ACTION}', told ->> '$.event_name', told ->> '$.event') end",
        items=f"$.{_PRODUCT}[*]",
        unlisted=("list_view",),
        item=("one.id", "$.ti_sku"),
        title=("one.name", "$.ti_name"),
        category=("one.category", "$.ti_category"),
        price=("one.price", "$.ti_price"),
        quantity=("one.quantity", "$.ti_quantity"),
        value=("$.tr_total", "$.se_value"),
        agent=("$.useragent",),
        words=_words(
            other="page_ping, transaction_total, promo_view",
            view="product_view, list_view",
            click="list_click, promo_click, link_click",
            purchase="transaction_item",
            cart="checkout_step",
            action="submit_form, focus_form, change_form",
        ),
        # Collectors receive some events twice, and note when.
        settings={"dedupe": "key"},
    ),
    "segment": Shape(
        signs=("messageId", "anonymousId", "type"),
        user=("$.userId",),
        anonymous=("$.anonymousId",),
        at=("$.timestamp", "$.originalTimestamp", "$.sentAt"),
        event="case told ->> '$.type' when 'track' then told ->> '$.event' else told ->> '$.type' end",
        items="$.properties.products[*]",
        unlisted=("product list viewed", "product list filtered", "products searched"),
        item=("one.product_id", "one.sku", "$.properties.product_id", "$.properties.sku"),
        title=("one.name", "$.properties.name"),
        category=("one.category", "$.properties.category"),
        price=("one.price", "$.properties.price"),
        quantity=("one.quantity", "$.properties.quantity"),
        value=("$.properties.revenue", "$.properties.total", "$.properties.value"),
        agent=("$.context.userAgent",),
        words=_words(
            other="identify, group, alias, product removed, promotion viewed, order updated, "
            "application installed, application opened, application backgrounded, email delivered, "
            "push notification received, coupon applied",
            view="page, screen, product viewed, product list viewed, products searched, cart viewed, "
            "product list filtered",
            click="product clicked, promotion clicked, email link clicked, push notification tapped",
            cart="product added, checkout started, checkout step viewed, checkout step completed, "
            "payment info entered",
            purchase="order completed",
            **{"return": "order refunded, order cancelled"},
            action="signed up, signed in, product added to wishlist, product shared, product reviewed",
        ),
        settings={"dedupe": "key"},
    ),
}


def mapping(name: str) -> dict[str, object]:
    """The keys of a source of a shape."""
    shape = SHAPES[name]
    parts = [part for part in PARTS if part != "agent" or shape.agent]
    return {"columns": {_COLUMNS[part]: f"{name}_{part}" for part in parts}, **shape.settings}


def of_columns(names: set[str]) -> str | None:
    """The shape that has all its signs among these columns."""
    return next((name for name, shape in SHAPES.items() if {*shape.signs} <= names), None)


def relation(
    where: str, name: str, base: str, types: Mapping[str, str], used: Collection[str] = ()
) -> str:
    """The FROM clause `base` with the shape's columns added; SourceError if it is of no such shape.

    The columns that the user is made of are left out, but for those in `used`: what names people
    stands in one place.
    """
    shape = SHAPES[name]
    for sign in shape.signs:
        if sign not in types:
            raise SourceError(
                f'{where} has no column "{sign}", which shape = "{name}" is known by; its columns '
                f"are {', '.join(types)}. Mend `shape`, or map the columns.{nearest(sign, types)}"
            )
    word = shape.event
    listed = f"json_extract(told, {literal(shape.items)})"
    is_listed = f"lower({word}) in ({', '.join(map(literal, shape.unlisted))})"
    several = (
        f"unnest(case when not coalesce({is_listed}, false) and len({listed}) > 0 then {listed} "
        "else [null] end)"
    )
    made = {
        part: _first(getattr(shape, part))
        for part in ("user", "anonymous", "at", "item", "title", "category")
    }
    made |= {"event": word, "quantity": _first(shape.quantity), "value": _value(shape)}
    # What a call about a page names so is no item's.
    made |= {
        part: f"case when {made['item']} is not null then {made[part]} end"
        for part in ("title", "category", "quantity")
    }
    if shape.agent:
        made["agent"] = _first(shape.agent)
    ids = [path.removeprefix("$.") for path in (*shape.user, *shape.anonymous)]
    left_out = ", ".join(
        identifier(column)
        for column in ("told", "one", *ids)
        if column in ("told", "one") or (column in types and column not in used)
    )
    columns = ", ".join(f"{sql} as {identifier(f'{name}_{part}')}" for part, sql in made.items())
    return (
        f"(select * exclude ({left_out}), {columns} from (select *, {several} as one from "
        f"(select row_of.*, to_json(row_of) as told from (select * from {base}) as row_of)))"
    )


def _first(paths: tuple[str, ...]) -> str:
    """The first of these that is there and not empty, as text."""
    told = []
    for path in paths:
        of, _, rest = path.partition(".")
        source = "told" if of == "$" else "one"
        told.append(f"nullif(nullif({source} ->> {literal(f'$.{rest}')}, ''), '(not set)')")
    return f"coalesce({', '.join(told)})" if told else "cast(null as varchar)"


def _value(shape: Shape) -> str:
    """What an item costs, as often as it is meant; the event's value where it is about no item."""
    price, quantity = _first(shape.price), _first(shape.quantity)
    number = "try_cast({} as decimal(18, 4))"
    product = (
        f"try_cast(cast({number.format(price)} as double) * "
        f"coalesce(cast({number.format(quantity)} as double), 1) as decimal(18, 4))"
    )
    return (
        f"case when {_first(shape.item)} is null then {_first(shape.value)} "
        f"else coalesce(cast({product} as varchar), {price}) end"
    )
