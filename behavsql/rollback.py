"""`behavsql rollback`: a kept version of the published file, published again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from behavsql import publishing
from behavsql.config import Config
from behavsql.database_file import damage, reading
from behavsql.errors import ConfigError, WarehouseError
from behavsql.warehouse import Warehouse


@dataclass(frozen=True)
class Version:
    """A published file that was replaced and kept; 1 is the one before the current."""

    number: int
    path: Path
    published_at: datetime  # UTC: when its run ended; the file's own time where it cannot be read
    size: int  # bytes
    run_id: int | None = None  # the build that made it
    behavsql_version: str | None = None
    tasks: tuple[str, ...] = ()
    problem: str | None = None  # why it cannot be restored


def versions(config: Config) -> list[Version]:
    """The versions that are kept, the newest first; empty where nothing was ever replaced."""
    warehouse = Warehouse(config.warehouse)
    return [_version(number, path) for number, path in enumerate(warehouse.kept_versions(), 1)]


def _version(number: int, path: Path) -> Version:
    at = datetime.fromtimestamp(int(path.stem) // 10**9, UTC).replace(tzinfo=None)
    known = (number, path, at, path.stat().st_size)
    if problem := damage(path):
        return Version(*known, problem=problem)
    try:
        with reading(path) as con:
            run_id, made_by, ended_at = con.execute(
                "select max(run_id), arg_max(behavsql_version, run_id), "
                "arg_max(coalesce(finished_at, started_at), run_id) from meta.runs"
            ).fetchall()[0]
            tasks = con.execute(
                "select task from meta.tasks where status = 'ready' order by task"
            ).fetchall()
    except (WarehouseError, duckdb.Error) as error:
        return Version(*known, problem=str(error).splitlines()[0])
    # The name of the file is when it was put in place, which a rollback does again.
    known = (number, path, ended_at or at, known[-1])
    return Version(*known, run_id, made_by, tuple(task for (task,) in tasks))


def roll_back(config: Config, number: int = 1) -> Version:
    """Publish a kept version again, as atomically as a build does; which one it was.

    What was published becomes the newest kept version, so that another `roll_back` undoes this one.
    Builds go on from where they were: the build file stays as it is. What was inserted since the
    version was built stands in its inbox. Raises WarehouseError where nothing is kept or the
    version is damaged, ConfigError for a number there is not, LockedError while a build runs.
    """
    warehouse = Warehouse(config.warehouse)
    _choose(config, number)  # before the lock, which makes a folder where there is none
    with warehouse.locked():
        chosen = _choose(config, number)
        publishing.put(warehouse, chosen.path, config.settings.publish_mode)
    return chosen


def _choose(config: Config, number: int) -> Version:
    kept = versions(config)
    if not kept:
        raise WarehouseError(
            f"{Warehouse(config.warehouse).versions}: no version is kept; one is for every published "
            f"file that a later build replaced. Run `behavsql build`."
        )
    if not 1 <= number <= len(kept):
        raise ConfigError(
            f"rollback --to {number}: there is no such version; allowed are 1 to {len(kept)}. "
            f"See `behavsql rollback --list`."
        )
    chosen = kept[number - 1]
    if chosen.problem:
        raise WarehouseError(
            f"{chosen.path}: version {number} cannot be opened: {chosen.problem}; allowed is a file "
            f"that is whole. Choose another: `behavsql rollback --list`."
        )
    return chosen


def rolled_back(warehouse: Warehouse, con: duckdb.DuckDBPyConnection) -> str | None:
    """That the published file is older than the last build's, and until when; None if it is not.

    con: the build database. Told from the files themselves, so no record can be wrong about it.
    """
    built = con.execute(
        "select arg_max(runs.run_id, builds.build_id), arg_max(runs.started_at, builds.build_id) "
        "from meta.builds as builds inner join meta.runs as runs on runs.run_id = builds.run_id "
        "where builds.step = 'publish'"
    ).fetchall()[0]
    try:
        with reading(warehouse.published) as published:
            here = published.execute(
                "select max(run_id), arg_max(started_at, run_id) from meta.runs"
            ).fetchall()[0]
    except (WarehouseError, duckdb.Error):
        return None
    if None in (*built, *here):
        return None
    # By number among the runs that this build file knows; by time if it is a new one.
    is_known = con.execute(
        "select 1 from meta.runs where run_id = ? and started_at = ?", list(here)
    ).fetchall()
    if here[0] >= built[0] if is_known else here[1] >= built[1]:
        return None
    return (
        f"{warehouse.published}: the version of run {here[0]} ({here[1]:%Y-%m-%d %H:%M} UTC), which "
        f"`behavsql rollback` restored, not that of run {built[0]}; it stays until something changes. "
        f"To publish the newest build again: behavsql build -s publish"
    )
