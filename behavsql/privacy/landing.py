"""Rows of a database as they are landed: with pseudonyms, without what is dropped, whom we forgot, or
what is too old.

What is dropped is not even asked for. Of a user who is several columns together the pseudonym stands
in the place of the first one, and the others are empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import duckdb

from behavsql.clock import tomorrow
from behavsql.config import Config
from behavsql.input import landed, mapping
from behavsql.privacy import columns, entering, key, register
from behavsql.quoting import identifier, literal
from behavsql.source import Source
from behavsql.warehouse import Warehouse

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Screen:
    """What of a source's rows may be landed, and as what; Screen() lets all pass."""

    source: Source = field(default_factory=lambda: Source.model_construct(drop=[], coarsen={}))
    key: bytes | None = None
    tombstones: list[str] = field(default_factory=list)
    since: datetime | None = None  # older events are left out

    @classmethod
    def of(cls, config: Config, source: Source, since: datetime | None = None) -> Self:
        """ConfigError where the key is needed and not there."""
        known = register.Register.read(Warehouse(config.warehouse))
        since = since if source.is_events else None
        return cls(source, register.key_of(config), known.tombstones, since)

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

    def leave_out(self, con: duckdb.DuckDBPyConnection, chunk: str) -> tuple[int, int]:
        """Take rows out of a table of those to be landed: how many of forgotten users, how many too old."""
        gone = too_old = 0
        types = {row[0]: row[1] for row in con.execute(f"describe from {chunk}").fetchall()}
        for name, _, ids in entering.named(self.source, types) if self.tombstones else ():
            gone += con.execute(
                f"delete from {chunk} where {name} in (select id from (select distinct {name} as id "
                f"from {chunk}) where {entering.is_forgotten(ids, self.tombstones)})"
            ).fetchall()[0][0]
        if self.since:
            too_old = con.execute(
                f"delete from {chunk} where {_is_older(self.source, types, self.since)}"
            ).fetchall()[0][0]
        return gone, too_old


def prune(
    con: duckdb.DuckDBPyConnection, source: Source, folder: Path, days: int, since: datetime | None
) -> int:
    """Take events out of what was landed that are older than retention allows; how many these were.

    Its own newest event tells too, before anything was read. Once something was (`since`), they may
    grow older by a tenth, as in what was read: each time all is read again.
    """
    paths = [str(folder / part.name) for part in landed.read(folder).parts]
    if not paths:
        return 0
    relation = f"read_parquet({literal(paths)}, union_by_name = true)"
    types = {row[0]: row[1] for row in con.execute(f"describe from {relation}").fetchall()}
    at, _ = mapping.moment(source, source.columns.event_at, types)
    first, newest = con.execute(
        f"select min({at}), max({at}) filter (where {at} <= ?) from {relation}", [tomorrow()]
    ).fetchall()[0]
    known = [since] * bool(since) + [entering.first_kept(newest, days)] * bool(newest)
    slack = timedelta(days=entering.slack(days) if since else 0)
    if first is None or not known or first >= max(known) - slack:
        return 0
    return landed.remove_rows(con, folder, _is_older(source, types, max(known)), "count_too_old")


def _is_older(source: Source, types: Mapping[str, str], since: datetime) -> str:
    at, _ = mapping.moment(source, source.columns.event_at, types)
    return f"coalesce({at} < timestamp {literal(str(since))}, false)"
