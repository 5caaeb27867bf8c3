"""The section [privacy] of `behavsql.toml`, and what a source says of columns it does not give away."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from behavsql.section import Section

if TYPE_CHECKING:
    from behavsql.source import Source

PURPOSES = ("analytics", "prediction", "marketing")
PERIODS = ("year", "month", "week", "day", "hour")
PSEUDONYM = "pseudonym"
NETWORK, DECIMALS = re.compile(r"/(8|16|24)"), re.compile(r"([0-9]) decimals?")
_ALLOWED = (
    '"year", "month", "week", "day", "hour" for times, "/8", "/16", "/24" for addresses, '
    '"2 decimals" or a step such as 10 for numbers, "pseudonym" for ids'
)


def _rule(value: str | int | float) -> str | int | float:
    """
    >>> [_rule(value) for value in ("/24", "2 decimals", 10, "year")]
    ['/24', '2 decimals', 10, 'year']
    """
    if isinstance(value, str):
        is_known = value in (*PERIODS, PSEUDONYM)
        if not (is_known or NETWORK.fullmatch(value) or DECIMALS.fullmatch(value)):
            raise ValueError(f'"{value}" coarsens nothing; allowed are {_ALLOWED}. Mend it')
    elif isinstance(value, bool) or not 0 < value < 1e15:
        raise ValueError(f"{value} is no step; allowed is a number above zero. Mend it")
    return value


Coarsening = Annotated[str | int | float, AfterValidator(_rule)]


class Privacy(Section):
    """What holds for everybody's data; by default nothing is changed or left out."""

    pseudonyms: bool = False  # user ids become keyed hashes; the key is in BEHAVSQL_PRIVACY_KEY
    retention_days: int | None = Field(None, ge=1, le=36_500)  # older events do not enter
    unknown_consent: Literal["refused", "granted"] = "refused"  # whom no consent source speaks of
    k: int = Field(10, ge=2, le=10_000)  # reports and shared files tell of no fewer users


def contradictions(source: "Source", name: str) -> Iterator[str]:
    """Each contradiction in one sentence without its full stop."""
    columns = source.columns
    named = {key: value for key, value in columns.model_dump(exclude_none=True).items()
             if key != "user_id"}  # fmt: skip
    parts = {column: key for key, column in named.items()}
    parts |= dict.fromkeys(columns.user_parts, "user_id")
    for key in ("attributes", "features", "texts", "vectors"):
        parts |= {column: key for column in getattr(source, key) if column not in parts}
    if source.watermark:
        parts[source.watermark] = "watermark"
    for column in source.drop:
        if column in parts:
            yield f'{name} drops "{column}" and maps it as {parts[column]}; keep one'
        if column in source.coarsen:
            yield f'{name} both drops and coarsens "{column}"; keep one'
    for column, rule in source.coarsen.items():
        yield from _of_coarsened(source, name, column, rule, parts.get(column))


def _of_coarsened(
    source: "Source", name: str, column: str, rule: object, part: str | None
) -> Iterator[str]:
    told = f'{name} coarsens "{column}", its {part}'
    if part in (
        "watermark",
        "type_flag",
        "valid_from",
        "valid_to",
        "latitude",
        "longitude",
        "vectors",
    ):
        also = " (places have location_decimals)" if part in ("latitude", "longitude") else ""
        yield f"{told}; leave that one as it is{also}"
    elif part == "user_id":
        yield f"{told}; users need ids of their own: set pseudonyms = true under [privacy]"
    elif part == "event_at" and (
        rule not in ("day", "hour") or source.at_unit != "timestamp" or source.at_format
    ):
        yield (
            f'{told}, to {rule!r}; allowed are "day" and "hour", where times are written as '
            f"2024-05-31 10:00. Leave it as it is"
        )


def problem_of_pseudonyms(source: "Source") -> str | None:
    """That an id would stand as it is in what was landed, or in its index."""
    if source.watermark and source.watermark in source.columns.user_parts:
        return (
            f'source "{source.name}" has watermark = "{source.watermark}", which is a user\'s id, and '
            f"[privacy] pseudonyms = true; a watermark is kept as it is. Name another column"
        )
    column = source.columns.anonymous_id
    if source.url and column and source.coarsen.get(column) != PSEUDONYM:
        return (
            f'source "{source.name}" lands anonymous_id = "{column}" as it is, and [privacy] '
            f'pseudonyms = true; set coarsen = {{ {column} = "{PSEUDONYM}" }} for the source'
        )
    return None
