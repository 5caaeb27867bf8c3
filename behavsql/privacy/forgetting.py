"""`behavsql forget`: a user taken out of every file of the warehouse, and kept out.

    1. a tombstone in privacy.json, so that whatever is read again comes without the user
    2. the inbox's archive, what was landed of databases, the published file and the build file are
       written anew; the raw input, kept versions and damaged files are removed
    3. the sources are read again and everything is made anew of what they say without the user, as
       by `score`: sums over users too. Models stay as they are, and are listed, unless they are to
       be trained again

Killed anywhere, it is done again by running it again. After 2 nobody is found in any file, whatever
becomes of 3.
"""

import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from behavsql import inbox, pipeline, publishing
from behavsql.config import Config
from behavsql.database_file import DamagedError, damage, keeping_writers_out, reading
from behavsql.errors import BehavsqlError, WarehouseError
from behavsql.input import landed
from behavsql.input.identities import PREFIX
from behavsql.privacy import archive, key, purge
from behavsql.privacy.entering import FORGOTTEN, named
from behavsql.privacy.register import Register
from behavsql.progress import Progress
from behavsql.quoting import literal
from behavsql.source import Source
from behavsql.warehouse import Warehouse

_LEARNED = """
select distinct models.task || ' / ' || models.model
from models.models as models
inner join cutoffs.splits as splits on splits.task = models.task and splits.split in ('train', 'valid')
inner join cutoffs.windows as windows
    on windows.task = splits.task and windows.cutoff_at = splits.cutoff_at
where cast(windows.user_id as varchar) in (select unnest(?))
order by 1
"""
_PRETRAINED = """
select count(*) from sessions.session_events
where cast(user_id as varchar) in (select unnest(?)) and exists (from models.pretrained)
"""


@dataclass
class Forgotten:
    """What was done. rows: table or file -> rows taken out; withheld: source -> rows kept out by now."""

    count_users: int
    rows: dict[str, int] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)  # that learned from them
    removed: list[str] = field(default_factory=list)  # files
    withheld: dict[str, int] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)  # files of others in which an id stands
    is_retrained: bool = False


def forget(
    config: Config, users: list[str], *, retrain: bool = False, progress: Progress | None = None
) -> Forgotten:
    """Forget users, by the ids that the sources have or by their pseudonyms; see above.

    ConfigError without the key, LockedError where a build runs or somebody writes to the published
    file: nothing was done then.
    """
    progress = progress or Progress()
    warehouse, users = Warehouse(config.warehouse), list(dict.fromkeys(users))
    secret = key.read("forgetting needs it: it keeps them out from now on")
    Register.read(warehouse).check(secret)
    ids = [*users, *(key.pseudonym(secret, user) for user in users)]
    with warehouse.locked():
        found = _take_out(config, warehouse, secret, ids, len(users), progress)
    try:
        _make_anew(config, retrain or not found.models, progress)
    except BehavsqlError as error:
        raise WarehouseError(
            f"{warehouse.folder}: the user is in no file any more, but sums over users could not be made "
            f"anew: {error}"
        ) from error
    with warehouse.locked():
        purge.compact(config, warehouse.build, ids)  # what sums were made of is in free blocks
        publishing.put(warehouse, warehouse.build, config.settings.publish_mode)
        found.removed += _remove(warehouse.kept_versions())
        found.withheld = _withheld(warehouse)
        found.doubtful = _doubtful(warehouse, users)
    found.is_retrained = retrain
    return found


def _take_out(
    config: Config,
    warehouse: Warehouse,
    secret: bytes,
    ids: list[str],
    count: int,
    progress: Progress,
) -> Forgotten:
    found = Forgotten(count)
    _settle(warehouse, progress)
    ids += _cookies(warehouse, ids)
    found.models = _learned(warehouse, ids)
    register = Register.read(warehouse)
    register.key = register.key or key.check_value(secret)
    new = {key.tombstone(secret, one) for one in ids} - {*register.tombstones}
    register.tombstones += sorted(new)
    register.write(warehouse)
    with progress.step("take users out") as line:
        if gone := archive.clean(warehouse):
            found.rows["inbox"] = gone
        for source in config.source:
            if source.url and (gone := _from_landed(config, source, ids)):
                found.rows[f"landed {source.name}"] = gone
        landed.drop_gone(config)
        found.removed += _remove([warehouse.raw, Path(f"{warehouse.raw}.wal")])
        found.rows |= purge.compact(config, warehouse.build, ids)
        _publish_without(config, warehouse, ids)
        found.removed += _remove(_left_overs(warehouse))
        line.rows = sum(found.rows.values())
    register.audit.append({
        "forgotten_at": datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "seconds"),
        "count_users": count, "count_rows": line.rows, "models": ", ".join(found.models),
    })  # fmt: skip
    register.write(warehouse)
    return found


