"""`behavsql check`: everything a warehouse promises, asked again of the files that are there."""

import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from behavsql import check_tables, parity, pipeline, plan, rollback, time_travel, transform
from behavsql.catalog import Catalog, check_lock, locked_versions
from behavsql.compile import registry
from behavsql.config import Config
from behavsql.database_file import DamagedError, open_file, reading
from behavsql.errors import ConfigError, SourceError, SqlFileError, WarehouseError, nearest
from behavsql.explain import checking
from behavsql.interrupts import interruptible
from behavsql.models import MODEL_SETS
from behavsql.plan import Step
from behavsql.progress import counted
from behavsql.publishing import broken_views
from behavsql.warehouse import Warehouse, limit

SHOWN_STEPS = 5


@dataclass(frozen=True)
class Finding:
    """One promise that is not kept: which group of checks found it, and the message."""

    group: str
    message: str


@dataclass(frozen=True)
class Group:
    """One kind of check: what was looked at, and what was found (nothing, if all is well)."""

    name: str
    looked_at: str
    findings: tuple[Finding, ...]


def check(config: Config, *, time_travel: bool = False, at: date | None = None) -> list[Finding]:
    """Everything that is wrong with a built warehouse; empty if nothing is. See `groups`."""
    return [finding for group in groups(config, time_travel, at) for finding in group.findings]


def groups(config: Config, time_travel: bool = False, at: date | None = None) -> Iterator[Group]:
    """Each kind of check as soon as it is done; nothing is changed, and no lock is taken.

    time_travel: build the features again from the past alone, as of the cutoff of day `at`, else of
    the newest train, valid and test cutoffs. Raises WarehouseError where nothing was built,
    LockedError while a build runs, ConfigError for a day that has no cutoff.
    """
    warehouse = Warehouse(config.warehouse)
    if not warehouse.build.exists():
        raise WarehouseError(
            f"{warehouse.build}: there is nothing to check; allowed is a warehouse that was built "
            f"here. Run `behavsql build`."
        )
    try:
        catalog = pipeline.load_catalog(config)
    except SqlFileError as error:
        yield _group("sql files", "not all of them; nothing else was checked", [str(error)])
        return
    with open_file(warehouse.build, read_only=True) as con, interruptible(con):
        limit(con, config)
        raw_problem = check_tables.attach_raw(con, warehouse.raw)
        transform.set_params(con, plan.all_params(con, config))
        yield _group("sql files", _counted_files(catalog), _lock(config, catalog))
        unfinished = _unfinished(con)
        judged, told = _as_last_trained(con, config)
        steps, problem = _plan(judged)
        due = {step.name for step in steps if step.reason}
        if unfinished and not problem:
            left = f"{len(due)} of {len(steps)} steps are left to do"
            problem = f"{warehouse.build}: {unfinished}; {left}. Run `behavsql build`."
        looked_at = f"{counted(len(steps), 'step')}{told}"
        yield _group("plan", looked_at, [problem] if problem else _stale(steps))
        yield _group("tables", *check_tables.broken(con, catalog, due))
        missing = due if unfinished else set()
        yield _group("ledger", *_ledger(con, raw_problem, missing))
        yield _group("models", *_models(con, config, due, missing))
        yield _group("published", *_published(warehouse, None if unfinished else con))
        if time_travel:
            yield _group("time travel", *_time_travel(con, config, catalog, steps, at))


def _group(name: str, looked_at: str, messages: Iterable[str]) -> Group:
    return Group(name, looked_at, tuple(Finding(name, message) for message in messages))


def _counted_files(catalog: Catalog) -> str:
    tables, macros = len(catalog.files), len(catalog.macros)
    return f"{counted(tables + macros, 'file')}: {tables} of tables and views, {macros} of macros"


def _unfinished(con: duckdb.DuckDBPyConnection) -> str | None:
    """Why the build is not whole yet; None once it was published, whatever happened since."""
    if not {"meta.builds", "meta.runs"} <= check_tables.here(con):
        return "the build was stopped before it was whole"
    if con.execute("select 1 from meta.builds where step = 'publish' limit 1").fetchall():
        return None
    last = con.execute("select status from meta.runs order by run_id desc limit 1").fetchall()
    only_some = "only some steps were built so far"
    return only_some if last == [("done",)] else "the build was stopped before it was whole"


def _as_last_trained(con: duckdb.DuckDBPyConnection, config: Config) -> tuple[Config, str]:
    """The config with the model set of the last training, which --models may have chosen; a note."""
    if not {"meta.builds", "meta.runs"} <= check_tables.here(con):
        return config, ""
    last = con.execute(
        "select runs.settings from meta.runs as runs "
        "inner join meta.builds as builds on builds.run_id = runs.run_id "
        "where starts_with(builds.step, 'train ') order by builds.build_id desc limit 1"
    ).fetchall()
    used = json.loads(last[0][0]).get("models") if last else None
    own = config.settings.models
    if used == own or used not in MODEL_SETS:
        return config, ""
    settings = config.settings.model_copy(update={"models": used})
    told = f", with the models of the last training ({used}; a build now would train the {own} set)"
    return config.model_copy(update={"settings": settings}), told


