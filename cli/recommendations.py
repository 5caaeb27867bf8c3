"""What the command `recommend` asks of a warehouse, and prints."""

import sys
from pathlib import Path

from behavsql.cli import show

from behavsql.errors import WarehouseError
from behavsql.warehouse import connect

COLUMNS = ("rank", "item_id", "title", "score", "source", "reason")
LISTED = """
select listed.rank, listed.item_id, items.title, listed.score, listed.source, listed.reason
from recommend(try_cast($user as {type}), k := $count) as listed
left join main.items as items on items.item_id = listed.item_id
order by listed.rank
"""


def run(place: Path, user: str, count: int, as_json: bool) -> None:
    """Print a user's list; on stderr, why it is not the user's own, if it is not."""
    with connect(place, udfs=False) as con:
        found = con.execute(
            "select data_type from duckdb_columns() where schema_name = 'predictions' "
            "and table_name = 'next_item' and column_name = 'user_id'"
        ).fetchall()
        if not found:
            raise WarehouseError(
                f"{place}: the warehouse recommends nothing, it was built by an earlier behavsql; "
                "allowed is one with the task next_item. Run `behavsql build`."
            )
        kind = found[0][0]
        rows = con.execute(LISTED.format(type=kind), {"user": user, "count": count}).fetchall()
        known, listed = con.execute(
            f"select exists (from staging.users where user_id = try_cast($user as {kind})), "
            f"exists (from predictions.next_item where user_id = try_cast($user as {kind}))",
            {"user": user},
        ).fetchall()[0]
        task = con.execute(
            "select status, reason from meta.tasks where task = 'next_item'"
        ).fetchall()
    if as_json:
        items = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        show.write_json({"user_id": user, "is_known": known, "is_own": listed, "items": items})
    elif rows:
        show.write_table(COLUMNS, rows)
    _explain(user, known, listed, rows, task)


def _explain(user: str, known: bool, listed: bool, rows: list, task: list) -> None:
    if not rows:
        status, reason = task[0] if task else ("skipped", "disabled")
        told = f"next_item is {status}: {reason}" if status != "ready" else "no item may be shown"
        print(f"nothing to recommend: {told}", file=sys.stderr)
    elif not listed:
        why = "was not active lately" if known else "is not known"
        print(f"user {user} {why}: these items are popular", file=sys.stderr)