def _settle(warehouse: Warehouse, progress: Progress) -> None:
    """LockedError before anything is done where it cannot be done; what others inserted is kept."""
    if warehouse.published.exists() and not damage(warehouse.published):
        with keeping_writers_out(warehouse.published):
            pass
        inbox.absorb(warehouse, progress.say)


def _cookies(warehouse: Warehouse, ids: list[str]) -> list[str]:
    """The anonymous ids that these users were seen with, as users: what they did unnamed is theirs."""
    if not warehouse.build.exists():
        return []
    try:
        with reading(warehouse.build) as con:
            rows = con.execute(
                "select distinct anonymous_id from staging.identities "
                "where cast(user_id as varchar) in (select unnest(?))", [ids]
            ).fetchall()  # fmt: skip
    except (DamagedError, duckdb.CatalogException):
        return []
    return [f"{PREFIX}{anonymous}" for (anonymous,) in rows]


def _learned(warehouse: Warehouse, ids: list[str]) -> list[str]:
    """The models whose train or valid rows were also about these users."""
    found: list[str] = []
    try:
        with reading(warehouse.build) if warehouse.build.exists() else duckdb.connect() as con:
            for query in (_LEARNED, _PRETRAINED):
                try:
                    rows = con.execute(query, [ids]).fetchall()
                except duckdb.CatalogException:  # not built so far, or never
                    continue
                found += [row[0] for row in rows] if query is _LEARNED else (
                    ["the pre-trained model"] if rows[0][0] else []
                )  # fmt: skip
    except DamagedError:
        return found
    return found


def _from_landed(config: Config, source: Source, ids: list[str]) -> int:
    folder, files = landed.folder_of(config, source), landed.files(config, source)
    if not files:
        return 0
    with duckdb.connect() as con:
        types = {row[0]: row[1] for row in con.execute(
            f"describe from read_parquet({literal([str(path) for path in files])}, union_by_name = true)"
        ).fetchall()}  # fmt: skip
        cookies = [one.removeprefix(PREFIX) for one in ids if one.startswith(PREFIX)]
        told = [
            f"{name} in (select unnest({literal(cookies if made.startswith(literal(PREFIX)) else ids)}::varchar[]))"
            for name, made, _ in named(source, types)
        ]  # fmt: skip
        return landed.remove_rows(con, folder, " or ".join(told)) if told else 0


def _publish_without(config: Config, warehouse: Warehouse, ids: list[str]) -> None:
    """Replace the published file by one that never held these users."""
    if not warehouse.published.exists():
        return
    if damage(warehouse.published, wholly=True):
        _remove([warehouse.published, Path(f"{warehouse.published}.wal")])
        return
    copy, anew = warehouse.work / "forget.duckdb", warehouse.work / "forgotten.duckdb"
    mode = oct(warehouse.published.stat().st_mode & 0o777)[2:].rjust(4, "0")
    try:
        shutil.copyfile(warehouse.published, copy)
        purge.rewrite(config, copy, ids, anew)
        publishing.put(warehouse, anew, mode)
    finally:
        _remove([copy, Path(f"{copy}.wal"), anew])
    _remove(warehouse.kept_versions())


def _left_overs(warehouse: Warehouse) -> list[Path]:
    """What killed builds and damaged files left behind: nobody can tell who is in there."""
    kept = {warehouse.build, warehouse.raw, warehouse.versions, warehouse.work / "landing",
            warehouse.work / "build.lock"}  # fmt: skip
    return [path for path in warehouse.work.iterdir() if path not in kept] + [
        *warehouse.versions.glob("*")
    ]


def _remove(paths: list[Path]) -> list[str]:
    """Remove what is there; the names of files."""
    gone = []
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
            gone.append(path.name)
    return gone


def _make_anew(config: Config, retrain: bool, progress: Progress) -> None:
    if retrain:
        pipeline.build(config, progress=progress)
    else:
        pipeline.score(config, progress=progress)


def _withheld(warehouse: Warehouse) -> dict[str, int]:
    with reading(warehouse.published) as con:
        return dict(con.execute(
            "select source, sum(count_rows_removed)::bigint from staging.ledger where rule = ? "
            "and count_rows_removed > 0 group by source order by source", [FORGOTTEN]
        ).fetchall())  # fmt: skip


def _doubtful(warehouse: Warehouse, users: list[str]) -> list[str]:
    """Files beside ours, such as reports and exports, in which an id stands as a word."""
    pattern = re.compile(
        b"|".join(rb"(?<!\w)" + re.escape(user.encode()) + rb"(?!\w)" for user in users)
    )
    own = {warehouse.published, warehouse.inbox, Register.place(warehouse)}
    return [
        str(path) for path in sorted(warehouse.folder.rglob("*"))
        if path.is_file() and path not in own and warehouse.work not in path.parents
        and pattern.search(path.read_bytes())
    ]  # fmt: skip
