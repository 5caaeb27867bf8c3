"""MySQL and MariaDB: PyMySQL asks what there is, connectorx reads it page by page.

connectorx reads several times as many rows a second, and keeps what it has read until it is asked
for, so that only a page of a known size is bounded. It also knows neither the types of columns nor
the digits of a DECIMAL: so every value comes as text. What has no order, and so no pages, is read
by PyMySQL as the server sends it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import connectorx
import pyarrow as pa
import pymysql
from pymysql.constants import FIELD_TYPE as TYPE
from pymysql.constants import FLAG
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from behavsql.databases import ALIAS, Column, DatabaseError, LostError, sentence, twice
from behavsql.databases.address import Address
from behavsql.quoting import backquoted, identifier, literal

BATCH = 50_000
PAGE = 500_000
WIDEST = 38  # digits of DuckDB's DECIMAL
PATIENCE = 10  # seconds for a connection to stand
BINARY = 63  # the character set of bytes
_READ_ONLY = ["set session transaction read only", "set time_zone = '+00:00'"]
_BROKEN = (pymysql.Error, RuntimeError, OSError, pa.ArrowException)
_WHOLE = {
    TYPE.TINY: "tinyint", TYPE.SHORT: "smallint", TYPE.INT24: "integer", TYPE.LONG: "integer",
    TYPE.LONGLONG: "bigint", TYPE.YEAR: "smallint",
}  # fmt: skip
_TEXTS = {
    TYPE.VARCHAR, TYPE.VAR_STRING, TYPE.STRING, TYPE.TINY_BLOB, TYPE.MEDIUM_BLOB, TYPE.LONG_BLOB,
    TYPE.BLOB, TYPE.GEOMETRY,
}  # fmt: skip


@contextmanager
def opened(address: Address) -> Iterator["Mysql"]:
    """A connection whose transactions only read, in UTC."""
    try:
        con = _connected(address)
    except (pymysql.Error, RuntimeError, OSError) as error:
        raise LostError(_told(error, address)) from None
    try:
        yield Mysql(con, address)
    except pymysql.Error as error:
        raise LostError(_told(error, address)) from None
    finally:
        if con.open:
            con.close()


def _connected(address: Address, **options: Any) -> pymysql.Connection:
    con = pymysql.connect(
        host=address.host or "localhost", port=address.port or 3306, user=address.user,
        # As bytes: a text would be sent in Latin-1.
        password=address.password.encode(), database=address.database, charset="utf8mb4",
        connect_timeout=PATIENCE, **options,
    )  # fmt: skip
    with con.cursor() as cursor:
        for statement in _READ_ONLY:
            cursor.execute(statement)
    return con


class Mysql:
    """See behavsql.databases.Database."""

    page = PAGE

    def __init__(self, con: pymysql.Connection, address: Address) -> None:
        self.con, self.address = con, address
        host = f"[{address.host}]" if ":" in address.host else address.host
        name, password = quote(address.user, safe=""), quote(address.password, safe="")
        self.url = (
            f"mysql://{name}{':' if password else ''}{password}@{host or 'localhost'}:"
            f"{address.port or 3306}/{quote(address.database, safe='')}"
        )

    def named(self, *parts: str) -> str:
        return backquoted(*parts)

    def literal(self, text: str, order: str) -> str:
        # The session is in UTC, and MariaDB reads no offsets.
        return text if order == "number" else literal(text.removesuffix("+00"))

    def columns(self, relation: str, where: str = "true") -> list[tuple[str, Column]]:
        with self.con.cursor() as cursor:
            self._run(cursor, f"select * from {relation} limit 0")
            fields = cursor._result.fields  # with the length and flags that .description lacks
        if repeated := twice(field.name for field in fields):
            raise DatabaseError(f'two columns are called "{repeated}"')
        return [(field.name, _column(field)) for field in fields]

    def rows(self, sql: str) -> list[Sequence]:
        with self.con.cursor() as cursor:
            self._run(cursor, sql)
            return cursor.fetchall()

    def batches(self, sql: str, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._paged(sql) if rows else self._unbuffered(sql)
        except BaseException as error:
            # What breaks a stream is a panic of connectorx, which is no Exception.
            if isinstance(error, _BROKEN) or type(error).__name__ == "PanicException":
                raise LostError(_told(error, self.address)) from None
            raise

    def _paged(self, sql: str) -> Iterator[pa.RecordBatch]:
        return connectorx.read_sql(
            self.url, sql, return_type="arrow_stream", batch_size=BATCH,
            protocol="text", pre_execution_query=_READ_ONLY,
        )  # fmt: skip

    def _unbuffered(self, sql: str) -> Iterator[pa.RecordBatch]:
        texts = {key: write for key, write in conversions.items() if not isinstance(key, int)}
        with contextlib.closing(_connected(self.address, conv=texts)) as con:
            cursor = con.cursor(SSCursor)
            self._run(cursor, sql)
            names = [column[0] for column in cursor.description]
            try:
                while rows := cursor.fetchmany(BATCH):
                    values = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
                    yield pa.record_batch(values, names)
            finally:
                # Else a cursor that is left reads the rest first, however much it is.
                cursor._result.unbuffered_active = False

    def _run(self, cursor: pymysql.cursors.Cursor, sql: str) -> None:
        try:
            cursor.execute(sql)
        except pymysql.err.OperationalError as error:
            lost = error.args[0] in (2006, 2013)
            raise (LostError if lost else DatabaseError)(_told(error, self.address)) from None
        except pymysql.Error as error:
            raise DatabaseError(_told(error, self.address)) from None


def _column(field: Any) -> Column:
    """See PyMySQL's FieldDescriptorPacket: type_code, length, scale, flags, charsetnr."""
    code, name, own = field.type_code, backquoted(field.name), identifier(field.name)
    kind = f"{code} {field.length} {field.scale} {field.flags & FLAG.UNSIGNED} {field.charsetnr}"
    key, missing = f"{ALIAS}.{name}", f"{name} is null"
    if code in _WHOLE:
        type_ = ("u" if field.flags & FLAG.UNSIGNED else "") + _WHOLE[code]
        return Column(
            kind, f"cast({name} as char)", f"cast({own} as {type_})", "number", key, missing
        )
    if code in (TYPE.FLOAT, TYPE.DOUBLE):
        # As text a FLOAT would lose digits.
        return Column(
            kind, f"cast({name} + 0e0 as char)", f"cast({own} as double)", "number", key, missing
        )
    if code in (TYPE.DECIMAL, TYPE.NEWDECIMAL):
        return Column(kind, f"cast({name} as char)", _decimal(own, field), "number", key, missing)
    if code in (TYPE.TIMESTAMP, TYPE.DATETIME, TYPE.DATE):
        # MySQL allows days that are none, such as 0000-00-00: they are missing.
        type_ = "date" if code == TYPE.DATE else "timestamp"
        landed = f"try_cast({own} as {type_})"
        if code == TYPE.TIMESTAMP:  # a moment, which it writes in the session's zone
            landed = f"try_cast({own} || '+00' as timestamptz)"
        none = f"({missing} or {name} < '0001-01-01')"
        return Column(kind, f"cast({name} as char)", landed, "time", key, none)
    if code == TYPE.BIT:
        return Column(kind, f"cast({name} + 0 as char)", f"cast({own} as ubigint)")
    if code in _TEXTS and field.charsetnr == BINARY:
        return Column(kind, f"hex({name})", f"unhex({own})")
    return Column(kind, f"convert({name} using utf8mb4)", own)


def _decimal(own: str, field: Any) -> str:
    """The length counts a sign and a point, where there are."""
    precision = field.length - (field.scale > 0) - (not field.flags & FLAG.UNSIGNED)
    return f"cast({own} as decimal({precision}, {field.scale}))" if precision <= WIDEST else own


def _told(error: BaseException, address: Address) -> str:
    """PyMySQL raises (number, text)."""
    said = error.args[1] if len(error.args) > 1 else error
    return sentence(address.scrubbed(str(said)))
