"""How the page and what it shows were made."""

import json

from behavsql import __version__
from behavsql.reporting import numbers
from behavsql.reporting.blocks import Fact, Facts, Prose, Section, table
from behavsql.reporting.context import Context

SECRET = ("url", "password", "token", "secret", "key", "path", "warehouse")


TOLD = (
    "Everything here is a table of the warehouse, asked read-only. Users are counted, never listed, "
    "unless they were named; numbers of fewer than {fewest} users are left out."
)


def section(context: Context) -> Section:
    """Versions, the moment, how long the last build took, and its settings without secrets."""
    runs = [
        row for row in context.reader.rows("meta.runs", "run_id") if row.get("status") == "done"
    ]
    facts = [Fact("behavsql", __version__, "wrote this page")]
    if context.clock.as_of:
        facts.append(Fact("as of", context.clock.when(context.clock.as_of)))
    blocks: list = [Facts(facts), Prose(TOLD.format(fewest=context.reader.fewest), "quiet")]
    if runs:
        facts += _build(runs[-1])
        columns = [("name", "setting", None), ("value", "value", None)]
        caption = "Settings of the last build; addresses, paths and secrets are left out"
        blocks.append(table(caption, columns, settings(runs[-1].get("settings"))))
    slow = context.reader.ask(
        "select step, max(seconds) as seconds, max(count_rows) as rows from meta.builds "
        "group by step order by seconds desc, step limit 12",
        needs={"meta.builds": "step seconds count_rows"},
    )
    if slow:
        columns = [("step", "step", None), ("seconds", "took", numbers.seconds), ("rows", "rows", numbers.count)]  # fmt: skip
        blocks.append(table("The steps that take longest", columns, slow))
    return Section("making", "How this was made", "", blocks, extra={"short": "How it was made"})


def _build(run: dict) -> list[Fact]:
    at, took = run["finished_at"], run["finished_at"] - run["started_at"]
    made = f"at {at:%H:%M} UTC, by behavsql {run['behavsql_version']}"
    return [
        Fact("last build", f"{at.day} {at:%b %Y}", made),
        Fact("it took", numbers.seconds(took.total_seconds()), f"DuckDB {run['duckdb_version']}"),
    ]


def settings(text: object) -> list[dict]:
    """The settings that a run stored, without those that may hold a secret or a place.

    >>> settings('{"models": "fast", "api_key": "x", "seed": 7, "threads": null}')
    [{'name': 'models', 'value': 'fast'}, {'name': 'seed', 'value': '7'}]
    """
    if not text:
        return []
    found = json.loads(str(text))
    return [
        {
            "name": name.replace("_", " "),
            "value": value if isinstance(value, str) else json.dumps(value),
        }
        for name, value in sorted(found.items())
        if value is not None and not any(word in name for word in SECRET)
    ]
