"""For whom a task's model is good, and for whom less so."""

import re

from behavsql.reporting import charts, numbers
from behavsql.reporting.blocks import Figure, Prose, table
from behavsql.reporting.charts import Measured, Words
from behavsql.reporting.context import METRICS, Context, Task
from behavsql.reporting.numbers import count, figure, share
from behavsql.reporting.svg import slug

MOST_SEGMENTS = 9
MOST_SLICES = 9


def blocks(context: Context, task: Task) -> list:
    """A figure for each way of dividing the users; groups of too few are counted, not shown."""
    rows = context.reader.rows("report.slices", "segment slice", task=task.name, model=task.model)
    if not rows:
        return []
    rows, hidden = context.reader.but_few(rows, "count_users")
    small = sum(bool(row["is_too_small"]) for row in rows)
    names = list(dict.fromkeys(row["segment"] for row in rows))
    found: list = [_segment(task, name, rows) for name in names[:MOST_SEGMENTS]]
    found = [one for one in found if one]
    told = []
    if hidden + small:
        told.append(
            f"Not measured, for too few users or answers: {numbers.plural(hidden + small, 'group')}."
        )
    if len(names) > MOST_SEGMENTS:
        told.append(
            f"{numbers.plural(len(names) - MOST_SEGMENTS, 'other way')} of dividing users: report.slices."
        )
    return found + [Prose(" ".join(told), "quiet")] * bool(told and found)


def _segment(task: Task, segment: str, rows: list[dict]) -> Figure | None:
    own = [row for row in rows if row["segment"] == segment and row["value"] is not None][
        :MOST_SLICES
    ]
    if len(own) < 2:
        return None
    form = share if task.kind == "binary" else figure
    whole = task.measured(task.metric)
    for row in own:
        row["span"] = numbers.between(row["low"], row["high"])
        row["slice"] = re.sub(r"^\d: ", "", str(row["slice"]))  # the number only orders
    name = METRICS.get(task.metric, task.metric)
    numbers_ = table(plain(segment), [
        ("slice", "group", None), ("count_users", "users", count), ("count_questions", "questions", count),
        ("predicted_mean", "predicted", form), ("observed_mean", "happened", form), ("value", name, figure),
        ("span", "95% interval", None), ("roc_auc", "ROC AUC", figure)], own)  # fmt: skip
    measured = [
        Measured(row["slice"], row["value"], row["low"], row["high"], "best") for row in own
    ]
    if whole:
        measured.append(Measured("all", whole["value"], whole["low"], whole["high"], "reference"))
    note = f"{name[:1].upper()}{name[1:]} with its 95% interval; {'left' if task.is_lower_better else 'right'} is better."
    words = Words(f"{task.key}-slice-{slug(segment)}", plain(segment), note)
    return charts.intervals(words, measured, figure, name, numbers_)


def plain(segment: str) -> str:
    """A way of dividing users, in words.

    >>> plain("bought so far"), plain("last_city")
    ('Bought so far', 'Last city')
    """
    return segment.replace("_", " ").capitalize()
