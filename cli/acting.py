"""What a build says of acting upon users: which policy, and whether it is worth it."""

from pathlib import Path
from typing import Any

from behavsql.warehouse import connect

VERDICT = """
select policy, estimator, value, low, high, logging_value, is_recommended, reason
from report.policies where is_champion and is_deciding
"""
KNOWN = """
select 1 from duckdb_tables() where schema_name = 'report' and table_name = 'policies'
and database_name = current_database()
"""


def verdict(path: Path) -> dict[str, Any] | None:
    """The best policy of a published file and what is said of it; None where nothing is acted."""
    with connect(path) as con:
        if not con.execute(KNOWN).fetchall():  # of an earlier version
            return None
        cursor = con.execute(VERDICT)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    return dict(zip(names, rows[0], strict=True)) if rows else None


def line(found: dict[str, Any]) -> str:
    """
    >>> line({"policy": "t_learner", "estimator": "doubly_robust", "is_recommended": False,
    ...       "reason": "its value 2 [1, 3] includes what was done, 1.5"})
    'next_action  t_learner, not recommended: its value 2 [1, 3] includes what was done, 1.5'
    """
    if found["estimator"] == "refused":
        return f"next_action  refused: {found['reason']}"
    word = "recommended" if found["is_recommended"] else "not recommended"
    return f"next_action  {found['policy']}, {word}: {found['reason']}"
