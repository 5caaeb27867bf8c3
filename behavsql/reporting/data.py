"""What the page rests on: the sources, the cleaning ledger, and what became of the rest."""

from behavsql.reporting import change, charts
from behavsql.reporting.blocks import Fact, Facts, Prose, Section, grid_of, table
from behavsql.reporting.charts import Words
from behavsql.reporting.context import Context
from behavsql.reporting.numbers import count, share
from behavsql.reporting.reader import Reader

ROLES = ("view", "click", "cart", "purchase", "return", "action", "other")


def section(context: Context) -> Section:
    """Counts, the account of every row that was read, and the kinds of events."""
    read = context.reader
    blocks = [
        Facts(_facts(context)),
        *grid_of([*_ledger(read), *_mix(read)]),
        *change.quality(context),
        *_sources(read),
    ]
    return Section(
        "data", "The data, and what was cleaned away",
        "Every row that was read is counted here: it became an event, or it was rejected under a named rule.",
        [block for block in blocks if block], extra={"short": "The data"},
    )  # fmt: skip


def _facts(context: Context) -> list[Fact]:
    read, clock = context.reader, context.clock
    facts = []
    for name, table_ in (
        ("events", "staging.events"),
        ("users", "staging.users"),
        ("items", "staging.items"),
    ):
        if read.has(table_):
            facts.append(Fact(name, count(read.ask(f"select count(*) as n from {table_}")[0]["n"])))
    ledger = read.ask(
        "select sum(count_rows_in) filter (where step_number = 1) as read, "
        "sum(count_rows_removed) as removed from staging.ledger",
        needs={"staging.ledger": "step_number count_rows_in count_rows_removed"},
    )
    if ledger and ledger[0]["read"]:
        removed = ledger[0]["removed"] or 0
        facts.append(Fact("rows rejected", count(removed), f"{share(removed / ledger[0]['read'])} of {count(ledger[0]['read'])} read"))  # fmt: skip
    if clock.first is not None:
        facts.append(Fact("first event", clock.when(clock.first)))
        facts.append(Fact("last event", clock.when(clock.last)))
    return facts


def _ledger(read: Reader) -> list:
    """Rows removed, rule by rule: of every source together, then the whole account."""
    rows = read.rows("staging.ledger", "source step_number")
    if not rows:
        return [Prose("This warehouse keeps no cleaning ledger.", "quiet")]
    named = [("source", "source", None), ("rule", "rule", None), ("count_rows_in", "rows in", count),
             ("count_rows_removed", "removed", count), ("count_rows_out", "rows out", count)]  # fmt: skip
    shown = [row | {"rule": plain_rule(row["rule"])} for row in rows
             if row["count_rows_removed"] or row["rule"] == "kept"]  # fmt: skip
    account = table("The cleaning account: rules that removed nothing are left out", named, shown)
    removed: dict[str, int] = {}
    for row in rows:
        if row["rule"] != "kept" and row["count_rows_removed"]:
            removed[row["rule"]] = removed.get(row["rule"], 0) + row["count_rows_removed"]
    if not removed:
        return [Prose("No row was rejected.", "quiet"), account]
    # Why, in the words of one rejected row that names no value of it.
    bars = sorted(
        ((plain_rule(rule), float(n)) for rule, n in removed.items()), key=lambda bar: -bar[1]
    )
    words = Words("ledger", "Rows rejected, by the first rule they broke",
                  "A row counts once. staging.rejected holds each with its reason.")  # fmt: skip
    return [charts.ranking(words, bars[:10], count, account)]


def plain_rule(rule: str) -> str:
    """The name of a cleaning rule in words.

    >>> plain_rule("time_before_min_date")
    'time before min date'
    """
    return rule.replace("_", " ")


def _mix(read: Reader) -> list:
    """Events by what they mean, and how many users did each."""
    rows = read.ask(
        "select role, count(*) as events, count(distinct user_id) as users from staging.events "
        "group by role order by events desc",
        needs={"staging.events": "role user_id"},
    )
    if not rows:
        return []
    whole = sum(row["events"] for row in rows)
    listed = [row | {"share": row["events"] / whole,
                     "users": row["users"] if row["users"] >= read.fewest else None} for row in rows]  # fmt: skip
    numbers_ = table("Events by role", [("role", "role", None), ("events", "events", count),
                                        ("share", "share", share), ("users", "users", count)], listed)  # fmt: skip
    words = Words(
        "roles",
        "Events by what they mean",
        f"Users are counted where there are at least {read.fewest}.",
    )
    return [
        charts.ranking(
            words, [(row["role"], float(row["events"])) for row in rows], count, numbers_
        )
    ]


def _sources(read: Reader) -> list:
    rows = read.rows("staging.sources", "source")
    if not rows:
        return []
    columns = [("source", "source", None), ("files", "files", None), ("count_rows", "rows", count),
               ("dedupe", "duplicates are equal by", None), ("has_time_of_day", "has time of day", None)]  # fmt: skip
    return [table("Where the events came from", columns, rows)]
