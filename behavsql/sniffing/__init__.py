"""Event files -> the config that reads them: which column plays which part, and what told so.

Names are tried first (`column_names.py`), then what the columns hold (`column_looks.py`). Nothing
is asked: what the data cannot tell is either given as a choice or said as a doubt.
"""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import duckdb

from behavsql.config import Settings
from behavsql.errors import ConfigError, SourceError, nearest
from behavsql.input.log_format import SIGNS
from behavsql.input.sources import check_columns, check_files, described, reading, unreadable
from behavsql.interrupts import interruptible
from behavsql.sniffing.text_files import Reading, reading_of
from behavsql.source import Source


@dataclass(frozen=True)
class Choices:
    """What the user says rather than leaves to be told from the data; columns unless noted."""

    user: str | None = None  # several joined by commas
    time: str | None = None
    item: str | None = None
    type: str | None = None
    value: str | None = None
    price: str | None = None
    quantity: str | None = None
    at_unit: str | None = None  # a unit of source.Source
    default_type: str | None = None  # a word

    def columns(self) -> dict[str, list[str]]:
        """Option -> the columns it names."""
        given = {
            key: getattr(self, key) or ""
            for key in ("user", "time", "item", "type", "value", "price", "quantity")
        }
        return {
            key: [part.strip() for part in text.split(",")] for key, text in given.items() if text
        }


