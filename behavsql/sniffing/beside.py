"""What some kinds of sources tell beside user, time and item: places, screen times, answers, ranges."""

import re
from typing import TYPE_CHECKING

from behavsql.errors import ConfigError
from behavsql.fact_settings import TAKEN
from behavsql.input import refused_lines
from behavsql.quoting import identifier
from behavsql.sniffing.column_looks import time_reading
from behavsql.sniffing.measure import note_refused
from behavsql.sniffing.times import take_time

if TYPE_CHECKING:
    from behavsql.sniffing import Sniffed
    from behavsql.sniffing.source import SourceSniffer

MOST_VALUES = 100  # of a text that is a category
_NAMES = {
    "latitude": r"(geo|gps|user|device)?(lat|latitude)",
    "longitude": r"(geo|gps|user|device)?(lon|lng|long|longitude)",
    "screen_time": r"(screentime|timeonscreen|screenseconds|timespent|dwelltime|engagementtime)(seconds|secs?|s|ms|msec|millis|minutes)?",
    "seconds": r"(view|visit|session|page|play|watch|total)?(duration|seconds|secs?|dwell)(seconds|secs?|s|ms)?",
    "anonymous_id": r"(anonymous|anon|cookie|device|visitor|browser|client)(id|uuid|key|hash)|(user)?pseudoid",
    "question": r"(survey)?question(text|name|key|id)?",
    "answer": r"(survey)?(answer|response)(text|value)?",
    "valid_from": r"(valid|effective)(from|since|start|begin|startdate)|validity(start|from)|startdate",
    "valid_to": r"(valid|effective)(to|until|till|through|end|enddate)|validity(end|to)|enddate",
}  # fmt: skip
_UNITS = {
    "ms": "milliseconds",
    "msec": "milliseconds",
    "millis": "milliseconds",
    "minutes": "minutes",
}


def named(part: str, sniffer: "SourceSniffer") -> str | None:
    """The first free column that is called like a part."""
    for name in sniffer.types:
        joined = re.sub(r"[^a-z0-9]", "", name.lower())
        if name not in sniffer.used and re.fullmatch(_NAMES[part], joined):
            return name
    return None


def take_places(sniffer: "SourceSniffer") -> None:
    """Make events with places, or with times on screen, those of an app."""
    latitude, longitude = named("latitude", sniffer), named("longitude", sniffer)
    spent = named("screen_time", sniffer)
    are_places = latitude and longitude and _are_numbers(sniffer, latitude, longitude)
    found = {"latitude": latitude, "longitude": longitude} if are_places else {}
    if spent and _are_numbers(sniffer, spent):
        found["screen_time"] = spent
    for part, column in found.items():
        sniffer.assign(part, column, "by its name")
    alike = {} if "screen_time" in found else {"screen_time": named("seconds", sniffer)}
    if not are_places:
        alike |= {"latitude": latitude, "longitude": longitude}
    if told := [f'{part} = "{column}"' for part, column in alike.items() if column]:
        sniffer.found.doubts.append(
            f'kind = "app" reads places in degrees and times on screen; if these are such, set it, and '
            f"under columns {', '.join(told)}."
        )
    if not found:
        return
    sniffer.found.raw["kind"] = "app"
    sniffer.found.why["kind"] = f"it has {', '.join(found)}"
    unit = next(
        (unit for end, unit in _UNITS.items() if spent and spent.lower().endswith(end)), None
    )
    if "screen_time" in found and unit:
        sniffer.found.raw["screen_time_unit"] = unit
        sniffer.found.why["screen_time_unit"] = "by its name"
    elif "screen_time" in found:
        sniffer.found.doubts.append(f"screen_time: {spent} is taken as seconds (screen_time_unit).")


def take_anonymous(sniffer: "SourceSniffer") -> None:
    """The id of rows without a user, where there are such rows."""
    user, anonymous = sniffer.columns.get("user_id"), named("anonymous_id", sniffer)
    if not isinstance(user, str) or not anonymous or sniffer.looks[anonymous].is_temporal:
        return
    if sniffer.con.execute(
        f"select 1 from sample where coalesce(cast({identifier(user)} as varchar), '') = '' limit 1"
    ).fetchall():
        sniffer.assign("anonymous_id", anonymous, "by its name, for rows without a user")


def _are_numbers(sniffer: "SourceSniffer", *columns: str) -> bool:
    return all(sniffer.looks[column].is_amount for column in columns)


def as_dated_facts(sniffer: "SourceSniffer") -> "Sniffed | None":
    """Answers, or facts that hold from a day on; None where columns are not called like those."""
    if sniffer.given:
        return None
    if named("question", sniffer) and named("answer", sniffer):
        kind, told = "survey", ("question", "answer")
    elif valid_from := named("valid_from", sniffer):
        reading = time_reading(sniffer.con, valid_from, sniffer.looks[valid_from])
        if reading is None:
            return None
        sniffer.found.raw |= {
            key: reading[key] for key in ("at_unit", "at_format") if key in reading
        }
        kind, told = "attributes", ("valid_from", "valid_to")
    else:
        return None
    for part in told:
        if column := named(part, sniffer):
            sniffer.assign(part, column, "by its name")
    sniffer.found.why["kind"] = (
        f"it has {' and '.join(part for part in told if part in sniffer.columns)}"
    )
    return _survey(sniffer) if kind == "survey" else _ranges(sniffer)


def _survey(sniffer: "SourceSniffer") -> "Sniffed":
    if not sniffer.take_user() or not take_time(sniffer):
        raise ConfigError(sniffer.found.missing)
    return _finished(sniffer, "survey", "answers of users")


def _ranges(sniffer: "SourceSniffer") -> "Sniffed":
    """Attributes of users, or versions of items."""
    if not sniffer.take("user_id", None, lambda look: not look.is_temporal):
        if not sniffer.take("item_id", None, lambda look: not look.is_temporal):
            raise ConfigError(
                f"{sniffer.path}: no column is named after users or items; its columns are "
                f'{", ".join(sniffer.types)}. Write the source by hand, with kind = "attributes".'
            )
        sniffer.take("price", None, lambda look: look.is_amount)
        for part in ("title", "category"):
            sniffer.take(part, None, lambda look: not look.is_temporal)
    kind = "items" if "item_id" in sniffer.columns else "attributes"
    free = [name for name in sniffer.types if name not in sniffer.used]
    facts = [
        name for name in free
        if name.lower() not in TAKEN and not sniffer.looks[name].is_temporal
        and (sniffer.looks[name].is_number or sniffer.looks[name].distinct <= MOST_VALUES)
    ]  # fmt: skip
    if facts:
        sniffer.found.raw["features"] = facts
        sniffer.found.why["features"] = "models learn from them from valid_from on"
        sniffer.used |= {*facts}
    return _finished(sniffer, kind, f"facts about {'items' if kind == 'items' else 'users'}")


def _finished(sniffer: "SourceSniffer", kind: str, what: str) -> "Sniffed":
    found = sniffer.found
    found.raw |= {"kind": kind, "columns": sniffer.columns}
    found.unused = [name for name in sniffer.types if name not in sniffer.used]
    found.missing = (
        found.missing
        or f"{sniffer.path}: holds facts and no events; predictions need events. Name a file of events too."
    )
    refused_lines.forget(sniffer.con)
    rows = sniffer.con.execute(f"select count(*) from {sniffer.relation}").fetchall()[0][0]
    found.facts = f"{rows:,} rows of {what}"
    note_refused(sniffer.con, found)
    return found
