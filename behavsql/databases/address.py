"""Where a database is: a URL whole for its driver, without its secrets for everybody else."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from behavsql.errors import ConfigError

SCHEMES = {
    "postgresql": "postgresql", "postgres": "postgresql",
    "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite",
}  # fmt: skip
ALLOWED = (
    'allowed are "postgresql://user:password@host/database", "mysql://user:password@host/database", '
    '"sqlite:///file" and "env:NAME", a variable that holds one of them'
)
_SECRET_KEYS = {"password", "sslpassword", "passfile"}
_HINT = "signs such as @ / : # ? % in a name or password are written %40 %2F %3A %23 %3F %25"


@dataclass(frozen=True)
class Address:
    """A database as its URL says; what is secret is never in its repr."""

    kind: str  # "postgresql" | "mysql" | "sqlite"
    host: str
    port: int | None
    database: str  # of sqlite: the file
    user: str = field(repr=False)
    password: str = field(repr=False)
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The database without user, password and options."""
        port = f":{self.port}" if self.port else ""
        return f"{self.kind}://{self.host}{port}/{self.database}"

    def scrubbed(self, text: str) -> str:
        """What a driver says, without what is secret in the URL."""
        parts = urlsplit(self.url)
        secrets = {self.url, self.password, parts.netloc.rpartition("@")[0]}
        secrets |= {value for key, value in parse_qsl(parts.query) if key in _SECRET_KEYS}
        secrets |= {unquote(secret) for secret in secrets}
        secrets.add(parts.netloc.rpartition("@")[0].partition(":")[2])
        secrets -= {"", unquote(parts.username or "")}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def of(url: str, where: str) -> Address:
    """The address a source's `url` means, `env:NAME` looked up; ConfigError that tells no secret."""
    if url.startswith("env:"):
        name = url.removeprefix("env:")
        url = os.environ.get(name, "")
        if not url:
            raise ConfigError(
                f"{where}: url is env:{name}, and there is no such variable; allowed is one that "
                f'holds a URL such as "postgresql://user:password@host/database". '
                f"Set it: export {name}=..."
            )
    for wrong in problems(url):
        raise ConfigError(f"{where}: {wrong}.")
    parts = urlsplit(url)
    kind = SCHEMES[parts.scheme]
    return Address(
        kind, parts.hostname or "", parts.port, unquote(parts.path.removeprefix("/")),
        unquote(parts.username or ""), unquote(parts.password or ""), url,
    )  # fmt: skip


def shown(url: str) -> str:
    """A source's `url` as records may keep it: `env:NAME` as it stands, a URL without its secrets.

    >>> shown("postgresql://ann:secret@db.example/shop"), shown("env:SHOP")
    ('postgresql://db.example/shop', 'env:SHOP')
    """
    return url if url.startswith("env:") else of(url, "url").shown


def problems(url: str) -> Iterator[str]:
    """What is wrong with a source's `url`, in sentences that repeat nothing of it but its scheme."""
    if url.startswith("env:"):
        if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", url):
            yield "url begins with env: and no name of a variable follows; write for example env:SHOP"
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        yield f"url has no host and port that can be read; {_HINT}"
        return
    if parts.scheme not in SCHEMES or "://" not in url:
        yield f"url names no database that is known; {ALLOWED}"
    elif "@" in parts.path + parts.query or parts.fragment:
        yield f"url cannot be read; {_HINT}"
    elif re.search(r"%(?![0-9A-Fa-f]{2})", url):
        yield f"url has a % that no two hexadecimal digits follow; {_HINT}"
    elif parts.scheme == "sqlite" and (parts.netloc or not parts.path.strip("/")):
        yield 'url names no file; allowed is "sqlite:///file", from the folder of the config'
    elif parts.scheme == "sqlite" and parts.query:
        yield "url has options, which SQLite takes none of; remove what follows the ?"
    elif SCHEMES[parts.scheme] == "mysql" and (parts.query or not parts.path.strip("/")):
        yield (
            "url has options or no database; allowed is "
            '"mysql://user:password@host:3306/database", without options'
        )
