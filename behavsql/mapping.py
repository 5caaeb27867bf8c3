"""The config's mapping as SQL: a source's own columns -> the columns of `raw.events`."""

from datetime import date, datetime

from behavsql.config import Source
from behavsql.quoting import identifier, literal

ORIGIN = "timestamp '2000-01-01'"  # where sources without dates start counting
MICROSECONDS = {"days": 86_400_000_000, "seconds": 1_000_000, "order": 1_000_000}  # of one unit


def event_columns(source: Source, types: dict[str, str]) -> dict[str, str]:
    """Name in raw.events -> SQL over the source's own columns."""
    columns = source.columns
    at, unread_at = _time(source, types)
    value, unread_value = _amount(columns.value or columns.price, types)
    quantity, unread_quantity = _amount(columns.quantity, types)
    if columns.price and columns.quantity:
        value = f"try_cast({value} * {quantity} as decimal(18, 4))"
    return {
        "source": literal(source.name),
        "user_id": user_key(columns.user_parts, types),
        "item_id": text(columns.item_id, types),
        "event_type": _word(source),
        "event_at": at,
        "unread_at": unread_at,
        "value": value,
        "unread_value": f"coalesce({unread_value}, {unread_quantity})",
        "quantity": quantity,
        "category": text(columns.category, types),
        "title": text(columns.title, types),
    }


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


def user_key(parts: list[str], types: dict[str, str]) -> str:
    """One column as text, or several joined by `|` (escaped inside, so that no two users merge)."""
    if len(parts) == 1:
        return text(parts[0], types)
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


def _amount(column: str | None, types: dict[str, str]) -> tuple[str, str]:
    """(number, the text that is no number): NULL, NaN and infinities are all missing."""
    if column is None:
        return "cast(null as decimal(18, 4))", "cast(null as varchar)"
    name = identifier(column)
    number = f"try_cast({name} as decimal(18, 4))"
    if types[column] in ("DOUBLE", "FLOAT"):
        number = f"try_cast(case when isfinite({name}) then {name} end as decimal(18, 4))"
        unread = f"case when isfinite({name}) and {number} is null then cast({name} as varchar) end"
        return number, unread
    finite = (
        f"coalesce(isfinite(try_cast({name} as double)), true)"
        if types[column] == "VARCHAR"
        else "true"
    )
    return (
        number,
        f"case when {name} is not null and {number} is null and {finite} then cast({name} as varchar) end",
    )


def _time(source: Source, types: dict[str, str]) -> tuple[str, str]:
    """(UTC timestamp, the text that is no time)."""
    name = identifier(source.columns.event_at)
    type_ = types[source.columns.event_at]
    number = f"try_cast({name} as double)"
    if not source.has_dates:
        micros = MICROSECONDS[source.at_unit]
        at = f"{ORIGIN} + to_microseconds(try_cast(round({number} * {micros}) as bigint))"
    elif source.at_unit != "timestamp":
        scale = {"epoch": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}[source.at_unit]
        # Beyond the year 9999 is no time: out of the calendar's range it would stop the build.
        micros = f"try_cast(round({number} * {scale}) as bigint)"
        at = f"make_timestamp(case when abs({micros}) < 253402300800000000 then {micros} end)"
    elif source.at_format:
        at = f"try_strptime(cast({name} as varchar), {literal(source.at_format)})"
    elif type_ == "TIMESTAMP WITH TIME ZONE":
        at = f"timezone('UTC', {name})"
    elif type_ == "VARCHAR":
        # A text with an offset is read with it; one without is in the source's own zone. Reading
        # all as timestamptz would say the same and take several times as long.
        clock = f"substr({name}, 12)"
        zoned = (
            f"contains({clock}, '+') or contains({clock}, '-') or right({name}, 1) in ('Z', 'z')"
        )
        local = f"try_cast({name} as timestamp)"
        if source.at_timezone != "UTC":
            local = f"timezone('UTC', timezone({literal(source.at_timezone)}, {local}))"
        at = f"case when {zoned} then timezone('UTC', try_cast({name} as timestamptz)) else {local} end"
    else:
        at = f"try_cast({name} as timestamp)"
    is_text = type_ == "VARCHAR" and source.at_unit == "timestamp" and not source.at_format
    is_zoned = type_ == "TIMESTAMP WITH TIME ZONE" or is_text
    if source.at_timezone != "UTC" and not is_zoned and source.has_dates:
        at = f"timezone('UTC', timezone({literal(source.at_timezone)}, {at}))"
    at = f"case when isfinite({at}) then {at} end"
    return at, f"case when {name} is not null and ({at}) is null then cast({name} as varchar) end"


def bound(source: Source, value: date | float | None, is_end: bool = False) -> str:
    """A source's `since` or `until` as a timestamp; a date that ends a span includes its day."""
    if value is None:
        return "cast(null as timestamp)"
    if not source.has_dates:
        return f"{ORIGIN} + to_microseconds({round(value * MICROSECONDS[source.at_unit])})"
    moment = f"timestamp {literal(value.isoformat(sep=' '))}" if isinstance(value, datetime) else (
        f"timestamp {literal(f'{value.isoformat()} 00:00:00')}"
        + (" + interval '1 day' - interval '1 microsecond'" if is_end else "")
    )  # fmt: skip
    return moment
