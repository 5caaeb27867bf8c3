"""Where an app's users were and how long they looked at it, as columns of `raw.events`.

Places are rounded as they are read: what is finer stands nowhere in the warehouse.
"""

from collections.abc import Mapping

from behavsql.input import amounts
from behavsql.quoting import identifier
from behavsql.source import Source

PLACE, SECONDS = "decimal(8, 5)", "decimal(18, 3)"
UNITS = {"seconds": "1e0", "milliseconds": "1e-3", "minutes": "6e1"}  # -> seconds


def columns(source: Source, types: Mapping[str, str]) -> dict[str, str]:
    """latitude, longitude and screen_seconds as SQL over the source's own columns.

    Missing is what is no number or lies off the globe, and the place 0, 0, which stands for none;
    a screen time below zero or beyond a year. Whether something was told and is missing is kept
    too, without what it was.
    """
    told = source.columns
    latitude, longitude = (_number(name, source, types) for name in (told.latitude, told.longitude))
    is_nowhere = f"(({latitude}) = 0 and ({longitude}) = 0)"
    is_place = f"abs({latitude}) <= 90 and abs({longitude}) <= 180 and not {is_nowhere}"
    seconds = f"({_number(told.screen_time, source, types)}) * {UNITS[source.screen_time_unit]}"
    is_time = f"{seconds} between 0 and 31622400"
    are_told = [_is_told(name) for name in (told.latitude, told.longitude) if name]
    return {
        "latitude": _rounded(told.latitude, latitude, is_place, source),
        "longitude": _rounded(told.longitude, longitude, is_place, source),
        "screen_seconds": f"case when {is_time} then cast({seconds} as {SECONDS}) end"
        if told.screen_time
        else f"cast(null as {SECONDS})",
        "is_place_unread": f"({' or '.join(are_told)}) and not coalesce({is_place} or {is_nowhere}, false)"
        if are_told
        else "false",
        "is_screen_time_unread": f"{_is_told(told.screen_time)} and not coalesce({is_time}, false)"
        if told.screen_time
        else "false",
    }


def _rounded(column: str | None, number: str, condition: str, source: Source) -> str:
    if column is None:
        return f"cast(null as {PLACE})"
    rounded = f"round({number}, {source.location_decimals})"
    return f"case when {condition} then cast({rounded} as {PLACE}) end"


def _number(column: str | None, source: Source, types: Mapping[str, str]) -> str:
    if column is None:
        return "cast(null as double)"
    return amounts.real(column, types[column], source.decimal)


def _is_told(column: str) -> str:
    """That there is something, and not a sign for nothing: empty, NaN."""
    return f"lower(trim(coalesce(cast({identifier(column)} as varchar), ''))) not in ('', 'nan')"
