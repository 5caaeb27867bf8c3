"""What a source of events must say of itself beyond its columns: a web server's log."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from behavsql.input import log_format

if TYPE_CHECKING:
    from behavsql.source import Source

OF_APPS = ("latitude", "longitude", "screen_time")
# What tells how other files are read; a log has its format alone.
NOT_OF_LOGS = ("url", "table", "query", "watermark", "format", "delimiter", "quote", "decimal")


def contradictions(source: "Source", name: str) -> Iterator[str]:
    """Each contradiction in one sentence without its full stop."""
    if source.kind == "weblog":
        yield from _of_log(source, name)
    elif source.kind == "app":
        yield from _of_app(source, name)
    if source.shape and source.kind not in ("events", "app"):
        yield f'{name} of kind "{source.kind}" sets shape, which only events have; remove it'
    if (anonymous := source.columns.anonymous_id) and not source.is_events:
        yield (
            f'{name} of kind "{source.kind}" maps anonymous_id, which only events have; facts are '
            f"told of users: remove it"
        )
    if anonymous and anonymous in source.columns.user_parts:
        yield (
            f'{name} takes "{anonymous}" for both user_id and anonymous_id; where it is the only '
            f"name that users have, keep user_id"
        )
    if source.kind != "app":
        for key in OF_APPS:
            if getattr(source.columns, key):
                yield f'{name} of kind "{source.kind}" maps {key}, which kind = "app" has; set it'
    if source.columns.propensity and source.kind not in ("events", "app"):
        yield f'{name} of kind "{source.kind}" maps propensity, which only events have; remove it'
    if source.kind != "weblog" and "log_format" in source.model_fields_set:
        yield (
            f'{name} of kind "{source.kind}" sets log_format, which a source of kind "weblog" has; '
            f"remove it, or set kind"
        )


def _of_app(source: "Source", name: str) -> Iterator[str]:
    columns = source.columns
    if (columns.latitude is None) != (columns.longitude is None):
        has, lacks = ("latitude", "longitude") if columns.latitude else ("longitude", "latitude")
        yield f"{name} maps {has} and no {lacks}; a place has both: add it"
    if not columns.latitude and not columns.longitude and not columns.screen_time:
        yield (
            f'{name} of kind "app" maps no latitude and longitude and no screen_time; map them, or '
            f'set kind = "events"'
        )


def _of_log(source: "Source", name: str) -> Iterator[str]:
    for key in NOT_OF_LOGS:
        if key in source.model_fields_set:
            yield (
                f'{name} of kind "weblog" sets {key}; a log is text whose lines log_format '
                f"describes. Remove it"
            )
    for wrong in log_format.problems(source.log_format):
        yield f"{name}: {wrong}"
