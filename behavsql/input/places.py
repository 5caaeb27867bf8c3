"""Where an app's users were and how long they looked at it, as columns of `raw.events`.

Places are rounded as they are read: what is finer stands nowhere in the warehouse.
"""

from behavsql.quoting import identifier
from behavsql.source import Source

PLACE, SECONDS = "decimal(8, 5)", "decimal(18, 3)"
UNITS = {"seconds": "1e0", "milliseconds": "1e-3", "minutes": "6e1"}  # -> seconds


def columns(source: Source) -> dict[str, str]:
    """latitude, longitude and screen_seconds as SQL over the source's own columns.

    Missing is what is no number or lies off the globe, and the place 0, 0, which stands for none;
    a screen time below zero or beyond a year.
    """
    latitude, longitude = (
        _number(name) for name in (source.columns.latitude, source.columns.longitude)
    )
    is_place = (
        f"abs({latitude}) <= 90 and abs({longitude}) <= 180 "
        f"and not ({latitude} = 0 and {longitude} = 0)"
    )
    seconds = f"{_number(source.columns.screen_time)} * {UNITS[source.screen_time_unit]}"
    is_time = f"{seconds} between 0 and 31622400"
    return {
        "latitude": _rounded(source.columns.latitude, latitude, is_place, source),
        "longitude": _rounded(source.columns.longitude, longitude, is_place, source),
        "screen_seconds": f"case when {is_time} then cast({seconds} as {SECONDS}) end"
        if source.columns.screen_time
        else f"cast(null as {SECONDS})",
    }


def _rounded(column: str | None, number: str, condition: str, source: Source) -> str:
    if column is None:
        return f"cast(null as {PLACE})"
    rounded = f"round({number}, {source.location_decimals})"
    return f"case when {condition} then cast({rounded} as {PLACE}) end"


def _number(column: str | None) -> str:
    return f"try_cast({identifier(column)} as double)" if column else "cast(null as double)"
