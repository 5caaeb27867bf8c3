"""The models as functions in the file: how they are called, and how exact they are."""

from behavsql.reporting import numbers
from behavsql.reporting.blocks import Code, Prose, Section, table
from behavsql.reporting.context import Context
from behavsql.reporting.numbers import count, figure


def section(context: Context) -> Section:
    """A call for each task that has a function, and the certificate of each function."""
    found = Section("functions", "The models as functions", "Each published model is a SQL function inside the warehouse file: any DuckDB client can call it, with no Python.", extra={"short": "Functions"})  # fmt: skip
    names = {task.name for task in context.tasks}
    rows = [
        row
        for row in context.reader.rows("models.parity", "task form macro")
        if row.get("task") in names
    ]
    published = [row for row in rows if row["is_published"]]
    if not published:
        found.blocks.append(Prose("No model of this warehouse is stored as a function.", "quiet"))
    else:
        task = published[0]["task"]
        found.blocks.append(
            Code(_calls(task), "The score of everybody who is asked now, of one row, and what if")
        )
    if rows:
        for row in rows:
            row["verdict"] = "stored" if row["is_published"] else row.get("reason") or "not stored"
        columns = [("macro", "function", None), ("model", "model", None), ("count_test_rows", "test rows", count),
                   ("count_edge_rows", "rows at the edges", count), ("largest_difference", "largest difference", exact),
                   ("tolerance", "allowed", exact), ("count_bytes", "size", numbers.size), ("verdict", "verdict", None)]  # fmt: skip
        current = [row for row in rows if "__" not in row["macro"]] or rows
        found.blocks.append(Prose("Each function was compared with its model in Python on every test row, and on rows with missing, infinite and unseen values, before it was stored.", "quiet"))  # fmt: skip
        found.blocks.append(table("Certificates: the function against the model", columns, current))
    return found


def exact(value: float) -> str:
    """A tiny difference.

    >>> exact(2.2e-16), exact(0.0)
    ('2e-16', '0')
    """
    return f"{value:.0e}" if value else figure(value)


def _calls(task: str) -> str:
    return (
        f"select user_id, score from score_{task}('features.latest');\n\n"
        f"select user_id, predict_{task}(f) from features.latest as f where user_id = ...;\n\n"
        f"select whatif_{task}(...);  -- the features you give; the others are as usual"
    )
