"""Ready mappings of well-known exports: GA4 in BigQuery, Snowplow's events, Segment's calls.

Every row is looked at as JSON, so that it does not matter whether a field is nested, a column of
its own or not there at all. An event about several items is told as one event for each of them.
What a shape makes is added to the source's columns as `<shape>_user`, `<shape>_item` and so on.

What an event is worth is told once: by its items' prices, each its own, or where none has one by the
event's total, which the first item gets.
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
    revenue: what an item brought, before its price times quantity; in the same currency. value: what
    the event is worth where no item tells. words: event word -> role.
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
    revenue: tuple[str, ...]
    price: tuple[str, ...]
    quantity: tuple[str, ...]
    value: tuple[str, ...]
    agent: tuple[str, ...]
    words: Mapping[str, str]
    people: tuple[str, ...] = ()  # columns that name people too, and are kept no more than the user
    settings: Mapping[str, str] = field(default_factory=dict)  # keys of the source


def _words(**roles: str) -> dict[str, str]:
    """Role -> words divided by commas, as word -> role."""
    return {word.strip(): role for role, text in roles.items() for word in text.split(",")}


_PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
_TRANSACTION = "contexts_com_snowplowanalytics_snowplow_ecommerce_transaction_1"
_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1.type"
_OURS = ("told", "several", "one", "place", "is_priced")  # columns on the way
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
        # As priced, and not in dollars, which stand for what is not told otherwise.
        revenue=("one.item_revenue", "one.item_refund"),
        price=("one.price",),
        quantity=("one.quantity",),
        value=("$.ecommerce.purchase_revenue", "$.ecommerce.refund_value", "$.event_value_in_usd"),
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
        revenue=(),
        price=("one.price", "$.ti_price"),
        quantity=("one.quantity", "$.ti_quantity"),
        value=(f"$.{_TRANSACTION}[0].revenue", "$.tr_total", "$.se_value"),
        agent=("$.useragent",),
        words=_words(
            other="page_ping, transaction_total, promo_view",
            view="product_view, list_view",
            click="list_click, promo_click, link_click",
            purchase="transaction_item",
            cart="checkout_step",
            action="submit_form, focus_form, change_form",
        ),
        people=("refr_domain_userid", "user_fingerprint"),
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
        revenue=(),
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
        people=("previousId",),  # of a call that says who that is now
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
    ids = [path.removeprefix("$.") for path in (*shape.user, *shape.anonymous, *shape.people)]
    left_out = ", ".join(
        identifier(column)
        for column in (*_OURS, *ids)
        if column in _OURS or (column in types and column not in used)
    )
    columns = ", ".join(f"{sql} as {identifier(f'{name}_{part}')}" for part, sql in made.items())
    return f"(select * exclude ({left_out}), {columns} from {_each_item(shape, base)})"


def _each_item(shape: Shape, base: str) -> str:
    """The rows, each with itself as JSON and with one of its items, or with none where it has none."""
    told = f"select row_of.*, to_json(row_of) as told from (select * from {base}) as row_of"
    is_shown = f"lower({shape.event}) in ({', '.join(map(literal, shape.unlisted))})"
    several = (
        f"select *, case when not coalesce({is_shown}, false) "
        f"then json_extract(told, {literal(shape.items)}) end as several from ({told})"
    )
    prices = [path for path in (*shape.revenue, *shape.price) if path.startswith("one.")]
    is_priced = " or ".join(f"coalesce({_number(_first((path,)))} > 0, false)" for path in prices)
    return (
        "(select *, unnest(case when len(several) > 0 then several else [null] end) as one, "
        "unnest(range(greatest(coalesce(len(several), 0), 1))) as place, "
        f"coalesce(list_bool_or(list_transform(several, lambda one: {is_priced})), false) "
        f"as is_priced from ({several}))"
    )


def _number(text: str) -> str:
    return f"try_cast({text} as double)"


def _first(paths: tuple[str, ...]) -> str:
    """The first of these that is there and not empty, as text."""
    told = []
    for path in paths:
        of, _, rest = path.partition(".")
        source = "told" if of == "$" else "one"
        told.append(f"nullif(nullif({source} ->> {literal(f'$.{rest}')}, ''), '(not set)')")
    return f"coalesce({', '.join(told)})" if told else "cast(null as varchar)"


def _value(shape: Shape) -> str:
    """What an item brought: told, or its price as often as it is meant; the event's total, once."""
    price, quantity, total = map(_first, (shape.price, shape.quantity, shape.value))
    product = f"try_cast({_number(price)} * coalesce({_number(quantity)}, 1) as decimal(18, 4))"
    own = f"coalesce(cast({product} as varchar), {price})"
    if shape.revenue:
        told = _first(shape.revenue)
        own = f"coalesce(case when {_number(told)} <> 0 then {told} end, {own})"
    is_item = f"(one is not null or {_first(shape.item)} is not null)"
    is_worth = f"coalesce(is_priced or (one is null and {_number(price)} > 0), false)"
    return (
        f"case when not {is_item} then {total} when {is_worth} or place > 0 then {own} "
        f"else coalesce({total}, {own}) end"
    )
