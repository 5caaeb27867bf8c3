"""One DuckDB file: opened, or told apart why not: somebody holds it, or it is damaged."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from behavsql.errors import BehavsqlError, LockedError, WarehouseError
from behavsql.quoting import identifier, literal

STORAGE_VERSION = "v1.4.0"  # the oldest client that must be able to read what is published
PRIVATE = 0o600
PATIENCE = 1.0  # seconds that an insert may take before it is said to be in the way
HEADERS = 3 * 4096  # bytes that every DuckDB file begins with
_NO_ROOM = re.compile(
    r"""(?:\w+ file "[^"]*": )?(?:No space left on device|File too large|Disk quota exceeded)"""
)
# What passes, or is no fault of the file's: a damaged one is put out of use.
_PASSING = [os.strerror(code) for code in (
    errno.EIO, errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.EROFS, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY,
)]  # fmt: skip
_NOT_BY_KERNEL = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
_DAMAGE = re.compile(
    "Corrupt database|not match stored checksum|metadata pointer|Serialization Error|deserialize"
)
_HOLDER = re.compile(r"lock is held in (.+?) \(PID (\d+)\)")


class DamagedError(WarehouseError):
    """A file that is there and cannot be opened, whoever holds it."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What DuckDB says of opening `path` in our words: LockedError, or DamagedError."""
    try:
        yield
    except duckdb.Error as error:
        raise explanation(path, error) from None


def explanation(path: Path, error: duckdb.Error) -> WarehouseError:
    """What DuckDB says of a file in our words: LockedError, or DamagedError where it will not pass."""
    first = str(error).strip().splitlines()[0].rstrip(".!")
    holder = _HOLDER.search(first)
    who = f" ({os.path.basename(holder[1])}, PID {holder[2]})" if holder else ""
    if "Could not set lock" in first or "Conflicting lock" in first:
        return LockedError(
            f"{path}: another process holds it{who}; allowed is one that writes, or several that "
            f"read. Wait until it is done, or close it."
        )
    if isinstance(error, duckdb.ConnectionException) or "Unique file handle" in first:
        return LockedError(
            f"{path}: this process has it open already; allowed is one connection that writes. "
            f"Close the other one."
        )
    if "Permission denied" in first:
        return WarehouseError(
            f"{path}: permission denied; allowed is a file you may read and write. "
            f"Run `chmod u+rw {path}`."
        )
    if isinstance(error, duckdb.OutOfMemoryException) or any(why in first for why in _PASSING):
        return WarehouseError(
            f"{path}: cannot be opened now: {first}; allowed is a disk that answers, with memory and "
            f"files to spare. Run the command again."
        )
    return DamagedError(
        f"{path}: cannot be opened: {first}; allowed is a file that `behavsql build` wrote. "
        f"Run `behavsql build --full`: it keeps this file beside the new one, and builds everything."
    )


@contextmanager
def files_explained(folder: Path) -> Iterator[None]:
    """Tell a full disk, or a damaged file of `.work`, as such, whatever step or library met it first."""
    try:
        yield
    except (BehavsqlError, duckdb.Error, OSError) as error:
        if told := _trouble(folder, error):
            raise told from error
        raise


def _trouble(folder: Path, error: BaseException | None) -> WarehouseError | None:
    last = error
    while error is not None:  # one failure makes others, which are all that reaches us then
        said = str(error).strip()
        if room := _NO_ROOM.search(said):
            return WarehouseError(
                f"{folder}: there is no room to write ({room[0]}); allowed is a disk, and a limit on "
                f"files, with room left. Make room and run the command again: what is published is "
                f"whole, and finished steps are kept."
            )
        if _DAMAGE.search(said) and not isinstance(error, WarehouseError):
            return DamagedError(
                f"{folder / '.work'}: a file is damaged ({said.splitlines()[0].rstrip('.!')}); allowed "
                f"are files as behavsql wrote them. Run `behavsql build --full`: it keeps them beside "
                f"the new ones, and builds everything."
            )
        error = error.__cause__ or error.__context__
    if isinstance(last, duckdb.IOException) or (isinstance(last, OSError) and not last.filename):
        return WarehouseError(
            f"{folder}: a file cannot be read or written ({str(last).splitlines()[0].rstrip('.!')}); "
            f"allowed is a disk that answers. Run the command again: what is published is whole, and "
            f"finished steps are kept."
        )
    return None


