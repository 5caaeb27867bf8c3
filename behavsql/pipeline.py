"""`behavsql build`, `score` and `train`: a plan carried out, step by step, into a published warehouse."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from behavsql import inbox, learned, plan, rollback, transform, tuning
from behavsql.catalog import Catalog
from behavsql.config import Config
from behavsql.database_file import open_file
from behavsql.errors import ConfigError, nearest
from behavsql.input import landing, sources
from behavsql.models import MODELS, REFERENCES, model_class
from behavsql.plan import records
from behavsql.plan.steps import Goal, Step
from behavsql.privacy import archive, entering, register, renewal
from behavsql.progress import Progress
from behavsql.quoting import literal
from behavsql.recommenders import COMBINED, RECOMMENDERS
from behavsql.run import Run
from behavsql.tasks import CHOICE
from behavsql.updating import Update, updates
from behavsql.warehouse import Warehouse, limit, limit_libraries

BUILD = Goal()
OF_CHOICES = (*RECOMMENDERS, *COMBINED)
KNOWN = (*MODELS, *OF_CHOICES)  # what `train -m` accepts


@dataclass(frozen=True)
class Built:
    """What a run did: the published file, the steps that ran, the seconds it took."""

    path: Path
    steps: tuple[str, ...]
    seconds: float
    is_published: bool = True  # whether the published file holds all that was built


def load_catalog(config: Config) -> Catalog:
    """The package's SQL files with the project's own `sql/` folder layered over them.

    Raises ConfigError if the config speaks of a task that no file asks.
    """
    catalog = Catalog.load(config.folder / "sql")
    known = sorted(file.name for file in catalog.label_files())
    for name in config.tasks:
        if name not in known:
            raise ConfigError(
                f"{config.origin}: unknown task tasks.{name}; allowed are {', '.join(known)}."
                f"{nearest(name, known)}"
            )
    return catalog


def build(
    config: Config,
    *,
    select: Iterable[str] = (),
    full: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Bring the warehouse up to date with its sources, SQL files and settings, and publish it.

    Only what changed runs, and what reads a result that came out different, unless `full`, which
    also resolves the tasks' windows anew; `select` runs just the steps it names, and what is out of
    date above them. A step that fails leaves the published file and the finished steps as they are,
    so that the next build goes on there. Raises the errors of `behavsql.errors`; LockedError if
    another build runs.
    """
    return _bring_up_to_date(config, progress or Progress(), BUILD, tuple(select), full)


def score(config: Config, *, progress: Progress | None = None) -> Built:
    """Bring new data through to predictions with the models that are published; nothing is trained.

    Raises ModelError if a SQL file or a setting is no longer what a model learned from, or if there
    is no model at all, before anything runs.
    """
    return _bring_up_to_date(config, progress or Progress(), Goal(tasks=()))


def train(
    config: Config,
    *,
    tasks: Iterable[str] = (),
    models: Iterable[str] = (),
    progress: Progress | None = None,
) -> Built:
    """Train some tasks (all, if none is named) with some models, on data brought up to date.

    The named models, with the references, are then all the models these tasks have. The other tasks
    keep theirs, which score the new data. A later `build` keeps what was trained here until
    something the task depends on changes, or the setting `models`; it then trains the models of
    that setting. ConfigError for unknown names, for a model that answers none of the tasks and for
    a task that none of the models answers, before anything runs.
    """
    models = tuple(models)
    kinds = {file.name: file.kind for file in load_catalog(config).label_files()}
    known = list(kinds)
    off = [task for task, own in config.tasks.items() if not own.enabled]
    asked = tuple(tasks) or tuple(
        task for task in known
        if task not in off and (not models or _is_meant(kinds[task], models))
    )  # fmt: skip
    for name in asked:
        if name not in known or name in off:
            why = f'"{name}" is disabled in {config.origin}' if name in off else f'no task "{name}"'
            allowed = [task for task in known if task not in off]
            raise ConfigError(
                f"train: {why}; allowed are {', '.join(allowed)}.{nearest(name, allowed)} "
                f"See `behavsql tasks`."
            )
    for name in models:
        if name not in KNOWN:
            raise ConfigError(
                f'train: no model "{name}"; allowed are {", ".join(KNOWN)}.{nearest(name, KNOWN)}'
            )
    if models:
        _refuse_unserved({task: kinds[task] for task in asked}, models)
    return _bring_up_to_date(config, progress or Progress(), Goal(asked, models))


