"""The users who were named: what is predicted of each, and why. Nobody else is on the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from behavsql.errors import ConfigError, nearest
from behavsql.reporting import numbers
from behavsql.reporting.blocks import Cell, Prose, Section, Table, table
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import figure, share
from behavsql.reporting.reader import Reader
from behavsql.reporting.why import points

REASONS = "select user_id::varchar as user, task, rank, feature, sentence, contribution from predictions.reasons"
MOST_USERS = 200


@dataclass(frozen=True)
class Person:
    """One user: when seen, a table of predictions, reasons by task, what to show and do next."""

    user: str
    seen: str
    predictions: Table | None
    reasons: Sequence[Table]
    next: Sequence[str]


def check(reader: Reader, users: Sequence[str]) -> None:
    """ConfigError where a named user is in no source, or too many are named."""
    if len(users) > MOST_USERS:
        raise ConfigError(
            f"--user: {len(users)} users are named; allowed are up to {MOST_USERS}. Query main.customers for more."
        )
    if not users:
        return
    found = {row["user"] for row in reader.ask(
        "select user_id::varchar as user from staging.users where list_contains(?, user_id::varchar)",
        [list(users)], {"staging.users": "user_id"})}  # fmt: skip
    for user in users:
        if user not in found:
            some = reader.ask("select user_id::varchar as user from staging.users limit 20000",
                              needs={"staging.users": "user_id"})  # fmt: skip
            close = nearest(user, [row["user"] for row in some])
            raise ConfigError(
                f'--user: there is no user "{user}"; allowed are those of main.customers.{close} Write the id as it stands there.'
            )


def section(context: Context) -> Section:
    """A look-up among the users named; a hint where none is."""
    found = Section(
        "users",
        "Users you asked about",
        extra={"people": [], "short": "Users"},
        template="people.html",
    )
    if not context.users:
        found.blocks.append(Prose("No user is on this page. Name some, and it shows what is predicted of them and why: behavsql report --user ID. A page with users is for those who may see them.", "quiet"))  # fmt: skip
        return found
    found.extra["people"] += _people(context)
    return found


def _people(context: Context) -> list[Person]:
    read, users = context.reader, list(dict.fromkeys(context.users))
    pick = "list_contains(?, user_id::varchar)"
    ask = lambda sql, needs: _by_user(read.ask(f"{sql} where {pick} order by all", [users], needs))  # noqa: E731
    seen = ask("select user_id::varchar as user, first_seen_at, last_seen_at from staging.users",
               {"staging.users": "user_id first_seen_at last_seen_at"})  # fmt: skip
    scored = ask("select user_id::varchar as user, task, score, decile, band from predictions.scored",
                 {"predictions.scored": "user_id task score decile band"})  # fmt: skip
    reasons = ask(
        REASONS, {"predictions.reasons": "user_id task rank feature sentence contribution"}
    )
    following = _following(context, users)
    return [
        _person(
            context,
            user,
            seen.get(user, []),
            scored.get(user, []),
            reasons.get(user, []),
            following.get(user, []),
        )
        for user in users
    ]


def _by_user(rows: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["user"], []).append(row)
    return found


def _person(
    context: Context, user: str, seen: list, scored: list, reasons: list, following: list
) -> Person:
    clock = context.clock
    told = "never seen in the events"
    if seen and seen[0]["first_seen_at"] is not None:
        told = f"first seen {clock.when(seen[0]['first_seen_at'])}, last seen {clock.when(seen[0]['last_seen_at'])}"
    rows, why, missing = [], [], []
    for task in context.ready:
        own = next((row for row in scored if row["task"] == task.name), None)
        if own is None:
            missing.append(task.name.replace("_", " "))
            continue
        rows.append(
            {
                "question": task.question,
                "answer": answer(task, own["score"]),
                "band": own["band"],
                "decile": own["decile"],
            }
        )
        if told_of := [row for row in reasons if row["task"] == task.name]:
            why.append(_why(task, told_of, own["score"]))
    if missing:
        told += f"; not asked about {numbers.words(missing, 'or')}: not active lately enough"
    columns = [("question", "question", None), ("answer", "predicted", None), ("band", "compared with others", None),
               ("decile", "tenth (1 = highest)", numbers.count)]  # fmt: skip
    return Person(
        user,
        told,
        table(f"What is predicted of {user}", columns, rows) if rows else None,
        why,
        following,
    )


def _why(task: Task, rows: list[dict], score: float) -> Table:
    """From where everybody starts to the score: what moves it, in words, and by how much."""
    form = points if task.kind == "binary" else figure
    shown = []
    for row in sorted(rows, key=lambda row: row["rank"]):
        by, feature = row["contribution"], str(row["feature"])
        if by is None or (feature == "(residual)" and abs(by) < 1e-6):
            continue
        size = answer(task, by) if feature == "(base)" else signed(by, form)
        shown.append({"what": row["sentence"] or feature, "by": Cell(size, by, True)})
    shown.append({"what": "the prediction", "by": Cell(answer(task, score), score, True)})
    columns = [("what", "what", None), ("by", "moves it by", None)]
    return table(f"Why: {task.question}", columns, shown, strong=frozenset([len(shown) - 1]))


def signed(value: float, form) -> str:
    """A difference with its sign.

    >>> signed(0.5, figure), signed(-0.5, figure)
    ('+0.500', '\N{MINUS SIGN}0.500')
    """
    return f"+{form(value)}" if value > 0 else form(value)


def answer(task: Task, score: float | None) -> str:
    """A score in the task's own unit."""
    if score is None:
        return numbers.NONE
    if task.kind == "binary":
        return share(score)
    return numbers.days(score) if task.name == "next_visit" else figure(score)


def _following(context: Context, users: list[str]) -> dict[str, list[str]]:
    """The next items and the next best action of each user, as sentences."""
    read, found = context.reader, {}
    titles = "items.title" if read.has("staging.items", "item_id", "title") else "null::varchar"
    items = read.ask(
        f"select next.user_id::varchar as user, next.rank, coalesce({titles}, next.item_id::varchar) as item "
        "from predictions.next_item as next left join staging.items as items on items.item_id = next.item_id "
        "where list_contains(?, next.user_id::varchar) and next.rank <= 5 order by all",
        [users], {"predictions.next_item": "user_id rank item_id", "staging.items": "item_id"},
    )  # fmt: skip
    for user, rows in _by_user(items).items():
        found.setdefault(user, []).append(
            f"Items most likely next: {'; '.join(row['item'] for row in rows)}."
        )
    actions = read.ask(
        "select user_id::varchar as user, action from predictions.next_action where list_contains(?, user_id::varchar) order by all",
        [users], {"predictions.next_action": "user_id action"},
    )  # fmt: skip
    for user, rows in _by_user(actions).items():
        found.setdefault(user, []).append(f"Best next action: {rows[0]['action']}.")
    return found