@dataclass
class Sniffed:
    """One source as it was understood.

    raw: its table of the config. why: config key -> what told it. words: event word -> (role,
    whether that is a guess). doubts: what the data could not tell. missing: why these are no
    events (None if they are). shown, rows: names and values of three rows as they will be read.
    facts: rows, users and span, for people. unknown_users: share of rows without a user. rejected:
    share of rows that a build will reject.
    """

    raw: dict[str, Any]
    why: dict[str, str] = field(default_factory=dict)
    words: dict[str, tuple[str, bool]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    missing: str | None = None
    unused: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    rows: list[tuple] = field(default_factory=list)
    facts: str = ""
    unknown_users: float = 0.0
    rejected: float = 0.0


def sniff_config(paths: list[Path], **choices: str | None) -> dict[str, Any]:
    """The raw config dict that reads these files; `choices` are the fields of `Choices`.

    Raises ConfigError for a file that is not there and if no user or no time column can be told,
    SourceError for an unreadable file.
    """
    return config_of(sniff([str(path) for path in paths], Choices(**choices)))


def config_of(found: list[Sniffed]) -> dict[str, Any]:
    """The sources' tables, their types, and the settings they need, as one raw config."""
    config: dict[str, Any] = {}
    if (most := _max_rejected_share(found)) != Settings().max_rejected_share:
        config["settings"] = {"max_rejected_share": most}
    config["source"] = [source.raw for source in found]
    types = {word: role for source in found for word, (role, _) in source.words.items()}
    return config | ({"types": types} if types else {})


def _max_rejected_share(found: list[Sniffed]) -> float:
    """Rows of nobody known are real in shops; the share that stops a build must lie above them."""
    worst, usual = max(source.unknown_users for source in found), Settings().max_rejected_share
    return min(round(worst + 0.1, 1), 1.0) if worst > 0.9 * usual else usual


def sniff(patterns: list[str], choices: Choices) -> list[Sniffed]:
    """Look at files and globs; files of one shape in one folder become one source."""
    from behavsql.sniffing.source import SourceSniffer

    units = get_args(Source.model_fields["at_unit"].annotation)
    if choices.at_unit and choices.at_unit not in units:
        raise ConfigError(
            f"--at-unit: it is {choices.at_unit!r}; allowed are {', '.join(units)}. Choose one."
        )
    with duckdb.connect() as con, interruptible(con):
        con.execute("set enable_progress_bar = false; set timezone = 'UTC'")
        sources = _grouped(con, patterns)
        _check_choices(con, sources, choices)
        found = []
        for path, files in sources:
            with readable(files):
                found.append(SourceSniffer(con, path, files, choices).run())
    if all(source.missing for source in found):
        raise ConfigError(found[0].missing)
    _name_apart(found)
    most = _max_rejected_share(found)
    for source in found:
        if source.rejected > most:
            source.doubts.append(
                f"rejected: {source.rejected:.0%} of the rows: more than max_rejected_share "
                f"({most:.0%}) allows, so a build will stop; filter them, or raise it under [settings]."
            )
    return found


@contextmanager
def readable(files: list[Path]) -> Iterator[None]:
    """What DuckDB says of these files as a SourceError."""
    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise SourceError(unreadable(files, error)) from None


def look(
    con: duckdb.DuckDBPyConnection, files: list[Path], told: Reading
) -> tuple[str, dict[str, str]]:
    """(FROM clause, column -> type) of files that are what their names say, as a build sees them."""
    check_files(told.source, files)
    with readable(files):
        relation, types = described(con, reading(con, told.source, files))
    types.pop(SIGNS, None)
    check_columns(files, types)
    return relation, types


def _grouped(con: duckdb.DuckDBPyConnection, patterns: list[str]) -> list[tuple[str, list[Path]]]:
    """(path or glob, its files) per source, paths absolute."""
    sources: list[tuple[str, list[Path]]] = []
    singles: dict[tuple, list[Path]] = {}
    for pattern in dict.fromkeys(patterns):
        whole = str(Path(pattern).absolute())
        if glob.has_magic(pattern) and not Path(pattern).exists():
            files = sorted(Path(file) for file in glob.glob(whole, recursive=True))
            if not files:
                raise ConfigError(
                    f"{pattern}: no file matches; allowed is a path or a glob. Mend it."
                )
            sources.append((whole, [_checked(file) for file in files]))
        else:
            path = _checked(Path(whole))
            columns = tuple(look(con, [path], reading_of([path]))[1])
            singles.setdefault((path.parent, path.suffix, columns), []).append(path)
    for (folder, suffix, _), files in singles.items():
        # Names, not paths: up to the first character in which they differ.
        start = os.path.commonprefix(  # noqa: RUF071
            [file.name.removesuffix(suffix) for file in files]
        )
        pattern = str(folder / f"{start}*{suffix}")
        if len(files) > 1 and sorted(glob.glob(pattern)) == sorted(map(str, files)):
            sources.append((pattern, sorted(files)))
        else:
            sources += [(str(file), [file]) for file in files]
    return sources


def _checked(path: Path) -> Path:
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such file; allowed is a path or a quoted glob. Mend it."
        )
    if path.is_dir():
        raise ConfigError(
            f"{path}: is a folder; allowed are files. Write for example '{path}/*.csv'."
        )
    if path.stat().st_size == 0:
        raise SourceError(
            f"{path}: the file is empty; allowed is a file with a header and rows. Choose another."
        )
    return path


def _check_choices(
    con: duckdb.DuckDBPyConnection, sources: list[tuple[str, list[Path]]], choices: Choices
) -> None:
    """Refuse a column that no file has."""
    if not choices.columns():
        return
    known = [name for _, files in sources for name in look(con, files, reading_of(files))[1]]
    for option, columns in choices.columns().items():
        for column in columns:
            if column not in known:
                raise ConfigError(
                    f'--{option}: {sources[0][0]} has no column "{column}"; its columns are '
                    f"{', '.join(dict.fromkeys(known))}."
                    f"{nearest(column, known) or ' Choose one of them.'}"
                )


def _name_apart(found: list[Sniffed]) -> None:
    """Name sources after their files: letters, digits and _, each its own."""
    taken: set[str] = set()
    for source in found:
        stem = Path(source.raw["path"]).name.split("*")[0].split(".")[0]
        stem = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")
        base = stem if stem[:1].isalpha() else f"events_{stem}".strip("_")
        number = 1
        while (name := base if number == 1 else f"{base}_{number}") in taken:
            number += 1
        taken.add(name)
        source.raw["name"] = name
