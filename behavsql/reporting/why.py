"""What a task's published model looks at, and which way it pulls."""

from behavsql.reporting import charts
from behavsql.reporting.blocks import Figure, table
from behavsql.reporting.charts import Words
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import figure, share

MOST_FEATURES = 10
MOST_CURVES = 6


def importance(context: Context, task: Task) -> list:
    """The features that count most: in the model, and by what is lost on test without them."""
    if task.published is None:
        return []
    rows = context.reader.rows("models.importance", "rank", model_id=task.published["model_id"])
    return [
        block for block in (_gain(context, task, rows), _permuted(context, task, rows)) if block
    ]


def _gain(context: Context, task: Task, rows: list[dict]) -> Figure | None:
    rows = [row for row in rows if row.get("importance") and row["importance"] > 0]
    if not rows:
        return None
    rows = [row | {"meaning": context.feature(row["feature"])} for row in rows]
    shown = rows[:MOST_FEATURES]
    numbers_ = table("Features by importance in the model", [
        ("feature", "feature", None), ("meaning", "what it holds", None), ("importance", "share", share)], rows[:40])  # fmt: skip
    told = sum(row["importance"] for row in shown)
    words = Words(f"{task.key}-importance", "What the model looks at",
                  f"Share of what the model learned that came from each feature; these {len(shown)} make {share(min(told, 1))}.")  # fmt: skip
    return charts.ranking(
        words, [(row["meaning"], row["importance"]) for row in shown], share, numbers_, strong=3
    )


def _permuted(context: Context, task: Task, rows: list[dict]) -> Figure | None:
    """How much worse the model gets on test when a feature is shuffled."""
    name = next((name for name in ("permutation", "permutation_importance", "test_importance")
                 if rows and name in rows[0]), None)  # fmt: skip
    known = [row for row in rows if name and row[name] is not None]
    if not known:
        return None
    known = sorted(known, key=lambda row: -row[name])
    known = [row | {"meaning": context.feature(row["feature"])} for row in known]
    numbers_ = table("How much worse test gets without a feature", [
        ("feature", "feature", None), ("meaning", "what it holds", None), (name, "loss added", figure)], known[:40])  # fmt: skip
    spans = [(row["permutation_low"], row["permutation_high"]) if row.get("permutation_low") is not None else None
             for row in known[:MOST_FEATURES]]  # fmt: skip
    words = Words(f"{task.key}-permutation", "What the test predictions would lose",
                  "How much the error grows on test when a feature's values are shuffled among users.")  # fmt: skip
    bars = [(row["meaning"], row[name]) for row in known[:MOST_FEATURES]]
    return charts.ranking(words, bars, figure, numbers_, strong=3, spans=spans)
