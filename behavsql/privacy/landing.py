"""Rows of a database as they are landed: with pseudonyms, without what is dropped, or whom we forgot.

What is dropped is not even asked for. Of a user who is several columns together the pseudonym stands
in the place of the first one, and the others are empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

import duckdb

from behavsql.config import Config
from behavsql.input import mapping
from behavsql.privacy import columns, entering, key, register
from behavsql.quoting import identifier
from behavsql.source import Source
from behavsql.warehouse import Warehouse

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Screen:
    """What of a source's rows may be landed, and as what; Screen() lets all pass."""

    source: Source = field(default_factory=lambda: Source.model_construct(drop=[], coarsen={}))
    key: bytes | None = None
    tombstones: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, config: Config, source: Source) -> Self:
        """ConfigError where the key is needed and not there."""
        known = register.Register.read(Warehouse(config.warehouse))
        return cls(source, register.key_of(config), known.tombstones)

    @property
    def asked(self) -> list[object]:
        """What tells one way of landing from another; empty where rows are landed as they are."""
        told: list[object] = []
        if self.source.drop or self.source.coarsen:
            told += [sorted(self.source.drop), sorted(self.source.coarsen.items(), key=str)]
        if self.source.is_pseudonymous and self.source.columns.user_parts:
            told.append(["pseudonyms", *self.source.columns.user_parts])
        return told

    def kept(self, found: Mapping[str, Kept]) -> dict[str, Kept]:
        """The columns that are landed."""
        return {name: one for name, one in found.items() if name not in self.source.drop}

    def relation(self, con: duckdb.DuckDBPyConnection, arrived: str) -> str:
        """The query of what is landed of a relation of what arrived."""
        if not self.asked:
            return f"from {arrived}"
        types = {row[0]: row[1] for row in con.execute(f"describe from {arrived}").fetchall()}
        coarse = Source.model_construct(drop=[], coarsen=self.source.coarsen)
        query = f"select {columns.selected(coarse, types)} from {arrived}"
        parts = self.source.columns.user_parts
        if not (self.source.is_pseudonymous and parts):
            return query
        made = {parts[0]: key.sql_pseudonym(mapping.user_key(parts, types))}
        made |= dict.fromkeys(parts[1:], "cast(null as varchar)")
        listed = ", ".join(f"{sql} as {identifier(name)}" for name, sql in made.items())
        return f"select * replace ({listed}) from ({query})"

    def leave_out(self, con: duckdb.DuckDBPyConnection, chunk: str) -> int:
        """Take the rows of forgotten users out of a table of rows to be landed; how many these were."""
        gone = 0
        types = {row[0]: row[1] for row in con.execute(f"describe from {chunk}").fetchall()}
        for name, _, ids in entering.named(self.source, types) if self.tombstones else ():
            gone += con.execute(
                f"delete from {chunk} where {name} in (select id from (select distinct {name} as id "
                f"from {chunk}) where {entering.is_forgotten(ids, self.tombstones)})"
            ).fetchall()[0][0]
        return gone
