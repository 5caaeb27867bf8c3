"""What `doctor` looks at in a warehouse: its files, who holds them, what was left lying about."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import duckdb

from behavsql import __version__
from behavsql.database_file import damage, reading
from behavsql.doctor.diagnosis import Line, megabytes, ok, problem, warning
from behavsql.errors import LockedError, WarehouseError
from behavsql.rollback import rolled_back
from behavsql.time_travel import SCRATCH
from behavsql.warehouse import KEPT_VERSIONS, Warehouse


def examine(warehouse: Warehouse) -> Iterator[Line]:
    """The three files, the locks on them, and what nobody needs any more."""
    is_building = warehouse.is_building()
    yield _published(warehouse)
    yield _build(warehouse, is_building)
    yield _raw(warehouse, is_building)
    yield _log(warehouse)
    yield _lock(warehouse, is_building)
    yield _versions(warehouse)
    yield _leftovers(warehouse, is_building)


def _published(warehouse: Warehouse) -> Line:
    path = warehouse.published
    if not path.exists():
        return warning("published file", f"{path}: not there", "behavsql build")
    size = megabytes(path.stat().st_size)
    if why := damage(path):
        return problem("published file", f"{path}: {size}, damaged: {why}", "behavsql build")
    try:
        with reading(path) as con:
            tags = con.execute(
                "select tags from duckdb_databases() where database_name = 'file'"
            ).fetchall()[0][0]
            made_by = _made_by(con)
    except LockedError as error:
        return problem("published file", f"{path}: {_holder(error)} writes to it", _stop(error))
    except WarehouseError:
        return _closed("published file", path)
    storage = tags.get("storage_version", "unknown")
    oldest = re.match(r"v(\d+\.\d+)", storage)
    clients = f", for DuckDB {oldest[1]} and newer" if oldest else ""
    told = f"{path}: {size}, storage {storage}{clients}, by behavsql {made_by or 'unknown'}"
    if older := _is_rolled_back(warehouse):
        return warning("published file", f"{told}; {older}", "behavsql build -s publish")
    return ok("published file", told)


def _is_rolled_back(warehouse: Warehouse) -> str | None:
    try:
        with reading(warehouse.build) as con:
            return "restored by `behavsql rollback`" if rolled_back(warehouse, con) else None
    except (WarehouseError, duckdb.Error):
        return None


def _made_by(con: duckdb.DuckDBPyConnection) -> str | None:
    """The newest behavsql that wrote to a file; None where it does not say."""
    try:
        rows = con.execute("select distinct behavsql_version from meta.runs").fetchall()
    except duckdb.Error:
        return None
    return max((version for (version,) in rows if version), key=_numbers, default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _build(warehouse: Warehouse, is_building: bool) -> Line:
    path = warehouse.build
    line = _state("build file", path, is_building)
    if line.status != "ok" or not path.exists():
        return line
    try:
        with reading(path) as con:
            made_by = _made_by(con)
    except LockedError:  # a build that is running, or has begun since the line before
        return line
    if made_by and _numbers(made_by) > _numbers(__version__):
        return problem(
            "build file", f"{line.value}, written by behavsql {made_by}; this is {__version__}",
            f"pip install --upgrade {shlex.quote(f'behavsql>={made_by}')}",
        )  # fmt: skip
    return ok("build file", f"{line.value}, by behavsql {made_by or 'unknown'}")


def _raw(warehouse: Warehouse, is_building: bool) -> Line:
    if warehouse.build.exists() and not warehouse.raw.exists():
        return warning("raw file", f"{warehouse.raw}: gone", "behavsql build")
    return _state("raw file", warehouse.raw, is_building)


def _state(name: str, path: Path, is_building: bool) -> Line:
    """Whether a file of `.work` can be opened, and if not, why."""
    if not path.exists():
        return ok(name, "none yet")
    size = megabytes(path.stat().st_size)
    if why := damage(path):
        return problem(name, f"{path}: {size}, damaged: {why}", "behavsql build --full")
    try:
        with reading(path):
            pass
    except LockedError as error:
        if is_building:
            return ok(name, f"{path}: {size}, in use by the build that is running")
        return problem(name, f"{path}: {_holder(error)} holds it", _stop(error))
    except WarehouseError:
        return _closed(name, path)
    return ok(name, f"{path}: {size}")


def _closed(name: str, path: Path) -> Line:
    return problem(name, f"{path}: permission denied", f"chmod u+rw {shlex.quote(str(path))}")


def _holder(error: LockedError) -> str:
    who = re.search(r"\((.+?), PID (\d+)\)", str(error))
    return f"another process ({who[1]}, PID {who[2]})" if who else "another connection"


def _stop(error: LockedError) -> str:
    who = re.search(r"PID (\d+)", str(error))
    return f"kill {who[1]}" if who else "close that connection"


def _log(warehouse: Warehouse) -> Line:
    log = Path(f"{warehouse.published}.wal")
    if not log.exists():
        return ok("write-ahead log", "none beside the published file")
    if not warehouse.published.exists():
        return warning("write-ahead log", f"{log}: of a file that is gone", _remove(log))
    told = f"{log}: somebody wrote into the published file and did not close it"
    return warning("write-ahead log", told, "behavsql build -s publish")


def _lock(warehouse: Warehouse, is_building: bool) -> Line:
    if not is_building:
        return ok("lock", "no build is running")
    try:
        with reading(warehouse.build):
            return ok("lock", "a build is running")
    except LockedError as error:
        who = re.search(r", (PID \d+)\)", str(error))
        return ok("lock", f"a build is running, {who[1]}" if who else "a build is running")
    except WarehouseError:
        return ok("lock", "a build is running")


def _versions(warehouse: Warehouse) -> Line:
    kept = warehouse.kept_versions()
    size = megabytes(sum(path.stat().st_size for path in kept))
    told = f"{len(kept)} kept ({size})"
    if damaged := [path for path in kept if damage(path)]:
        return warning("versions", f"{told}, damaged: {damaged[0].name}", _remove(*damaged))
    if len(kept) > KEPT_VERSIONS:
        return warning("versions", f"{told}, {KEPT_VERSIONS} are meant to be",
                       _remove(*kept[KEPT_VERSIONS:]))  # fmt: skip
    return ok("versions", told)


def _leftovers(warehouse: Warehouse, is_building: bool) -> Line:
    """Half-made copies, damaged files that were set aside, and scratch folders of what was killed."""
    found = [
        path for pattern in ("*.damaged-*", f"{SCRATCH}*") for path in warehouse.work.glob(pattern)
    ]
    if not is_building:  # a running build's own are no left-overs
        patterns = ("candidate.duckdb*", "*.duckdb.tmp", "spill", "parts")
        found += [path for pattern in patterns for path in warehouse.work.glob(pattern)]
    if not found:
        return ok("left-overs", "none")
    found.sort()
    names = ", ".join(path.name for path in found)
    return warning("left-overs", f"{names} ({megabytes(sum(map(_size, found)))})", _remove(*found))


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(below.stat().st_size for below in path.rglob("*") if below.is_file())
    return path.stat().st_size


def _remove(*paths: Path) -> str:
    return "rm -r " + " ".join(shlex.quote(str(path)) for path in paths)
