"""Everything behavsql can raise on purpose.

    BehavsqlError
    ├── ConfigError      a setting or a command line that cannot be meant   (exit 2)
    ├── SqlFileError     a SQL file whose header, columns or checks lie     (exit 1)
    ├── SourceError      input that cannot be read or is mostly unusable    (exit 1)
    ├── ModelError       a model that cannot be fitted, stored or loaded    (exit 1)
    └── WarehouseError   a file that is missing, damaged or not ours        (exit 1)
        └── LockedError  another process holds the warehouse                (exit 3)

Every message reads `<where>: <what is wrong, with the value>; <what is allowed>. <what to do>.`
"""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?` for the closest known name, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


class BehavsqlError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(BehavsqlError):
    """A setting or a command line that cannot be meant."""

    exit_code = 2


class SqlFileError(BehavsqlError):
    """A SQL file whose header, columns, grain or checks do not hold."""


class SourceError(BehavsqlError):
    """Input that cannot be read, or of which too much was rejected."""


class ModelError(BehavsqlError):
    """A model that cannot be fitted, stored or loaded."""


class WarehouseError(BehavsqlError):
    """A warehouse file that is missing, damaged or not written by behavsql."""


class LockedError(WarehouseError):
    """Another process holds the warehouse."""

    exit_code = 3
