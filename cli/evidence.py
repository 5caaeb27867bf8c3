"""The commands that say what a warehouse is worth believing: card, diff."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=example("behavsql card churn", "behavsql card > CARDS.md"))
def card(
    task: Annotated[str | None, typer.Argument(help="The task (default: all).")] = None,
    same: Annotated[
        str | None, typer.Option("--task", "-t", help="The same, as other commands take it.")
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Write the card of a task's published model, as Markdown.

    What it was learned from, what it may be used for and what not, how good it is, for whom it is
    weakest, what it is worth, and whether that still holds.
    """
    from behavsql.cli import evidence_output, places

    if task and same and task != same:
        raise typer.BadParameter(f"{task} and -t {same}; allowed is one of them. Leave one out.")
    evidence_output.card(places.choose_warehouse(config, warehouse), task or same, as_json)


@app.command(
    epilog=example(
        "behavsql diff", "behavsql diff 2 1", "behavsql diff march/behaviour.duckdb warehouse -n 5"
    )
)
def diff(
    old: Annotated[
        str | None,
        typer.Argument(help="A file, or a number of `rollback --list` (default: the one before)."),
    ] = None,
    new: Annotated[
        str | None, typer.Argument(help="Another one (default: what is published).")
    ] = None,
    users: Annotated[
        int,
        typer.Option("--users", "-n", min=0, help="Name the users of each task that moved most."),
    ] = 0,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Say what two published versions have different.

    Models that changed and what they are worth on test, how far predictions moved, rows and columns
    that came and went. No user is named unless --users asks for some.
    """
    from behavsql.cli import evidence_output, places

    evidence_output.diff(places.choose_config(config, warehouse), old, new, users, as_json)
