"""SQL files -> tables: one file run, its promises enforced, the result recorded."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import duckdb

from behavsql import describe
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.compile import registry
from behavsql.errors import SqlFileError
from behavsql.plan import records
from behavsql.plan.steps import SIMILAR_USERS
from behavsql.quoting import identifier, literal


def prepare(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """Create the bookkeeping tables, the schemas and the shared macros."""
    records.prepare(con)
    for schema in dict.fromkeys(file.schema for file in catalog.files.values()):
        con.execute(f"create schema if not exists {identifier(schema)}")
    for macro in catalog.macros:
        con.execute(macro.sql)
        con.execute(f"comment on macro {identifier(macro.name)} is {literal(macro.comment())}")


def drop_gone(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> list[str]:
    """Drop what SQL files made that are gone now; the tasks whose label file was among them."""
    known = {macro.name for macro in catalog.macros} | {*registry.functions(con), SIMILAR_USERS}
    for name, type_ in con.execute(
        "select distinct function_name, function_type from duckdb_functions() where not internal "
        "and function_type in ('macro', 'table_macro') and database_name = current_database() "
        "order by all"
    ).fetchall():
        if name not in known:
            kind = "macro" if type_ == "macro" else "macro table"
            con.execute(f"drop {kind} {identifier(name)}")
    made = con.execute(
        "select distinct step from meta.builds where version is not null order by step"
    ).fetchall()
    gone = [step for (step,) in made if step not in catalog.files]
    for table in gone:
        for kind in ("table", "view"):
            found = con.execute(
                f"select 1 from duckdb_{kind}s() where schema_name || '.' || {kind}_name = ? "
                "and database_name = current_database()", [table]
            ).fetchall()  # fmt: skip
            if found:
                con.execute(f"drop {kind} {identifier(*table.split('.'))}")
        # With a label file goes its training, or it would count as done once the file is back.
        gone_steps = [table, table.replace("labels.", "train ", 1)]
        con.execute("delete from meta.builds where step in (?, ?)", gone_steps)
    return [table.removeprefix("labels.") for table in gone if table.startswith("labels.")]


def set_params(con: duckdb.DuckDBPyConnection, params: Mapping[str, object]) -> None:
    """Make values readable through `getvariable`; NULL variables would silently empty tables."""
    for statement in param_statements(params):
        con.execute(statement)


def param_statements(params: Mapping[str, object]) -> list[str]:
    """The statements that set session variables to these values."""
    return [
        f"set variable {identifier(name)} = {typed_literal(value)}"
        for name, value in params.items()
    ]


def typed_literal(value: object) -> str:
    """A value as a SQL literal of the type that queries expect: times and lengths of time too."""
    if isinstance(value, timedelta):
        return f"to_microseconds({value // timedelta(microseconds=1)})"
    if isinstance(value, datetime):
        return f"timestamp {literal(value.isoformat(sep=' '))}"
    if isinstance(value, date):
        return f"timestamp {literal(f'{value.isoformat()} 00:00:00')}"
    return literal(value)


def run_file(con: duckdb.DuckDBPyConnection, file: SqlFile, query: str | None = None) -> int:
    """Build one file's table or view, enforce its grain and checks, comment it; the row count.

    query: what the rows are taken from, if they are made already, instead of the file's own.
    Raises SqlFileError naming the file and line: DuckDB's own message and caret, the rows that
    share a grain, or the check that failed and how often. The old table stays in that case, if the
    caller runs this in a transaction.
    """
    name = identifier(file.schema, file.name)
    kind = "view" if file.materialized == "view" else "table"
    try:
        make_room(con, file.schema, file.name, kind)
        con.execute(f"create or replace {kind} {name} as\n{query or file.sql}")
    except duckdb.Error as error:
        raise SqlFileError(f"{file.where}: {str(error).strip()}") from None
    rows = _enforce(con, file, name)
    con.execute(f"comment on {kind} {name} is {literal(file.comment())}")
    describe.comment_columns(con, file.schema, file.name)
    return rows


def make_room(con: duckdb.DuckDBPyConnection, schema: str, name: str, kind: str) -> None:
    """Drop a table of this name where a view is to be made (`kind`), or the other way round."""
    other = "table" if kind == "view" else "view"
    found = con.execute(
        f"select 1 from duckdb_{other}s() where schema_name = ? and {other}_name = ? "
        "and database_name = current_database()", [schema, name]
    ).fetchall()  # fmt: skip
    if found:
        con.execute(f"drop {other} {identifier(schema, name)}")


def _enforce(con: duckdb.DuckDBPyConnection, file: SqlFile, name: str) -> int:
    rows, broken = broken_promises(con, file, name)
    if broken:
        raise SqlFileError(broken[0])
    return rows


def broken_promises(
    con: duckdb.DuckDBPyConnection, file: SqlFile, name: str
) -> tuple[int, list[str]]:
    """(rows, a message for every check and grain of `file` that the table `name` does not keep).

    Raises SqlFileError for a check or a grain that cannot be asked of the table.
    """
    grain = ", ".join(identifier(column) for column in file.grain)
    missing = " or ".join(f"{identifier(column)} is null" for column in file.grain)
    tests = [*file.checks, f"not ({missing})"]
    counted = ", ".join(f"count(*) filter (where not ({test}))" for test in tests)
    # Most tables are written in the order of their grain, where equal rows would be neighbours. To
    # compare each row with the one before takes a twentieth of what grouping takes.
    asked = f"""
        select count(*), coalesce(bool_and("row before" is null or "this row" > "row before"), true),
            {counted}
        from (
            select *, lag("this row") over () as "row before"
            from (select *, row({grain}) as "this row" from {name})
        ) as {identifier(file.name)}
    """
    try:
        rows, is_rising, *broken = con.execute(asked).fetchall()[0]
        twice = [] if is_rising else con.execute(
            f"select {grain}, count(*) as n from {name} group by {grain} having n > 1 limit 1"
        ).fetchall()  # fmt: skip
    except duckdb.Error as error:
        raise SqlFileError(f"{file.where}:{file.line('check')}: {str(error).strip()}") from None
    told = [
        f"{file.where}:{file.line('checks', position)}: check `{check}` fails for {count:,} of "
        f"{rows:,} rows; it must hold for all. Mend the query or the check."
        for position, (check, count) in enumerate(zip(file.checks, broken, strict=False))
        if count
    ]
    at = f"{file.where}:{file.line('grain')}"
    if broken[-1]:
        told.append(
            f"{at}: {broken[-1]:,} rows have no {' or no '.join(file.grain)}; the grain is never NULL."
        )
    if twice:
        values = ", ".join(
            f"{key} = {value!r}" for key, value in zip(file.grain, twice[0], strict=False)
        )
        told.append(
            f"{at}: {twice[0][-1]} rows share {values}; the grain allows one. Aggregate, or name the true grain."
        )
    return rows, told
