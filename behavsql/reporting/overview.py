"""The first screen: what will happen, how sure that is, what it is worth."""

from dataclasses import dataclass

from behavsql.reporting import numbers, words
from behavsql.reporting.blocks import Prose, Section
from behavsql.reporting.context import Context, Task

MOST_CLAUSES = 3


@dataclass(frozen=True)
class Card:
    """A task on the first screen."""

    key: str
    question: str
    value: str
    of: str
    points: list[tuple[str, str]]
    is_warned: bool


def section(context: Context) -> Section:
    """Headline, money, a card for each task, and why others have none."""
    ready = context.ready
    extra = {
        "title": _title(context),
        "hero": _hero(ready),
        "money": _money(context),
        "cards": [_card(task) for task in ready],
    }
    blocks = [Prose(text, "quiet") for text in _not_answered(context)]
    return Section("top", "Overview", kicker=_kicker(context), blocks=blocks,
                   template="overview.html", extra=extra)  # fmt: skip


def _title(context: Context) -> str:
    asked = [task.now.count_questions for task in context.ready if task.now]
    if not asked:
        return "No prediction yet"
    return f"What {numbers.plural(max(asked), 'user')} will do next"


def _kicker(context: Context) -> str:
    models = context.reader.ask("select max(scored_at) as at from models.models",
                                needs={"models.models": "scored_at"})  # fmt: skip
    told = (
        f"As of {context.clock.when(context.clock.as_of)}" if context.clock.as_of else "No events"
    )
    at = models[0]["at"] if models else None
    return told + (f", predicted on {at.day} {at:%b %Y}" if at else "")


def _hero(ready: list[Task]) -> list[tuple[str, bool]]:
    """A sentence in parts; those that stand out are marked."""
    clauses = [clause for task in ready if (clause := words.will(task))][:MOST_CLAUSES]
    parts: list[tuple[str, bool]] = []
    for number, clause in enumerate(clauses):
        if number == 0:
            clause = [(clause[0][0][:1].upper() + clause[0][0][1:], False), *clause[1:]]
        parts += [("; ", False)] * bool(parts) + clause
    return [*parts, (".", False)] if parts else []


def _money(context: Context) -> list[tuple[str, str]]:
    """What the predictions are worth, as far as the config says what a success is."""
    told = []
    for task in context.ready:
        if worth := words.worth(task):
            told.append((task.name.replace("_", " ").capitalize(), worth))
    if told:
        return told
    lines = []
    spend = next((task for task in context.ready if task.name == "spend" and task.now), None)
    if spend and (reach := words.reach(spend)):
        span = words.sureness(spend)
        lines.append(f"{words.headline(spend)[0]} is what users are expected to spend within {spend.horizon}. {reach} {span}")  # fmt: skip
    known = context.reader.rows("report.economics")
    if known and any(row.get("success_value") for row in known):
        lines.append("At the value and cost under [economics], acting on no tenth of the users would have paid on the test questions.")  # fmt: skip
    elif context.ready and context.reader.has("report.profit"):
        lines.append("What acting on predictions earns is shown here once [economics] in the config says what a success is worth and an action costs.")  # fmt: skip
    return [("", line) for line in lines]


def _card(task: Task) -> Card:
    value, of = words.headline(task)
    points = [
        ("How sure", words.sureness(task)),
        ("Against guessing", words.goodness(task)),
        ("Worth", words.worth(task) or words.reach(task)),
    ]
    if task.advice and task.advice["advice"] != "nothing":
        points.append(("To be done", f"{task.advice['advice']}: {task.advice['reason']}."))
    is_warned = bool(task.published.get("is_worse_on_test"))
    if is_warned:
        points.insert(0, ("Do not rely on it", "On the test moments it is worse than a simple guess: the world changed after it was chosen."))  # fmt: skip
    mark = "" if value == numbers.NONE else "≈ "
    return Card(f"task-{task.key}", task.question, mark + value, of,
                [(name, text) for name, text in points if text], is_warned)  # fmt: skip


def _not_answered(context: Context) -> list[str]:
    others = [task for task in context.tasks if not task.is_ready]
    if not others:
        return []
    told = [f"{task.name} ({task.row.get('status')}: {task.row.get('reason') or 'no model yet'})" for task in others]  # fmt: skip
    return [f"Not answered: {'; '.join(told)}."]
