"""`models.parity`: which functions of models a database has, and what their certificates say."""

from collections.abc import Iterator

import duckdb

from behavsql.quoting import identifier, literal

ROW, WHATIF, BATCH = "row", "whatif", "batch"  # the forms of a function
EVENT_ROW, EVENT_BATCH = "event row", "event batch"  # the same of models that read the last events
# Rows with every feature and the last events, of who is asked about now.
ASKED = "(from features.latest inner join features.sequences using (user_id, cutoff_at))"
IS_VERSION = "regexp_matches(macro, '__v[0-9]+$')"


def is_there(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database has the table; those of earlier versions do not."""
    found = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'models' and table_name = 'parity' "
        "and database_name = current_database()"
    )
    return bool(found.fetchall())


def functions(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Name -> form of the functions that are stored."""
    if not is_there(con):
        return {}
    return dict(con.execute(
        "select macro, form from models.parity where is_published order by task, macro"
    ).fetchall())  # fmt: skip


def write(con: duckdb.DuckDBPyConnection, row: dict[str, object]) -> None:
    """Add what is known of one function."""
    con.execute(
        f"insert into models.parity ({', '.join(row)}, checked_at) "
        f"values ({', '.join('?' * len(row))}, now()::timestamp)",
        list(row.values()),
    )


def drop(con: duckdb.DuckDBPyConnection, those: str) -> None:
    """Take away the functions that meet a condition on `models.parity`, and their rows."""
    gone = con.execute(
        f"select macro, form from models.parity where {those} and form is not null"
    ).fetchall()
    for name, form in gone:
        con.execute(dropped(name, form))
    con.execute(f"delete from models.parity where {those}")


def broken(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Functions that cannot be called on who is there now, each with what DuckDB says about it."""
    for name, form in functions(con).items():
        query = (
            f"select {identifier(name)}()" if form == WHATIF else f"{answers(name, form)} limit 1"
        )
        try:
            con.execute(query).fetchall()
        except duckdb.Error as error:
            yield name, next(iter(str(error).splitlines()), "")


def answers(name: str, form: str) -> str:
    """What a function over rows says now: a query for user_id and score."""
    called = identifier(name)
    if form in (ROW, EVENT_ROW):
        rows = "features.latest" if form == ROW else ASKED
        return f"select user_id, {called}(f) as score from {rows} as f"
    if form == BATCH:
        return f"from {called}('features.latest')"
    now = "(select max(cutoff_at) from features.latest)"
    return f"select user_id, score from {called}('features.sequences') where cutoff_at = {now}"


def drop_broken(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Drop what cannot be called any more; not within a transaction. What there is to say."""
    found = list(broken(con))
    for name, _ in found:
        drop(con, f"macro = {literal(name)}")
    return [f"{name} is dropped, it cannot be called any more: {error}" for name, error in found]


def dropped(name: str, form: str) -> str:
    """The statement that takes a function away, if it is there."""
    kind = "MACRO TABLE" if is_table(form) else "MACRO"
    return f"DROP {kind} IF EXISTS {identifier(name)}"


def is_table(form: str) -> bool:
    """Whether a function of this form is called in FROM."""
    return form in (BATCH, EVENT_BATCH)
