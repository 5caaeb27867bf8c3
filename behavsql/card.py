"""`behavsql card`: what is known of a task's published model, as Markdown to pass on."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from behavsql.errors import ConfigError, WarehouseError, nearest
from behavsql.warehouse import connect

_BEST = """
select decile, profit, low, high, success_value, action_cost from report.profit
where task = ? and model = ? and is_best
"""
_SLICES = """
select segment, slice, count_questions, value, low, high, roc_auc, predicted_mean, observed_mean
from report.slices where task = ? and not is_too_small order by segment, slice
"""
_METRICS = """
select metric, value, low, high from report.leaderboard where task = ? and model = ?
and value is not null order by not is_deciding_metric, metric
"""
_IMPORTANCE = """
select importance.feature, importance.importance
from models.importance as importance
inner join models.models as models on models.model_id = importance.model_id
where models.task = ? and models.is_published order by importance.rank limit 10
"""


def card(place: Path, task: str | None = None) -> list[dict]:
    """The cards of all tasks that have a model, or of one: the row of model_card and what is behind it.

    Raises ConfigError for a task that has none, WarehouseError where a warehouse of an earlier
    behavsql holds too little.
    """
    with connect(place, udfs=False) as con:
        known = _rows(con, "from main.model_card where model is not null order by task")
        if task is not None and task not in [row["task"] for row in known]:
            allowed = [row["task"] for row in known]
            raise ConfigError(
                f'card: no model answers the task "{task}"; allowed are '
                f"{', '.join(allowed) or 'none'}.{nearest(task, allowed)} See `behavsql tasks`."
            )
        try:
            return [_card(con, row) for row in known if task in (None, row["task"])]
        except (duckdb.CatalogException, KeyError):
            raise WarehouseError(
                f"{place}: it was built by an earlier behavsql, which kept no cards; allowed is one "
                f"with report.slices and report.profit. Run `behavsql build`."
            ) from None


def _card(con: duckdb.DuckDBPyConnection, row: dict) -> dict:
    task, model = row["task"], row["model"]
    best = _rows(con, _BEST, task, model)
    return row | {
        "limits": row["limits"],  # KeyError where there was none yet
        "metrics": _rows(con, _METRICS, task, model),
        "slices": _rows(con, _SLICES, task),
        "importance": _rows(con, _IMPORTANCE, task),
        "best_profit": best[0] if best else None,
    }


def _rows(con: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[dict]:
    cursor = con.execute(query, list(values))
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def markdown(one: Mapping) -> str:
    """A card as Markdown: headings, lists and tables, no links."""
    parts = (_heading, _uses, _data, _quality, _limits, _parts_of_users, _reliance)
    return "\n".join(line for part in parts for line in (*part(one), ""))


def _heading(one: Mapping) -> Iterable[str]:
    yield f"# {one['task']}: {one['question']}"
    yield ""
    yield (
        f"Model {one['model']}, version {one['model_version']}, trained {_day(one['trained_at'])}. "
        f"{one['reason'] or ''}"
    ).rstrip()


def _uses(one: Mapping) -> Iterable[str]:
    yield from ("## What it may be used for, and what not", "")
    yield f"- **For**: {one['intended_use']}."
    yield f"- **Not**: {one['not_intended_use']}."


def _data(one: Mapping) -> Iterable[str]:
    yield from ("## Data", "")
    yield (
        f"- Asked are users active in the last {one['active_within_days']:g} days, "
        f"{one['horizon_days']:g} days ahead."
    )
    yield (
        f"- Learned from {one['count_train_rows']:,} questions with {one['count_features']} features, "
        f"at cutoffs from {_day(one['train_from'])} to {_day(one['train_until'])}."
    )
    yield (
        f"- Judged at cutoffs from {_day(one['test_from'])} to {_day(one['test_until'])}, which no "
        "model and no choice of model saw."
    )


def _quality(one: Mapping) -> Iterable[str]:
    yield from ("## How good it is on test", "")
    yield from _table(("metric", "value", "95% interval over users"), [
        (row["metric"], _number(row["value"]), _between(row["low"], row["high"]))
        for row in one["metrics"]
    ])  # fmt: skip
    yield ""
    yield (
        f"The deciding metric is {one['metric']}: {_number(one['test_value'])}, against "
        f"{_number(one['prevalence_value'])} for the same answer for everybody and "
        f"{_number(one['persistence_value'])} for what happened last window."
    )
    if best := one["best_profit"]:
        yield ""
        yield (
            f"Acting on the top {best['decile'] * 10}% of the test questions would have earned "
            f"{_number(best['profit'])} {_between(best['low'], best['high'])}, at "
            f"{best['success_value']:g} a success and {best['action_cost']:g} an action."
        )


def _limits(one: Mapping) -> Iterable[str]:
    yield from ("## Limits", "")
    for limit in (one["limits"] or "none that was measured").split("; "):
        yield f"- {limit}"
    if one["advice"]:  # of a choice among items nothing is watched
        yield f"- by now: {one['advice']} ({one['advice_reason']})"


def _parts_of_users(one: Mapping) -> Iterable[str]:
    yield from ("## For whom it holds", "")
    if one["weakest_slice"]:
        yield (
            f"The widest gap in ranking is that of {one['weakest_slice']}: roc_auc "
            f"{_number(one['weakest_slice_auc'])}, {_number(one['ranking_gap'])} below the best of its "
            f"segment. Furthest off is {one['most_missed_slice']}: predicted "
            f"{_number(one['most_missed_predicted'])}, observed {_number(one['most_missed_observed'])}."
        )
        yield ""
    head = ("segment", "slice", "questions", one["metric"], "roc_auc", "predicted", "observed")
    numbers = ("value", "roc_auc", "predicted_mean", "observed_mean")
    yield from _table(head, [
        (row["segment"], row["slice"], f"{row['count_questions']:,}",
         *(_number(row[name]) for name in numbers)) for row in one["slices"]
    ])  # fmt: skip


def _reliance(one: Mapping) -> Iterable[str]:
    yield from ("## What it looks at", "")
    for row in one["importance"]:
        yield f"- {row['feature']} ({row['importance']:.0%})"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    written = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in written]


def _day(moment: object) -> str:
    return "an unknown day" if moment is None else f"{moment:%Y-%m-%d}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"
