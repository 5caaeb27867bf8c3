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
    statements = [_commented(schema, table, name) for name, *_ in columns]
    if statements:
        con.execute(";".join(statements))


def _commented(schema: str, table: str, column: str) -> str:
    name = identifier(schema, table, column)
    return f"comment on column {name} is {literal(_told(schema, table, column))}"


def _told(schema: str, table: str, column: str) -> str:
    return describe(column, f"{schema}.{table}") or column.replace("_", " ")


def comment_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Comment the tables that no SQL file makes (`meta`, `models`), where that is not done yet."""
    tables, columns = glossary().tables, "schema_name, table_name, column_name"
    shown = "from duckdb_{}() where database_name = current_database() and schema_name || '.' || table_name in ?"
    statements = [
        f"comment on table {identifier(schema, table)} is {literal(tables[f'{schema}.{table}'])}"
        for schema, table, comment in con.execute(
            f"select schema_name, table_name, comment {shown.format('tables')}", [list(tables)]
        ).fetchall()
        if comment != tables[f"{schema}.{table}"]
    ]
    statements += [
        _commented(schema, table, column)
        for schema, table, column, comment in con.execute(
            f"select {columns}, comment {shown.format('columns')}", [list(tables)]
        ).fetchall()
        if comment != _told(schema, table, column)
    ]
    if statements:
        con.execute(";".join(statements))
