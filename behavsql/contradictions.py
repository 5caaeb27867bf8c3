"""Settings that are each allowed and cannot be meant together: what is said of them."""

import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from behavsql import event_settings, fact_settings
from behavsql.databases import address
from behavsql.errors import nearest
from behavsql.privacy import consents
from behavsql.privacy import settings as privacy_settings

if TYPE_CHECKING:
    from behavsql.config import Config, Settings
    from behavsql.source import Source

NEEDED = {"events": ("user_id", "event_at"), "items": ("item_id",), "users": ("user_id",),
          "survey": ("user_id", "event_at"), "attributes": ("valid_from",),
          "weblog": ("user_id", "event_at"), "app": ("user_id", "event_at"),
          "consent": ("user_id", "event_at", "granted")}  # fmt: skip
OF_DATABASES = ("url", "table", "query", "watermark")
TEXT_ONLY = ("delimiter", "quote", "encoding", "decimal")  # what only text files have


def of_source(source: "Source") -> Iterator[str]:
    """Each contradiction of a source in one sentence without its full stop."""
    columns, name = source.columns, f'source "{source.name}"'
    yield from event_settings.contradictions(source, name)
    yield from _of_place(source, name)
    missing = [
        key for key in NEEDED[source.kind]
        if not (getattr(columns, key) or (key == "user_id" and columns.anonymous_id))
    ]  # fmt: skip
    if missing:
        yield (
            f'{name} of kind "{source.kind}" maps no {" and no ".join(missing)}; '
            f"add it under columns"
        )
    for one, other, why in (
        ("event_type", "type_flag", "both say what happened"),
        ("value", "price", "value is price times quantity"),
    ):
        if getattr(columns, one) and getattr(columns, other):
            yield (
                f'{name} sets both {one} = "{getattr(columns, one)}" and {other} = '
                f'"{getattr(columns, other)}"; {why}, keep one'
            )
    if columns.event_at and columns.event_at in columns.user_parts:
        yield f'{name} takes "{columns.event_at}" for both user_id and event_at; name two columns'
    yield from fact_settings.contradictions(source, name)
    yield from _of_times(source, name)
    if source.format in ("parquet", "json"):
        set_too = [key for key in TEXT_ONLY[:3] if key in source.model_fields_set]
        if set_too:
            yield (
                f'{name} sets both format = "{source.format}" and {set_too[0]} = '
                f'"{getattr(source, set_too[0])}", which only CSV has; keep one'
            )
    for key, kind, what in (
        ("texts", "items", "what describes an item"),
        ("vectors", "items", "what describes an item"),
    ):
        if getattr(source, key) and source.kind != kind:
            yield (
                f'{name} of kind "{source.kind}" sets {key} = {getattr(source, key)}; {what} '
                f'stands in a source of kind "{kind}"'
            )
    yield from privacy_settings.contradictions(source, name)
    yield from consents.contradictions(source, name)
    if source.decimal == source.delimiter:
        yield f'{name} sets "{source.decimal}" both as decimal and as delimiter; change one'


def _of_place(source: "Source", name: str) -> Iterator[str]:
    """Of where its rows lie: files or a database."""
    if source.path is not None:
        if source.path.partition("://")[0] in address.SCHEMES:
            yield f"{name} has the URL of a database as its path; write it as url"
        for key in OF_DATABASES:
            if getattr(source, key) is not None:
                yield f"{name} sets both path and {key}, which only a database has; keep one"
        return
    if source.url is None:
        yield f"{name} has no path, and no url of a database; add one of them"
        return
    for wrong in address.problems(source.url.get_secret_value()):
        yield f"{name}: {wrong}"
    if (source.table is None) == (source.query is None):
        has = "no table and no query" if source.table is None else "both a table and a query"
        yield f"{name} has {has}; a database is asked for one of them"
    for key in ("format", *TEXT_ONLY[:3]):
        if key in source.model_fields_set:
            yield f"{name} sets both url and {key}, which only files have; keep one"


def _of_times(source: "Source", name: str) -> Iterator[str]:
    if source.at_format and source.at_unit != "timestamp":
        yield (
            f'{name} sets both at_format = "{source.at_format}" and at_unit = "{source.at_unit}"; '
            f"a format reads written times, a unit numbers: keep one"
        )
    if source.at_timezone != "UTC" and not source.has_dates:
        yield (
            f'{name} sets both at_timezone = "{source.at_timezone}" and at_unit = '
            f'"{source.at_unit}", whose times have no zone; keep one'
        )
    zones = zoneinfo.available_timezones() if source.at_timezone != "UTC" else set()
    if zones and source.at_timezone not in zones:
        yield (
            f'{name} sets at_timezone = "{source.at_timezone}", which is no time zone; allowed are '
            f"names such as Europe/Berlin.{nearest(source.at_timezone, zones)}"
        )
    for key, value in (("since", source.since), ("until", source.until)):
        if value is not None and isinstance(value, float) == source.has_dates:
            allowed = "a date" if source.has_dates else f"a number of {source.at_unit}"
            yield (
                f"{name} sets {key} = {value}, but its times are of at_unit "
                f'"{source.at_unit}"; allowed is {allowed}'
            )
            return
    if None not in (source.since, source.until) and _moment(source.since) > _moment(source.until):
        yield (
            f"{name} sets since = {source.since} after until = {source.until}; nothing lies "
            f"between: swap them"
        )


def _moment(value: date | float) -> float:
    """For comparing: a day is its midnight, a time without a zone is in UTC."""
    if isinstance(value, float):
        return value
    if not isinstance(value, datetime):
        value = datetime.combine(value, datetime.min.time())
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def of_actions(actions: Iterable[str] | None, types: Mapping[str, str]) -> Iterator[str]:
    """Each word that is an action and, by `[types]`, something that users do."""
    roles = {word.lower(): role for word, role in types.items()}
    for word in actions or ():
        role = roles.get(word.lower(), "other")
        if role != "other":
            yield (
                f'actions.types has "{word}", which [types] calls {role}; an action is done to a '
                f"user, not by one: take it out of one of them"
            )


def of_settings(settings: "Settings") -> Iterator[str]:
    """Each contradiction among the settings."""
    if settings.max_session < settings.session_gap:
        yield (
            f"max_session ({settings.max_session}) is shorter than session_gap "
            f"({settings.session_gap}); a session lasts at least one gap"
        )
    if settings.min_date > datetime.now(UTC).date():
        yield f"min_date ({settings.min_date}) lies in the future; every event would be before it"


def of_economics(config: "Config") -> Iterator[str]:
    """A success without the cost of an action, or the cost without what it may bring."""
    if config.economics:
        return
    for task, own in config.tasks.items():
        if (own.success_value is None) != (own.action_cost is None):
            has, lacks = ("success_value", "action_cost")[:: -1 if own.success_value is None else 1]
            yield (
                f"tasks.{task} sets {has} and no {lacks}, and there is no [economics] to take it "
                f"from; a profit takes both. Add {lacks}"
            )
