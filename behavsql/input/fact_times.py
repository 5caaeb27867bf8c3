"""When facts hold, as SQL: from their `valid_from`, or their answer's time, until they end."""

import re

from behavsql.input.mapping import from_zone, in_zone, moment
from behavsql.quoting import identifier
from behavsql.source import Source

FOREVER = "timestamp '9999-01-01'"  # from here on `valid_to` means that there is no end
_CLOCK = re.compile(r"%[HIMSfpXcTRs]")  # the parts of a format that are a time of day


def columns(source: Source, types: dict[str, str]) -> dict[str, str]:
    """is_dated, valid_from, valid_to, ends_at and unread_at of a source's rows.

    A fact holds from valid_from, itself included, until before ends_at. A valid_to that is a day
    includes the day; one that is a moment, the moment.
    """
    began = source.columns.event_at if source.kind == "survey" else source.columns.valid_from
    none = "cast(null as timestamp)"
    if began is None:
        return {"is_dated": "false", "valid_from": none, "valid_to": none, "ends_at": none,
                "unread_at": "cast(null as varchar)"}  # fmt: skip
    valid_from, unread_from = moment(source, began, types)
    if source.columns.valid_to is None or source.kind == "survey":
        valid_to, ends_at, unread_to = none, none, "cast(null as varchar)"
    else:
        at, unread_to = moment(source, source.columns.valid_to, types)
        valid_to = f"case when ({at}) < {FOREVER} then ({at}) end"
        ends_at = _end(source, source.columns.valid_to, types, valid_to)
    return {
        "is_dated": "true",
        "valid_from": valid_from,
        "valid_to": valid_to,
        "ends_at": ends_at,
        "unread_at": f"coalesce({_written(unread_from)}, {_written(unread_to)})",
    }


def _written(unread: str) -> str:
    """An empty text is no time that could not be read: it is missing."""
    return f"nullif(trim({unread}), '')"


def _end(source: Source, column: str, types: dict[str, str], valid_to: str) -> str:
    """The first moment at which a fact that holds up to valid_to no longer does."""
    zone = source.at_timezone
    next_day = from_zone(zone, f"({in_zone(zone, valid_to)} + interval '1 day')")
    next_moment = f"({valid_to} + interval '1 microsecond')"
    if source.at_unit == "days" or types[column] == "DATE":
        return next_day
    if source.at_format:
        return next_moment if _CLOCK.search(source.at_format) else next_day
    if types[column] == "VARCHAR" and source.at_unit == "timestamp":
        return (
            f"case when contains({identifier(column)}, ':') then {next_moment} else {next_day} end"
        )
    return next_moment
