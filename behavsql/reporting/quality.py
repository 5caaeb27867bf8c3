"""How good a task's models are: beside the references, against what happened, and by tenths."""

from math import sqrt

from behavsql.reporting import charts, numbers
from behavsql.reporting.activity import time_axis
from behavsql.reporting.blocks import Figure, Prose, Table, table
from behavsql.reporting.charts import Line, Measured, Words, axis_form
from behavsql.reporting.context import METRICS, Context, Task
from behavsql.reporting.numbers import count, figure, share
from behavsql.reporting.svg import Axis, axis

MOST_MODELS = 14
NOTES = {  # second opinions: higher is better
    "roc_auc": "Chance that a user with a yes is ranked above one without: 0.5 is a coin.",
    "spearman": "How far the order predicted is the order that came: 0 is none, 1 the same.",
    "hit_rate_at_10": "Share of users who then chose one of the ten items suggested.",
}
TENTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
QUARTERS = (0, 0.25, 0.5, 0.75, 1)


def leaderboard(context: Context, task: Task) -> list:
    """Every model with its interval, by the metric that decides, and by what its order is worth."""
    if not task.board:
        return [Prose("No model of this task has been measured.", "quiet")]
    ranking = {"binary": "roc_auc", "choice": "hit_rate_at_10"}.get(task.kind, "spearman")
    numbers_ = _board_table(context, task, ranking)
    found = [_compared(task, task.metric, numbers_, "deciding")]
    if any(row["metric"] == ranking for row in task.board):
        found.append(_compared(task, ranking, numbers_, "ranking"))
    left = context.reader.rows("models.left_out", "model", task=task.name)
    if left:
        told = "; ".join(f"{row['model']}: {row['reason']}" for row in left)
        found.append(Prose(f"Left out: {told}.", "quiet"))
    return [block for block in found if block]


def _compared(task: Task, metric: str, numbers_: Table, what: str) -> Figure | None:
    lower = metric not in NOTES and task.is_lower_better
    rows = [row for row in task.board if row["metric"] == metric and row["value"] is not None]
    if not rows:
        return None
    rows.sort(key=lambda row: row["value"] if lower else -row["value"])
    rows = rows[:MOST_MODELS] + [row for row in rows[MOST_MODELS:] if row["family"] == "reference"]
    measured = [
        Measured(row["model"], row["value"], row["low"], row["high"],
                 "best" if row["is_published"] else "reference" if row["family"] == "reference" else "other")
        for row in rows
    ]  # fmt: skip
    name = METRICS.get(metric, metric.replace("_", " "))
    side = "lower" if lower else "higher"
    title = f"{name[:1].upper()}{name[1:]} on the test moments"
    note = f"Further {'left' if lower else 'right'} is better. Lines: 95% intervals that count users. Squares: simple guesses."
    if what == "ranking":
        note = NOTES[metric]
    words = Words(f"{task.key}-{what}", title, note)
    return charts.intervals(words, measured, figure, f"{name} ({side} is better)", numbers_)


def _board_table(context: Context, task: Task, ranking: str) -> Table:
    extra = {row["model"]: row for row in context.reader.rows("models.models", task=task.name)}
    rows = []
    for row in (row for row in task.board if row["metric"] == task.metric):
        other = task.measured(ranking, row["model"]) or {}
        model = extra.get(row["model"], {})
        rows.append({
            "model": row["model"], "family": row["family"], "value": row["value"],
            "span": numbers.between(row["low"], row["high"]), "other": other.get("value"),
            "seconds": row["train_seconds"], "bytes": model.get("count_bytes"),
            "status": "published" if row["is_published"] else "best on valid" if row["is_champion"] else "",
            "reason": row["reason"],
        })  # fmt: skip
    rows.sort(
        key=lambda row: (
            row["value"] is None,
            (row["value"] or 0) * (1 if task.is_lower_better else -1),
        )
    )
    columns = [("model", "model", None), ("family", "family", None), ("status", "status", None),
               ("value", METRICS.get(task.metric, task.metric), figure), ("span", "95% interval", None),
               ("other", METRICS[ranking], figure), ("seconds", "trained in", numbers.seconds),
               ("bytes", "size", numbers.size), ("reason", "why (not)", None)]  # fmt: skip
    strong = frozenset(place for place, row in enumerate(rows) if row["status"] == "published")
    return table("Models on the test moments, the best first", columns, rows, strong=strong)


def calibration(context: Context, task: Task) -> list:
    """What was said against what was seen; over the rounds, and by groups of scores."""
    return [block for block in (_reliability(context, task), _rounds(context, task)) if block]


