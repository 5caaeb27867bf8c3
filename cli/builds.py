"""What a build says: its plan before, its results after."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behavsql.cli import acting, ctrl_c, show
from behavsql.cli.places import BUNDLED, shown

from behavsql import pipeline
from behavsql.config import Config
from behavsql.pipeline import Built, build, dry_run
from behavsql.plan import Step
from behavsql.progress import Progress
from behavsql.warehouse import Warehouse, connect

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

IN_UNITS_OF_THE_LABEL = ("rmse", "mae")


@dataclass(frozen=True)
class Ask:
    """What the options of a command that builds say."""

    select: tuple[str, ...] = ()
    dry_run: bool = False
    full: bool = False
    quiet: bool = False
    as_json: bool = False
    kept_models: str | None = None  # the config file's, where --models says otherwise for this run


def run(config: Config, ask: Ask) -> None:
    """Build as asked, or only plan it, and print what came of it."""
    if ask.dry_run:
        _print_plan(dry_run(config, select=ask.select, full=ask.full), ask)
        return
    progress = _begin(config, ask)
    if config.attribution:
        progress.say(config.attribution)
    built = build(config, select=ask.select, full=ask.full, progress=progress)
    _tell(built, ask, _not_kept("built", config, ask))


def score(config: Config, ask: Ask) -> None:
    """Score with the models there are and print what came of it."""
    _tell(pipeline.score(config, progress=_begin(config, ask)), ask)


def update(config: Config, sources: Iterable[str], ask: Ask) -> None:
    """Take in what is new, or only say what that is, and print what came of it."""
    names = tuple(sources)
    if not ask.dry_run:
        _tell(pipeline.update(config, names, progress=_begin(config, ask)), ask)
        return
    files, reason = pipeline.update_dry_run(config, names)
    if ask.as_json:
        show.write_json({"new_files": files, "everything_because": reason or None})
        return
    rows = [(source, name) for source, listed in files.items() for name in listed]
    show.write_table(("source", "new file"), rows)
    if reason:
        print(f"everything would be brought up to date, as by `behavsql score`: {reason}")


def train(config: Config, tasks: Iterable[str], models: Iterable[str], ask: Ask) -> None:
    """Train these tasks with these models and print what came of it."""
    built = pipeline.train(config, tasks=tasks, models=models, progress=_begin(config, ask))
    _tell(built, ask, _not_kept("trained", config, ask))


def _begin(config: Config, ask: Ask) -> Progress:
    ctrl_c.publishing(str(Warehouse(config.warehouse).published))
    return Progress(ask.quiet)


def _not_kept(done: str, config: Config, ask: Ask) -> str | None:
    """That the next build goes by the config's models again, where this run did not."""
    used, kept = config.settings.models, ask.kept_models
    if kept in (None, used):
        return None
    return (
        f'{done} with --models {used}; write models = "{used}" under [settings] to keep it, '
        f"or the next build trains the {kept} set"
    )


def _tell(built: Built, ask: Ask, not_kept: str | None = None) -> None:
    if ask.as_json:
        show.write_json(_as_json(built))
    elif not ask.quiet:
        _print_summary(built)
        if not_kept:
            print(not_kept)


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
            width=0,  # a reason that wraps is better than none
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
        "next_action": acting.verdict(built.path) if is_published else None,
    }


def _print_summary(built: Built) -> None:
    place = shown(built.path)
    if built.steps and "publish" not in built.steps:
        is_there = built.path.exists()
        told = f"{place} is as it was." if is_there else "nothing is published yet."
        print(f"ran {', '.join(built.steps)} in {built.seconds:,.1f} s; {told}")
        print("it holds all there is" if built.is_published else "publish with: behavsql build")
        return
    if not built.path.exists():
        print("nothing ran; nothing is published yet.\npublish with: behavsql build")
        return
    if built.steps:
        print(f"\n{place}: {len(built.steps)} steps in {built.seconds:,.1f} s\n")
    else:
        print(f"nothing changed since {_last_run(built.path)}; nothing ran\n\n{place}\n")
    found = results(built.path)
    for line in summary_lines(found):
        print(f"  {line}")
    if acted := acting.verdict(built.path):
        print(f"  {acting.line(acted)}")
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
    from behavsql.models import best_reference

    about = {key: models[0][key] for key in ("task", "status", "reason", "question", "metric")}
    sign = DIRECTION.get(about["metric"], 1)
    published = next((model for model in models if model["is_published"]), {})
    references = {
        model["model"]: model["value"] for model in models
        if model["family"] == "reference" and model["value"] is not None
    }  # fmt: skip
    best = best_reference(references, sign) if references else None
    return about | {
        **{key: published.get(key) for key in ("model", "family", "value", "low", "high")},
        "reference": best,
        "reference_value": references.get(best),
        "has_candidates": any(model["family"] not in (None, "reference") for model in models),
        "is_worse_on_test": bool(published.get("is_worse_on_test")),
    }


def summary_lines(found: list[dict[str, Any]]) -> list[str]:
    """Tasks as aligned lines: what answers each and how well, or why nothing does."""
    rows = []
    for task in found:
        if task["status"] != "ready":
            rows.append((task["task"], task["status"], task["reason"] or "", ""))
            continue
        measured = show.between(task["value"], task["low"], task["high"]) + _unit(task)
        against = f"against {task['reference']} {show.number(task['reference_value'])}"
        if task["is_worse_on_test"]:
            against += ": WORSE on test, do not rely on it"
        if task["family"] == "reference":
            against = "no model surely beats it" if task["has_candidates"] else "no other model"
        rows.append((task["task"], task["model"] or "", f"{task['metric']} {measured}", against))
    sizes = [max((len(row[place]) for row in rows), default=0) for place in (0, 1)]
    third = max((len(row[2]) for row in rows if row[3]), default=0)
    return [
        f"{task:<{sizes[0]}}  {model:<{sizes[1]}}  {told:<{third}}  {against}".rstrip()
        for task, model, told, against in rows
    ]


def _unit(task: dict[str, Any]) -> str:
    """What an error is measured in, where the question says it ("in how many days ...")."""
    found = re.search(r"how many (seconds|minutes|hours|days|weeks)\b", task["question"] or "")
    return f" {found[1]}" if found and task["metric"] in IN_UNITS_OF_THE_LABEL else ""


def _suggestion(found: list[dict[str, Any]], path: Path) -> str | None:
    scored = [task for task in found if task["status"] == "ready" and task["model"]]
    task = next((task["task"] for task in scored if not task["metric"].startswith("ndcg")), None)
    if task is None:  # lists of items have no deciles
        return None
    folder = shown(path.parent)
    option = "" if folder == "warehouse" else f" --warehouse {folder}"
    query = f'behavsql query "from predictions.{task} where decile = 1 limit 10"{option}'
    return f"{query}\ntry: behavsql report{option}"


def _last_run(path: Path) -> str:
    with connect(path) as con:
        last = con.execute(
            "select arg_max(finished_at, run_id) from meta.runs where status = 'done'"
        ).fetchall()[0][0]
    return f"{last:%Y-%m-%d %H:%M} UTC"
