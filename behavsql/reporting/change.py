"""Whether a task's predictions still hold: from window to window, since then, and for who is asked now."""

from behavsql.reporting import charts, numbers
from behavsql.reporting.activity import time_axis
from behavsql.reporting.blocks import Figure, Fold, Prose, table
from behavsql.reporting.charts import Line, Words
from behavsql.reporting.context import METRICS, Context, Task
from behavsql.reporting.numbers import count, figure, share
from behavsql.reporting.svg import axis

MOST_FEATURES = 10


def blocks(context: Context, task: Task) -> list:
    """What to do, the metric over time, how often it happens, and what drifted."""
    return [
        block
        for block in (
            *_advice(context, task), _over_time(context, task, "report.stability", "stability"),
            _over_time(context, task, "report.backtest", "backtest"), _labels(context, task),
            _drift(context, task), *_scores(context, task),
        )
        if block
    ]  # fmt: skip


def _advice(context: Context, task: Task) -> list:
    rows = context.reader.rows("report.advice", task=task.name)
    if not rows:
        return []
    row = rows[0]
    reason = str(row.get("reason") or "")
    if row["advice"] == "nothing":
        return [Prose(f"Nothing needs to be done: {reason}.")]
    return [Prose(f"{row['advice']}: {reason}. Run {row.get('command')}.", "warning")]


def _over_time(context: Context, task: Task, name: str, key: str) -> Figure | None:
    rows = [row for row in context.reader.rows(name, "cutoff_at", task=task.name)
            if row.get("value") is not None and row["metric"] == task.metric]  # fmt: skip
    own = [row for row in rows if row["model"] == task.model]
    if len(own) < 2:
        return None
    metric = METRICS.get(task.metric, task.metric)
    for row in own:
        row["when"], row["span"] = (
            context.clock.when(row["cutoff_at"]),
            numbers.between(row.get("low"), row.get("high")),
        )
    form = share if task.kind == "binary" else figure
    numbers_ = table(f"{metric} of {task.model}, asked on each of these days", [
        ("when", "asked on", None), ("count_questions", "users asked", count), ("predicted_mean", "predicted", form),
        ("observed_mean", "happened", form), ("value", metric, figure), ("span", "95% interval", None)], own)  # fmt: skip
    lines = [
        Line([(numbers.place(row["cutoff_at"]), row["value"]) for row in rows if row["model"] == model], model, "lr")
        for model in ("prevalence",) if model != task.model and any(row["model"] == model for row in rows)
    ]  # fmt: skip
    band = [
        (numbers.place(row["cutoff_at"]), row["low"], row["high"])
        for row in own
        if row.get("low") is not None
    ]
    lines.append(
        Line(
            [(numbers.place(row["cutoff_at"]), row["value"]) for row in own], task.model, "la", band
        )
    )
    values = [y for line in lines for _, y in line.points] + [
        end for _, *ends in band for end in ends
    ]
    title, note = {
        "stability": ("The same from window to window?", "The error at each moment of valid and test; lower is better."),
        "backtest": ("Trained anew in the past, judged on what came next", "At each moment the model knew only what lay before."),
    }[key]  # fmt: skip
    return charts.curve(Words(f"{task.key}-{key}", title, note), lines,
                        time_axis(context, [row["cutoff_at"] for row in own]), axis(values, numbers.tick, metric), numbers_)  # fmt: skip


def _labels(context: Context, task: Task) -> Figure | None:
    """How often, or how much, it happened at each cutoff, train included."""
    rows = [
        row
        for row in context.reader.rows("report.label_drift", "cutoff_at", task=task.name)
        if row["label_mean"] is not None
    ]
    if len(rows) < 3:
        return None
    form = share if task.kind == "binary" else figure
    for row in rows:
        row["when"] = context.clock.when(row["cutoff_at"])
    numbers_ = table("What happened after each moment", [
        ("when", "asked on", None), ("split", "used for", None), ("count_questions", "users asked", count),
        ("label_mean", "happened", form), ("deviations", "deviations from train", figure)], rows)  # fmt: skip
    points = [(numbers.place(row["cutoff_at"]), row["label_mean"]) for row in rows]
    band = [(numbers.place(row["cutoff_at"]), row["low"], row["high"]) for row in rows]
    y = axis(
        [end for row in rows for end in (row["label_mean"], row["high"])],
        charts.axis_form(form),
        zero=True,
    )
    lines = [Line(points, band=band)]
    mean = rows[0].get("train_mean")
    if mean is not None:
        lines.insert(0, Line([(points[0][0], mean), (points[-1][0], mean)], "", "lr"))
    words = Words(f"{task.key}-labels", "How often it happens" if task.kind == "binary" else "How much it comes to",
                  "Average over the users asked at each moment, with 95% intervals; dashed: the average of train.")  # fmt: skip
    return charts.curve(
        words, lines, time_axis(context, [row["cutoff_at"] for row in rows]), y, numbers_
    )


