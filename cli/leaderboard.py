"""The commands that tell which questions are asked, and how good the models are that answer them."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=example("behavsql tasks", "behavsql tasks --json"))
def tasks(
    config: ConfigPath = None, warehouse: WarehousePath = None, as_json: Json = False
) -> None:
    """Show which questions are asked of the data, and why others are not."""
    from behavsql.cli import asks, places

    asks.tasks(places.choose_warehouse(config, warehouse), as_json)


@app.command(
    epilog=example("behavsql models", "behavsql models -t purchase", "behavsql models --options")
)
def models(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task's models.")
    ] = None,
    options: Annotated[
        bool,
        typer.Option("--options", help="Show instead what [models.NAME] of a config may set."),
    ] = False,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Show how good every model is, references among them.

    Measured on the test cutoffs, which no model and no choice of model has seen; best first, with
    the interval of a bootstrap over users.
    """
    from behavsql.cli import asks, places

    if options:
        asks.model_options(as_json)
        return
    asks.models(places.choose_warehouse(config, warehouse), task, as_json)