def drop_unbegun(path: Path) -> None:
    """Remove a file that holds nothing: who made it was killed before its headers were written."""
    if path.exists() and path.stat().st_size < HEADERS:
        with path.open("rb") as file:
            if file.read(12)[8:] in (b"", b"DUCK"):
                path.unlink()


def open_file(path: Path, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file in the storage version we publish; LockedError if somebody writes to it."""
    settings = {"storage_compatibility_version": STORAGE_VERSION}
    with explained(path):
        return duckdb.connect(str(path), read_only=read_only, config=settings)


@contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A file that is there, attached read-only and in use; changes nothing, not even a log.

    LockedError where another process writes to it, DamagedError where it cannot be opened.
    """
    # Attached, not opened: one process may open a path with one set of settings only.
    con = duckdb.connect()
    try:
        with explained(path):
            con.execute(f"attach {literal(str(path))} as file (read_only); use file")
        yield con
    finally:
        con.close()


@contextmanager
def keeping_writers_out(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """As `reading`: as long as the block runs others can read the file, and nobody can write to it.

    An insert that is under way is waited for. LockedError if another process goes on writing,
    DamagedError where the file cannot be opened.
    """
    patient_until = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        con = None
        while con is None:
            try:
                con = stack.enter_context(reading(path))
            except LockedError as error:
                told = str(error)
                if "another process" not in told:
                    raise
                if time.monotonic() > patient_until:
                    who = re.search(r" \(.+?, PID \d+\)", told)
                    raise LockedError(
                        f"{path}: another process is writing to it{who[0] if who else ''}; allowed "
                        f"are readers. Close that connection and run the command again: nothing is "
                        f"lost."
                    ) from None
                time.sleep(PATIENCE / 50)
        yield con


def damage(path: Path, *, wholly: bool = False) -> str | None:
    """Why a file is damaged; None where it is not, or not there, or we are kept from opening it.

    It is opened, its length compared with the blocks in use, and its `meta` tables read:
    every build begins with those. Damage inside the other tables is found by who reads them, or
    wholly = True, which reads them all.
    """
    if not path.exists():
        return None
    try:
        with reading(path) as con, explained(path):
            size = con.execute(
                "select used_blocks * block_size from pragma_database_size() "
                "where database_name = 'file'"
            ).fetchall()[0][0]
            if size > path.stat().st_size:
                return f"it ends after {path.stat().st_size:,} of at least {size:,} bytes"
            tables = con.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = 'file' "
                "and (schema_name = 'meta' or ?)", [wholly]
            ).fetchall()  # fmt: skip
            for names in tables:
                con.execute(f"select sum(hash(*columns(*))) from {identifier(*names)}").fetchall()
    except DamagedError as error:
        return str(error).split(": cannot be opened: ")[1].split("; allowed is")[0]
    except WarehouseError:
        return None
    return None


def sync(path: Path) -> None:
    """Have what a file, or a folder, holds written to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def copy_file(source: Path, to: Path) -> None:
    """A copy of a file's content, which shares its blocks until either is written to, where it can.

    File systems such as Btrfs and XFS can: there it takes no time and no room. Elsewhere the kernel
    copies without handing the bytes to us.
    """
    try:
        with source.open("rb") as read, to.open("wb") as written:
            left = os.fstat(read.fileno()).st_size
            while left:
                copied = os.copy_file_range(read.fileno(), written.fileno(), left)
                if not copied:  # it is shorter by now
                    break
                left -= copied
    except (AttributeError, OSError) as error:  # not on Linux, or not between these file systems
        if isinstance(error, OSError) and error.errno not in _NOT_BY_KERNEL:
            raise OSError(error.errno, error.strerror, str(to)) from None
        shutil.copyfile(source, to)


def set_aside(path: Path, folder: Path) -> Path:
    """Move a damaged file, and its log, into `folder` under a name that says what it is."""
    aside = aside_name(path, folder)
    for suffix in ("", ".wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.move(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


def aside_name(path: Path, folder: Path) -> Path:
    """The first name of `build.duckdb.damaged-1`, `-2` ... that is free."""
    number = 1
    while (folder / f"{path.name}.damaged-{number}").exists():
        number += 1
    return folder / f"{path.name}.damaged-{number}"
