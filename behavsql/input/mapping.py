"""The config's mapping as SQL: a source's own columns -> the columns of `raw.events`."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from behavsql.input import identities, places
from behavsql.input.amounts import WHOLE, amount
from behavsql.input.log_format import SIGNS
from behavsql.privacy.key import sql_pseudonym
from behavsql.quoting import identifier, literal
from behavsql.source import Source

ORIGIN = "timestamp '2000-01-01'"  # where sources without dates start counting
MICROSECONDS = {"days": 86_400_000_000, "seconds": 1_000_000, "order": 1_000_000}  # of one unit


def event_columns(source: Source, types: dict[str, str]) -> dict[str, str]:
    """Name in raw.events -> SQL over the source's own columns."""
    columns = source.columns
    at, unread_at = moment(source, columns.event_at, types)
    value, unread_value = _amount(columns.value or columns.price, source, types)
    quantity, unread_quantity = _amount(columns.quantity, source, types)
    own, anonymous = user_id(source, types), anonymous_id(source, types)
    unread = [unread_value, unread_quantity]
    if columns.price and columns.quantity:
        value, too_large = _product(value, quantity)
        unread.append(too_large)
    return {
        "source": literal(source.name),
        "user_id": identities.user_id(own, anonymous if columns.anonymous_id else None),
        "anonymous_id": anonymous,
        "is_signed_in": f"({own}) is not null",
        "item_id": text(columns.item_id, types),
        "event_type": _word(source),
        "event_at": at,
        "unread_at": unread_at,
        "value": value,
        "unread_value": f"coalesce({', '.join(unread)})",
        "quantity": quantity,
        "category": text(columns.category, types),
        "title": text(columns.title, types),
        "user_agent": text(columns.user_agent, types),
        "robot": "cast(null as varchar)",
        "signs": identifier(SIGNS) if source.kind == "weblog" else "cast(null as varchar)",
        "propensity": _share(columns.propensity),
        **places.columns(source, types),
    }


def _share(column: str | None) -> str:
    """A column of probabilities; what is none is missing."""
    number = f"try_cast({identifier(column)} as double)" if column else "cast(null as double)"
    return f"case when {number} > 0 and {number} <= 1 then {number} end" if column else number


def text(column: str | None, types: dict[str, str]) -> str:
    """A column as text; whole numbers stored as doubles lose their `.0`, NaN is missing."""
    if column is None:
        return "cast(null as varchar)"
    name = identifier(column)
    if types[column] in ("DOUBLE", "FLOAT"):
        return (
            f"case when isfinite({name}) then coalesce("
            f"case when {name} = trunc({name}) then cast(try_cast({name} as bigint) as varchar) end, "
            f"cast({name} as varchar)) end"
        )
    if types[column] == "VARCHAR":
        return f"nullif({name}, '')"
    return f"cast({name} as varchar)"


def user_id(source: Source, types: dict[str, str]) -> str:
    """The user as the raw tables have it: by id, or by pseudonym (see privacy/key.py)."""
    parts = source.columns.user_parts
    if not source.is_pseudonymous:
        return user_key(parts, types)
    if source.url:  # landed with it, in the place of the first part
        return text(parts[0] if parts else None, types)
    return sql_pseudonym(user_key(parts, types))


def anonymous_id(source: Source, types: dict[str, str]) -> str:
    """A cookie or a device; where users have pseudonyms, it has one too."""
    column = source.columns.anonymous_id
    is_made = column in source.coarsen or source.url  # which is landed with it
    plain = text(column, types)
    return sql_pseudonym(plain) if source.is_pseudonymous and column and not is_made else plain


def user_key(parts: list[str], types: dict[str, str]) -> str:
    """One column as text, or several joined by `|` (escaped inside, so that no two users merge)."""
    if len(parts) < 2:
        return text(parts[0] if parts else None, types)
    escaped = [rf"replace(replace({text(part, types)}, '\', '\\'), '|', '\|')" for part in parts]
    return " || '|' || ".join(escaped)


def _word(source: Source) -> str:
    if flag := source.columns.type_flag:
        truth = (
            f"lower(cast({identifier(flag)} as varchar)) in ('1', 'true', 't', 'yes', 'y', '1.0')"
        )
        return f"case when {truth} then {literal(flag.lower())} else 'view' end"
    if column := source.columns.event_type:
        return f"coalesce(nullif(cast({identifier(column)} as varchar), ''), {literal(source.default_type)})"
    return literal(source.default_type)


def _amount(column: str | None, source: Source, types: dict[str, str]) -> tuple[str, str]:
    """(number, the text that is no number)."""
    if column is None:
        return "cast(null as decimal(18, 4))", "cast(null as varchar)"
    return amount(column, types[column], source.decimal)


