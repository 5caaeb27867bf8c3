"""The command `report`: one HTML file about the published warehouse."""

from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=example("behavsql report", "behavsql report -t purchase --user 17450 --user 14646")
)
def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; an earlier one is replaced.")
    ] = Path("report.html"),
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", metavar="TASK", help="Only this task (default: all). Repeatable."
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="ID", help="A user to show, with reasons. Repeatable."),
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Write one HTML file that says what is predicted, how sure, what it is worth, and from what.

    It opens anywhere, offline, and asks nothing of any network. No user is in it but those named,
    and numbers of fewer than `[privacy] k` users (10, unless it is set) are left out.
    """
    from behavsql.cli import places, report_output

    k = None if warehouse else places.choose_config(config).privacy.k
    chosen = places.choose_warehouse(config, warehouse)
    report_output.run(chosen, output, task or (), user or (), as_json, k)
