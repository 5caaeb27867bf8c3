"""PostgreSQL, MySQL / MariaDB and SQLite as sources: what a query says, in Arrow batches.

Nothing is written on a server: every statement runs in a transaction that only reads.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from behavsql.databases.address import Address
from behavsql.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


ALIAS = "source_rows"  # of the table or query that is read


class DatabaseError(Exception):
    """What a database says, in one sentence without its full stop and without secrets."""


class LostError(DatabaseError):
    """The database cannot be reached, or no longer."""


@dataclass(frozen=True)
class Column:
    """One column of a table or query: how a server is asked for it, and what is landed of it.

    order: "number" | "time" | "text", how its values are compared and written, "any" if there are
    none; "" if they have no order that a watermark could follow.
    """

    type: str  # as the server calls it; "" where values have types and columns have none
    read: str  # SQL of the server
    landed: str  # SQL of DuckDB over the column that arrives
    order: str = ""
    key: str = ""  # SQL of the server: what is compared
    missing: str = ""  # SQL of the server: whether a row has no place in the order


class Database(Protocol):
    """A connection on which nothing can be written."""

    def named(self, *parts: str) -> str:
        """A possibly qualified name, quoted."""

    def literal(self, text: str, order: str) -> str:
        """A value of a column of that order, from its text."""

    def columns(self, relation: str, where: str = "true") -> list[tuple[str, Column]]:
        """Name and column, in order, of a FROM clause.

        where: the rows that will be read, which matter where values have types and columns none.
        """

    def rows(self, sql: str) -> list[Sequence]:
        """A small result."""

    page: int | None  # rows of an ordered result that are asked for at a time; None: all

    def batches(self, sql: str, rows: int | None = None) -> "Iterator[pa.RecordBatch]":
        """A result of any size, streamed. rows: the most it can have, where that is known."""


def opened(address: Address, folder: Path, where: str) -> AbstractContextManager[Database]:
    """Connect, read-only; LostError if that fails. folder: where a SQLite file is looked for."""
    if address.kind == "sqlite":
        from behavsql.databases import sqlite

        return sqlite.opened(folder / address.database)
    try:
        if address.kind == "mysql":
            from behavsql.databases import mysql

            return mysql.opened(address)
        from behavsql.databases import postgres

        return postgres.opened(address)
    except ModuleNotFoundError as error:
        extra = {"postgresql": "postgres"}.get(address.kind, address.kind)
        raise ConfigError(
            f"{where}: {address.shown} needs the package {error.name}, which is not installed; "
            f"allowed is a url of a database whose driver is there. "
            f"Run pip install 'behavsql[{extra}]'."
        ) from None


def selected(database: Database, columns: dict[str, Column]) -> str:
    """The columns as a server is asked for them."""
    return ", ".join(f"{column.read} as {database.named(name)}" for name, column in columns.items())


def sentence(text: str) -> str:
    """The first line of what a driver says, for a sentence to go on after it.

    >>> sentence('NOT_FOUND: Failed: ERROR:  relation "a" does not exist\\nLINE 1: select 1')
    'relation "a" does not exist'
    """
    text = re.sub(r"^.*?(ERROR|FATAL):\s+", "", text.strip(), count=1, flags=re.DOTALL)
    text = re.sub(r"^[A-Z_]+: (\[libpq\] )?(Failed to connect: )?", "", text)
    return (text.splitlines() or ["no reason given"])[0].strip().rstrip(".;")


def twice(names: Iterable[str]) -> str | None:
    """A name that is there twice, whatever its case: DuckDB could not tell the two apart."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            return name
        seen.add(name.lower())
    return None
