"""What a task's published model goes by, and which way each feature pulls."""

from behavsql.reporting import charts, numbers
from behavsql.reporting.blocks import Figure, table
from behavsql.reporting.charts import Line, Words
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import count, figure, share
from behavsql.reporting.svg import axis, slug

MOST_FEATURES = 10
MOST_CURVES = 6
INPUTS = {
    "events": "the events, one by one", "features": "the feature table",
    "survey": "answers to surveys", "user_facts": "facts about users", "locations": "where users are", "item_text": "texts of items",
}  # fmt: skip


def blocks(context: Context, task: Task) -> list:
    """The features that count most: in the model, in the scores, on test; and how predictions follow them."""
    if task.published is None or task.kind == "choice":
        return []
    explained = context.reader.rows("report.importance", "rank feature", task=task.name)
    learned = context.reader.rows("models.importance", "rank", model_id=task.published["model_id"])
    for row in [*explained, *learned]:
        row["meaning"] = context.feature(row["feature"])
    inputs = context.reader.rows("models.modalities", "worth", task=task.name)
    figures = (
        _learned(task, learned), _moved(task, explained), _lost(task, explained), _inputs(task, inputs)
    )  # fmt: skip
    return [
        block for block in (*figures, *_dependence(context, task, explained or learned)) if block
    ]


def _learned(task: Task, rows: list[dict]) -> Figure | None:
    rows = [row for row in rows if row.get("importance") and row["importance"] > 0]
    if not rows:
        return None
    shown = rows[:MOST_FEATURES]
    columns = [
        ("feature", "feature", None),
        ("meaning", "what it holds", None),
        ("importance", "share", share),
    ]
    numbers_ = table("Features by importance in the model", columns, rows[:40])
    told = share(min(sum(row["importance"] for row in shown), 1))
    note = f"Share of what the model learned that came from each feature; these {len(shown)} make {told}."
    words = Words(f"{task.key}-importance", "What the model looks at", note)
    bars = [(row["meaning"], row["importance"]) for row in shown]
    return charts.ranking(words, bars, share, numbers_, strong=3)


def _moved(task: Task, rows: list[dict]) -> Figure | None:
    """How far each feature moves the scores, on average."""
    known = [
        row
        for row in rows
        if row.get("mean_contribution_size") and not row["feature"].startswith("(")
    ]
    if not known:
        return None
    form = points if task.kind == "binary" else figure
    columns = [
        ("feature", "feature", None),
        ("meaning", "what it holds", None),
        ("mean_contribution_size", "moves by", form),
    ]
    numbers_ = table("How far features move the scores", columns, known[:40])
    note = "How much each feature adds to a score or takes from it, on average over the test users."
    words = Words(f"{task.key}-contributions", "What moves the scores", note)
    bars = [(row["meaning"], row["mean_contribution_size"]) for row in known[:MOST_FEATURES]]
    return charts.ranking(words, bars, form, numbers_, strong=3)


def _lost(task: Task, rows: list[dict]) -> Figure | None:
    """How much worse the model gets on test when a feature is shuffled; like features go together."""
    groups = {row["feature_group"]: row for row in rows
              if row.get("permutation_loss") is not None and row["feature"] == row["feature_group"]}  # fmt: skip
    known = sorted(groups.values(), key=lambda row: -row["permutation_loss"])
    if not known:
        return None
    for row in known:
        row["span"] = numbers.between(row["permutation_low"], row["permutation_high"])
    columns = [("feature", "feature", None), ("meaning", "what it holds", None), ("permutation_loss", "error added", figure),
               ("span", "95% interval", None)]  # fmt: skip
    numbers_ = table("How much worse test gets without a feature", columns, known[:40])
    shown = known[:MOST_FEATURES]
    spans = [None if row["permutation_low"] is None else (row["permutation_low"], row["permutation_high"]) for row in shown]  # fmt: skip
    note = "How much the error grows on test when a feature, and those like it, are shuffled among users."
    words = Words(f"{task.key}-permutation", "What the predictions would lose", note)
    bars = [(row["meaning"], row["permutation_loss"]) for row in shown]
    return charts.ranking(words, bars, figure, numbers_, strong=3, spans=spans)


