"""PostgreSQL through ADBC: results are streamed in its binary COPY format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from behavsql.databases import ALIAS, Column, DatabaseError, LostError, sentence, twice
from behavsql.databases.address import Address
from behavsql.quoting import identifier, literal

WIDEST = 38  # digits of DuckDB's DECIMAL
PATIENCE = 10  # seconds for a connection to stand
_NUMBERS = {"int2", "int4", "int8"}
_TIMES = {"date", "timestamp", "timestamptz"}
_AS_THEY_ARE = {
    "bool", "text", "varchar", "bytea", "float4",
    "_bool", "_int2", "_int4", "_int8", "_float4", "_float8", "_text", "_varchar",
}  # fmt: skip
_NOT_FINITE = "('NaN', 'Infinity', '-Infinity')"


@contextmanager
def opened(address: Address) -> Iterator["Postgres"]:
    """A connection in one read-only transaction, whose whole view of the data is of one moment."""
    url = address.url.replace(f"{address.url.partition(':')[0]}:", "postgresql:", 1)
    if "connect_timeout" not in url:
        url += f"{'&' if '?' in url else '?'}connect_timeout={PATIENCE}"
    try:
        con = adbc.connect(url, autocommit=True)
    except adbc.Error as error:
        raise LostError(sentence(address.scrubbed(str(error)))) from None
    try:
        with con.cursor() as cursor:
            # Else text comes in the database's own encoding, and Arrow takes it for UTF-8.
            cursor.execute("set client_encoding to 'UTF8'")
            cursor.execute("set timezone to 'UTC'")
            cursor.execute("begin transaction isolation level repeatable read read only")
        yield Postgres(con, address)
    except adbc.Error as error:
        raise LostError(sentence(address.scrubbed(str(error)))) from None
    finally:
        _close(con)


def _close(con: adbc.Connection) -> None:
    try:
        con.close()
    except adbc.Error:  # of a connection that was lost
        return


class Postgres:
    """See behavsql.databases.Database."""

    page = None

    def __init__(self, con: adbc.Connection, address: Address) -> None:
        self.con, self.address = con, address

    def named(self, *parts: str) -> str:
        return identifier(*parts)

    def literal(self, text: str, order: str) -> str:
        return text if order == "number" else literal(text)

    def columns(self, relation: str, where: str = "true") -> list[tuple[str, Column]]:
        with self._asked(f"select * from {relation} limit 0") as reader:
            schema = reader.schema
        if repeated := twice(schema.names):
            raise DatabaseError(f'two columns are called "{repeated}"')
        return [(field.name, _column(field)) for field in schema]

    def rows(self, sql: str) -> list[Sequence]:
        with self._asked(sql) as reader:
            return [tuple(row.values()) for row in reader.read_all().to_pylist()]

    def batches(self, sql: str, rows: int | None = None) -> Iterator[pa.RecordBatch]:
        with self._asked(sql) as reader:
            try:
                yield from reader
            except (adbc.Error, pa.ArrowException, OSError) as error:
                # A server that calls it an error is still there to say so.
                told = DatabaseError if "ERROR:" in str(error) else LostError
                raise told(self._told(error)) from None

    @contextmanager
    def _asked(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        with self.con.cursor() as cursor:
            try:
                cursor.execute(sql)
                reader = cursor.fetch_record_batch()
            except adbc.OperationalError as error:
                raise LostError(self._told(error)) from None
            except adbc.Error as error:
                raise DatabaseError(self._told(error)) from None
            yield reader

    def _told(self, error: Exception) -> str:
        return sentence(self.address.scrubbed(str(error)))


def _column(field: pa.Field) -> Column:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    kind, own = metadata.get("POSTGRESQL:type", ""), identifier(field.name)
    key, absent = f"{ALIAS}.{own}", f"{own} is null"
    if kind in _NUMBERS:
        return Column(kind, own, own, "number", key, absent)
    if kind == "float8":
        return Column(kind, own, own, "number", key, f"({absent} or {own} in {_NOT_FINITE})")
    if kind in _TIMES:
        read = f"case when isfinite({own}) then {own} end"
        return Column(kind, read, own, "time", key, f"({absent} or not isfinite({own}))")
    if kind == "numeric":
        missing = f"({absent} or {own}::text in {_NOT_FINITE})"
        read = f"case when not {missing} then {own}::text end"
        landed = _decimal(own, int(metadata.get("POSTGRESQL:typmod", -1)))
        return Column(kind, read, landed, "number", key, missing)
    return Column(kind, own if kind in _AS_THEY_ARE else f"{own}::text", own)


def _decimal(own: str, typmod: int) -> str:
    """Text as DECIMAL where the column says its precision; else it stays text, to its last digit."""
    precision, scale = ((typmod - 4) >> 16) & 0xFFFF, (((typmod - 4) & 0x7FF) ^ 1024) - 1024
    fits = typmod >= 4 and 0 <= scale <= precision <= WIDEST
    return f"cast({own} as decimal({precision}, {scale}))" if fits else own