def _product(price: str, quantity: str) -> tuple[str, str]:
    """(price times quantity, the two as text where what they make is beyond any amount)."""
    size = f"abs(cast({price} as double) * cast({quantity} as double))"
    # Beyond ten digits the fast product would stop the build, and the wide one takes five times
    # as long as all the rest.
    wide = f"cast({price} as decimal(38, 4)) * cast({quantity} as decimal(38, 4))"
    return (
        f"case when {size} < 9e9 then cast({price} * {quantity} as decimal(18, 4)) "
        f"else try_cast({wide} as decimal(18, 4)) end",
        f"case when {size} >= 1e14 then {price} || ' * ' || {quantity} end",
    )


def moment(source: Source, column: str, types: dict[str, str]) -> tuple[str, str]:
    """(UTC timestamp, the text that is no time) of a column of times."""
    name, type_ = identifier(column), types[column]
    is_number = type_ in (*WHOLE, "DOUBLE", "FLOAT") or type_.startswith("DECIMAL")
    is_temporal = type_ == "DATE" or type_.startswith("TIMESTAMP")
    if not (is_temporal if source.at_unit == "timestamp" else is_number):
        name, type_ = f"cast({name} as varchar)", "VARCHAR"  # of another kind: for what it says
    if source.at_unit != "timestamp":
        at = _counted(source, name)
    elif source.at_format:
        at = f"try_strptime(cast({name} as varchar), {literal(source.at_format)})"
        is_zoned = "%z" in source.at_format or "%Z" in source.at_format
        at = f"timezone('UTC', {at})" if is_zoned else from_zone(source.at_timezone, at)
    elif type_ == "TIMESTAMP WITH TIME ZONE":
        at = f"timezone('UTC', {name})"
    elif type_ == "VARCHAR":
        # A text with an offset or a zone is read with it; one without is in the source's own zone.
        # As a timestamp a zone's name would be passed over; all as timestamptz takes far longer.
        zoned = has_offset(name)
        local = from_zone(source.at_timezone, f"try_cast({name} as timestamp)")
        at = f"case when {zoned} then timezone('UTC', try_cast({name} as timestamptz)) else {local} end"
    else:
        at = from_zone(source.at_timezone, f"try_cast({name} as timestamp)")
    at = f"case when isfinite({at}) then {at} end"
    return at, f"case when {name} is not null and ({at}) is null then cast({name} as varchar) end"


def has_offset(text: str) -> str:
    """SQL that tells whether a time written out names its offset from UTC, or its zone: EST."""
    return f"regexp_matches(substr({text}, 12), '[-+A-Za-z]')"


def _counted(source: Source, name: str) -> str:
    number = f"try_cast({name} as double)"
    if not source.has_dates:
        micros = MICROSECONDS[source.at_unit]
        return f"{ORIGIN} + to_microseconds(try_cast(round({number} * {micros}) as bigint))"
    scale = {"epoch": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}[source.at_unit]
    # Beyond the year 9999 is no time: out of the calendar's range it would stop the build.
    micros = f"try_cast(round({number} * {scale}) as bigint)"
    return f"make_timestamp(case when abs({micros}) < 253402300800000000 then {micros} end)"


def from_zone(zone: str, at: str) -> str:
    """A time that the clocks of a zone show as UTC."""
    return at if zone == "UTC" else f"timezone('UTC', timezone({literal(zone)}, {at}))"


def in_zone(zone: str, at: str) -> str:
    """A time in UTC as the clocks of a zone show it."""
    return at if zone == "UTC" else f"timezone({literal(zone)}, timezone('UTC', {at}))"


def day_zone(source: Source, types: dict[str, str]) -> str:
    """The zone whose midnights are mere days: UTC for times that `at_timezone` says nothing of."""
    names_its_own = "%z" in (source.at_format or "").lower()
    is_instant = types[source.columns.event_at] == "TIMESTAMP WITH TIME ZONE"
    if source.at_unit != "timestamp" or names_its_own or (is_instant and not source.at_format):
        return "UTC"
    return source.at_timezone


def bound(
    source: Source, value: date | float | None, is_end: bool = False, are_days: bool = False
) -> str:
    """A source's `since` or `until` as a timestamp in UTC; a date that ends a span includes its day.

    Without an offset of its own it is meant in the source's `at_timezone`, as its times are. Where
    these are mere days, kept as UTC midnights, it is what the clocks of that zone show.
    """
    if value is None:
        return "cast(null as timestamp)"
    if not source.has_dates:
        return f"{ORIGIN} + to_microseconds({round(value * MICROSECONDS[source.at_unit])})"
    zone = "UTC" if are_days else source.at_timezone
    if not isinstance(value, datetime):
        day = f"timestamp {literal(f'{value.isoformat()} 00:00:00')}"
        day += " + interval '1 day' - interval '1 microsecond'" if is_end else ""
        return from_zone(zone, day)
    if value.tzinfo:
        value = value.astimezone(ZoneInfo(source.at_timezone) if are_days else UTC)
        return f"timestamp {literal(value.replace(tzinfo=None).isoformat(sep=' '))}"
    return from_zone(zone, f"timestamp {literal(value.isoformat(sep=' '))}")
