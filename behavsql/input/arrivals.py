"""Which files came since the sources were read, and whether what was read still stands.

A file is the one that was read if its size and time are those of then, or, where only the time is
another, if its content is.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from behavsql.config import INBOX, Config
from behavsql.input import sources
from behavsql.input.sources import Scan
from behavsql.source import Source


@dataclass
class Arrivals:
    """New files by source, in the order in which they are read."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    why_not: str = ""  # why they cannot simply be added to what was read, in words

    def __bool__(self) -> bool:
        return bool(self.files or self.why_not)


def note(con: duckdb.DuckDBPyConnection, config: Config, scans: Mapping[str, Scan]) -> None:
    """Write `raw.files`: what has just been read."""
    for name, scan in scans.items():
        add(con, config, name, scan.files)


def add(con: duckdb.DuckDBPyConnection, config: Config, source: str, files: list[Path]) -> None:
    """Note files of a source that have been read."""
    rows = []
    for path in files:
        stat = path.stat()
        name = os.path.relpath(path, config.folder)
        rows.append((source, name, stat.st_size, stat.st_mtime_ns, digest(path)))
    if rows:
        con.executemany("insert into raw.files values (?, ?, ?, ?, ?)", rows)


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(con: duckdb.DuckDBPyConnection, config: Config) -> Arrivals:
    """What came to the sources since they were read."""
    known = con.execute(
        "select 1 from duckdb_tables() where database_name = 'raw' and table_name = 'files'"
    ).fetchall()
    if not known:
        return Arrivals(why_not="the sources were read by an earlier behavsql")
    read: dict[str, dict[str, tuple]] = {}
    for source, *rest in con.execute("from raw.files").fetchall():
        read.setdefault(source, {})[rest[0]] = tuple(rest[1:])
    found = Arrivals()
    for source in config.source:
        own = read.pop(source.name, {})
        if source.name == INBOX:
            if files := _inserted(con, config, source):
                found.files[INBOX] = files
            continue
        _compare(config, source, own, found)
    if read and not found.why_not:
        found.why_not = f"source {next(iter(read))} is gone"
    return found


def _inserted(con: duckdb.DuckDBPyConnection, config: Config, source: Source) -> list[Path]:
    """The archive of the inbox, if it has rows that were not read yet."""
    files = sources.find_files(config, source)
    is_more = con.execute(
        "select (select count(*) from read_parquet(?)) > "
        "coalesce((select max(count_rows) from raw.sources where source = ?), 0)",
        [[str(path) for path in files], INBOX],
    ).fetchall()[0][0]
    return files if is_more else []


def _compare(config: Config, source: Source, own: dict[str, tuple], found: Arrivals) -> None:
    """Add a source's new files, or say why they cannot be added."""
    files = sources.find_files(config, source)
    names = {os.path.relpath(path, config.folder): path for path in files}
    new = [path for name, path in names.items() if name not in own]
    told = [f"{name} is gone" for name in own if name not in names]
    told += [
        f"{name} changed" for name in own if name in names and _changed(names[name], own[name])
    ]
    if new and own:
        last = max(path for name, path in names.items() if name in own) if not told else None
        told += [
            f"{path.name} is read before files that were read already (files are read by name)"
            for path in new if last and (path < last or str(path) < str(last))
        ]  # fmt: skip
    if new and not source.is_events:
        told.append(f"it is of kind {source.kind}, which is read as a whole")
    if not own:
        told.append("it is new")
    if told and not found.why_not:
        found.why_not = f"source {source.name}: {told[0]}"
    if new:
        found.files[source.name] = new


def _changed(path: Path, was: tuple) -> bool:
    stat = path.stat()
    size, modified, content = was
    if stat.st_size != size:
        return True
    return stat.st_mtime_ns != modified and digest(path) != content
