"""The one place where names and values become SQL text."""

import math
from collections.abc import Iterable, Mapping


def identifier(*parts: str) -> str:
    """Quote a possibly qualified name.

    >>> print(identifier("staging", 'an "odd" name'))
    "staging"."an ""odd"" name"
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def backquoted(*parts: str) -> str:
    """Quote a possibly qualified name as MySQL does.

    >>> backquoted("shop", "an `odd` name")
    '`shop`.`an ``odd`` name`'
    """
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(value: object) -> str:
    """Write a Python value as a SQL literal; None is NULL, a list becomes a list, a dict a struct.

    Floats keep every bit (exponent form, because `0.1` would be a DECIMAL).

    >>> literal("it's"), literal(0.1), literal(None), literal(True), literal([1, 2])
    ("'it''s'", '1.00000000000000006e-01', 'NULL', 'true', '[1, 2]')
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return f"'{value}'::DOUBLE"
        return f"{value:.17e}"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Mapping):
        fields = (f"{literal(name)}: {literal(item)}" for name, item in value.items())
        return "{" + ", ".join(fields) + "}"
    if isinstance(value, Iterable):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    raise TypeError(f"no SQL literal for {type(value).__name__}")
