"""A comment for every published column, from the glossary and the parts of its name."""

import functools
import re
import tomllib
from typing import NamedTuple

import duckdb

from behavsql.quoting import identifier, literal

WINDOWS = {"1d": "in the last day", "7d": "in the last 7 days", "30d": "in the last 30 days",
           "90d": "in the last 90 days", "lifetime": "since the user's first event"}  # fmt: skip


class Glossary(NamedTuple):
    """sql/columns.toml: whole names, patterns in order, and the tables that have no SQL file."""

    columns: dict[str, str]
    patterns: list[tuple[re.Pattern, str]]
    tables: dict[str, str]


@functools.cache
def glossary() -> Glossary:
    """Read sql/columns.toml, once."""
    from behavsql.catalog import package_folder

    data = tomllib.loads((package_folder() / "columns.toml").read_text(encoding="utf-8"))
    patterns = [(re.compile(pattern), comment) for pattern, comment in data["patterns"].items()]
    return Glossary(data["columns"], patterns, data["tables"])


def describe(column: str, table: str = "") -> str | None:
    """What a column holds, in words; None if neither glossary nor patterns know it.

    table: "schema.table", for a name that means something else there.

    >>> describe("count_views_30d")
    'number of views in the last 30 days'
    >>> describe("carts_per_view_7d")
    'carts per view in the last 7 days; NULL if there was no view'
    >>> describe("value", "models.metrics")
    'value of the metric; NULL if it is not defined there'
    """
    columns, patterns, _ = glossary()
    for name in (f"{table}.{column}", f"{table}.*", column):
        if name in columns:
            return columns[name]
    stem, _, suffix = column.rpartition("_")
    window = WINDOWS.get(suffix, "") if stem else ""
    stem = stem if window else column
    if stem in columns:
        return _within(columns[stem], window)
    for pattern, comment in patterns:
        if match := pattern.fullmatch(stem):
            words = [group.replace("_", " ") for group in match.groups()]
            return _within(comment.format(*words), window)
    return None


def _within(comment: str, window: str) -> str:
    """The window put behind the first clause, before units and remarks."""
    if not window:
        return comment
    first, rest = re.fullmatch(r"(.*?)((?:[,;:]| \().*)?", comment).groups(default="")
    return f"{first} {window}{rest}"


def comment_columns(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    """Comment every column of a table or view; one the glossary does not know says its name."""
    # duckdb_columns() would look at every table and view there is.
    columns = con.execute(f"describe {identifier(schema, table)}").fetchall()
    statements = [
        f"comment on column {identifier(schema, table, name)} is "
        f"{literal(describe(name, f'{schema}.{table}') or name.replace('_', ' '))}"
        for name, *_ in columns
    ]
    if statements:
        con.execute(";".join(statements))


def comment_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Comment the tables that no SQL file makes (`meta`, `models`), as far as they are there."""
    known = con.execute(
        "select schema_name || '.' || table_name from duckdb_tables() "
        "where database_name = current_database()"
    ).fetchall()
    for (name,) in known:
        if comment := glossary().tables.get(name):
            schema, _, table = name.partition(".")
            con.execute(f"comment on table {identifier(schema, table)} is {literal(comment)}")
            comment_columns(con, schema, table)
