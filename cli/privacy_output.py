"""What the commands about people's data print."""

import dataclasses
from pathlib import Path

from behavsql.cli import show

from behavsql.config import Config
from behavsql.errors import ConfigError
from behavsql.privacy import key
from behavsql.privacy.register import key_of
from behavsql.progress import Progress, counted


def pseudonyms(config: Config, users: list[str], as_json: bool) -> None:
    """Print each user's pseudonym, a line each; ConfigError where users have none."""
    if not config.privacy.pseudonyms:
        raise ConfigError(
            f"{config.origin}: users have no pseudonyms here; allowed is a config that gives them some. "
            f"Set pseudonyms = true under [privacy], or use the ids as they are."
        )
    secret = key_of(config)
    found = {user: key.pseudonym(secret, user) for user in users}
    if as_json:
        show.write_json([{"user": user, "pseudonym": one} for user, one in found.items()])
        return
    for one in found.values():
        print(one)


def forget(config: Config, users: list[str], retrain: bool, quiet: bool, as_json: bool) -> None:
    """Forget users and print what was found of them, never who they were."""
    from behavsql.privacy.forgetting import forget

    done = forget(config, users, retrain=retrain, progress=Progress(quiet or as_json))
    if as_json:
        show.write_json(dataclasses.asdict(done))
        return
    rows = sum(done.rows.values())
    print(
        f"{counted(done.count_users, 'user')} forgotten: {counted(rows, 'row')} in {counted(len(done.rows), 'table')}"
    )
    for source, count in done.withheld.items():
        print(
            f"  source {source}: {counted(count, 'row')} of forgotten users are there still, and kept out"
        )
    if done.models and not done.is_retrained:
        print("  learned from them, and not trained anew: " + ", ".join(done.models))
        print("  train them anew: behavsql build")
    for path in done.doubtful:
        print(f"  an id stands in {path}, which behavsql did not write: look at it, or remove it")


def share(config: Config, path: Path, as_json: bool) -> None:
    """Write the file to share and print what is in it."""
    from behavsql.privacy.sharing import share

    found = share(config, path)
    if as_json:
        show.write_json({"path": str(path), "tables": found, "k": config.privacy.k})
        return
    print(f"{path}: sums over at least {config.privacy.k} users")
    for table, rows in found.items():
        print(f"  {table:<20} {counted(rows, 'row')}")