def _inputs(task: Task, rows: list[dict]) -> Figure | None:
    """What each kind of input is worth to a network over all of them, whichever model is published."""
    if not rows:
        return None
    rows = rows[::-1]
    for row in rows:
        row["kind"] = INPUTS.get(row["modality"], f"{row['modality']} of items")
        row["span"] = numbers.between(row["low"], row["high"])
    columns = [("kind", "kind of input", None), ("worth", "error added without it", figure), ("span", "95% interval", None)]  # fmt: skip
    numbers_ = table("What each kind of input is worth", columns, rows)
    words = Words(
        f"{task.key}-inputs", "What each kind of input is worth",
        "How much the error of a network over all inputs grows on valid users when it is trained without "
        "one of them. Below zero: it does better without, for the others tell the same.",
    )  # fmt: skip
    bars = [(row["kind"], row["worth"]) for row in rows]
    spans = [(row["low"], row["high"]) for row in rows]
    return charts.ranking(words, bars, figure, numbers_, strong=3, spans=spans)


def _dependence(context: Context, task: Task, ranked: list[dict]) -> list[Figure]:
    """How the mean prediction follows each of the first features, others as they are."""
    rows = context.reader.rows("report.dependence", "feature position", task=task.name)
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["feature"], []).append(row)
    order = [name for name in dict.fromkeys(row["feature"] for row in ranked) if name in found]
    order += [name for name in found if name not in order]
    made = [_curve(context, task, name, found[name]) for name in order[:MOST_CURVES]]
    return [figure_ for figure_ in made if figure_]


def _curve(context: Context, task: Task, feature: str, rows: list[dict]) -> Figure | None:
    rows = [
        row
        for row in rows
        if row["mean_prediction"] is not None
        and (row["count_questions"] or 0) >= context.reader.fewest
    ]
    if len(rows) < 2:
        return None
    form = share if task.kind == "binary" else figure
    meaning = context.feature(feature)
    columns = [("value", "value", None), ("mean_prediction", "mean prediction", form), ("count_questions", "questions", count),
               ("density", "share of questions", share)]  # fmt: skip
    numbers_ = table(meaning[:1].upper() + meaning[1:], columns, rows)
    words = Words(f"{task.key}-dependence-{slug(feature)}", numbers_.caption, "")
    ranges = [row for row in rows if row["low"] is not None and row["high"] is not None]
    if len(ranges) < 2:  # categories
        bars = [
            (shown(row["value"]), row["mean_prediction"])
            for row in sorted(rows, key=lambda row: -row["mean_prediction"])
        ]
        return charts.ranking(words, bars[:MOST_FEATURES], form, numbers_)
    missing = next((row for row in rows if row["low"] is None), None)
    note = "Mean prediction, other features as they are. The ticks show where users are."
    if missing:
        note += f" Without a value: {form(missing['mean_prediction'])}."
    near = without_far_ends(ranges)
    if len(near) < len(ranges):
        note += " What lies far from all others is in the table alone."
    line = [(float(row["value"]), row["mean_prediction"]) for row in near]
    x = axis([value for value, _ in line], numbers.tick, fit=True)
    y = axis([value for _, value in line], charts.axis_form(form), zero=task.kind == "binary")
    rug = [(float(row["value"]), row["density"] or 0) for row in near]
    return charts.curve(Words(words.key, words.title, note), [Line(line)], x, y, numbers_, rug=rug)


def without_far_ends(rows: list[dict]) -> list[dict]:
    """Bins in order, without those at either end that are farther from the next than all others span."""
    while len(rows) > 4:
        at = [float(row["value"]) for row in rows]
        if at[-1] - at[-2] > at[-2] - at[0]:
            rows = rows[:-1]
        elif at[1] - at[0] > at[-1] - at[1]:
            rows = rows[1:]
        else:
            break
    return rows


def shown(value: object) -> str:
    """A category by its name."""
    return "missing" if value is None else str(value)


def points(value: float) -> str:
    """A difference of shares, in percentage points.

    >>> points(0.034), points(-0.2)
    ('3.40 points', '\N{MINUS SIGN}20.0 points')
    """
    return f"{figure(value * 100)} points"
