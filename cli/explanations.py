"""The commands that say why, and hand the warehouse to other tools: explain, export."""

import enum
from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


class Tool(enum.StrEnum):
    """What `export` can write for."""

    DBT = "dbt"


@app.command(epilog=example("behavsql explain 17450", "behavsql explain 17450 -t churn --json"))
def explain(
    user: Annotated[str, typer.Argument(help="The user, as in staging.users.")],
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Only this task; repeatable.")
    ] = None,
    changes: Annotated[
        bool, typer.Option("--changes/--no-changes", help="Look for what would change the score.")
    ] = True,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Say why a user has the scores they have, and what would change them.

    The parts of the published score in words, largest first; the smallest changes of one or two
    features that carry it over the threshold, asked again of the published function. What may change
    is what users do; [explain] locked and changeable in the config say otherwise. It tells what the
    model makes of the past, not what would come of acting on it.
    """
    from behavsql.cli import explanations_output, places

    place = places.choose_warehouse(config, warehouse)
    settings = places.choose_config(config, warehouse).explain
    explanations_output.explain(place, user, places.separated(task), settings, changes, as_json)


@app.command(
    epilog=example("behavsql export dbt -o models/sources.yml", "behavsql export dbt --json")
)
def export(
    tool: Annotated[Tool, typer.Argument(help="For which tool: dbt.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file (default: stdout).")
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Describe the published file for another tool: a sources.yml for dbt.

    Every table with its columns, types and comments, one dbt source per schema, in the database
    `behaviour`. The README says how a dbt profile attaches the file.
    """
    from behavsql.cli import explanations_output, places

    explanations_output.export(places.choose_warehouse(config, warehouse), output, as_json)
