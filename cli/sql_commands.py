"""`behavsql sql ...`: the SQL files listed, shown, locked and started."""

from typing import Annotated

import typer
from behavsql.cli.options import ConfigPath, Json, Kind, example

sql_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, lock and start SQL files."
)


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
