"""The key of pseudonyms and tombstones: it comes from the environment and stays in the process.

    pseudonym  HMAC-SHA-256(key, id), its first 128 bits in hex; in place of the id everywhere
    tombstone  HMAC-SHA-256(key, "forgotten:" + id), whole; tells a forgotten id, and nothing else

HMAC is H(outer || H(inner || message)) with two blocks made from the key (RFC 2104). DuckDB has no
HMAC, but sha256: the blocks are session variables of the connection that reads, for as long as it
reads, so that ids are hashed by all threads, without Python, and the key stands in no SQL text, no
file and no log. What is kept is `check_value`, which tells one key from another.
"""

import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from behavsql.errors import ConfigError

VARIABLE = "BEHAVSQL_PRIVACY_KEY"
SHORTEST = 32  # characters: fewer could be tried out, all of them
LENGTH = 32  # hex digits of a pseudonym: two of 10^12 users share one with a chance of 10^-15
FORM = f"^[0-9a-f]{{{LENGTH}}}$"
_BLOCK = 64  # bytes, of SHA-256
_FORGOTTEN = "forgotten:"


def read(why: str) -> bytes:
    """The key. ConfigError where it is missing or short; why: what needs it, for the message."""
    text = os.environ.get(VARIABLE, "")
    if len(text) < SHORTEST:
        wrong = f"has {len(text)} characters" if text else "is not set"
        raise ConfigError(
            f"{VARIABLE}: it {wrong}, and {why}; allowed is a secret of at least {SHORTEST} "
            f"characters, kept outside the warehouse. Make one once, and keep it: "
            f"export {VARIABLE}=$(openssl rand -hex 32)"
        )
    return text.encode()


def pseudonym(key: bytes, user: str) -> str:
    """
    >>> pseudonym(b"k" * 32, "17450")
    'f79abe47efe56f9f7c97133ec943b0ef'
    """
    return hmac.digest(key, user.encode(), "sha256").hex()[:LENGTH]


def tombstone(key: bytes, user: str) -> str:
    """What tells this user, by the id that the warehouse or the source has, as forgotten."""
    return hmac.digest(key, f"{_FORGOTTEN}{user}".encode(), "sha256").hex()


def check_value(key: bytes) -> str:
    """16 hex digits that only this key gives, and that do not give the key."""
    return hmac.digest(key, b"check value", "sha256").hex()[:16]


@contextmanager
def installed(con: duckdb.DuckDBPyConnection, key: bytes | None) -> Iterator[None]:
    """Within the block `sql_pseudonym` and `sql_tombstone` work on the connection; None: they fail."""
    if key is None:
        yield
        return
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    con.execute("set variable hmac_inner = ?::blob", [inner])
    con.execute("set variable hmac_outer = ?::blob", [outer])
    try:
        yield
    finally:
        con.execute("reset variable hmac_inner; reset variable hmac_outer")


def sql_pseudonym(text: str) -> str:
    """The pseudonym of a text, in SQL; NULL for NULL."""
    return f"left({_hmac(f'encode({text})')}, {LENGTH})"


def sql_tombstone(text: str) -> str:
    """The tombstone of a text, in SQL; NULL for NULL."""
    return _hmac(f"encode('{_FORGOTTEN}' || {text})")


def _hmac(message: str) -> str:
    # Without a key all users would be missing, which is worse than an error.
    inner, outer = (
        f"coalesce(getvariable('{name}'), error('no key')::blob)"
        for name in ("hmac_inner", "hmac_outer")
    )
    return f"sha256({outer} || unhex(sha256({inner} || {message})))"