def _reliability(context: Context, task: Task) -> Figure | None:
    rows = context.reader.rows("report.calibration", "bin", task=task.name, model=task.model)
    if not rows or task.kind != "binary":
        return None
    points = []
    for row in rows:
        low, high = wilson(row["observed_rate"], row["count_questions"])
        row |= {"low": low, "high": high, "span": numbers.between(low, high, share)}
        points.append((row["predicted_rate"], row["observed_rate"], low, high))
    numbers_ = table("Questions in groups by score", [
        ("bin", "group", count), ("count_questions", "questions", count), ("predicted_rate", "predicted", share),
        ("observed_rate", "observed", share), ("span", "95% interval", None)], rows)  # fmt: skip
    error = context.reader.rows("report.calibration_error", task=task.name, model=task.model)
    off = error[0]["expected_calibration_error"] if error else _off(rows)
    note = f"On the dashed line what was predicted is what happened. On average it is {share(round(off, 4))} off; lines are 95% intervals."
    words = Words(f"{task.key}-calibration", "Can the probability be taken at its word?", note)
    return charts.reliability(words, points, numbers_)


def _off(rows: list[dict]) -> float:
    whole = sum(row["count_questions"] for row in rows)
    return (
        sum(
            abs(row["predicted_rate"] - row["observed_rate"]) * row["count_questions"]
            for row in rows
        )
        / whole
    )


def wilson(rate: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """A 95% interval of a rate seen in n. Source: Wilson 1927.

    >>> tuple(round(end, 3) for end in wilson(0.5, 100))
    (0.404, 0.596)
    """
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _rounds(context: Context, task: Task) -> Figure | None:
    past = [one for one in task.rounds if one.observed is not None and one.count_questions >= 10]
    if len(past) < 2:
        return None
    mean = task.kind != "count" and task.name == "next_visit"
    by = [one.count_questions if mean else 1 for one in past]
    rows = [{"when": context.clock.when(one.cutoff_at), "asked": one.count_questions,
             "predicted": one.predicted / n, "observed": one.observed / n} for one, n in zip(past, by, strict=True)]  # fmt: skip
    form = figure if mean else count
    numbers_ = table("Each time the question was asked in test", [("when", "asked on", None), ("asked", "users asked", count),
                     ("predicted", "predicted", form), ("observed", "happened", form)], rows)  # fmt: skip
    at = [one.cutoff_at for one in past]
    lines = [Line([(numbers.place(moment), row["observed"]) for moment, row in zip(at, rows, strict=True)], "happened", "lr"),
             Line([(numbers.place(moment), row["predicted"]) for moment, row in zip(at, rows, strict=True)], "predicted")]  # fmt: skip
    y = axis(
        [value for row in rows for value in (row["predicted"], row["observed"])],
        axis_form(form),
        zero=True,
    )
    note = (
        "Averages over all users asked."
        if mean
        else "Sums over all users asked, at moments no model had seen."
    )
    words = Words(f"{task.key}-rounds", "What was predicted, and what came", note)
    return charts.curve(words, lines, time_axis(context, at), y, numbers_)


def reach(context: Context, task: Task) -> list:
    """Gain: what the best tenths hold; and the label by tenth, against the average."""
    if not task.lift or task.is_reference:
        return []
    rows, form = [dict(row) for row in task.lift], share if task.kind == "binary" else figure
    numbers_ = table("By tenths, the highest scores first", [
        ("decile", "tenth", count), ("count_questions", "questions", count), ("label_mean", "happened", form),
        ("captured_share", "reached so far", share), ("lift", "times the average", numbers.times)], rows)  # fmt: skip
    is_known = all(row["captured_share"] is not None for row in rows) and task.name != "next_visit"
    return [
        *([_gain(task, rows, numbers_)] if is_known else []),
        _tenths(task, rows, form, numbers_),
    ]


def _gain(task: Task, rows: list[dict], numbers_: Table) -> Figure:
    fifth = next(
        (row["captured_share"] for row in rows if row["decile"] == 2), rows[-1]["captured_share"]
    )
    points = [(0.0, 0.0), *((row["decile"] / 10, row["captured_share"]) for row in rows)]
    x = Axis(0, 1, TENTHS, numbers.percent, "share of users acted on, highest first")
    what = task.doing[1] if task.kind == "binary" else "the total"
    words = Words(
        f"{task.key}-gain",
        f"Share of {what} reached",
        f"Acting on the best fifth reaches {share(fifth)}; chosen blindly, a fifth reaches 20%.",
    )
    lines = [Line([(0, 0), (1, 1)], "", "lr"), Line(points)]
    return charts.curve(words, lines, x, Axis(0, 1, QUARTERS, numbers.percent), numbers_,
                        [charts.Mark(0.2, fifth, share(fifth))])  # fmt: skip


def _tenths(task: Task, rows: list[dict], form, numbers_: Table) -> Figure:
    whole = sum(row["count_questions"] for row in rows)
    average = sum((row["label_mean"] or 0) * row["count_questions"] for row in rows) / whole
    y = axis([row["label_mean"] for row in rows] + [average], axis_form(form), zero=True)
    unit = "Share with a yes" if task.kind == "binary" else "What happened on average"
    words = Words(
        f"{task.key}-tenths",
        f"{unit}, by tenth",
        "Tenth 1 has the highest scores. A good ranking falls from left to right.",
    )
    bars = [(str(row["decile"]), row["label_mean"]) for row in rows]
    return charts.columns(words, bars, y, numbers_, x_name="tenth by score",
                          reference=(average, f"average {form(average)}"), value=form)  # fmt: skip
