"""The command line: every command parses its options, calls one function and lets it print.

stdout is data, stderr is progress. What a command needs is imported when it runs, so that help
answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli.failures import Failsafe
from behavsql.cli.options import (
    AtUnit,
    ConfigPath,
    DefaultType,
    DryRun,
    Full,
    Json,
    Kind,
    ModelSet,
    Output,
    Quiet,
    Select,
    WarehousePath,
    example,
)

app = typer.Typer(
    cls=Failsafe,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict what users will do, in SQL: an event log in, a DuckDB file of predictions out.",
)
sql_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, lock and start SQL files."
)
app.add_typer(sql_app, name="sql")


def _version(wanted: bool) -> None:
    if wanted:
        from behavsql import __version__

        print(f"behavsql {__version__}")
        raise typer.Exit


@app.callback(epilog=example("behavsql init events.csv && behavsql build"))
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Predict what users will do, in SQL: an event log in, a DuckDB file of predictions out."""


@app.command(
    epilog=example(
        "behavsql init events.csv",
        "behavsql init clicks.parquet --user module,term,student --time day --at-unit days",
    )
)
def init(
    source: Annotated[
        list[str], typer.Argument(help="CSV, Parquet or JSON files, or a quoted glob.")
    ],
    user: Annotated[str | None, typer.Option(help="The user's column, or several: a,b,c.")] = None,
    time: Annotated[str | None, typer.Option(help="The column that says when.")] = None,
    item: Annotated[str | None, typer.Option(help="The item's column.")] = None,
    type: Annotated[
        str | None, typer.Option(help="The column of event words, or a 0/1 one.")
    ] = None,
    value: Annotated[
        str | None, typer.Option(help="The column of an event's whole amount.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="The column of the price of one piece.")] = None,
    quantity: Annotated[str | None, typer.Option(help="The column of how many pieces.")] = None,
    at_unit: AtUnit = None,
    default_type: DefaultType = None,
    output: Output = Path("behavsql.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the config, write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at event files and write a behavsql.toml for them.

    It never asks: what it understood and what it could not know is shown on stderr, and stands in
    the file as comments. A column it mistook is set right with an option. An existing file is never
    overwritten.
    """
    from behavsql.cli import inits

    choices = {
        "user": user, "time": time, "item": item, "type": type, "value": value, "price": price,
        "quantity": quantity, "at_unit": at_unit, "default_type": default_type,
    }  # fmt: skip
    inits.run(source, choices, output, dry_run, as_json)


@app.command(
    epilog=example("behavsql build", "behavsql build --models fast -s features -s purchase+")
)
def build(
    config: ConfigPath = None,
    select: Select = None,
    dry_run: DryRun = False,
    full: Full = False,
    models: ModelSet = None,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Read the events, train the models, publish the predictions.

    Only what changed since the last build runs. Without a behavsql.toml the bundled sample is
    built, to see what there is to see. The published file is replaced whole at the end: who reads
    it is never disturbed.
    """
    from behavsql.cli import builds, places

    if config is None and not places.has_config() and not quiet:
        builds.announce_sample()
    asked = builds.Ask(tuple(select or ()), dry_run, full, quiet, as_json)
    builds.run(places.choose_config(config, warehouse, models), asked)


@app.command(
    epilog=example("behavsql demo", "behavsql demo courses --warehouse courses --models fast")
)
def demo(
    name: Annotated[
        str | None, typer.Argument(help="Which one; without it they are listed.")
    ] = None,
    select: Select = None,
    dry_run: DryRun = False,
    full: Full = False,
    models: ModelSet = None,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Build one of the bundled real data sets, or list them."""
    from behavsql.cli import builds, places

    if name is None:
        builds.list_demos(as_json)
        return
    asked = builds.Ask(tuple(select or ()), dry_run, full, quiet, as_json)
    builds.run(places.choose_config(None, warehouse, models, demo=name), asked)


@app.command(
    epilog=example(
        'behavsql query "from predictions.purchase where decile = 1"',
        'behavsql query "select * from customers" --csv > customers.csv',
        "behavsql query - < question.sql",
    )
)
def query(
    sql: Annotated[str, typer.Argument(help="The SQL; - reads it from stdin.")],
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")] = False,
    as_json: Json = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="Rows to show, 0 for all (default: 100 in a table, else all)."),
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
) -> None:
    """Run SQL on the published warehouse, read-only."""
    from behavsql.cli import asks, places

    asks.query(places.choose_warehouse(config, warehouse), sql, limit, csv, as_json)


@app.command(epilog=example("behavsql tasks", "behavsql tasks --json"))
def tasks(
    config: ConfigPath = None, warehouse: WarehousePath = None, as_json: Json = False
) -> None:
    """Show which questions are asked of the data, and why others are not."""
    from behavsql.cli import asks, places

    asks.tasks(places.choose_warehouse(config, warehouse), as_json)


@app.command(epilog=example("behavsql models", "behavsql models -t purchase"))
def models(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task's models.")
    ] = None,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Show how good every model is, references among them.

    Measured on the test cutoffs, which no model and no choice of model has seen; best first, with
    the interval of a bootstrap over users.
    """
    from behavsql.cli import asks, places

    asks.models(places.choose_warehouse(config, warehouse), task, as_json)


@sql_app.command("list", epilog=example("behavsql sql list"))
def sql_list(config: ConfigPath = None, as_json: Json = False) -> None:
    """List the SQL files in build order, a project's own sql/ folder over the package's."""
    from behavsql.cli import sql_files

    sql_files.list_files(sql_files.folder_of(config), as_json)


@sql_app.command("show", epilog=example("behavsql sql show features.recency"))
def sql_show(
    table: Annotated[
        str, typer.Argument(help="A table, such as features.recency or macros.total.")
    ],
    config: ConfigPath = None,
    as_json: Json = False,
) -> None:
    """Print the SQL file of a table."""
    from behavsql.cli import sql_files

    sql_files.show_file(sql_files.folder_of(config), table, as_json)


@sql_app.command("lock", epilog=example("behavsql sql lock"))
def sql_lock(config: ConfigPath = None, as_json: Json = False) -> None:
    """Write the files' versions and digests to versions.toml in the project's sql/ folder.

    Refused while a file changed and its version did not: new rows need a new version.
    """
    from behavsql.cli import sql_files

    sql_files.lock(sql_files.folder_of(config), as_json)


@sql_app.command(
    "new",
    epilog=example("behavsql sql new features loyalty", "behavsql sql new labels active_days"),
)
def sql_new(
    kind: Annotated[Kind, typer.Argument(help="A feature file, or a label file: a new task.")],
    name: Annotated[str, typer.Argument(help="The table's name: lower-case letters, digits, _.")],
    config: ConfigPath = None,
    as_json: Json = False,
) -> None:
    """Write a starter into the project's sql/ folder that already builds."""
    from behavsql.cli import sql_files

    sql_files.new(sql_files.folder_of(config), kind, name, as_json)


if __name__ == "__main__":
    app()
