"""A table of a database as a file to look at, for `behavsql init`."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from behavsql.databases import ALIAS, DatabaseError, address, opened, selected
from behavsql.errors import ConfigError, SourceError

SAMPLE = 20_000  # rows that are looked at


def is_url(text: str) -> bool:
    """Whether a source that is to be looked at is a database."""
    return text.startswith("env:") or text.partition("://")[0] in address.SCHEMES


@contextmanager
def sampled(url: str, table: str | None, folder: Path) -> Iterator[Path]:
    """The first rows of a table in a file that is called like it, gone afterwards.

    folder: where a SQLite file is looked for, that of the config. ConfigError for a URL with a
    password, which would stand in the config; SourceError for what cannot be read.
    """
    where = address.of(url, "init")
    if where.password and not url.startswith("env:"):
        raise ConfigError(
            f"init: the url of {where.shown} holds a password, which would stand in the config; "
            f"allowed is a variable that holds the url. Run export SHOP_URL=... and "
            f"behavsql init env:SHOP_URL --table NAME."
        )
    if not table:
        raise ConfigError(
            f"init: {where.shown} is a database; allowed is one with a table. Name it with --table."
        )
    with TemporaryDirectory() as place:
        try:
            yield _landed(where, table, folder, Path(place))
        except DatabaseError as error:
            raise SourceError(
                f"init: {where.shown}: {error}; allowed is a database that answers and has the "
                f"table. Mend the url or --table."
            ) from None


def _landed(where: address.Address, table: str, folder: Path, place: Path) -> Path:
    from behavsql.input.chunks import Chunks
    from behavsql.input.landed import Index
    from behavsql.privacy.landing import Screen

    with (
        opened(where, folder, "init") as database,
        contextlib.closing(duckdb.connect()) as con,
    ):
        con.execute("set timezone = 'UTC'")
        relation = f"{database.named(*table.split('.'))} as {ALIAS}"
        columns = dict(database.columns(relation))
        chunks = Chunks(con, place, columns, Index(), None, Screen())
        sql = f"select {selected(database, columns)} from {relation} limit {SAMPLE}"
        part = next(chunks.written(database.batches(sql, SAMPLE), is_ordered=False), None)
        part = part or chunks.empty()
    return (place / part.name).rename(place / f"{table.rpartition('.')[2]}.parquet")
