"""`behavsql doctor`: what is wrong with the installation, the config and the warehouse, and the cure."""

import importlib.metadata
import platform
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from behavsql import __version__, config
from behavsql.config import Config
from behavsql.doctor import files, machine
from behavsql.doctor.diagnosis import Line, ok, problem
from behavsql.errors import BehavsqlError
from behavsql.warehouse import Warehouse

PACKAGES = (
    "duckdb", "polars", "pyarrow", "numpy", "scikit-learn", "lightgbm", "tensorflow", "keras",
)  # fmt: skip


def examine(
    path: Path | None = None, folder: Path | None = None, is_here: bool = False
) -> Iterator[Line]:
    """Everything that is looked at, in order; nothing is changed, imported or raised.

    path: a config; None takes ./behavsql.toml if it `is_here`. folder: a warehouse, else the
    config's, else ./warehouse.
    """
    yield from _versions()
    known, line = _config(path, is_here)
    yield line
    if known:
        yield _sources(known)
    warehouse = Warehouse(folder or (known.warehouse if known else Path("warehouse")))
    yield from files.examine(warehouse)
    yield from machine.examine(warehouse, known)


def _versions() -> Iterator[Line]:
    yield ok("behavsql", __version__)
    yield ok("python", platform.python_version())
    needed = _required()
    for name in PACKAGES:
        least = needed.get(name)
        install = f"pip install --upgrade {shlex.quote(f'{name}>={least}') if least else name}"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield problem(name, "not installed", install)
            continue
        if least and _numbers(version) < _numbers(least):
            yield problem(name, f"{version}, needed is {least} or newer", install)
        else:
            yield ok(name, version)


def _required() -> dict[str, str]:
    """Package -> the oldest version that will do, as behavsql's own metadata has it."""
    try:
        listed = importlib.metadata.requires("behavsql") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
        return {}
    found = (re.match(r"([A-Za-z0-9_.-]+)[^;]*?>=\s*([0-9.]+)", line) for line in listed)
    return {match[1].lower(): match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _config(path: Path | None, is_here: bool) -> tuple[Config | None, Line]:
    if path is None and not is_here:
        return None, ok("config", f"no {config.FILE_NAME} here: a build takes the bundled sample")
    name = str(path or config.FILE_NAME)
    try:
        return config.load(path), ok("config", name)
    except BehavsqlError as error:
        return None, problem("config", str(error), f"edit {name}")


def _sources(known: Config) -> Line:
    from behavsql.input import sources

    try:
        count = sum(len(sources.find_files(known, source)) for source in known.source)
    except (BehavsqlError, OSError) as error:
        return problem("sources", str(error), f"edit {known.origin}")
    counted = [
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((count, "file"), (len(known.source), "source"))
    ]
    return ok("sources", " in ".join(counted))
