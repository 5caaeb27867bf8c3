"""The published warehouse, described for other tools: a dbt `sources.yml`."""

import json
from pathlib import Path

import duckdb

from behavsql.errors import WarehouseError

# In the order in which people look; `raw` and temporary tables are not published.
SCHEMAS = ("main", "predictions", "report", "features", "labels", "staging", "sessions", "cutoffs",
           "models", "live", "meta")  # fmt: skip
DATABASE = "behaviour"  # what dbt attaches the file as


def dbt_sources(con: duckdb.DuckDBPyConnection) -> str:
    """A `sources.yml` (YAML, version 2): one source per schema, with every table, column and comment.

    con: a published file. Strings are written as JSON, which is YAML: no name needs quoting rules.
    """
    rows = con.execute(
        "select columns.schema_name, columns.table_name, told.comment, columns.column_name, "
        "columns.data_type, columns.comment from duckdb_columns() as columns inner join ("
        "select schema_name, table_name, comment from duckdb_tables() "
        "where database_name = current_database() and not temporary union all "
        "select schema_name, view_name, comment from duckdb_views() "
        "where database_name = current_database() and not internal"
        ") as told using (schema_name, table_name) "
        "where columns.database_name = current_database() and not columns.internal "
        "order by columns.schema_name, columns.table_name, columns.column_index"
    ).fetchall()
    found: dict[str, dict[str, tuple[str, list[tuple[str, str, str]]]]] = {}
    for schema, table, comment, *column in rows:
        tables = found.setdefault(schema, {})
        tables.setdefault(table, (comment or "", []))[1].append(tuple(column))
    lines = ["version: 2", "", "sources:"]
    known = [name for name in SCHEMAS if name in found]
    for schema in (*known, *(name for name in found if name not in known)):
        lines += [
            f"  - name: {_text(f'{DATABASE}_{schema}')}",
            f"    database: {_text(DATABASE)}",
            f"    schema: {_text(schema)}",
            "    tables:",
        ]
        for table, (comment, columns) in found[schema].items():
            lines += [f"      - name: {_text(table)}", f"        description: {_text(comment)}"]
            lines.append("        columns:")
            for name, type_, told in columns:
                lines.append(f"          - name: {_text(name)}")
                lines.append(f"            data_type: {_text(type_)}")
                lines.append(f"            description: {_text(told or '')}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A YAML string. dbt renders descriptions as Jinja: braces are written apart.

    >>> _text('a "b"'), _text("{{ x }}")
    ('"a \\\\"b\\\\""', '"{ { x } }"')
    """
    for mark in ("{{", "}}", "{%", "%}", "{#", "#}"):
        value = value.replace(mark, f"{mark[0]} {mark[1]}")
    return json.dumps(value, ensure_ascii=False)


def write(text: str, file: Path) -> None:
    """Write a new file; WarehouseError for one that is there, or cannot be written."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise WarehouseError(
            f"{file}: it is there already; allowed is a new file. Move it, or choose another with -o."
        ) from None
    except OSError as error:
        raise WarehouseError(
            f"{file}: cannot be written ({error.strerror}); allowed is a file in a folder that is "
            "there. Choose another with -o."
        ) from None
