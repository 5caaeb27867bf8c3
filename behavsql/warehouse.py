"""The files of a warehouse: the build database, its lock, and the published file.

warehouse/behaviour.duckdb      what people open; replaced whole, never written in place
warehouse/.work/build.duckdb    the state that builds go on from
warehouse/.work/raw.duckdb      the input as it was read; never published
warehouse/.work/versions/       the last published files, for going back; named by when (mtime, ns)
warehouse/.work/*.damaged-1     what could not be opened any more and was replaced
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import duckdb

from behavsql.config import Config
from behavsql.database_file import (
    PRIVATE,
    STORAGE_VERSION,
    DamagedError,
    aside_name,
    damage,
    explained,
    open_file,
    reading,
    set_aside,
)
from behavsql.errors import LockedError, WarehouseError
from behavsql.interrupts import interruptible
from behavsql.quoting import identifier, literal

FILE_NAME = "behaviour.duckdb"
KEPT_VERSIONS = 3


class Warehouse:
    """Where the files of one warehouse lie; creates the folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.published = self.folder / FILE_NAME
        self.work = self.folder / ".work"
        self.build = self.work / "build.duckdb"
        self.raw = self.work / "raw.duckdb"
        self.versions = self.work / "versions"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other builders out for as long as the block runs; LockedError if one is in."""
        from filelock import FileLock, Timeout

        try:
            self.versions.mkdir(parents=True, exist_ok=True)
            self.work.chmod(0o700)  # logs and half-made copies in it are private too
            lock = FileLock(self.work / "build.lock", mode=PRIVATE)
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"{self.folder}: another build is running here; allowed is one at a time. "
                f"Wait for it, or set another `warehouse` folder."
            ) from None
        except OSError as error:
            raise WarehouseError(
                f"{self.folder}: cannot be written ({error.strerror}); allowed is a folder you may "
                f"write to. Set `warehouse` under [settings]."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def is_building(self) -> bool:
        """Whether a build holds the lock; nothing is changed by asking. False where that is unknown."""
        try:
            import fcntl
        except ImportError:  # Windows: there the files themselves refuse to be opened
            return False
        try:
            handle = os.open(self.work / "build.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    @contextmanager
    def building(self, config: Config) -> Iterator[duckdb.DuckDBPyConnection]:
        """The build database, open for writing with `raw` attached; closed on every path.

        What does not fit into memory_limit is spilled to `.work/spill`, which is gone afterwards.
        """
        spill = self.work / "spill"
        for left in (spill, self.work / "parts"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        con = open_file(self.build)
        try:
            with explained(self.raw):
                con.execute(
                    f"attach {literal(str(self.raw))} as raw (storage_version {literal(STORAGE_VERSION)})"
                )
            limit(con, config)
            con.execute(f"set temp_directory = {literal(str(spill))}")
            for path in (self.build, self.raw):
                path.chmod(PRIVATE)
            with interruptible(con):
                yield con
        finally:
            con.close()
            shutil.rmtree(spill, ignore_errors=True)

    def set_aside_damaged(self) -> list[str]:
        """Make room for a build from nothing: move away what cannot be opened; what was done."""
        damaged = [(path, why) for path in (self.build, self.raw) if (why := damage(path))]
        return [
            f"{path}: cannot be opened ({why}); kept as {set_aside(path, self.work).name}"
            for path, why in damaged
        ]

    def lost(self) -> dict[str, str]:
        """Step -> why its result is not to be had, whatever the records say."""
        found = {}
        if not self.published.exists():
            found["publish"] = "the published file is gone"
        elif why := damage(self.published):
            found["publish"] = f"the published file cannot be opened: {why}"
        if self.build.exists() and not self.raw.exists():
            found["raw.events"] = f"{self.raw.name} is gone"
        return found

    def publish(self, con: duckdb.DuckDBPyConnection, mode: int) -> Path | None:
        """Copy the build to the published file in one step that readers cannot see half of."""
        con.execute("checkpoint")
        limits = con.execute(
            "select name, value from duckdb_settings() where name in ('threads', 'memory_limit')"
        ).fetchall()
        return self.put(self.build, mode, dict(limits))

    def put(
        self, source: Path, mode: int, limits: Mapping[str, object] = MappingProxyType({})
    ) -> Path | None:
        """Publish a copy of `source`; under which name a damaged published file was kept, if one was.

        The copy is tried first (every view selected once), flushed to disk, then renamed over the
        old file; whoever has the old one open keeps reading it. A kept version that is published
        again is no kept one any more. LockedError if somebody writes to the old file: what they
        write next would land beside the new one.
        """
        is_sound = self._settle()
        candidate = self.work / "candidate.duckdb"
        for leftover in (candidate, Path(f"{candidate}.wal")):
            leftover.unlink(missing_ok=True)
        shutil.copyfile(source, candidate)
        _prove(candidate, limits)
        with candidate.open("rb") as file:
            os.fsync(file.fileno())
        candidate.chmod(mode)
        kept = self._keep(is_sound)
        os.replace(candidate, self.published)
        if kept:
            kept.chmod(PRIVATE)  # not before: until the rename it is the published file itself
        if source.parent == self.versions:
            source.unlink()
        for old in self.kept_versions()[KEPT_VERSIONS:]:
            old.unlink()
        _sync_folder(self.folder)
        return None if is_sound else kept

    def _settle(self) -> bool:
        """Replay a write-ahead log beside the published file, which a new file must not inherit.

        False where the file, or its log, cannot be read: both are then out of use.
        """
        log = Path(f"{self.published}.wal")
        if not self.published.exists():
            log.unlink(missing_ok=True)  # of a file that somebody removed
            return True
        try:
            with reading(self.published):
                pass
            if log.exists():
                open_file(self.published).close()
                log.unlink(missing_ok=True)
        except LockedError as error:
            who = re.search(r" \(.+?, PID \d+\)", str(error))
            raise LockedError(
                f"{self.published}: another process is writing to it{who[0] if who else ''}; allowed "
                f"are readers. Close that connection and run the command again: nothing is lost."
            ) from None
        except DamagedError:
            return False
        return True

    def _keep(self, is_sound: bool) -> Path | None:
        """Give the published file a second name: among the versions, or among what is damaged."""
        if not self.published.exists():
            return None
        kept = self.versions / f"{self.published.stat().st_mtime_ns}.duckdb"
        if not is_sound:
            kept = aside_name(self.published, self.work)
            log = Path(f"{self.published}.wal")
            if log.exists():
                log.rename(f"{kept}.wal")
        kept.unlink(missing_ok=True)
        try:
            os.link(self.published, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.published, kept)
        return kept

    def kept_versions(self) -> list[Path]:
        """The files that can be gone back to, the newest first."""
        # A process killed while publishing may have left a second name of the published file.
        own = self.published.stat().st_mtime_ns if self.published.exists() else None
        found = [path for path in self.versions.glob("*.duckdb") if path.stem.isdigit()]
        found = [path for path in found if path.stem != str(own)]
        return sorted(found, key=lambda path: int(path.stem), reverse=True)


def limit(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    """Obey the settings that say how much of the machine may be used."""
    con.execute("set enable_progress_bar = false")
    con.execute("set timezone = 'UTC'")
    if config.settings.memory_limit:
        con.execute(f"set memory_limit = {literal(config.settings.memory_limit)}")
    if config.settings.threads:
        con.execute(f"set threads = {int(config.settings.threads)}")


def _prove(path: Path, limits: Mapping[str, object]) -> None:
    """Select every view of a file that is about to be published; WarehouseError if one fails."""
    with open_file(path) as con:
        for name, value in limits.items():
            con.execute(f"set {name} = {literal(value)}")
        for view, error in broken_views(con):
            raise WarehouseError(
                f"{view}: the view cannot be selected: {error}. "
                f"The published file was left as it is."
            )
        con.execute("checkpoint")


def broken_views(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Views that cannot be selected, each with what DuckDB says about it."""
    views = con.execute(
        "select schema_name, view_name from duckdb_views() where not internal "
        "and database_name = current_database()"
    ).fetchall()
    for schema, view in views:
        try:
            con.execute(f"select * from {identifier(schema, view)} limit 1").fetchall()
        except duckdb.Error as error:
            yield f"{schema}.{view}", str(error)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def connect(path: str | Path = "warehouse") -> duckdb.DuckDBPyConnection:
    """Open a published warehouse for reading: its file, or the folder that holds it.

    The connection can read nothing but the warehouse: no other file, no setting, no extension.
    Raises WarehouseError if there is no such file.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise WarehouseError(
            f"{file}: there is no warehouse; allowed is a file that `behavsql build` wrote. Build one first."
        )
    try:
        # Attached, not opened: DuckDB shares one instance per path, so that a second connection of
        # the same process would find the settings locked, and the old file after a publish.
        con = duckdb.connect()
        con.execute(f"attach {literal(str(file))} as behaviour (read_only); use behaviour")
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise LockedError(
                f"{file}: another process writes to it; allowed are readers beside it. "
                f"Close that process, or wait until it is done."
            ) from None
        raise WarehouseError(
            f"{file}: not a readable warehouse: {str(error).splitlines()[0]}. Build it again."
        ) from None
    con.execute(
        "set timezone = 'UTC'; set enable_external_access = false; set lock_configuration = true"
    )
    return con
