"""Whose an event is that names no user, but an anonymous id: a cookie, a device.

    the user last seen with the id up to then, else
    the first one seen with it later the same day (UTC), else
    a user of its own, `anonymous:<id>`

A user is seen with an id in a row that has both, of whatever source. So whose an event is hangs on
no row after its day, and a cutoff, which closes a day, knows all there is to know of it. On a
device that two people share an event is whoever's was seen there last.
"""

import duckdb

from behavsql.errors import SourceError
from behavsql.quoting import literal

PREFIX = "anonymous:"  # of users that only an anonymous id is known of; sql/ has it too
MOVED = "moved users"  # the temporary table of whose rows became another's, and of whom they became


def user_id(own: str, anonymous: str | None) -> str:
    """The user as long as nobody is known for the id, as SQL. own: that of the row, or NULL."""
    return own if anonymous is None else f"coalesce({own}, {literal(PREFIX)} || {anonymous})"


def resolve(con: duckdb.DuckDBPyConnection, table: str, among: str | None = None) -> None:
    """Give the rows of a table shaped as raw.loaded their users, and note whose that were.

    among: a table of rows whose anonymous ids are looked at, instead of all.
    """
    if not _is_anybody(con, table):
        return
    only = f"anonymous_id in (select anonymous_id from {among})" if among else "true"
    con.execute(
        f"""create or replace temp table stitched as {_stitched(table, only)};
        update {table} as rows set user_id = stitched.user_id
            from stitched where rows.rowid = stitched.place;
        create temp table if not exists "{MOVED}" as select user_id from stitched limit 0;
        insert into "{MOVED}" select was from stitched union select user_id from stitched;
        drop table stitched"""
    )


def _stitched(table: str, only: str) -> str:
    """The query for the rows that get another user than they have."""
    return f"""
        with asked as (
            select rowid as place, user_id as was, anonymous_id, event_at
            from {table} where not is_signed_in and anonymous_id is not null and {only}
        ),
        -- Of several at one moment always the same one.
        seen as (
            select anonymous_id, event_at as seen_at, min(user_id) as user_id
            from {table}
            where is_signed_in and anonymous_id is not null and event_at is not null and {only}
            group by anonymous_id, event_at
        ),
        after_one as (
            select asked.*, seen.user_id as before_id
            from asked asof left join seen
                on seen.anonymous_id = asked.anonymous_id and seen.seen_at <= asked.event_at
        ),
        told as (
            select
                place,
                was,
                coalesce(
                    before_id,
                    case when date_trunc('day', seen_at) = date_trunc('day', event_at)
                        then seen.user_id end,
                    {literal(PREFIX)} || after_one.anonymous_id
                ) as user_id,
            from after_one asof left join seen
                on seen.anonymous_id = after_one.anonymous_id and seen.seen_at > after_one.event_at
        )
        from told where was is distinct from user_id"""


def moved(con: duckdb.DuckDBPyConnection) -> str:
    """The query for those whose rows `resolve` gave away, or who got rows, on this connection.

    It may stand in a union: a `limit` would be the whole union's.
    """
    found = con.execute("select 1 from duckdb_tables() where table_name = ?", [MOVED]).fetchall()
    return f'select user_id from "{MOVED}"' if found else "select null as user_id where false"


def _is_anybody(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table of raw events has rows that an anonymous id alone is known of."""
    names = [row[0] for row in con.execute(f"describe from {table}").fetchall()]
    if "anonymous_id" not in names:  # an earlier behavsql read it
        return False
    query = f"select 1 from {table} where not is_signed_in and anonymous_id is not null limit 1"
    return bool(con.execute(query).fetchall())


def check(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """SourceError for a user whose own id is like those that anonymous ones get."""
    found = con.execute(
        f"select source, user_id from {table} where is_signed_in and anonymous_id is not null "
        f"and starts_with(cast(user_id as varchar), {literal(PREFIX)}) limit 1"
    ).fetchall()
    if found:
        source, user = found[0]
        raise SourceError(
            f'source "{source}": the user_id "{user}" begins with {PREFIX}, as the ids of users do '
            f"whom only an anonymous_id is known of; allowed are other ids. Rename these in the source."
        )
