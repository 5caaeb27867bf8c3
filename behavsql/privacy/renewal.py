"""Files begun anew when what stands in them must not be there any more: ids, or events too old.

DuckDB files keep the bytes of what was deleted, and kept versions keep all they had. So

    pseudonyms turned on   `build --full` removes what was built with users' own ids, and once the new
                           file is published, the version before it
    events grown too old   after the build that left them out, the files are written anew and published
                           again, and kept versions are removed

privacy.json remembers how far that has come, so that a build that was killed is finished by the next.
"""

import contextlib
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from behavsql import publishing
from behavsql.config import Config
from behavsql.database_file import DamagedError, reading
from behavsql.errors import ConfigError
from behavsql.privacy import entering, purge
from behavsql.privacy.register import Register
from behavsql.progress import Progress
from behavsql.warehouse import Warehouse

REMOVE, PUBLISH = "remove", "publish"  # what of beginning anew is still to be done
UNKNOWN = "0001-01-01"  # events of any age may stand in some file


def refuse(config: Config, warehouse: Warehouse, is_full: bool) -> bool:
    """Whether files with ids are to be begun anew; ConfigError where they would stay beside pseudonyms."""
    is_built = warehouse.build.exists() or warehouse.published.exists()
    if not is_built or not config.privacy.pseudonyms or Register.read(warehouse).has_pseudonyms:
        return False
    if not is_full:
        raise ConfigError(
            f"{config.origin}: [privacy] pseudonyms is true, and {warehouse.folder} was built with the "
            f"users' own ids, which stand in its files, its history and its kept versions; allowed is a "
            f"warehouse begun with pseudonyms. Run `behavsql build --full`: it begins all of them anew, "
            f"without what was predicted in the past."
        )
    return True


def prepare(config: Config, warehouse: Warehouse, is_full: bool) -> None:
    """Note what has to be begun anew, before the key is noted. Errors as `refuse`."""
    register = Register.read(warehouse)
    told = (register.renewing, register.oldest)
    if refuse(config, warehouse, is_full):
        register.renewing = REMOVE
    if config.privacy.retention_days is None:
        register.oldest = ""
    elif not register.oldest and warehouse.build.exists():
        register.oldest = UNKNOWN
    if told != (register.renewing, register.oldest):
        register.write(warehouse)


def begin(warehouse: Warehouse, say: Callable[[str], None]) -> None:
    """Remove what was built with ids, if that is to be done; what was inserted is in the archive by now."""
    register = Register.read(warehouse)
    if register.renewing != REMOVE:
        return
    for path in warehouse.work.iterdir():
        if path.name != "build.lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    warehouse.versions.mkdir(0o700)
    register.renewing = PUBLISH
    register.write(warehouse)
    say("  users get pseudonyms: all that was built with their ids was removed")


def finish(config: Config, warehouse: Warehouse, is_published: bool, progress: Progress) -> None:
    """Finish what the build that is over has made possible; nothing where it did not publish."""
    register = Register.read(warehouse)
    if not is_published or not (register.renewing or config.privacy.retention_days):
        return
    if register.renewing == PUBLISH:
        _remove_versions(warehouse)
        register.renewing = ""
        register.write(warehouse)
    first = _first_day(warehouse) if config.privacy.retention_days else ""
    if first and register.oldest and first > register.oldest:
        with progress.step("write files anew") as line:
            _write_anew(config, warehouse)
            line.note = f"events before {first} are gone from all of them"
    if first and first != register.oldest:
        register.oldest = first
        register.write(warehouse)


def note_age(config: Config, warehouse: Warehouse) -> None:
    """Note from which day on inserted events are kept; it moves once they are a tenth too old."""
    register, days = Register.read(warehouse), config.privacy.retention_days
    newest, since = _asked(warehouse, "max") if days else None, register.kept_since
    if not days:
        since = ""
    elif newest:
        first = entering.first_kept(newest, days)
        if not since or first >= datetime.fromisoformat(since) + timedelta(entering.slack(days)):
            since = f"{first:%Y-%m-%d}"
    if since != register.kept_since:
        register.kept_since = since
        register.write(warehouse)


def _first_day(warehouse: Warehouse) -> str:
    first = _asked(warehouse, "min")
    return f"{first:%Y-%m-%d}" if first else ""


def _asked(warehouse: Warehouse, function: str) -> datetime | None:
    """The first, or the newest, event that was read; what lies in the future is none."""
    if not warehouse.raw.exists():
        return None
    try:
        with reading(warehouse.raw) as con:
            return con.execute(
                f"select {function}(event_at) from loaded "
                "where event_at <= (select max(latest_possible_at) from clock)"
            ).fetchall()[0][0]
    except (DamagedError, duckdb.CatalogException):
        return None


def _write_anew(config: Config, warehouse: Warehouse) -> None:
    if _has_gaps(warehouse.raw):  # rows are known by their places: read again instead
        for path in (warehouse.raw, Path(f"{warehouse.raw}.wal")):
            path.unlink(missing_ok=True)
    purge.compact(config, warehouse.raw)
    purge.compact(config, warehouse.build)
    publishing.put(warehouse, warehouse.build, config.settings.publish_mode)
    _remove_versions(warehouse)
    for path in warehouse.work.glob("*.damaged*"):
        path.unlink()


def _has_gaps(raw: Path) -> bool:
    with contextlib.suppress(DamagedError, duckdb.CatalogException), reading(raw) as con:
        told = con.execute("select count(*) <> coalesce(max(rowid) + 1, 0) from loaded").fetchall()
        return told[0][0]
    return True


def _remove_versions(warehouse: Warehouse) -> None:
    for path in warehouse.kept_versions():
        path.unlink()
