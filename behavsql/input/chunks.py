"""What a database answers, written to Parquet files of a size that memory holds."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from behavsql.databases import Column
from behavsql.errors import SourceError
from behavsql.input import landed
from behavsql.input.landed import Index, Part
from behavsql.privacy.landing import Screen
from behavsql.quoting import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, BYTES = 250_000, 32_000_000  # of one file, about: whichever comes first


class Chunks:
    """Writes files with running numbers; `skip` says which rows are there already."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        folder: Path,
        columns: dict[str, Column],
        index: Index,
        mark: str | None,
        screen: Screen,
    ) -> None:
        self.con, self.folder, self.columns, self.index = con, folder, columns, index
        self.mark, self.screen = mark, screen
        self.count_read = self.count_written = 0
        self.near = ""  # condition: a row may be one of those that are there already
        self.is_exact = True  # whether it says that the row is at the watermark

    def skip(self, since: str) -> None:
        """Take the rows at the watermark `since` that were landed out of those that are read next.

        As a bag: of two equal rows one is new if one was landed.
        """
        paths = [str(self.folder / part.name) for part in self._ending_at(since)]
        relation = f"read_parquet({literal(paths)}, union_by_name = true)"
        column, text = identifier(self.mark), literal(since)
        (type_,) = self.con.execute(
            f"select any_value(typeof({column})) from {relation}"
        ).fetchone()
        self.near, self.is_exact = f"{column} = {text}", True
        if self.index.order == "number" and type_ == "VARCHAR":
            # They may be written in several ways; what is only near to it is another row.
            self.near = f"cast({column} as double) = cast({text} as double)"
            self.is_exact = False
        self.con.execute(f"create or replace temp table there as from {relation} where {self.near}")

    def drop_left(self, since: str) -> bool:
        """Take out of the files what is no longer there at the watermark; whether there was any.

        After all rows at it were read: the newest row is the one that is changed most often.
        """
        found = False
        for part in self._ending_at(since) if self.is_exact else ():
            own = f"read_parquet({literal(str(self.folder / part.name))})"
            left = f"(from {own} where {self.near} intersect all from there)"
            if not self.con.execute(f"select count(*) from {left}").fetchall()[0][0]:
                continue
            self.con.execute(
                f"""create or replace temp table chunk as (from {own} where not ({self.near}))
                    union all (from {own} where {self.near} except all from there);
                create or replace temp table there as
                    from there except all (from {own} where {self.near})"""
            )
            new = landed.new_part(self.con, self.folder, self.index, "chunk", part.low, part.high)
            self.index.parts[self.index.parts.index(part)] = new
            found = True
        return found

    def _ending_at(self, since: str) -> list[Part]:
        return [
            part for part in self.index.parts
            if part.high is not None and _is_same(part.high, since, self.index.order)
        ]  # fmt: skip

    def written(self, batches: "Iterable[pa.RecordBatch]", *, is_ordered: bool) -> Iterator[Part]:
        """A file for every so many rows, as soon as it is complete."""
        for table in _gathered(batches):
            self.count_read += table.num_rows
            if part := self._write(table, is_ordered):
                yield part

    def empty(self) -> Part:
        """A file without rows, for the names of its columns."""
        import pyarrow as pa

        self._arrive(pa.table({name: pa.nulls(0) for name in self.columns}))
        return self._put(None, None)

    def _write(self, table: "pa.Table", is_ordered: bool) -> Part | None:
        """None where every row was there already."""
        self._arrive(table)
        low, high = self._ends(table.num_rows) if is_ordered else (None, None)
        left_out = self.screen.leave_out(self.con, "chunk")
        if is_ordered and self.near and not self._take_out():
            return None
        return self._put(low, high, *left_out)

    def _arrive(self, table: "pa.Table") -> None:
        landed_as = ", ".join(
            f"{column.landed} as {identifier(name)}" for name, column in self.columns.items()
        )
        self.con.register("arrived", table)
        try:
            rows = self.screen.relation(self.con, f"(select {landed_as} from arrived)")
            self.con.execute(f"create or replace temp table chunk as {rows}")
        finally:
            self.con.unregister("arrived")

    def _ends(self, rows: int) -> tuple[str, str]:
        """The first and the last watermark, as text; the rows came in its order."""
        first, last = (
            self.con.execute(
                f"select cast({identifier(self.mark)} as varchar) from chunk limit 1 offset {offset}"
            ).fetchall()[0][0]
            for offset in (0, rows - 1)
        )
        if first is None or last is None:
            raise SourceError(
                f'watermark = "{self.mark}" has values that cannot be read; allowed are numbers, times '
                f"and days. Leave such rows out with `query`, or name another column."
            )
        return first, last

    def _take_out(self) -> int:
        """Leave in the chunk what is new; how many rows that is."""
        self.con.execute(
            f"""create or replace temp table fresh as
                (from chunk where {self.near} except all from there)
                union all (from chunk where not ({self.near}));
            create or replace temp table there as
                from there except all (from chunk where {self.near});
            create or replace temp table chunk as from fresh;
            drop table fresh"""
        )
        return self.con.execute("select count(*) from chunk").fetchall()[0][0]

    def _put(self, low: str | None, high: str | None, forgotten: int = 0, too_old: int = 0) -> Part:
        part = landed.new_part(self.con, self.folder, self.index, "chunk", low, high)
        part = replace(part, count_forgotten=forgotten, count_too_old=too_old)
        self.count_written += part.count_rows
        return part


def _gathered(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Batches together until they make a file."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= ROWS or size >= BYTES:
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held)


def _is_same(one: str, other: str, order: str) -> bool:
    """Whether two watermarks are the same; 1.0 and 1.00 are."""
    return Decimal(one) == Decimal(other) if order == "number" else one == other
