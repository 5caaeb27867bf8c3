"""Databases as sources: what they hold is read in batches and landed in files, as `landed.py` says.

With a watermark, a column that grows with every new row, only rows at or past the highest one are
read. Those at it are compared with what was landed as bags, so that a row that came later with the
same watermark is neither lost nor taken twice. Each file counts as soon as it is written: a read
that was stopped goes on from there. Rows without a watermark, and tables without such a column, are
read whole each time.
"""

import contextlib
from collections.abc import Collection, Iterator
from datetime import datetime

import duckdb

from behavsql.config import Config
from behavsql.databases import ALIAS, Column, DatabaseError, LostError, opened, selected
from behavsql.databases.address import of
from behavsql.errors import SourceError, WarehouseError, nearest
from behavsql.input import landed, sources
from behavsql.input.chunks import Chunks
from behavsql.input.landed import Index, Part
from behavsql.input.sources import first_line
from behavsql.plan.changes import digest
from behavsql.privacy import columns as private
from behavsql.privacy import key
from behavsql.privacy.landing import Screen, prune
from behavsql.progress import Progress
from behavsql.quoting import literal
from behavsql.source import Source
from behavsql.warehouse import limit

FORMAT = 1  # of what is landed; another number reads everything again


def land(
    config: Config, progress: Progress, only: Collection[str] | None = None,
    since: datetime | None = None,
) -> None:  # fmt: skip
    """Ask every database among the sources for its rows, or for those that are new.

    only: names of the sources that are asked; None: all. since: older events are left out.
    SourceError naming source and database, never a password, for what cannot be read; what was
    landed until then is kept.
    """
    if only is None:
        landed.drop_gone(config)
    for source in config.source:
        if source.url and (only is None or source.name in only):
            with progress.step(f"land {source.name}") as line:
                line.rows, line.note = Landing(config, source, since).carry_out()


def asked(config: Config) -> dict[str, str]:
    """Step -> why it may run though no file changed; for a plan that asks no database itself."""
    names = [source.name for source in config.source if source.url]
    if not names:
        return {}
    several = len(names) > 1
    are = (
        f"sources {', '.join(names)} are databases"
        if several
        else f"source {names[0]} is a database"
    )
    return {"raw.events": f"{are}: a build asks {'them' if several else 'it'} for new rows"}


