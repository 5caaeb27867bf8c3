"""`predictions.history`: every score that was ever published, with its moment and its model.

Rows are only ever added: one for a user and task whenever the score, the moment it is for or the
model that gave it is not that of the newest row. It outlives builds from nothing and rollbacks.
Rows go with their user, once no source knows that user any more, and with the days that
`retention_days` keeps: a score tells of what was done before its moment.
"""

from datetime import datetime
from pathlib import Path

import duckdb

from behavsql import describe
from behavsql.database_file import damage, open_file
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse

TABLE = "history"
COLUMNS = ("task", "user_id", "score", "as_of", "model", "model_version", "scored_at")
_COMMENT = "every score ever published: a row where the score, its moment or its model changed"


def add(con: duckdb.DuckDBPyConnection, since: datetime | None = None) -> int:
    """Add what `predictions.scored` says that the history does not say last; how many rows.

    since: the beginning of the first day that is kept; None: all are.
    """
    _prepare(con)
    if since:
        con.execute("delete from predictions.history where as_of < ?", [since])
    gone = con.execute(
        "select 1 from predictions.history anti join staging.users using (user_id) limit 1"
    ).fetchall()
    if gone:
        con.execute(
            "delete from predictions.history where user_id not in (select user_id from staging.users)"
        )
    added = con.execute(
        f"""insert into predictions.history by name
            select {", ".join(f"scored.{name}" for name in COLUMNS)}
            from predictions.scored as scored
            left join (
                from predictions.history
                qualify row_number() over (
                    partition by task, user_id order by scored_at desc, as_of desc, model_version desc
                ) = 1
            ) as known on known.task = scored.task and known.user_id = scored.user_id
            where (known.score, known.as_of, known.model, known.model_version)
                is distinct from (scored.score, scored.as_of, scored.model, scored.model_version)
            order by scored.task, scored.user_id"""
    ).fetchall()
    return added[0][0]


def _prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Make the table where it is missing; its ids have the type that ids have by now."""
    types = dict(con.execute(
        "select schema_name || '.' || table_name, data_type from duckdb_columns() "
        "where database_name = current_database() and column_name = 'user_id' "
        "and table_name in ('history', 'scored') and schema_name = 'predictions'"
    ).fetchall())  # fmt: skip
    if f"predictions.{TABLE}" not in types:
        listed = ", ".join(COLUMNS)
        con.execute(
            f"create table predictions.{TABLE} as select {listed} from predictions.scored limit 0"
        )
        con.execute(f"comment on table predictions.{TABLE} is {literal(_COMMENT)}")
        describe.comment_columns(con, "predictions", TABLE)
    elif types[f"predictions.{TABLE}"] != types.get("predictions.scored"):
        con.execute(
            f"alter table predictions.{TABLE} alter user_id type {types['predictions.scored']} "
            f"using try_cast(user_id as {types['predictions.scored']})"
        )


def bring_forward(candidate: Path, warehouse: Warehouse) -> None:
    """Give an older version that is about to be published again the history of the newest build."""
    newer = next(
        (path for path in (warehouse.build, warehouse.published)
         if path.exists() and not damage(path)), None
    )  # fmt: skip
    if newer is None:
        return
    with open_file(candidate) as con:
        con.execute(f"attach {literal(str(newer))} as newer (read_only)")
        known = con.execute(
            "select 1 from duckdb_tables() where database_name = 'newer' "
            "and schema_name = 'predictions' and table_name = ?", [TABLE]
        ).fetchall()  # fmt: skip
        if known:
            name = identifier("predictions", TABLE)
            con.execute(f"create or replace table {name} as from newer.{name}")
            con.execute(f"comment on table {name} is {literal(_COMMENT)}")
            describe.comment_columns(con, "predictions", TABLE)
        con.execute("detach newer")
        con.execute("checkpoint")
