"""The files of a warehouse: where they lie, the lock on them, and how they are opened.

warehouse/behaviour.duckdb      what people open; replaced whole (publishing.py), never written in place
warehouse/inbox.parquet         all that was ever inserted into live.inbox (inbox.py); there is no other copy
warehouse/privacy.json          who was forgotten, as tombstones (privacy/register.py); no other copy either
warehouse/.work/build.duckdb    the state that builds go on from
warehouse/.work/raw.duckdb      the input as it was read; never published
warehouse/.work/versions/       the last published files, for going back; named by when (mtime, ns)
warehouse/.work/*.damaged-1     what could not be opened any more and was replaced
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.database_file import (
    PRIVATE,
    STORAGE_VERSION,
    damage,
    drop_unbegun,
    explained,
    files_explained,
    open_file,
    set_aside,
)
from behavsql.errors import LockedError, WarehouseError
from behavsql.interrupts import interruptible
from behavsql.quoting import literal

FILE_NAME = "behaviour.duckdb"
KEPT_VERSIONS = 3
# In this order. Turning external access off still allows the paths of what is attached by then and
# of its log, so that `copy` could write there, and the file be attached anew, for writing; and the
# folder for what does not fit into memory. No file is opened at all once the file system is off.
LOCKDOWN = """
set temp_directory = '';
set autoinstall_known_extensions = false;
set autoload_known_extensions = false;
set allow_community_extensions = false;
set allow_persistent_secrets = false;
set python_enable_replacements = false;
set enable_external_access = false;
set disabled_filesystems = 'LocalFileSystem';
set lock_configuration = true;
"""


class Warehouse:
    """Where the files of one warehouse lie; creates the folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.published = self.folder / FILE_NAME
        self.work = self.folder / ".work"
        self.build = self.work / "build.duckdb"
        self.raw = self.work / "raw.duckdb"
        self.versions = self.work / "versions"
        self.inbox = self.folder / "inbox.parquet"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other builders out for as long as the block runs; LockedError if one is in.

        Whatever the process creates meanwhile, its owner alone can read, from the first byte on.
        """
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(0o755, parents=True, exist_ok=True)
            for folder in (self.work, self.versions):
                folder.mkdir(0o700, exist_ok=True)
                folder.chmod(0o700)  # of an earlier behavsql, or copied
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
        others = os.umask(0o077)
        try:
            with files_explained(self.folder):
                for path in (self.build, self.raw):
                    drop_unbegun(path)
                yield
        finally:
            os.umask(others)
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
        both = (self.build, self.raw)
        damaged = [(path, why) for path in both if (why := damage(path, wholly=True))]
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

    def kept_versions(self) -> list[Path]:
        """The files that can be gone back to, the newest first."""
        found = [path for path in self.versions.glob("*.duckdb") if path.stem.isdigit()]
        if self.published.exists():
            # A process killed while publishing may have left a second name of the published file.
            own = str(self.published.stat().st_mtime_ns)
            found = [
                path for path in found
                if path.stem != own and not path.samefile(self.published)
            ]  # fmt: skip
        return sorted(found, key=lambda path: int(path.stem), reverse=True)


def limit(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    """Obey the settings that say how much of the machine may be used."""
    con.execute("set enable_progress_bar = false")
    con.execute("set timezone = 'UTC'")
    if config.settings.memory_limit:
        con.execute(f"set memory_limit = {literal(config.settings.memory_limit)}")
    if config.settings.threads:
        con.execute(f"set threads = {int(config.settings.threads)}")


def limit_libraries(threads: int | None) -> None:
    """What reads its number of threads once, when it is loaded; later settings find it loaded."""
    if threads and "polars" not in sys.modules:
        os.environ["POLARS_MAX_THREADS"] = str(threads)


def connect(path: str | Path = "warehouse", *, udfs: bool = True) -> duckdb.DuckDBPyConnection:
    """Open a published warehouse for reading: its file, or the folder that holds it.

    A plain DuckDB connection that can read nothing but the warehouse: no other file, no setting, no
    extension. It writes nothing either, so that a query must fit into memory. On it every stored
    model is a function, of a row by name that has at least the features the model reads:

        select user_id, py_predict_purchase__lightgbm(f) from features.latest as f

    `py_predict_<task>__<model>(f)` is the calibrated score, to the last bit what the model says in
    Python; `py_predict_<task>(f)` is the published model of the task. NULL for a row that is NULL;
    NULL, NaN and infinite features are missing. A model is loaded when it is first called, from
    JSON, text and arrays (no pickle), and stays in memory as long as this state of the file is in
    use. Cursors have the functions too, as long as the connection is kept. udfs=False leaves the
    functions out. WarehouseError if there is no such file.
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
    if udfs:
        from behavsql.udfs import register

        register(con, file, "behaviour")
    con.execute(f"set timezone = 'UTC'; {LOCKDOWN}")
    return con
