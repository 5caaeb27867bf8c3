"""SQLite through the standard library: a file, opened for reading only."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from behavsql.databases import ALIAS, Column, DatabaseError, LostError, twice
from behavsql.quoting import identifier, literal

BATCH = 50_000  # rows that are Python objects at a time
PATIENCE = 30  # seconds for a writer to be done
# What values may be, and what a column of nothing else is.
_HELD = {
    "integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary(),
}  # fmt: skip
_ORDERS = {"integer": "number", "real": "number", "text": "text"}


@contextmanager
def opened(path: Path) -> Iterator["Sqlite"]:
    """A file in one transaction; LostError if there is none, or if it is no database."""
    if not path.is_file():
        raise LostError(f"there is no file {path}")
    try:
        con = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None
        )
    except sqlite3.Error as error:
        raise LostError(_told(error)) from None
    try:
        con.execute("pragma query_only = on")
        con.execute("begin")
        con.execute("select count(*) from sqlite_master")
        yield Sqlite(con)
    except sqlite3.Error as error:
        raise LostError(_told(error)) from None
    finally:
        con.close()


class Sqlite:
    """See behavsql.databases.Database.

    A column is what its values are, not what it was declared as: whole numbers, numbers, text or
    bytes; text where they are mixed.
    """

    page = None

    def __init__(self, con: sqlite3.Connection) -> None:
        self.con = con
        self.types: dict[str, pa.DataType] = {}

    def named(self, *parts: str) -> str:
        return identifier(*parts)

    def literal(self, text: str, order: str) -> str:
        return text if order == "number" else literal(text)

    def columns(self, relation: str, where: str = "true") -> list[tuple[str, Column]]:
        names = [column[0] for column in self._ask(f"select * from {relation} limit 0").description]
        if repeated := twice(names):
            raise DatabaseError(f'two columns are called "{repeated}"')
        held = ", ".join(
            f"max(typeof({own}) = {literal(type_)})"
            for own in map(identifier, names)
            for type_ in _HELD
        )
        found = self._ask(f"select {held} from {relation} where {where}").fetchone()
        columns = []
        for name in names:
            flags, found = found[: len(_HELD)], found[len(_HELD) :]
            types = [type_ for type_, is_held in zip(_HELD, flags, strict=True) if is_held]
            self.types[name], column = _column(name, types)
            columns.append((name, column))
        return columns

    def rows(self, sql: str) -> list[Sequence]:
        return self._ask(sql).fetchall()

    def batches(self, sql: str, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        cursor = self._ask(sql)
        names = [column[0] for column in cursor.description]
        schema = pa.schema([(name, self.types.get(name, pa.string())) for name in names])
        while True:
            try:
                fetched = cursor.fetchmany(BATCH)
            except sqlite3.Error as error:
                raise LostError(_told(error)) from None
            if not fetched:
                return
            values = [
                pa.array(column, field.type)
                for column, field in zip(zip(*fetched, strict=True), schema, strict=True)
            ]
            yield pa.record_batch(values, schema=schema)

    def _ask(self, sql: str) -> sqlite3.Cursor:
        try:
            return self.con.execute(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise DatabaseError(_told(error)) from None


def _column(name: str, held: list[str]) -> tuple[pa.DataType, Column]:
    """What a column is that holds such values; `null` if it holds none, for that fits any other."""
    own = identifier(name)
    key, missing = f"{ALIAS}.{own}", f"{own} is null"
    if len(held) <= 1:
        order = _ORDERS.get(held[0], "") if held else "any"
        key = f"{key} collate binary" if order == "text" else key
        return (_HELD[held[0]] if held else pa.null()), Column("", own, own, order, key, missing)
    if held == ["integer", "real"]:
        return pa.float64(), Column("", f"cast({own} as real)", own, "number", key, missing)
    read = f"case typeof({own}) when 'blob' then hex({own}) else cast({own} as text) end"
    return pa.string(), Column("", read, own)


def _told(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
