"""What was landed of a source that is a database: Parquet files and an index of what they hold.

    warehouse/.work/landing/<source>/000001.parquet   rows as they came, in order of the watermark
    warehouse/.work/landing/<source>/index.json       the files that count, with their watermarks

A file never changes: rows that replace others come in files with new names. What the index does not
name is the rest of a read that was stopped.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.database_file import PRIVATE
from behavsql.quoting import literal
from behavsql.source import Source
from behavsql.warehouse import Warehouse

INDEX = "index.json"


@dataclass(frozen=True)
class Part:
    """One file. low, high: its watermarks, as text; None for rows that have none."""

    name: str
    count_rows: int
    content: int  # sum of the rows' hashes: the same for the same rows in another order
    low: str | None = None
    high: str | None = None
    count_forgotten: int = 0  # rows of forgotten users that were left out
    count_too_old: int = 0  # rows past retention that were left out


@dataclass
class Index:
    """What was landed, and what it is an answer to."""

    asked: str = ""  # digest of where and what was asked
    columns: dict[str, str] = field(default_factory=dict)  # name -> type on the server
    order: str = ""  # of the watermark: "number" | "time" | "text"; "" where there is none
    following: int = 1  # number of the next file
    parts: list[Part] = field(default_factory=list)

    @property
    def mark(self) -> str | None:
        """The highest watermark that was landed."""
        return next((part.high for part in reversed(self.parts) if part.high is not None), None)


def folder_of(config: Config, source: Source) -> Path:
    return Warehouse(config.warehouse).work / "landing" / source.name


def files(config: Config, source: Source) -> list[Path]:
    """The files that count, oldest first; none where nothing was landed yet, or where one is gone."""
    folder = folder_of(config, source)
    return sorted(folder / part.name for part in read(folder).parts)


def drop_gone(config: Config) -> None:
    """Remove what was landed of sources that are databases no longer: they could not be forgotten."""
    known = [folder_of(config, source) for source in config.source if source.url]
    for folder in (Warehouse(config.warehouse).work / "landing").glob("*"):
        if folder not in known:
            shutil.rmtree(folder)


def read(folder: Path) -> Index:
    """The index of a folder; an empty one where there is none, or a file it names is gone."""
    try:
        data = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        index = Index(**data | {"parts": [Part(**part) for part in data["parts"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return Index()
    return index if all((folder / part.name).is_file() for part in index.parts) else Index()


def write(folder: Path, index: Index) -> None:
    """Replace the index: whole or not at all."""
    place = folder / f".{INDEX}.part"
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w") as file:
        json.dump(asdict(index), file, indent=1)
    put(place, folder / INDEX)


def put(part: Path, path: Path) -> None:
    """Give a finished file its name, safe from a loss of power."""
    for place, flags in ((part, os.O_RDWR), (path.parent, os.O_RDONLY)):
        if place is not part:
            os.replace(part, path)
        handle = os.open(place, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_rows(
    con: duckdb.DuckDBPyConnection, folder: Path, condition: str, counted: str = "count_forgotten"
) -> int:
    """Rewrite the files without the rows that meet a condition in SQL; how many these were.

    counted: where of a part.

    The watermark stays where it was: rows below it are not asked for again. Those at it, and those
    that have none, are; who must stay out has to be kept out where rows are landed, too.
    """
    index, removed, parts = read(folder), 0, []
    for part in index.parts:
        relation = f"read_parquet({literal(str(folder / part.name))})"
        count = con.execute(f"select count(*) from {relation} where {condition}").fetchall()[0][0]
        if count:
            removed += count
            left = f"(from {relation} where ({condition}) is not true)"
            so_far = {"count_forgotten": part.count_forgotten, "count_too_old": part.count_too_old}
            so_far[counted] += count
            part = replace(new_part(con, folder, index, left, part.low, part.high), **so_far)
        parts.append(part)
    if removed:
        index.parts = parts
        write(folder, index)
        tidy(folder, index)
    return removed


def new_part(
    con: duckdb.DuckDBPyConnection, folder: Path, index: Index, relation: str,
    low: str | None = None, high: str | None = None,
) -> Part:  # fmt: skip
    """Write a relation to the next file, complete or not at all; the index is not written."""
    rows, content = con.execute(
        f"select count(*), coalesce(sum(hash(*columns(*))), 0) from {relation}"
    ).fetchall()[0]
    name = f"{index.following:06}.parquet"
    place = folder / f".{name}.part"
    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE))
    con.execute(
        f"copy (from {relation}) to {literal(str(place))} "
        "(format parquet, compression zstd, use_tmp_file false)"
    )
    put(place, folder / name)
    index.following += 1
    return Part(name, rows, int(content), low, high)


def tidy(folder: Path, index: Index) -> None:
    """Remove what the index does not name."""
    kept = {INDEX, *(part.name for part in index.parts)}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
