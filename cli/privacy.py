"""The commands about people's data: pseudonym, forget, publish."""

from pathlib import Path
from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, Quiet, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)
Users = Annotated[
    list[str], typer.Argument(metavar="USER...", help="Ids as the sources have them.")
]


@app.command(
    epilog=example(
        "behavsql pseudonym 17450",
        "behavsql query \"from customers where user_id = '$(behavsql pseudonym 17450)'\"",
    )
)
def pseudonym(
    user: Users,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Say what the warehouse calls a user, where users have pseudonyms.

    By the key in BEHAVSQL_PRIVACY_KEY. A user of several columns is written as A|B|C. The way back
    is to try all ids: nothing stores it.
    """
    from behavsql.cli import places, privacy_output

    privacy_output.pseudonyms(places.choose_config(config, warehouse), user, as_json)


@app.command(epilog=example("behavsql forget 17450", "behavsql forget 17450 12680 --retrain"))
def forget(
    user: Users,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the models anew, without them.")
    ] = False,
    config: ConfigPath = None,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Take users out of every file of the warehouse, and keep them out.

    Files are written anew, so that no byte is left; kept versions are removed: rollback has none
    until the next build. Sources are not changed: a tombstone, made with BEHAVSQL_PRIVACY_KEY, keeps
    the users out whenever these are read again. Models that learned from them are listed; the next
    `build` trains them anew, as does --retrain.
    """
    from behavsql.cli import places, privacy_output

    chosen = places.choose_config(config, warehouse)
    privacy_output.forget(chosen, user, retrain, quiet, as_json)


@app.command(epilog=example("behavsql publish --share shop_report.duckdb"))
def publish(
    share: Annotated[
        Path | None,
        typer.Option("--share", metavar="FILE", help="Write a file of sums over users alone."),
    ] = None,
    config: ConfigPath = None,
    quiet: Quiet = False,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Publish what is built; or write a DuckDB file that may be given away.

    With --share: what users did week by week, and how good the models are, in sums over at least k
    users ([privacy] k, default 10); counts are rounded to multiples of k. No user, no id, no
    prediction, no function is in it.
    """
    from behavsql.cli import builds, places, privacy_output

    chosen = places.choose_config(config, warehouse)
    if share:
        privacy_output.share(chosen, share, as_json)
    else:
        builds.run(chosen, builds.Ask(("publish",), quiet=quiet, as_json=as_json))
