"""A comment for every published column, from the glossary and the parts of its name."""

import functools
import re
import tomllib

import duckdb

from behavsql.quoting import identifier, literal

WINDOWS = {"1d": "in the last day", "7d": "in the last 7 days", "30d": "in the last 30 days",
           "90d": "in the last 90 days", "lifetime": "since the user's first event"}  # fmt: skip


@functools.cache
def glossary() -> tuple[dict[str, str], list[tuple[re.Pattern, str]]]:
    """(exact column name -> comment, patterns tried in order) from sql/columns.toml."""
    from behavsql.catalog import package_folder

    text = (package_folder() / "columns.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    patterns = [(re.compile(pattern), comment) for pattern, comment in data["patterns"].items()]
    return data["columns"], patterns


def describe(column: str) -> str | None:
    """What a column holds, in words; None if neither glossary nor patterns know it.

    >>> describe("count_views_30d")
    'number of views in the last 30 days'
    """
    exact, patterns = glossary()
    if column in exact:
        return exact[column]
    stem, _, suffix = column.rpartition("_")
    window = f" {WINDOWS[suffix]}" if suffix in WINDOWS and stem else ""
    stem = stem if window else column
    if stem in exact:
        return exact[stem] + window
    for pattern, comment in patterns:
        if match := pattern.fullmatch(stem):
            words = [group.replace("_", " ") for group in match.groups()]
            return comment.format(*words) + window
    return None


def comment_columns(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    """Comment every column of a table or view; one the glossary does not know says its name."""
    columns = con.execute(
        "select column_name from duckdb_columns() where schema_name = ? and table_name = ? "
        "and database_name = current_database()", [schema, table]
    ).fetchall()  # fmt: skip
    statements = [
        f"comment on column {identifier(schema, table, name)} is "
        f"{literal(describe(name) or name.replace('_', ' '))}"
        for (name,) in columns
    ]
    if statements:
        con.execute(";".join(statements))
