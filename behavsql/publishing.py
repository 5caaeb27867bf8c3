"""The published file replaced: in one step, under open readers, with nobody's insert lost.

Whoever has the file open read-only, in this process or another, keeps reading the old one. Who has
it open for writing, for longer than an insert takes, makes publishing fail with exit 3, for what they
insert next would land in the old file. In between nobody can begin to write:

    1. A log that a killed writer left is written into the file, if nobody reads it.
    2. The new file is made and tried beside the old one; this takes long, and inserts go on.
    3. The old file is opened READ-ONLY and stays open. DuckDB locks a file (fcntl) for its writer
       alone or for all its readers: readers still come and go, writers are refused until 6.
       With a log beside it, its rows are read too.
    4. What its inbox holds by now is added to the archive, on disk, and to the new file's inbox.
    5. A log goes: beside the new file it would make that one unopenable. Then os.replace.
    6. The old file is closed. A client that opens the path from here on gets the new one.

The archive (see inbox.py) is what makes any instant safe to be killed in: from 4 on the rows are in
it, before that they are in the old file, which is whole. A client that has opened the old file
before 5 and asks for its lock only after 6 writes into a kept version, where the next build looks.
(fcntl locks are the process's: closing any other handle of the file in this process would end the
one of 3, so nothing here opens the published file in between.)
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import duckdb

from behavsql import inbox, score_history
from behavsql.database_file import (
    PRIVATE,
    DamagedError,
    aside_name,
    copy_file,
    keeping_writers_out,
    open_file,
    sync,
)
from behavsql.errors import LockedError, WarehouseError
from behavsql.quoting import identifier, literal
from behavsql.warehouse import KEPT_VERSIONS, Warehouse


def publish(warehouse: Warehouse, con: duckdb.DuckDBPyConnection, mode: str) -> Path | None:
    """Copy the build to the published file in one step that readers cannot see half of."""
    con.execute("checkpoint")
    limits = con.execute(
        "select name, value from duckdb_settings() where name in ('threads', 'memory_limit')"
    ).fetchall()
    return put(warehouse, warehouse.build, mode, dict(limits))


def put(
    warehouse: Warehouse,
    source: Path,
    mode: str,
    limits: Mapping[str, object] = MappingProxyType({}),
) -> Path | None:
    """Publish a copy of `source`, with a mode such as "0640"; under which name a damaged published file was kept, if one was.

    The copy is tried first (every view selected once), flushed to disk, then renamed over the
    old file; whoever has the old one open keeps reading it. A kept version that is published
    again is no kept one any more. LockedError if somebody writes to the old file.
    """
    _settle(warehouse.published)
    candidate = warehouse.work / "candidate.duckdb"
    for leftover in (candidate, _log(candidate)):
        leftover.unlink(missing_ok=True)
    copy_file(source, candidate)
    if source.parent == warehouse.versions:
        score_history.bring_forward(candidate, warehouse)
    _prove(candidate, limits)
    with ExitStack() as lock:
        is_sound = _taken_over(warehouse, lock)
        inbox.refill(candidate, warehouse.inbox)
        _make_newest(candidate, warehouse)
        sync(candidate)
        candidate.chmod(int(mode, 8))
        kept = _keep(warehouse, is_sound)
        _log(warehouse.published).unlink(missing_ok=True)
        os.replace(candidate, warehouse.published)
    if kept:
        kept.chmod(PRIVATE)  # not before: until the rename it is the published file itself
    if source.parent == warehouse.versions:
        source.unlink()
    for number, old in enumerate(warehouse.kept_versions()):
        if number < KEPT_VERSIONS:
            old.chmod(PRIVATE)  # of a process that was killed before it came to that
        else:
            old.unlink()
    sync(warehouse.folder)
    return None if is_sound else kept


def _settle(published: Path) -> None:
    """Write a log beside the published file into it, if that can be; LockedError if somebody writes."""
    try:
        if published.exists():
            with keeping_writers_out(published):
                pass
            if _log(published).exists():
                open_file(published).close()
    except DamagedError:
        return
    except LockedError:
        # With a log that a writer left, readers alone keep us from writing.
        with keeping_writers_out(published):
            pass


def _taken_over(warehouse: Warehouse, lock: ExitStack) -> bool:
    """Keep writers out of the published file from now on, and save what it was given.

    False where the file, or its log, cannot be read: both are then out of use.
    """
    if not warehouse.published.exists():
        return True
    try:
        old = lock.enter_context(keeping_writers_out(warehouse.published))
        inbox.add(old, warehouse)
    except DamagedError:
        return False
    return True


def _make_newest(candidate: Path, warehouse: Warehouse) -> None:
    """Versions are told apart and put in order by their times: a clock set back must not mix them up."""
    times = [int(path.stem) for path in warehouse.kept_versions()]
    if warehouse.published.exists():
        times.append(warehouse.published.stat().st_mtime_ns)
    if candidate.stat().st_mtime_ns <= max(times, default=0):
        later = max(times) + 10**9
        os.utime(candidate, ns=(later, later))


def _keep(warehouse: Warehouse, is_sound: bool) -> Path | None:
    """Give the published file a second name: among the versions, or among what is damaged."""
    published = warehouse.published
    if not published.exists():
        return None
    for path in warehouse.versions.glob("*.duckdb"):
        if path.samefile(published):  # left by a process that was killed while publishing
            path.unlink()
    kept = warehouse.versions / f"{published.stat().st_mtime_ns}.duckdb"
    if not is_sound:
        kept = aside_name(published, warehouse.work)
        if _log(published).exists():
            _log(published).rename(_log(kept))
    kept.unlink(missing_ok=True)
    try:
        os.link(published, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(published, kept)
    return kept


def _log(path: Path) -> Path:
    return Path(f"{path}.wal")


def _prove(path: Path, limits: Mapping[str, object]) -> None:
    """Select every view of a file that is about to be published; WarehouseError if one fails."""
    with open_file(path) as con:
        # A table that is not there is none, even if a name in this file happens to be the same.
        con.execute("set python_enable_replacements = false")
        for name, value in limits.items():
            con.execute(f"set {name} = {literal(value)}")
        for view, error in broken_views(con):
            raise WarehouseError(
                f"{view}: the view cannot be selected: {error.rstrip('.')}; allowed are views that "
                f"answer. Mend it, or build again: the published file was left as it is."
            )
        con.execute("checkpoint")


def broken_views(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Views that cannot be selected, each with what DuckDB says about it."""
    views = con.execute(
        "select schema_name, view_name from duckdb_views() where not internal "
        "and database_name = current_database()"
    ).fetchall()
    one = _one_user(con)
    for schema, view in views:
        try:
            name = identifier(schema, view)
            columns = [row[0] for row in con.execute(f"describe {name}").fetchall()]
            # Of one user: lists of all that everybody ever did take longer than all the rest.
            whose = (
                f"where user_id = {literal(one)}"
                if one is not None and "user_id" in columns
                else ""
            )
            con.execute(f"select * from {name} {whose} limit 1").fetchall()
        except duckdb.Error as error:
            yield f"{schema}.{view}", str(error)


def _one_user(con: duckdb.DuckDBPyConnection) -> object:
    """Somebody who is asked about, if there is anybody."""
    try:
        found = con.execute("select user_id from cutoffs.cutoffs limit 1").fetchall()
    except duckdb.CatalogException:
        return None
    return found[0][0] if found else None