def _is_meant(kind: str, models: tuple[str, ...]) -> bool:
    """Whether a task that nobody named is one that models of its sort were named for.

    Recommenders answer choices and nothing else; who names none of them means no choice.
    """
    return any((name in OF_CHOICES) == (kind == CHOICE) for name in models)


def _refuse_unserved(kinds: Mapping[str, str], models: tuple[str, ...]) -> None:
    """ConfigError for the first model that answers no task, or task that no model answers."""
    serves = {name: model_class(name).kinds for name in MODELS}
    serves |= dict.fromkeys(OF_CHOICES, frozenset({CHOICE}))
    wrong = [((name,), tuple(kinds)) for name in models if serves[name].isdisjoint(kinds.values())]
    wrong += [
        (models, (task,)) for task, kind in kinds.items()
        if not any(kind in serves[name] for name in models)
    ]  # fmt: skip
    for names, tasks in wrong:
        unanswered = {kinds[task] for task in tasks}
        allowed = [name for name in KNOWN if name not in REFERENCES and serves[name] & unanswered]
        raise ConfigError(
            f"train: {', '.join(names)} {'does' if len(names) == 1 else 'do'} not answer "
            f"{', '.join(f'{task} ({kinds[task]})' for task in tasks)}; allowed are "
            f"{', '.join(allowed)}. Name one of these with -m, or other tasks with -t."
        )


def dry_run(config: Config, *, select: Iterable[str] = (), full: bool = False) -> list[Step]:
    """The plan of a build, with the reason of each step; nothing runs and nothing is written.

    Raises SourceError if the sources would have to be read and their columns are not those mapped.
    """
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    renewal.refuse(config, warehouse, full)
    asked = landing.asked(config)
    lost = asked | warehouse.lost() | inbox.news(inbox.waiting(warehouse))
    config = inbox.joined(config)
    history = records.of_file(warehouse.build, lost, is_needed=not full)
    steps = plan.make_plan(catalog, config, history, select, full)
    if full:
        steps = plan.without_skipped(steps, plan.make_plan(catalog, config, history), history)
    if any(step.verb == "ingest" and step.reason for step in steps):
        with duckdb.connect() as con:
            limit(con, config)
            for source in config.source:
                if not source.url:  # which a build asks, and checks then
                    sources.scan(con, config, source)
    return [_with_asking(step, asked.get(step.name)) for step in steps]


def _with_asking(step: Step, told: str | None) -> Step:
    """What reads a database runs for certain if there is another reason too."""
    if told is None or step.reason is None:
        return step
    if step.reason == told:
        return replace(step, is_certain=False)
    return replace(step, reason=f"{step.reason}; {told}")


def _bring_up_to_date(
    config: Config, progress: Progress, goal: Goal, select: tuple[str, ...] = (), full: bool = False
) -> Built:
    started = time.perf_counter()
    if config.settings.tune:
        tuning.check_installed()
    limit_libraries(config.settings.threads)
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    with _opened(warehouse, config, full, progress) as (con, lost, done):
        landing.land(config, progress, since=entering.kept_since(con, config))
        config = inbox.joined(config)
        steps = plan.make_plan(catalog, config, records.read(con, lost), select, full, goal)
        if goal is not BUILD:
            steps = learned.without_stale(con, steps, goal, progress)
        if not any(step.reason for step in steps):
            if older := rollback.rolled_back(warehouse, con):
                progress.say(older)
            done.append(Built(warehouse.published, (), time.perf_counter() - started))
            return done[0]
        transform.prepare(con, catalog)
        run = Run(con, catalog, config, warehouse, progress, full)
        ran = tuple(run.carry_out(steps, lost))
        seconds = time.perf_counter() - started
        done.append(Built(warehouse.published, ran, seconds, run.is_published()))
        return done[0]


