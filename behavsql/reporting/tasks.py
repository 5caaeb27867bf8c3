"""One part of the page per task: how good, how honest, whom to reach, what it is worth, why, for whom, still."""

from collections.abc import Callable

from behavsql.reporting import card, change, following, groups, quality, value, why, words
from behavsql.reporting.blocks import Heading, Prose, Section, grid_of
from behavsql.reporting.context import Context, Task

# Heading, key, what shows it, what is said where nothing does (empty: the heading is left out).
PARTS: list[tuple[str, str, Callable[[Context, Task], list], str]] = [
    ("How good is it?", "good", quality.leaderboard, ""),
    ("Did it come as predicted?", "honest", quality.calibration, ""),
    ("Whom does it find?", "reach", quality.reach, ""),
    ("What does it suggest?", "items", following.items, ""),
    ("What is it worth?", "worth", value.blocks, ""),
    ("What does it go by?", "why", why.blocks, ""),
    ("For whom is it good?", "groups", groups.blocks, ""),
    ("Does it still hold?", "still", change.blocks, ""),
    ("What may it be used for?", "card", card.blocks, ""),
]


def sections(context: Context) -> list[Section]:
    """A section for each task that is answered, and one that tells of the others."""
    return [_section(context, task) for task in context.ready]


def _section(context: Context, task: Task) -> Section:
    blocks: list = []
    if task.published.get("is_worse_on_test"):
        blocks.append(
            Prose("On the test moments this model is worse than a simple guess.", "warning")
        )
    for title, key, shown, absent in PARTS:
        found = [block for block in shown(context, task) if block]
        if not found and not absent:
            continue
        blocks.append(Heading(title, f"task-{task.key}-{key}"))
        blocks += grid_of(found) or [Prose(absent, "quiet")]
    kicker = f"Task {task.name} · {task.model}, version {task.published.get('version')}"
    return Section(f"task-{task.key}", task.question, words.sentence(task), blocks, kicker,
                   extra={"class": "task", "short": task.name.replace("_", " ").capitalize()})  # fmt: skip
