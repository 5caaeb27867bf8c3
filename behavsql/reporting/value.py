"""What acting on a task's predictions is worth, and from which probability on it pays."""

from behavsql.reporting import charts, numbers
from behavsql.reporting.blocks import Cell, Figure, Prose, Table, table
from behavsql.reporting.charts import Line, Mark, Words
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import about, count, share
from behavsql.reporting.quality import QUARTERS, TENTHS
from behavsql.reporting.svg import Axis, axis

UNKNOWN = (
    "Profit is not shown: the config does not say what a success is worth. "
    "Set success_value and action_cost under [economics]."
)
RULES = {
    "stored": "the threshold chosen on valid",
    "break_even": "where an action costs what it may bring",
    "best_profit": "what earned most on test",
}


def blocks(context: Context, task: Task) -> list:
    """The profit curve, precision and reach over the threshold, and the four ways it came out."""
    if task.is_reference:
        return []
    return [
        block
        for block in (
            _profit(context, task),
            _thresholds(context, task),
            *_confusion(context, task),
        )
        if block
    ]


def _profit(context: Context, task: Task) -> Figure | Prose | None:
    rows = context.reader.rows("report.profit", "decile", task=task.name, model=task.model)
    if not rows:
        return None
    if all(row.get("profit") is None for row in rows):
        return Prose(UNKNOWN, "quiet") if task.kind == "binary" else None
    for row in rows:
        row["acted"] = row["count_acted"] / row["count_questions"]
        row["span"] = numbers.between(row.get("low"), row.get("high"), about)
    numbers_ = table("Acting on the best tenths of the test questions", [
        ("decile", "tenths", count), ("count_acted", "actions", count), ("label_sum", "successes", about),
        ("profit", "profit", about), ("span", "95% interval", None)], rows)  # fmt: skip
    points = [(0.0, 0.0), *((row["acted"], row["profit"]) for row in rows)]
    known = [
        (row["acted"], row["low"], row["high"])
        for row in rows
        if row.get("low") is not None and row.get("high") is not None
    ]
    band = [(0.0, 0.0, 0.0), *known] if known else []
    y = axis(
        [y for _, y in points] + [end for _, *ends in band for end in ends], numbers.tick, zero=True
    )
    x = Axis(0, 1, TENTHS, numbers.percent, "share of users acted on, highest first")
    best = next((row for row in rows if row.get("is_best")), None)
    marks = [Mark(best["acted"], best["profit"], f"best: {about(best['profit'])}")] if best else []
    first = rows[0]
    note = f"A success is worth {first['success_value']:,g}, an action costs {first['action_cost']:,g}. {'The band is the 95% interval.' if band else ''}"
    title = (
        f"Profit is highest with the best {numbers.percent(best['decile'] / 10)}"
        if best
        else "Acting does not pay on any tenth"
    )
    return charts.curve(
        Words(f"{task.key}-profit", title, note), [Line(points, band=band)], x, y, numbers_, marks
    )


def _thresholds(context: Context, task: Task) -> Figure | None:
    rows = context.reader.rows("report.thresholds", "threshold", task=task.name, model=task.model)
    rows = [row for row in rows if row["count_called"] >= context.reader.fewest]
    if len(rows) < 2:
        return None
    numbers_ = table("Calling yes from a probability on", [
        ("threshold", "probability", share), ("count_called", "called yes", count), ("precision", "of these right", share),
        ("recall", "of all yes found", share), ("false_positive_rate", "false alarms", share),
        *([("profit", "profit", about)] if rows[0].get("profit") is not None else [])], rows)  # fmt: skip
    lines = [Line([(row["threshold"], row["recall"]) for row in rows], "found", "ls"),
             Line([(row["threshold"], row["precision"]) for row in rows], "right")]  # fmt: skip
    x = axis(
        [row["threshold"] for row in rows],
        numbers.percent,
        "called yes from this probability on",
        most=5,
        fit=True,
    )
    best = next((row for row in rows if row.get("is_best_profit")), None)
    marks = [Mark(best["threshold"], best["precision"], "pays best")] if best else []
    words = Words(f"{task.key}-thresholds", "The higher the bar, the surer and the fewer",
                  "Right: share of the users called yes that were. Found: share of all yes that were called.")  # fmt: skip
    return charts.curve(words, lines, x, Axis(0, 1, QUARTERS, numbers.percent), numbers_, marks)


def _confusion(context: Context, task: Task) -> list[Table]:
    rows = context.reader.rows("report.confusion", "rule", task=task.name, model=task.model)
    kinds = (
        "count_true_positives",
        "count_false_positives",
        "count_false_negatives",
        "count_true_negatives",
    )
    if not rows or any(kind not in rows[0] for kind in kinds):
        return []
    for row in rows:
        row["rule"] = RULES.get(row["rule"], str(row["rule"]).replace("_", " "))
        for kind in kinds:
            row[kind] = few(row[kind], context.reader.fewest)
    columns = [("rule", "called yes from", None), ("threshold", "probability", share),
               (kinds[0], "yes, rightly", None), (kinds[1], "yes, wrongly", None), (kinds[2], "no, wrongly", None),
               (kinds[3], "no, rightly", None), ("precision", "of yes right", share), ("recall", "of all yes found", share)]  # fmt: skip
    if rows[0].get("profit") is not None:
        columns.append(("profit", "profit", about))
    return [table("How yes and no came out on the test questions", columns, rows)]


def few(number: int, least: int) -> Cell:
    """A number of people, unless it is so small that it tells of somebody.

    >>> few(3, 10), few(1200, 10), few(0, 10)
    (Cell(text='<10', sort=0, is_number=True), Cell(text='1,200', sort=1200, is_number=True), Cell(text='0', sort=0, is_number=True))
    """
    if 0 < number < least:
        return Cell(f"<{least}", 0, True)
    return Cell(count(number), number, True)
