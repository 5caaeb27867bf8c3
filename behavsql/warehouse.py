"""The files of a warehouse: the build database, its lock, and the published file.

warehouse/behaviour.duckdb      what people open; replaced whole, never written in place
warehouse/.work/build.duckdb    the state that builds go on from
warehouse/.work/raw.duckdb      the input as it was read; never published
warehouse/.work/versions/       the last published files, for going back
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.errors import LockedError, WarehouseError
from behavsql.interrupts import interruptible
from behavsql.quoting import identifier, literal

FILE_NAME = "behaviour.duckdb"
STORAGE_VERSION = "v1.4.0"  # the oldest client that must be able to read what is published
KEPT_VERSIONS = 3
PRIVATE = 0o600


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

    @contextmanager
    def building(self, config: Config) -> Iterator[duckdb.DuckDBPyConnection]:
        """The build database, open for writing with `raw` attached; closed on every path."""
        con = open_file(self.build)
        try:
            con.execute(
                f"attach {literal(str(self.raw))} as raw (storage_version {literal(STORAGE_VERSION)})"
            )
            _limit(con, config)
            for path in (self.build, self.raw):
                path.chmod(PRIVATE)
            with interruptible(con):
                yield con
        finally:
            con.close()

    def publish(self, con: duckdb.DuckDBPyConnection, mode: int) -> None:
        """Copy the build to the published file in one step that readers cannot see half of.

        The copy is tried first (every view selected once), flushed to disk, then renamed over the
        old file; whoever has the old one open keeps reading it.
        """
        con.execute("checkpoint")
        self._settle()
        candidate = self.work / "candidate.duckdb"
        for leftover in (candidate, Path(f"{candidate}.wal")):
            leftover.unlink(missing_ok=True)
        shutil.copyfile(self.build, candidate)
        _prove(candidate)
        with candidate.open("rb") as file:
            os.fsync(file.fileno())
        candidate.chmod(mode)
        kept = self._keep_version()
        os.replace(candidate, self.published)
        if kept:
            kept.chmod(PRIVATE)  # not before: until the rename it is the published file itself
        _sync_folder(self.folder)

    def _settle(self) -> None:
        """Replay a write-ahead log beside the published file, which a new file must not inherit."""
        log = Path(f"{self.published}.wal")
        if not log.exists():
            return
        if not self.published.exists():
            log.unlink()  # of a file that somebody removed
            return
        try:
            open_file(self.published).close()
        except LockedError:
            raise LockedError(
                f"{self.published}: another process is writing to it; allowed are readers. "
                f"Close that connection and run `behavsql build` again: nothing is lost."
            ) from None
        log.unlink(missing_ok=True)

    def _keep_version(self) -> Path | None:
        if not self.published.exists():
            return None
        kept = self.versions / f"{self.published.stat().st_mtime_ns}.duckdb"
        kept.unlink(missing_ok=True)
        try:
            os.link(self.published, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.published, kept)
        for old in sorted(self.versions.glob("*.duckdb"))[:-KEPT_VERSIONS]:
            old.unlink()
        return kept


def open_file(path: Path, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file in the storage version we publish; LockedError if somebody writes to it."""
    settings = {"storage_compatibility_version": STORAGE_VERSION}
    try:
        return duckdb.connect(str(path), read_only=read_only, config=settings)
    except duckdb.IOException as error:
        if "Could not set lock" in str(error) or "Conflicting lock" in str(error):
            raise LockedError(
                f"{path}: another process holds it; allowed is one writer. Close that process."
            ) from None
        raise WarehouseError(
            f"{path}: {str(error).splitlines()[0]}. Remove the file and build again."
        ) from None


def _limit(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    con.execute("set enable_progress_bar = false")
    con.execute("set timezone = 'UTC'")
    if config.settings.memory_limit:
        con.execute(f"set memory_limit = {literal(config.settings.memory_limit)}")
    if config.settings.threads:
        con.execute(f"set threads = {int(config.settings.threads)}")


def _prove(path: Path) -> None:
    """Select every view of a file that is about to be published; WarehouseError if one fails."""
    con = open_file(path)
    try:
        views = con.execute(
            "select schema_name, view_name from duckdb_views() where not internal"
        ).fetchall()
        for schema, view in views:
            try:
                con.execute(f"select * from {identifier(schema, view)} limit 1").fetchall()
            except duckdb.Error as error:
                raise WarehouseError(
                    f"{schema}.{view}: the view cannot be selected: {error}. "
                    f"The published file was left as it is."
                ) from None
        con.execute("checkpoint")
    finally:
        con.close()


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
        raise WarehouseError(
            f"{file}: not a readable warehouse: {str(error).splitlines()[0]}. Build it again."
        ) from None
    con.execute(
        "set timezone = 'UTC'; set enable_external_access = false; set lock_configuration = true"
    )
    return con
