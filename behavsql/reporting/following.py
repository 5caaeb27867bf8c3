"""What comes next: items to show and actions to take, as lists judged on the past."""

from behavsql.reporting import charts, numbers
from behavsql.reporting.blocks import Fact, Facts, Figure, Prose, Section, grid_of, table
from behavsql.reporting.charts import Measured, Words
from behavsql.reporting.context import Context, Task
from behavsql.reporting.numbers import count, figure, share
from behavsql.reporting.value import few

MOST_ITEMS = 10
OF_LISTS = {
    "coverage_at_10": ("items shown to somebody", share),
    "novelty_at_10": ("novelty", figure),
    "diversity_at_10": ("diversity", share),
    "distance_at_10": ("distance within a list", share),
    "popularity_ratio_at_10": ("popularity of what is shown", numbers.times),
}
SHOWN = """
select items.item_id::varchar as item, count(distinct next.user_id) as users
from predictions.next_item as next
inner join staging.items as items on items.item_id = next.item_id
where next.rank <= 10
group by items.item_id having users >= ? order by users desc, item limit ?
"""


def items(context: Context, task: Task) -> list:
    """Of a task whose answers are items: what lists are like, and what is shown most."""
    if task.kind != "choice":
        return []
    facts = [Fact(name, form(found["value"]), "of the first ten") for metric, (name, form) in OF_LISTS.items()
             if (found := task.measured(metric)) and found["value"] is not None]  # fmt: skip
    return [*([Facts(facts)] if facts else []), *_most_shown(context)]


def _most_shown(context: Context) -> list[Figure]:
    read = context.reader
    rows = read.ask(
        SHOWN,
        [read.fewest, MOST_ITEMS],
        {"predictions.next_item": "user_id rank item_id", "staging.items": "item_id"},
    )
    if not rows:
        return []
    titles = {}
    if read.has("staging.items", "title"):
        found = read.ask("select item_id::varchar as item, title from staging.items where list_contains(?, item_id::varchar)",
                         [[row["item"] for row in rows]])  # fmt: skip
        titles = {row["item"]: row["title"] for row in found}
    for row in rows:
        row["title"] = titles.get(row["item"]) or row["item"]
    numbers_ = table(
        "Items shown most",
        [("title", "item", None), ("item", "id", None), ("users", "users", count)],
        rows,
    )
    words = Words("next-items", "Items suggested to most users", f"Among the first ten; items of fewer than {read.fewest} users are left out.")  # fmt: skip
    return [
        charts.ranking(
            words, [(row["title"], float(row["users"])) for row in rows], count, numbers_
        )
    ]


def section(context: Context) -> Section | None:
    """Actions: what each policy would have brought, and what is advised now. None where nothing acts."""
    policies = context.reader.rows("report.policies", "policy")
    if not policies:
        return None
    blocks: list = [Prose(text) for text in _verdict(policies)]
    blocks += _advised(context)
    blocks += grid_of([one for one in (_policies(policies), _effects(context)) if one])
    return Section("actions", "What to do next", "Actions were logged with what came of them, so a policy can be judged on the past before anybody acts on it.",
                   blocks, extra={"short": "Actions"})  # fmt: skip


def _verdict(policies: list[dict]) -> list[str]:
    best = next(
        (row for row in policies if row.get("is_champion") and row.get("is_deciding")), None
    )
    if not best:
        return ["No policy could be learned."]
    told = f"The best policy ({best['policy']}) would have brought {figure(best['value'])} per decision"
    span = numbers.between(best["low"], best["high"])
    told += f" ({span})" * bool(span) + f"; what was done brought {figure(best['logging_value'])}."
    verdict = "It is recommended" if best.get("is_recommended") else "It is not recommended"
    return [f"{told} {verdict}: {best.get('reason') or 'by its interval'}."]


def _policies(policies: list[dict]) -> Figure | None:
    rows = [row for row in policies if row.get("is_deciding", True) and row["value"] is not None]
    if not rows:
        return None
    for row in rows:
        row["span"] = numbers.between(row["low"], row["high"])
        row["verdict"] = "recommended" if row.get("is_recommended") else "not recommended"
    numbers_ = table("Policies on the test decisions", [
        ("policy", "policy", None), ("estimator", "estimator", None), ("value", "per decision", figure), ("span", "95% interval", None),
        ("effective_sample_size", "effective sample", count), ("verdict", "verdict", None)], rows)  # fmt: skip
    measured = [Measured(row["policy"], row["value"], row["low"], row["high"], "best" if row.get("is_champion") else "other")
                for row in sorted(rows, key=lambda row: -row["value"])]  # fmt: skip
    logging = next(
        (row["logging_value"] for row in rows if row.get("logging_value") is not None), None
    )
    if logging is not None:
        measured.append(Measured("what was done", logging, None, None, "reference"))
    words = Words("policies", "What each policy would have brought", "Reward per decision, costs deducted, with 95% intervals; right is better.")  # fmt: skip
    return charts.intervals(words, measured, figure, "reward per decision", numbers_)


def _effects(context: Context) -> Figure | None:
    rows = [row for row in context.reader.rows("report.action_effects", "action")
            if row["effect"] is not None and row["count_acted"] >= context.reader.fewest]  # fmt: skip
    if not rows:
        return None
    for row in rows:
        row["span"] = numbers.between(row["low"], row["high"])
    numbers_ = table("Actions against leaving users alone", [
        ("action", "action", None), ("effect", "effect", figure), ("span", "95% interval", None), ("count_acted", "times done", count)], rows)  # fmt: skip
    measured = [Measured(row["action"], row["effect"], row["low"], row["high"], "best" if row.get("is_surely_worth_it") else "other") for row in rows]  # fmt: skip
    measured.append(Measured("nothing", 0.0, None, None, "reference"))
    words = Words("effects", "What each action brought", "Against leaving the user alone, costs deducted, with 95% intervals.")  # fmt: skip
    return charts.intervals(words, measured, figure, "effect", numbers_)


def _advised(context: Context) -> list:
    rows = context.reader.ask(
        "select action, count(*) as users, count(*) filter (where is_recommended) as recommended "
        "from predictions.next_action group by action order by users desc, action",
        needs={"predictions.next_action": "action is_recommended"},
    )
    if not rows:
        return []
    least = context.reader.fewest
    listed = [row | {key: few(row[key], least) for key in ("users", "recommended")} for row in rows]
    columns = [
        ("action", "action", None),
        ("users", "best for users", None),
        ("recommended", "recommended now", None),
    ]
    return [table("What is advised now", columns, listed)]
