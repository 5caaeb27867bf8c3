"""The command that recommends: recommend."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, WarehousePath, example

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=example("behavsql recommend 17450", "behavsql recommend 17450 -k 5 --json"))
def recommend(
    user: Annotated[str, typer.Argument(help="The user, as in the source.")],
    count: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    config: ConfigPath = None,
    warehouse: WarehousePath = None,
    as_json: Json = False,
) -> None:
    """Show what a user will most likely choose next, and why.

    Who is not known, or was not active lately, is shown what is popular. In SQL it is
    from recommend(17450, k := 10); similar_items and recommend_session go by items.
    """
    from behavsql.cli import places, recommendations

    recommendations.run(places.choose_warehouse(config, warehouse), user, count, as_json)
