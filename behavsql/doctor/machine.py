"""What `doctor` looks at outside the files: the folder, the disk, the memory."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from behavsql.config import Config
from behavsql.doctor.diagnosis import Line, megabytes, ok, problem, warning
from behavsql.warehouse import Warehouse

UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
LITTLE_MEMORY = 10**9
DUCKDB_SHARE = 0.8  # of all memory, where no limit is set


def examine(warehouse: Warehouse, config: Config | None) -> Iterator[Line]:
    """Whether a build could write, and has the room it needs."""
    yield _folder(warehouse.folder)
    yield _disk(warehouse)
    yield _memory(config.settings.memory_limit if config else None)
    if config:
        yield _threads(config.settings.threads)


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    full = folder.absolute()
    return next(path for path in (full, *full.parents) if path.exists())


def _folder(folder: Path) -> Line:
    here = _existing(folder)
    if not here.is_dir():
        return problem("folder", f"{here} is no folder", "set `warehouse` under [settings]")
    closed = [path for path in (here, folder / ".work") if path.exists() and not _is_open(path)]
    if closed:
        return problem(
            "folder", f"{closed[0]} cannot be written", f"chmod u+rwx {shlex.quote(str(closed[0]))}"
        )
    return ok("folder", str(folder) if folder.exists() else f"{folder} can be made")


def _is_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)


def _disk(warehouse: Warehouse) -> Line:
    """Publishing copies the build file; building again may need as much once more."""
    free = shutil.disk_usage(_existing(warehouse.folder)).free
    needed = warehouse.build.stat().st_size if warehouse.build.exists() else 0
    value = f"{megabytes(free)} free, publishing needs {megabytes(needed)}"
    advice = "free disk space, or set `warehouse` under [settings] to another disk"
    if free < needed:
        return problem("disk", value, advice)
    if free < 2 * needed:
        return warning("disk", f"{value}, building anew as much again", advice)
    return ok("disk", value)


def _memory(limit: str | None) -> Line:
    total, available = memory()
    if total is None:
        return ok("memory", f"unknown on this system; memory_limit {limit or 'not set'}")
    said = f"memory_limit {limit}" if limit else "memory_limit not set (DuckDB takes up to 80%)"
    value = f"{megabytes(available)} of {megabytes(total)} available, {said}"
    allowed = to_bytes(limit) if limit else DUCKDB_SHARE * total
    fitting = max(int(available * DUCKDB_SHARE / 10**6), 1)
    remedy = f'set memory_limit = "{fitting}MB" under [settings]'
    if limit and allowed > available:
        return warning("memory", f"{value}: more than there is", remedy)
    if available < LITTLE_MEMORY:
        return warning("memory", f"{value}: little", "close other programs")
    return ok("memory", value)


def to_bytes(limit: str) -> int:
    """A memory_limit as the config allows it, in bytes.

    >>> to_bytes("4GB"), to_bytes("1.5 GiB")
    (4000000000, 1610612736)
    """
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", limit).groups()
    return int(float(number) * UNITS[unit])


def memory() -> tuple[int | None, int | None]:
    """(all, available) bytes of memory, a container's limit counted; None where it cannot be told."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = {key: int(kib) * 1024 for key, kib in re.findall(r"(\w+):\s+(\d+) kB", text)}
        total, available = found["MemTotal"], found["MemAvailable"]
    except (OSError, KeyError):
        return None, None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no limit, or none that is told this way
        return total, available
    return min(total, limit), max(min(available, limit - used), 0)


def _threads(threads: int | None) -> Line:
    cores = os.cpu_count() or 1
    if threads and threads > cores:
        return warning(
            "threads", f"{threads}, but {cores} cores", f"set threads = {cores} under [settings]"
        )
    return ok("threads", f"{threads or 'not set'}, {cores} cores")
