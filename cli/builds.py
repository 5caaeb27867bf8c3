"""What a build says: its plan before, its results after."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavsql.cli import show
from behavsql.cli.places import BUNDLED, shown

from behavsql import pipeline
from behavsql.config import Config
from behavsql.pipeline import Built, build, dry_run
from behavsql.plan import Step
from behavsql.progress import Progress
from behavsql.warehouse import connect

RESULTS = """
select tasks.task, tasks.status, tasks.reason, tasks.purpose as question, tasks.metric,
    leaderboard.model, leaderboard.family, leaderboard.is_published,
    leaderboard.value, leaderboard.low, leaderboard.high,
    coalesce(models.is_worse_on_test, false) as is_worse_on_test,
from meta.tasks as tasks
left join report.leaderboard as leaderboard
    on leaderboard.task = tasks.task and leaderboard.is_deciding_metric
left join models.models as models
    on models.task = leaderboard.task and models.model = leaderboard.model
order by tasks.status <> 'ready', tasks.task, leaderboard.model
"""


@dataclass(frozen=True)
class Ask:
    """What the options of `build` and `demo` say."""

    select: tuple[str, ...] = ()
    dry_run: bool = False
    full: bool = False
    quiet: bool = False
    as_json: bool = False


def run(config: Config, ask: Ask) -> None:
    """Build as asked, or only plan it, and print what came of it."""
    if ask.dry_run:
        _print_plan(dry_run(config, select=ask.select, full=ask.full), ask)
        return
    progress = Progress(ask.quiet)
    if config.attribution:
        progress.say(config.attribution)
    _tell(build(config, select=ask.select, full=ask.full, progress=progress), ask)


def score(config: Config, ask: Ask) -> None:
    """Score with the models there are and print what came of it."""
    _tell(pipeline.score(config, progress=Progress(ask.quiet)), ask)


def train(config: Config, tasks: Iterable[str], models: Iterable[str], ask: Ask) -> None:
    """Train these tasks with these models and print what came of it."""
    progress = Progress(ask.quiet)
    _tell(pipeline.train(config, tasks=tasks, models=models, progress=progress), ask)


def _tell(built: Built, ask: Ask) -> None:
    if ask.as_json:
        show.write_json(_as_json(built))
    elif not ask.quiet:
        _print_summary(built)


def announce_sample() -> None:
    """Say that the bundled sample stands in for the user's own data."""
    print(
        f'No behavsql.toml here: building the bundled sample "{BUNDLED}". '
        "For your own events: behavsql init FILE",
        file=sys.stderr,
    )


def list_demos(as_json: bool) -> None:
    """Print the bundled data sets."""
    from behavsql.demos import DEMOS

    if as_json:
        show.write_json([{"name": name, "about": about} for name, about in DEMOS.items()])
    else:
        show.write_table(("demo", "about"), list(DEMOS.items()))


def _print_plan(steps: list[Step], ask: Ask) -> None:
    if ask.as_json:
        keys = ("verb", "reason", "is_certain")
        show.write_json(
            [{"step": step.name} | {key: getattr(step, key) for key in keys} for step in steps]
        )
        return
    due = [step for step in steps if step.reason]
    perhaps = [step for step in due if not step.is_certain]
    if due:
        show.write_table(
            ("step", "reason"),
            [(step.name, step.reason if step.is_certain else f"perhaps: {step.reason}")
             for step in due],
        )  # fmt: skip
    if not ask.quiet:
        more = f", {len(perhaps)} more if what they read comes out different" if perhaps else ""
        print(
            f"{len(due) - len(perhaps)} of {len(steps)} steps would run{more}; nothing was run.",
            file=sys.stderr,
        )


def _as_json(built: Built) -> dict[str, Any]:
    is_published = built.path.exists()
    return {
        "path": str(built.path),
        "steps": built.steps,
        "seconds": round(built.seconds, 3),
        "tasks": results(built.path) if is_published else [],
    }


def _print_summary(built: Built) -> None:
    place = shown(built.path)
    if built.steps and "publish" not in built.steps:
        print(f"ran {', '.join(built.steps)} in {built.seconds:,.1f} s; {place} is as it was.")
        print("it holds all there is" if built.is_published else "publish with: behavsql build")
        return
    if built.steps:
        print(f"\n{place}: {len(built.steps)} steps in {built.seconds:,.1f} s\n")
    else:
        print(f"nothing changed since {_last_run(built.path)}; nothing ran\n\n{place}\n")
    found = results(built.path)
    for line in summary_lines(found):
        print(f"  {line}")
    if query := _suggestion(found, built.path):
        print(f"\ntry: {query}")


def results(path: Path) -> list[dict[str, Any]]:
    """One entry per task: what is published, its deciding metric, and the best reference's."""
    with connect(path) as con:
        cursor = con.execute(RESULTS)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    return [_result(models) for models in by_task.values()]


def _result(models: list[dict[str, Any]]) -> dict[str, Any]:
    from behavsql.metrics import DIRECTION

    about = {key: models[0][key] for key in ("task", "status", "reason", "question", "metric")}
    sign = DIRECTION.get(about["metric"], 1)
    published = next((model for model in models if model["is_published"]), {})
    references = [m for m in models if m["family"] == "reference" and m["value"] is not None]
    best = max(references, key=lambda model: sign * model["value"], default={})
    return about | {
        **{key: published.get(key) for key in ("model", "family", "value", "low", "high")},
        "reference": best.get("model"),
        "reference_value": best.get("value"),
        "is_worse_on_test": bool(published.get("is_worse_on_test")),
    }


def summary_lines(found: list[dict[str, Any]]) -> list[str]:
    """Tasks as aligned lines: what answers each and how well, or why nothing does."""
    rows = []
    for task in found:
        if task["status"] != "ready":
            rows.append((task["task"], task["status"], task["reason"] or "", ""))
            continue
        measured = show.between(task["value"], task["low"], task["high"])
        against = f"against {task['reference']} {show.number(task['reference_value'])}"
        if task["is_worse_on_test"]:
            against += ": WORSE on test, do not rely on it"
        if task["family"] == "reference":
            against = "no model surely beats it"
        rows.append((task["task"], task["model"] or "", f"{task['metric']} {measured}", against))
    sizes = [max((len(row[place]) for row in rows), default=0) for place in (0, 1)]
    third = max((len(row[2]) for row in rows if row[3]), default=0)
    return [
        f"{task:<{sizes[0]}}  {model:<{sizes[1]}}  {told:<{third}}  {against}".rstrip()
        for task, model, told, against in rows
    ]


def _suggestion(found: list[dict[str, Any]], path: Path) -> str | None:
    task = next((task["task"] for task in found if task["status"] == "ready"), None)
    if task is None:
        return None
    folder = shown(path.parent)
    option = "" if folder == "warehouse" else f" --warehouse {folder}"
    return f'behavsql query "from predictions.{task} where decile = 1 limit 10"{option}'


def _last_run(path: Path) -> str:
    with connect(path) as con:
        last = con.execute(
            "select max(finished_at) from meta.runs where status = 'done'"
        ).fetchall()[0][0]
    return f"{last:%Y-%m-%d %H:%M} UTC"
