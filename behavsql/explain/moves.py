"""Which features a counterfactual may change, and what must change along with them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

WINDOWS = ("1d", "7d", "30d", "90d", "lifetime")
# What users do from now on can change; what they are, and all that they once did, cannot.
CHANGEABLE = ("*_1d", "*_7d", "*_30d", "*_90d", "days_since_last_*", "has_open_cart")
LOCKED = ("*_lifetime", "*_last_window", "days_since_first_*", "returned_*", "count_returns_*")
NESTED = re.compile(r"((?:count|value|quantity|returned_value)(?:_.+)?)_(1d|7d|30d|90d|lifetime)")
SINCE = re.compile(r"days_since_last_(.+)")


@dataclass(frozen=True)
class Move:
    """One feature and all that is tied to it: `along` follow, by how much the feature moves.

    A count of the last 7 days is part of that of the last 30: what comes to one comes to the
    wider ones, and a narrower one is never larger. After an event of any kind the last event and
    the last activity are as recent.
    """

    feature: str
    wider: tuple[str, ...] = ()  # counts and values of wider windows
    narrower: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()  # days since what is at least as recent
    loose: tuple[str, ...] = ()  # features made of the same, which stay as they are


def moves(
    features: Iterable[str], facts: frozenset[str], locked: Sequence[str], changeable: Sequence[str]
) -> list[Move]:
    """The moves that are allowed among a model's features.

    facts: features that are no behaviour. locked, changeable: the project's own patterns; what is
    locked stays so, whatever else is said.
    """
    names = list(features)
    found = []
    for name in names:
        own = any(fnmatch(name, pattern) for pattern in changeable)
        usual = any(fnmatch(name, pattern) for pattern in CHANGEABLE) and not any(
            fnmatch(name, pattern) for pattern in LOCKED
        )
        is_locked = name in facts or any(fnmatch(name, pattern) for pattern in locked)
        if (own or usual) and not is_locked:
            found.append(_move(name, names))
    return found


def _move(name: str, names: list[str]) -> Move:
    if match := NESTED.fullmatch(name):
        stem, window = match.groups()
        there = [one for one in WINDOWS if f"{stem}_{one}" in names or one == window]
        place = there.index(window)
        wider = tuple(f"{stem}_{one}" for one in there[place + 1 :])
        narrower = tuple(f"{stem}_{one}" for one in there[:place])
        tied = {name, *wider, *narrower}
        word = stem.split("_")[-1] if stem != "value" else "value"
        loose = tuple(one for one in names if word in one and one not in tied and not NESTED.fullmatch(one))  # fmt: skip
        return Move(name, wider, narrower, loose=loose)
    if match := SINCE.fullmatch(name):
        above = ("days_since_last_activity", "days_since_last_event")
        at_most = () if match[1] == "event" else tuple(
            one for one in above if one in names and one != name
        )  # fmt: skip
        loose = tuple(one for one in names if one.endswith(("_due_ratio", "_overdue_deviations")))
        return Move(name, at_most=at_most, loose=loose)
    return Move(name)


def applied(row: dict[str, float | None], move: Move, value: float) -> dict[str, float | None]:
    """The features that are other than in the row once the move's feature has the value.

    >>> orders = Move("count_orders_30d", ("count_orders_90d",), ("count_orders_7d",))
    >>> row = {"count_orders_7d": 2.0, "count_orders_30d": 3.0, "count_orders_90d": 8.0}
    >>> applied(row, orders, 1.0)
    {'count_orders_30d': 1.0, 'count_orders_90d': 6.0, 'count_orders_7d': 1.0}
    """
    changed: dict[str, float | None] = {move.feature: value}
    before = row.get(move.feature)
    for name in move.wider:
        if row.get(name) is not None:
            changed[name] = max(row[name] + value - (before or 0.0), value)
    for name in move.narrower:
        if row.get(name) is not None and row[name] > value:
            changed[name] = value
    for name in move.at_most:
        if row.get(name) is None or row[name] > value:
            changed[name] = value
    return changed
