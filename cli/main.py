"""The command line: every command parses its options, calls one function and lets it print.

stdout is data, stderr is progress. What a command needs is imported when it runs, so that help
answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli import (
    evidence,
    explanations,
    leaderboard,
    privacy,
    recommending,
    reports,
    shell,
    upkeep,
)
from behavsql.cli.failures import Failsafe
from behavsql.cli.options import (
    AtUnit,
    ConfigPath,
    DefaultType,
    DryRun,
    Full,
    Json,
    ModelSet,
    ModelsToTrain,
    Output,
    Partitions,
    Quiet,
    Select,
    SourcesToSee,
    TasksToTrain,
    TimeBudget,
    Tune,
    WarehousePath,
    example,
)
from behavsql.cli.sql_commands import sql_app

app = typer.Typer(
    cls=Failsafe,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict what users will do, in SQL: an event log in, a DuckDB file of predictions out.",
)
app.add_typer(sql_app, name="sql")
for group in (leaderboard, shell, recommending, upkeep, evidence, reports, privacy, explanations):
    app.add_typer(group.app)


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
        "behavsql init sqlite:///shop.db --table orders",
    )
)
def init(
    source: SourcesToSee,
    table: Annotated[str | None, typer.Option(help="The table of a database.")] = None,
    user: Annotated[str | None, typer.Option(help="The user's column, or several: a,b,c.")] = None,
    time: Annotated[str | None, typer.Option(help="The column that says when.")] = None,
    item: Annotated[str | None, typer.Option(help="The item's column.")] = None,
    type: Annotated[
        str | None, typer.Option(help="The column of event words, or a 0/1 one.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="The column of an event's amount.")] = None,
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
    inits.run(source, choices, output, dry_run, as_json, table)


@app.command(
    epilog=example(
        "behavsql build",
        "behavsql build --models fast -s features -s purchase+",
        "behavsql build --partitions 4",
    )
)
def build(
    config: ConfigPath = None,
    select: Select = None,
    dry_run: DryRun = False,
    full: Full = False,
    models: ModelSet = None,
    time_budget: TimeBudget = None,
    tune: Tune = False,
    partitions: Partitions = None,
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
    kept = places.models_of(config) if models else None
    asked = builds.Ask(tuple(select or ()), dry_run, full, quiet, as_json, kept)
    chosen = places.choose_config(
        config, warehouse, models, partitions=partitions, time_budget=time_budget, tune=tune or None
    )
    builds.run(chosen, asked)


@app.command(epilog=example("behavsql score", "behavsql score -c shop/behavsql.toml -q"))
def score(
    config: ConfigPath = None,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Predict anew with the models there are: new events in, no training.

    Sources that changed are read and brought through to features; the published model of each task
    then scores who is active now. A model that learned from another version of a SQL file is
    refused, by the file's name.
    """
    from behavsql.cli import builds, places

    asked = builds.Ask(quiet=quiet, as_json=as_json)
    builds.score(places.choose_config(config, warehouse), asked)


@app.command(epilog=example("behavsql update", "behavsql update clicks --dry-run"))
def update(
    source: Annotated[
        list[str] | None, typer.Argument(help="Sources to take from (default: all).")
    ] = None,
    config: ConfigPath = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Take in new files alone: what `score` would give, for the cost of what is new.

    Only the users with new events are worked on, and, where a new day began, that day's questions.
    Events may come late, by up to the setting late_days; later ones are counted as too_late.
    Where more changed than that files came, everything is brought up to date, and why is said.
    """
    from behavsql.cli import builds, places

    asked = builds.Ask(dry_run=dry_run, quiet=quiet, as_json=as_json)
    builds.update(places.choose_config(config, warehouse), source or (), asked)


@app.command(
    epilog=example("behavsql train -t churn", "behavsql train -t purchase -m lightgbm,mlp")
)
def train(
    task: TasksToTrain = None,
    model: ModelsToTrain = None,
    config: ConfigPath = None,
    models: ModelSet = None,
    time_budget: TimeBudget = None,
    tune: Tune = False,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Train some tasks with some models, instead of those they have; other tasks keep theirs.

    Data is brought up to date first. The best model of those named is published even if the one it
    replaces was better on test, which is said: `behavsql rollback` takes it back. What was trained
    stays until something the task depends on changes, or another --models is asked for: the next
    build then trains all models of that set.
    """
    from behavsql.cli import builds, places

    kept = places.models_of(config) if models else None
    asked = builds.Ask(quiet=quiet, as_json=as_json, kept_models=kept)
    chosen = places.choose_config(
        config, warehouse, models, time_budget=time_budget, tune=tune or None
    )
    tasks, names = (places.separated(given) for given in (task, model))
    builds.train(chosen, tasks, names, asked)


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


if __name__ == "__main__":
    app()
