"""What users agreed to, and when: sources of kind "consent" -> `raw.consents`.

A row says of a user, a purpose and a moment whether the purpose is agreed to from then on. Without a
column for it a row is about every purpose. Its moment is called told_at, not event_at: the newest word
counts for all of the past, so a travel back in time must know it too.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb

from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.input.sources import Scan
    from behavsql.source import Source

ALL = "all"
YES = (
    "1", "1.0", "true", "t", "yes", "y", "granted", "accepted", "agreed", "opt-in", "opt_in", "in",
)  # fmt: skip
NO = (
    "0", "0.0", "false", "f", "no", "n", "denied", "refused", "rejected", "withdrawn", "revoked",
    "opt-out", "opt_out", "out",
)  # fmt: skip
TABLE = """
create or replace table raw.consents (
    source varchar, user_id varchar, unread_id varchar, purpose varchar, is_granted boolean,
    unread_word varchar, told_at timestamp, unread_at varchar
);
"""


def load(con: duckdb.DuckDBPyConnection, scans: "list[tuple[Source, Scan]]") -> None:
    """Fill raw.consents, and note the sources."""
    from behavsql.errors import SourceError
    from behavsql.input import mapping, sources, unread_lines

    con.execute(TABLE)
    for source, scan in scans:
        columns, types = source.columns, scan.types
        at, unread_at = mapping.moment(source, columns.event_at, types)
        word = f"lower(trim({mapping.text(columns.granted, types)}))"
        purpose = f"lower(trim({mapping.text(columns.purpose, types)}))"
        if columns.purpose is None:
            purpose = literal(ALL)
        granted = f"case when {word} in {_listed(YES)} then true when {word} in {_listed(NO)} then false end"
        try:
            con.execute(
                f"insert into raw.consents by name select {literal(source.name)} as source, "
                f"{mapping.user_id(source, types)} as user_id, {purpose} as purpose, "
                f"{granted} as is_granted, case when {granted} is null then {word} end as unread_word, "
                f"{at} as told_at, nullif(trim({unread_at}), '') as unread_at from {scan.relation}"
            )
        except duckdb.Error as error:
            raise SourceError(sources.unreadable(scan.files, error, source)) from None
        unread_lines.keep(con, source, scan.files, "consents")
        con.execute(
            "insert into raw.sources select ?, ?, ?, null, count(*), true, ?, 'none', null, null "
            "from raw.consents where source = ?",
            [source.name, source.kind, sources.listed(scan.files), source.has_dates, source.name],
        )


def _listed(words: tuple[str, ...]) -> str:
    return f"({', '.join(map(literal, words))})"


def contradictions(source: "Source", name: str) -> Iterator[str]:
    """Each contradiction in one sentence without its full stop."""
    columns = source.columns
    if source.kind != "consent":
        for key in ("purpose", "granted"):
            if getattr(columns, key):
                yield f'{name} of kind "{source.kind}" maps {key}, which kind = "consent" has; set it'
        return
    if source.features:
        yield f'{name} of kind "consent" sets features; it tells of consent alone: remove them'