class Landing:
    """One source, asked once."""

    def __init__(self, config: Config, source: Source, since: datetime | None = None) -> None:
        self.config, self.source, self.since = config, source, since
        self.origin = f'{config.origin}: source "{source.name}"'
        self.address = of(source.url.get_secret_value(), self.origin)
        self.where = f"{self.origin}: {self.address.shown}"
        self.folder = landed.folder_of(config, source)
        self.chunks: Chunks | None = None  # once the database has answered
        self.count_new = 0  # rows of files that are new
        self.screen = Screen.of(config, source, since)

    def carry_out(self) -> tuple[int, str]:
        """Rows landed, and where from."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.index = self._known()
            with (
                opened(self.address, self.config.folder, self.origin) as self.database,
                contextlib.closing(duckdb.connect()) as con,
            ):
                limit(con, self.config)
                con.execute(
                    f"set temp_directory = {literal(str(self.folder.parent.parent / 'spill'))}"
                )
                with key.installed(con, self.screen.key):
                    self._read(con)
                if (days := self.config.privacy.retention_days) and self.source.is_events:
                    prune(con, self.source, self.folder, days, self.since)
        except LostError as error:
            raise SourceError(self._lost(error)) from None
        except DatabaseError as error:
            raise SourceError(
                f"{self.where}: {error}; allowed is a table or query that it answers. "
                f"Mend `table`, `query` or `watermark`, or what its user may read."
            ) from None
        except (OSError, duckdb.Error) as error:
            raise WarehouseError(
                f"{self.folder}: cannot be written: {first_line(error)}; allowed is a disk with room for "
                f'the rows of source "{self.source.name}". Make room, and build again.'
            ) from None
        return self.count_new, self.address.shown

    def _known(self) -> Index:
        """The index, if it is an answer to what is asked now; else an empty one."""
        index, source = landed.read(self.folder), self.source
        asked = digest(
            FORMAT, self.address.shown, source.table, source.query, source.watermark,
            *self.screen.asked,
        )  # fmt: skip
        landed.tidy(self.folder, index)
        return index if index.asked == asked else Index(asked, following=index.following)

    def _read(self, con: duckdb.DuckDBPyConnection) -> None:
        mark = self.source.watermark
        self.relation = f"{self._named()} as {ALIAS}"
        columns = self._columns()
        self.chunks = Chunks(
            con, self.folder, self.screen.kept(columns), self.index, mark, self.screen
        )
        missing = "true"
        if mark:
            missing, since = columns[mark].missing, self.index.mark
            self._read_ordered(columns[mark])
            if since is not None and not self.chunks.count_read:
                self._check_back(columns[mark], since)
        self._replace([*self._parts(missing)])

    def _read_ordered(self, column: Column) -> None:
        """Land the rows at and past the watermark, in its order."""
        size = self.database.page
        while True:
            since, read = self.index.mark, self.chunks.count_read
            condition = f"not {column.missing}"
            if since is not None:
                self.chunks.skip(since)
                condition += f" and {column.key} >= {self._literal(since)}"
            condition += f" order by {column.key}" + (f" limit {size}" if size else "")
            for part in self._parts(condition, size, is_ordered=True):
                self.index.parts.append(part)
                self.count_new += part.count_rows
                landed.write(self.folder, self.index)
            count = self.chunks.count_read - read
            is_last = size is None or count < size
            if since is not None and count and (is_last or self.index.mark != since):
                self._drop_left(since)
            if is_last:
                return
            if self.index.mark == since:  # a page of rows that share one watermark
                size *= 2

    def _drop_left(self, since: str) -> None:
        if self.chunks.drop_left(since):
            landed.write(self.folder, self.index)

    def _literal(self, mark: str) -> str:
        return self.database.literal(mark, self.index.order)

    def _named(self) -> str:
        if self.source.table:
            return self.database.named(*self.source.table.split("."))
        # A comment at its end must not swallow the parenthesis.
        return f"(\n{self.source.query.strip().rstrip(';')}\n)"

    def _columns(self) -> dict[str, Column]:
        """What is there; an index of other columns is given up."""
        where, since = "true", self.index.mark
        if since is not None:
            own = self.database.named(self.source.watermark)
            where = f"({own} >= {self._literal(since)} or {own} is null)"
        columns = dict(self.database.columns(self.relation, where))
        sources.check_mapped(self.origin, self.source, self.address.shown, columns)
        private.check(f"{self.origin}: {self.address.shown}", self.source, columns)
        types = {name: column.type for name, column in columns.items()}
        order = self._order(columns) if self.source.watermark else ""
        if order == "any":  # no value to tell it by
            order = self.index.order
        if (types, order) != (self.index.columns, self.index.order):
            self.index = Index(self.index.asked, types, order, self.index.following)
        return columns

    def _order(self, columns: dict[str, Column]) -> str:
        mark = self.source.watermark
        if mark not in columns:
            raise SourceError(
                f'{self.where} has no column "{mark}"; its columns are {", ".join(columns)}. '
                f"Mend `watermark`.{nearest(mark, columns)}"
            )
        if not columns[mark].order:
            raise SourceError(
                f'{self.where}: watermark = "{mark}" has no order that can be followed; allowed are '
                f"columns of numbers, times or days. Name another one, or leave `watermark` out."
            )
        return columns[mark].order

    def _parts(
        self, condition: str, rows: int | None = None, *, is_ordered: bool = False
    ) -> Iterator[Part]:
        select = selected(self.database, self.chunks.columns)
        sql = f"select {select} from {self.relation} where {condition}"
        return self.chunks.written(self.database.batches(sql, rows), is_ordered=is_ordered)

    def _replace(self, new: list[Part]) -> None:
        """Put rows read whole in the place of those of the last time, if they are others."""
        ordered = [part for part in self.index.parts if part.high is not None]
        old = [part for part in self.index.parts if part.high is None]
        if not ordered and not new:
            new = [self.chunks.empty()]
        if _content(old) != _content(new):
            self.index.parts = ordered + new
            self.count_new += sum(part.count_rows for part in new)
        landed.write(self.folder, self.index)
        landed.tidy(self.folder, self.index)

    def _check_back(self, column: Column, since: str) -> None:
        """SourceError where not even the newest row that was landed is there any more."""
        sql = f"select 1 from {self.relation} where not {column.missing}"
        sql += f" and {column.key} < {self._literal(since)}"
        if self.database.rows(f"{sql} limit 1"):
            raise SourceError(
                f'{self.where}: the watermark "{self.source.watermark}" moved back: rows up to {since} '
                f"were landed, and none of the table is as new; allowed is a column that only grows. "
                f"Remove {self.folder} to read everything again."
            )

    def _lost(self, error: LostError) -> str:
        if self.chunks is None:
            return (
                f"{self.where} cannot be read: {error}; allowed is a database that answers. "
                f"Start it, or mend `url`."
            )
        rows = self.chunks.count_written
        kept = (
            "Build again: it goes on from there."
            if self.source.watermark
            else "Build again; with a `watermark` it would go on from there."
        )
        return (
            f"{self.where}: the connection was lost after {rows:,} rows: {error}; allowed is an answer "
            f"to its end. {kept}"
        )


def _content(parts: list[Part]) -> tuple[bool, int, int]:
    """The same for the same rows, however they are spread over files."""
    return bool(parts), sum(part.count_rows for part in parts), sum(part.content for part in parts)