def update(
    config: Config, sources: Iterable[str] = (), *, progress: Progress | None = None
) -> Built:
    """Take in the files that are new, of the sources that are named (all, if none is).

    As `score`, and with the same result, but at a cost that follows the new rows: see updating/.
    Where that cannot be, because more than that changed, everything is brought up to date as
    `score` does it, and why is said. Where there are no models, as where no task is asked, the tables
    before them are brought up to date alone. ConfigError for unknown names, WarehouseError where
    nothing was built yet, ModelError for a stale model.
    """
    progress = progress or Progress()
    started = time.perf_counter()
    only = updates.named(config, tuple(sources))
    limit_libraries(config.settings.threads)
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    goal = Goal(tasks=())
    with _opened(warehouse, config, False, progress) as (con, lost, done):
        landing.land(config, progress, only, entering.kept_since(con, config))
        config = inbox.joined(config)
        history = records.read(con, lost)
        updates.check_built(history)
        steps = plan.make_plan(catalog, config, history, goal=goal)
        steps = learned.without_stale(con, steps, goal, progress, are_needed=False)
        found = updates.find(con, config, steps, history, only)
        if not found.is_needed:
            done.append(Built(warehouse.published, (), time.perf_counter() - started))
            return done[0]
        transform.prepare(con, catalog)
        changes = None
        if found.why_whole:
            progress.say(f"  everything is brought up to date: {found.why_whole}")
        else:  # without new files, what a killed run left: whom it touched is not known any more
            steps = found.steps
            changes = Update(con, catalog, found.news, history.names) if found.news.files else None
        run = Run(con, catalog, config, warehouse, progress, update=changes)
        ran = tuple(run.carry_out(steps, lost))
        seconds = time.perf_counter() - started
        done.append(Built(warehouse.published, ran, seconds, run.is_published()))
        return done[0]


def update_dry_run(config: Config, sources: Iterable[str] = ()) -> tuple[dict[str, list[str]], str]:
    """(source -> its new files, why everything would be brought up to date); nothing is written.

    The reason is empty where new files are all there is. Errors as `update`.
    """
    only = updates.named(config, tuple(sources))
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    lost = warehouse.lost() | inbox.news(inbox.waiting(warehouse))
    config = inbox.joined(config)
    if not warehouse.build.exists() or not warehouse.raw.exists():
        return {}, "nothing was built yet"
    with open_file(warehouse.build, read_only=True) as con:
        con.execute(f"attach {literal(str(warehouse.raw))} as raw (read_only)")
        history = records.read(con, lost)
        steps = plan.make_plan(catalog, config, history, goal=Goal(tasks=()))
        found = updates.find(con, config, steps, history, only)
    names = {source: [path.name for path in files] for source, files in found.news.files.items()}
    return names, found.why_whole


@contextmanager
def _opened(
    warehouse: Warehouse, config: Config, full: bool, progress: Progress
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, str], list[Built]]]:
    """The build database, what is lost of the last build, and a list to note in what was built.

    `full` makes room for a new one.
    """
    done: list[Built] = []
    with warehouse.locked():
        renewal.prepare(config, warehouse, full)
        register.note_key(config)
        renewal.note_age(config, warehouse)
        for told in warehouse.set_aside_damaged() if full else ():
            progress.say(told)
        inserted = inbox.news(inbox.absorb(warehouse, progress.say))
        archive.clean(warehouse)
        renewal.begin(warehouse, progress.say)
        lost = warehouse.lost() | inserted  # before opening, which makes what is not there
        with warehouse.building(config) as con:
            yield con, lost, done
        if done:
            renewal.finish(config, warehouse, done[0].is_published, progress)
