"""The commands about people's data: pseudonym."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

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