def _drift(context: Context, task: Task) -> Figure | None:
    rows = [
        row
        for row in context.reader.rows("report.drift", task=task.name)
        if row.get("psi") is not None and row.get("importance")  # what the model never looks at
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: -row["psi"])
    for row in rows:
        row["meaning"] = context.feature(row["feature"])
    numbers_ = table("Drift of the features, the most drifted first", [
        ("feature", "feature", None), ("psi", "PSI", figure), ("psi_missing", "missing", figure),
        ("psi_category", "new categories", figure), ("psi_shape", "shape", figure), ("importance", "importance", share),
        ("status", "status", None)], rows[:40])  # fmt: skip
    shifted = sum(row.get("status") == "shifted" for row in rows)
    told = (
        f"{shifted} of the {count(len(rows))} features it looks at have shifted."
        if shifted
        else f"None of the {count(len(rows))} features it looks at has shifted."
    )
    words = Words(f"{task.key}-drift", "Who is asked now, against who it learned from",
                  f"{told} Population stability index: under 0.1 is stable, over 0.25 shifted.")  # fmt: skip
    return charts.ranking(words, [(row["meaning"], row["psi"]) for row in rows[:MOST_FEATURES]], figure, numbers_,
                          strong=max(shifted, 0) or 0)  # fmt: skip


def _scores(context: Context, task: Task) -> list:
    rows = context.reader.rows("report.score_drift", task=task.name)
    if not rows:
        return []
    row = rows[0]
    form = share if task.kind == "binary" else figure
    return [
        Prose(
            f"Scores now are {form(row['mean_latest'])} on average, on test they were {form(row['mean_test'])}; PSI {figure(row['psi'])}: {row['status']}.",
            "quiet",
        )
    ]


def scoreboard(context: Context) -> list:
    """Past predictions against what then happened, of all tasks; those still open are counted apart."""
    names = {task.name for task in context.tasks}
    rows = [
        row
        for row in context.reader.rows("report.scoreboard", "task as_of")
        if row["task"] in names
    ]
    if not rows:
        return [
            Prose(
                "No past prediction is kept yet: each build adds its own, and this table fills as their windows close.",
                "quiet",
            )
        ]
    kinds = {task.name: task.kind for task in context.tasks}
    for row in rows:
        row["when"], row["closes"] = (
            context.clock.when(row[at]) for at in ("as_of", "window_ends_at")
        )
        form = share if kinds[row["task"]] == "binary" else figure
        for part in ("predicted_mean", "observed_mean"):
            row[part] = numbers.NONE if row[part] is None else form(row[part])
        row["metric"] = METRICS.get(row["metric"], row["metric"])
    columns = [("task", "task", None), ("model", "model", None), ("model_version", "version", count), ("when", "said on", None),
               ("closes", "window ends", None), ("count_scores", "users", count), ("count_matured", "answered", count),
               ("count_open", "open", count), ("predicted_mean", "predicted", None), ("observed_mean", "happened", None),
               ("metric", "metric", None), ("value", "value", figure), ("test_value", "on test", figure)]  # fmt: skip
    matured = sum(row["count_matured"] or 0 for row in rows)
    waiting = sum(row["count_open"] or 0 for row in rows)
    told = f"{count(matured)} past predictions have been answered; {count(waiting)} are still open."
    return [Prose(told), table("Past predictions and what then happened", columns, rows[-60:])]


def quality(context: Context) -> list:
    """How much of each source was refused, from build to build."""
    rows = [
        row
        for row in context.reader.rows("report.quality", "source run_id")
        if row.get("rule") == "all"
    ]
    if len({row["run_id"] for row in rows}) < 2:
        return []
    columns = [("source", "source", None), ("run_id", "build", count), ("count_rows_read", "rows read", count),
               ("count_rows_removed", "refused", count), ("removed_share", "share", share)]  # fmt: skip
    return [Fold("From build to build", [table("Rows refused in each build", columns, rows)])]
