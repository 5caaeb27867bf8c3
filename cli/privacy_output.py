"""What the commands about people's data print."""

from behavsql.cli import show

from behavsql.config import Config
from behavsql.errors import ConfigError
from behavsql.privacy import key
from behavsql.privacy.register import key_of


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
