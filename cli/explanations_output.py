"""What the command `explain` prints: scores, reasons with bars, and what would change them."""

import sys
from pathlib import Path

from behavsql.cli import show

from behavsql import exporting
from behavsql.config import ExplainSettings
from behavsql.explain import user as of_user
from behavsql.warehouse import connect

BAR = 20  # characters of the largest part


def explain(
    place: Path, user: str, tasks: list[str], settings: ExplainSettings, with_changes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Ask the published file about a user and print what it says."""
    with connect(place, udfs=False) as con:
        found = of_user.told(con, user, tasks, settings, with_changes)
    if as_json:
        show.write_json(found)
        return
    seen = (found["first_seen_at"], found["last_seen_at"])
    first, last = (f"{at:%Y-%m-%d}" if at else "never" for at in seen)
    print(f"user {found['user_id']}: first seen {first}, last seen {last}")
    for task in found["tasks"]:
        print(f"\n{task['task']}: {task['question']}")
        _write_task(task) if task["is_asked"] else print(f"  not asked: {task['why_not']}")


def export(place: Path, output: Path | None, as_json: bool) -> None:
    """Write a sources.yml for dbt to the file, or to stdout."""
    with connect(place, udfs=False) as con:
        text = exporting.dbt_sources(con)
    if as_json:
        show.write_json({"tool": "dbt", "file": str(output) if output else None, "text": text})
    elif output is None:
        print(text, end="")
    if output:
        exporting.write(text, output)
        print(f"{output}: {text.count('data_type: '):,} columns", file=sys.stderr)


def _write_task(task: dict) -> None:
    print(
        f"  {show.number(task['score'])}: {task['band']}, tenth {task['decile']} of 10, by {task['model']}"
    )
    parts = [one for one in task["reasons"] if one["rank"] > 0]
    largest = max((abs(one["contribution"]) for one in parts), default=0.0)
    width = max((len(_signed(one["contribution"])) for one in task["reasons"]), default=0)
    for one in task["reasons"]:
        size = abs(one["contribution"])
        if one["feature"] in ("(other)", "(residual)") and size < 1e-6:
            continue
        bar = "" if one["rank"] == 0 or not largest else _bar(one["contribution"] / largest)
        number = show.number(size) if one["rank"] == 0 else _signed(one["contribution"])
        print(f"  {number:>{width}}  {bar:<{BAR}}  {one['sentence']}".rstrip())
    if "changes" in task:
        _write_changes(task)


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{show.number(abs(value))}"


def _bar(share: float) -> str:
    """
    >>> _bar(0.2), _bar(-0.1)
    ('++++', '--')
    """
    return ("+" if share > 0 else "-") * max(round(abs(share) * BAR), 1)


def _write_changes(task: dict) -> None:
    threshold = task["threshold"]
    if not task["changes"]:
        goal = "" if threshold is None else f" ({show.number(threshold)})"
        print(f"  what would change it{goal}: {task['note']}")
        return
    side = "at least" if task["score"] < threshold else "below"
    print(f"  what would bring it to {side} {show.number(threshold)}:")
    for change in task["changes"]:
        moved = [one for one in change["changes"] if not one["is_tied"]]
        tied = [one for one in change["changes"] if one["is_tied"]]
        along = f" (with it {_told(tied)})" if tied else ""
        print(f"    {show.number(change['score'])}  {_told(moved)}{along}")
    print(f"  ({task['note']}; checked with {task['changes'][0]['verified_by']})")


def _told(changes: list[dict]) -> str:
    return ", ".join(
        f"{one['feature']} {_value(one['from'])} -> {_value(one['to'])}" for one in changes
    )


def _value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.6g}"
