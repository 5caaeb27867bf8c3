"""The command `shell`: SQL on the published warehouse, statement by statement."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=example("behavsql shell", "behavsql shell --csv < questions.sql"))
def shell(
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")] = False,
    as_json: Json = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="Rows to show, 0 for all (default: 100 in a table, else all)."),
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
) -> None:
    """Ask the published warehouse in SQL, read-only, as long as you like.

    A statement ends with ;  and Ctrl-C stops it. `.tables` and `.schema NAME` say what there is,
    `.help` the rest. What stdin holds is a script where it is no terminal: it ends at the first
    error, with exit code 1.
    """
    from behavsql.cli import places, prompt

    prompt.run(places.choose_warehouse(config, warehouse), limit, csv, as_json)
