"""The commands that look after a warehouse: check, doctor, rollback, pretrained."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=example("behavsql check", "behavsql check --time-travel --at 2024-06-30"))
def check(
    time_travel: Annotated[
        bool,
        typer.Option("--time-travel", help="Build the features again from the past alone, too."),
    ] = False,
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="The cutoff to travel to (default: the newest train, valid and test ones).",
        ),
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Ask again everything the warehouse promises, and name file, line and column where it fails.

    SQL headers and versions, what is out of date or missing, grains and checks, the ledger, the
    models against their stored scores, the published views. Changes nothing.
    """
    from behavsql.cli import places, upkeep_output

    chosen = places.choose_config(config, warehouse)
    upkeep_output.check(chosen, time_travel, at.date() if at else None, as_json)


@app.command(epilog=example("behavsql doctor", "behavsql doctor --json"))
def doctor(
    config: ConfigPath = None, warehouse: WarehousePath = None, as_json: Json = False
) -> None:
    """Tell what is wrong with this installation, config and warehouse, and what to run.

    Versions, files and who can open them, locks, left-overs, disk and memory. Changes nothing, and
    works without a config or a warehouse.
    """
    from behavsql.cli import upkeep_output

    upkeep_output.doctor(config, warehouse, as_json)


@app.command(epilog=example("behavsql rollback --list", "behavsql rollback --to 2"))
def rollback(
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The version's number in --list (default: 1).")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the versions that are kept.")
    ] = False,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Publish an earlier version again.

    The version it replaces is kept: another `behavsql rollback` undoes it. It stays until a build
    finds something changed.
    """
    from behavsql.cli import places, upkeep_output

    chosen = places.choose_config(config, warehouse)
    upkeep_output.rollback(chosen, to, listed, as_json)


@app.command(
    epilog=example("behavsql pretrained", "behavsql pretrained --save shop.pretrained.npz")
)
def pretrained(
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the model to this file.")
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Show the Transformer that learned from all histories without labels, and what each size takes.

    A saved model is where another data set's pre-training goes on: pretrained = "FILE" under
    [settings]. What is tied to items and categories begins anew there, the rest is carried over.
    """
    from behavsql.cli import large_model, places

    large_model.run(places.choose_warehouse(config, warehouse), save, as_json)