def _lock(config: Config, catalog: Catalog) -> list[str]:
    """Differences between a project's own files and its versions.toml, where there is one."""
    folder = config.folder / "sql"
    path = folder / "versions.toml"
    if not path.is_file():
        return []
    try:
        locked = locked_versions(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        return [f"{path}: not a list of versions ({error}). Remove it and run `behavsql sql lock`."]
    return check_lock(catalog.only_in(folder), locked)


def _plan(config: Config) -> tuple[list[Step], str | None]:
    """What a build would do, or why that cannot be told."""
    try:
        return pipeline.dry_run(config), None
    except SourceError as error:
        return [], str(error)


def _stale(steps: list[Step]) -> list[str]:
    """One message for all that is out of date; what only may follow is counted."""
    due = [step for step in steps if step.reason and step.is_certain]
    after = sum(1 for step in steps if step.reason) - len(due)
    if not due:
        return []
    shown = ", ".join(f"{step.name} ({step.reason})" for step in due[:SHOWN_STEPS])
    more = f" and {len(due) - SHOWN_STEPS} more" if len(due) > SHOWN_STEPS else ""
    follow = f"; {after} that read them may follow" if after else ""
    return [f"{len(due)} of {len(steps)} steps out of date: {shown}{more}{follow}. "
            "Run `behavsql build`."]  # fmt: skip


def _ledger(
    con: duckdb.DuckDBPyConnection, raw_problem: list[str] | None, missing: set[str]
) -> tuple[str, list[str]]:
    if raw_problem is not None:
        return "nothing", raw_problem
    return ("nothing yet", []) if missing & check_tables.ACCOUNTS else check_tables.unaccounted(con)


def _models(
    con: duckdb.DuckDBPyConnection, config: Config, due: set[str], missing: set[str]
) -> tuple[str, list[str]]:
    """Every published model against `models.scores`, those against `predictions.<task>`, and functions."""
    if missing and "models.models" not in check_tables.here(con):
        return "none yet", []
    found = []
    try:
        published = parity.published_models(con)
        newer = _trained_before_the_matrix(con)
    except duckdb.Error as error:
        told = check_tables.first_line(error)
        return "none", [f"models.models: {told}. Run `behavsql build`."]
    outdated = [one.task for one in published if f"train {one.task}" in due & newer]
    for one in published:
        # A model that waits to be trained again, and its functions, would be shown features they do
        # not know.
        is_outdated = one.task in outdated
        if not is_outdated:
            found += parity.compare_scores(con, one, config.settings)
        functions = () if is_outdated else parity.compare_functions(con, one)
        # Functions and reasons are held against the predictions, as far as these are right.
        found += [*parity.compare_predictions(con, one)] or [
            *functions, *checking.compare(con, one)
        ]  # fmt: skip
    left_out = f"; not compared, out of date: {', '.join(outdated)}" if outdated else ""
    return f"{counted(len(published), 'published model')}{left_out}", found


def _trained_before_the_matrix(con: duckdb.DuckDBPyConnection) -> set[str]:
    rows = con.execute(
        "select step from meta.builds group by step having starts_with(step, 'train ') and "
        "max(build_id) < (select max(build_id) from meta.builds where step = 'features.matrix')"
    ).fetchall()
    return {step for (step,) in rows}


def _published(
    warehouse: Warehouse, con: duckdb.DuckDBPyConnection | None
) -> tuple[str, list[str]]:
    """Every view of the published file selected; one that is gone is the plan's to tell.

    con: the build database; None where it has not published yet.
    """
    if not warehouse.published.exists():
        return "no file" if con else "no file yet", []
    try:
        with reading(warehouse.published) as published:
            found = [
                f"{warehouse.published}: view {view} cannot be selected: {error.splitlines()[0]}. "
                f"Run `behavsql build -s publish`."
                for view, error in broken_views(published)
            ]
            found += [
                f"{warehouse.published}: function {name} cannot be called: {error}. "
                f"Run `behavsql build -s publish`."
                for name, error in registry.broken(published)
            ]
    except WarehouseError as error:
        return "not readable", [str(error)]
    if con is None:
        return "an earlier build", found
    return rollback.rolled_back(warehouse, con) or "the newest build", found


def _time_travel(
    con: duckdb.DuckDBPyConnection,
    config: Config,
    catalog: Catalog,
    steps: list[Step],
    at: date | None,
) -> tuple[str, list[str]]:
    due = [
        step.name for step in steps
        if step.reason and (step.verb in ("ingest", "resolve")
                            or (step.file and step.file.stage_number <= time_travel.LAST_STAGE))
    ]  # fmt: skip
    if due or not steps:
        told = f"features are out of date ({', '.join(due) or 'the sources are missing'})"
        return "nothing", [f"time travel: {told}; allowed are those built last. Build first."]
    cutoffs = _cutoffs(con, at)
    try:
        leaks = [x for cutoff in cutoffs for x in time_travel.find_leaks(config, catalog, cutoff)]
    except (DamagedError, SqlFileError) as error:
        return "not to its end", [str(error)]
    days = ", ".join(f"{cutoff:%Y-%m-%d}" for cutoff in cutoffs)
    return f"{len(catalog.feature_files())} feature files as of {days}", [str(x) for x in leaks]


def _cutoffs(con: duckdb.DuckDBPyConnection, at: date | None) -> list[datetime]:
    if at is None:
        rows = con.execute(
            "select distinct max(cutoff_at) as cutoff_at from cutoffs.splits "
            "where split in ('train', 'valid', 'test') group by split order by cutoff_at"
        ).fetchall()
        return [cutoff for (cutoff,) in rows]
    known = [
        cutoff
        for (cutoff,) in con.execute(
            "select distinct cutoff_at from cutoffs.cutoffs order by cutoff_at"
        ).fetchall()
    ]
    chosen = [cutoff for cutoff in known if cutoff.date() == at]
    if not chosen:
        days = sorted({str(cutoff.date()) for cutoff in known})
        told = f"from {days[0]} to {days[-1]}" if days else "none"
        raise ConfigError(
            f"check --at {at}: no cutoff lies on that day; allowed are the days of cutoffs.cutoffs, "
            f"{told}.{nearest(str(at), days)}"
        )
    return chosen[-1:]
