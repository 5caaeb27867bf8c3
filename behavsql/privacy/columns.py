"""Columns that are left out or coarsened as a source is read: the rest never reaches a file of ours."""

from collections.abc import Mapping

from behavsql.errors import SourceError, nearest
from behavsql.input.mapping import text
from behavsql.privacy import key
from behavsql.privacy.settings import DECIMALS, NETWORK, PERIODS, PSEUDONYM
from behavsql.quoting import identifier, literal
from behavsql.source import Source

FORMATS = {"year": "%Y", "month": "%Y-%m", "week": "%Y-%m-%d", "day": "%Y-%m-%d"}
_IPV4 = r"^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$"


def check(where: str, source: Source, types: Mapping[str, str]) -> None:
    """SourceError for a column to be left out or coarsened that the source lacks: a misspelt one stays."""
    for column in (*source.drop, *source.coarsen):
        if column not in types:
            raise SourceError(
                f'{where} has no column "{column}", which is to be '
                f"{'dropped' if column in source.drop else 'coarsened'}; its columns are "
                f"{', '.join(types)}. Mend its name.{nearest(column, types)}"
            )


def selected(source: Source, types: Mapping[str, str]) -> str:
    """The select list that leaves out and coarsens what the source says; "*" where that is nothing.

    What is not of the kind a rule is for, no time or no number, is missing.
    """
    gone = ", ".join(identifier(name) for name in source.drop)
    coarse = ", ".join(
        f"{coarsened(name, types, rule)} as {identifier(name)}"
        for name, rule in source.coarsen.items()
    )
    parts = ["*", f"exclude ({gone})" if gone else "", f"replace ({coarse})" if coarse else ""]
    return " ".join(part for part in parts if part)


def coarsened(name: str, types: Mapping[str, str], rule: str | float) -> str:
    """A column as coarsely as a rule says, in SQL.

    >>> print(coarsened("age", {"age": "INTEGER"}, 10))
    cast(floor(try_cast("age" as double) / 10) * 10 as bigint)
    """
    column = identifier(name)
    if rule == PSEUDONYM:
        return key.sql_pseudonym(text(name, types))
    if isinstance(rule, (int, float)):
        step = literal(rule)
        return f"cast(floor(try_cast({column} as double) / {step}) * {step} as {_number(rule)})"
    if rule in PERIODS:
        at = f"date_trunc('{rule}', try_cast({column} as timestamp))"
        return at if rule == "hour" else f"strftime({at}, {literal(FORMATS[rule])})"
    if found := DECIMALS.fullmatch(rule):
        return f"round(try_cast({column} as double), {int(found[1])})"
    return _network(f"cast({column} as varchar)", int(NETWORK.fullmatch(rule)[1]))


def _number(step: float) -> str:
    return "bigint" if isinstance(step, int) else "double"


def _network(address: str, bits: int) -> str:
    """An IP address without what tells a household from its neighbours.

    Of IPv4 its first bits; of IPv6 /48, /32 or /16 in the place of /24, /16 and /8.
    """
    octets = bits // 8
    kept = rf"^(?:\d+\.){{{octets}}}"
    zeros = ".".join("0" * (4 - octets))
    groups = f"list_slice(string_split(split_part(lower({address}), '::', 1), ':'), 1, {octets})"
    return (
        f"case when regexp_matches({address}, '{_IPV4}') "
        f"then regexp_extract({address}, '{kept}') || '{zeros}' "
        f"when contains({address}, ':') then rtrim(array_to_string({groups}, ':'), ':') || '::' end"
    )
