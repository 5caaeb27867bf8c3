"""What a step is made from, part by part, and how a difference from the last build is told.

Parts are names with values, both text. The name says what kind of part it is:

    sql, macros.total            version and digest: "2 1f0c..."
    purpose                      a SQL file's comment, published with the table
    settings.session_gap         a value as the config writes it: "30 minutes"
    source shop: file a.csv      size and time of a file
    source shop: columns.price   a part of the mapping
    behavsql                     the version that runs
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

Parts = dict[str, str]
# Kept of a training that it cut short alone: another budget is a reason to train that one again.
TIME_BUDGET = "settings.time_budget"


def digest(*parts: object) -> str:
    """16 hex digits over what Python calls the parts; for values whose repr says all."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def text(value: object) -> str:
    """A setting as the config writes it; None is `default`.

    >>> text(timedelta(minutes=30)), text(None), text(["a", "b"])
    ('30 minutes', 'default', 'a, b')
    """
    if value is None:
        return "default"
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def duration(value: timedelta) -> str:
    """A length of time as the config writes it.

    >>> duration(timedelta(hours=36)), duration(timedelta(days=1))
    ('36 hours', '1 day')
    """
    seconds = value.total_seconds()
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{seconds:g} seconds"


def difference(old: Mapping[str, str], new: Mapping[str, str], where: str = "") -> str | None:
    """The first part that differs, in words; None if none does. where: the step's SQL file.

    >>> difference({"sql": "1 ab"}, {"sql": "2 cd"}, "sql/4_features/recency.sql")
    'sql/4_features/recency.sql changed (version 1 -> 2)'
    >>> difference({"settings.seed": "7"}, {"settings.seed": "8"})
    'settings.seed changed (7 -> 8)'
    >>> difference({"source shop: file a.csv": "1"}, {})
    'source shop: a.csv is gone'
    """
    for name in dict.fromkeys((*new, *old)):
        if name == TIME_BUDGET and name not in old:
            continue
        if old.get(name) != new.get(name):
            return _told(name, old.get(name), new.get(name), where)
    return None


def _told(name: str, old: str | None, new: str | None, where: str) -> str:
    origin, _, part = name.partition(": ")
    if part.startswith("file "):
        file = part.removeprefix("file ")
        return f"{origin}: {file} {'is new' if old is None else 'is gone' if new is None else 'changed'}"
    if origin.startswith("source "):
        return f"{origin}: mapping changed ({part})"
    if name == "purpose":
        return f"{where}: its purpose changed"
    if name == "behavsql":
        return f"behavsql {old} -> {new}"
    if old is None or new is None:
        return f"{where or name if name == 'sql' else name} is {'new' if old is None else 'gone'}"
    if name == "sql" or name.startswith("macros."):
        before, after = old.partition(" ")[0], new.partition(" ")[0]
        told = f"version {before} -> {after}" if before != after else f"still version {after}"
        return f"{where if name == 'sql' else name} changed ({told})"
    return f"{name} changed ({old} -> {new})"
