"""What a build would do and why: every step with a fingerprint of all that it depends on.

A step is up to date when the last build recorded the same fingerprint for it. Fingerprints are
told from files, settings and the steps before, never from results, so the whole plan is known
before anything runs.
"""

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb

from behavsql import __version__, sources
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.errors import ConfigError, nearest
from behavsql.models import MODEL_SETS

BEFORE_MODELS = 5  # the last stage that is built before training


@dataclass(frozen=True)
class Step:
    """One thing a build does. `reason` says why it must run; None means it is up to date."""

    name: str  # "raw.events", "staging.events", "meta.tasks", "features.matrix", "train purchase"
    verb: str  # "ingest" | "sql" | "resolve" | "matrix" | "train" | "present" | "publish"
    parents: tuple[str, ...]
    digest: str  # of what is the step's own: SQL text, settings, code version
    file: SqlFile | None = None
    fingerprint: str = ""
    reason: str | None = None


def settings_params(config: Config) -> dict[str, object]:
    """The settings SQL files may read through `getvariable`, known before the build starts."""
    chosen = config.settings
    return {
        "session_gap": chosen.session_gap,
        "max_session": chosen.max_session,
        "min_date": chosen.min_date,
        "max_value": chosen.max_value,
        "max_quantity": chosen.max_quantity,
    }


def all_params(con: duckdb.DuckDBPyConnection, config: Config) -> dict[str, object]:
    """Those, and the ones a build finds out: the latest time that is not in the future, the bucket."""
    tomorrow = datetime.combine(datetime.now(UTC).date(), datetime.min.time()) + timedelta(days=1)
    params = settings_params(config) | {"latest_possible_at": tomorrow}
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'meta' and table_name = 'clock'"
    ).fetchall()
    if known:
        params["bucket"] = con.execute("select bucket from meta.clock").fetchall()[0][0]
    return params


def make_plan(
    catalog: Catalog,
    config: Config,
    recorded: Mapping[str, str],
    select: Iterable[str] = (),
    full: bool = False,
) -> list[Step]:
    """Every step in order, each with its reason to run.

    recorded: step name -> fingerprint of its last success. select: names, patterns or schemas
    ("features.*", "labels"); `x+` takes what depends on x too. Raises ConfigError for a selection
    that matches nothing.
    """
    steps = _fingerprinted(list(_steps(catalog, config)))
    chosen = _selected(steps, select)
    judged = [_with_reason(step, recorded, full) for step in steps]
    return judged if chosen is None else _only(judged, chosen)


def _steps(catalog: Catalog, config: Config) -> Iterable[Step]:
    params = settings_params(config)
    yield Step("raw.events", "ingest", (), _hash(sources.fingerprint(config), __version__))
    tables = [_sql_step(file, catalog, params) for file in catalog.files.values()]
    yield from (step for step in tables if step.file.stage_number == 1)
    asked = [file.digest for file in catalog.label_files()]
    tasks = _hash(asked, config.tasks, config.settings.max_train_cutoffs, __version__)
    yield Step("meta.tasks", "resolve", ("staging.events", "staging.sources"), tasks)
    yield from (step for step in tables if 1 < step.file.stage_number <= BEFORE_MODELS)
    labels = [file.table for file in catalog.label_files()]
    features = [file.table for file in catalog.feature_files()]
    parents = ("cutoffs.cutoffs", "meta.tasks", *features, *labels)
    yield Step("features.matrix", "matrix", parents, __version__)
    chosen = config.settings
    for label in labels:
        task = label.partition(".")[2]
        own = _hash(MODEL_SETS[chosen.models], chosen.seed, chosen.max_train_rows, __version__)
        yield Step(f"train {task}", "train", ("features.matrix", label), own)
    yield from (step for step in tables if step.file.stage_number > BEFORE_MODELS)
    yield Step("main.customers", "present", ("predictions.scored", "staging.users"), __version__)
    results = [step.name for step in tables if step.file.stage_number > BEFORE_MODELS]
    parents = ("features.matrix", *results, "main.customers")
    yield Step("publish", "publish", parents, config.settings.publish_mode)


def _sql_step(file: SqlFile, catalog: Catalog, params: Mapping[str, object]) -> Step:
    macros = [macro.digest for macro in catalog.macros if macro.name in file.macros]
    values = [(name, params.get(name)) for name in file.params]
    digest = _hash(file.digest, file.purpose, macros, values)
    return Step(
        file.table, "sql", tuple(_origin(name, catalog) for name in file.inputs), digest, file
    )


def _origin(table: str, catalog: Catalog) -> str:
    """The step that makes an input: `raw.*`, `meta.*` and `models.*` have one for many tables."""
    schema = table.partition(".")[0]
    if table in catalog.files:
        return table
    return {"raw": "raw.events", "meta": "meta.tasks", "models": "models.*"}.get(
        schema, "features.matrix"
    )


def _fingerprinted(steps: list[Step]) -> list[Step]:
    known: dict[str, str] = {}
    done = []
    for step in steps:
        parents = [name for name in known if fnmatch.fnmatch(name, "train *")] if (
            "models.*" in step.parents
        ) else []  # fmt: skip
        inputs = [known[name] for name in (*step.parents, *parents) if name in known]
        done.append(
            replace(step, parents=(*step.parents, *parents), fingerprint=_hash(step.digest, inputs))
        )
        known[step.name] = done[-1].fingerprint
    return done


def _selected(steps: list[Step], select: Iterable[str]) -> set[str] | None:
    """The names a selection means; None where there is none, which means all."""
    chosen: set[str] = set()
    names = [step.name for step in steps]
    for text in select:
        pattern, downstream = text.removesuffix("+"), text.endswith("+")
        found = {
            name for name in names
            if fnmatch.fnmatch(name, pattern) or name.partition(".")[0] == pattern
            or name == f"train {pattern}" or name == f"labels.{pattern}"
        }  # fmt: skip
        if not found:
            raise ConfigError(
                f"--select: nothing is called {pattern!r}; allowed are tables, schemas, tasks and "
                f"patterns such as features.*.{nearest(pattern, names)} See `behavsql sql list`."
            )
        chosen |= found | (_downstream(steps, found) if downstream else set())
    return chosen or None


def _downstream(steps: list[Step], seeds: set[str]) -> set[str]:
    reached = set(seeds)
    for step in steps:
        if reached.intersection(step.parents):
            reached.add(step.name)
    return reached


def _with_reason(step: Step, recorded: Mapping[str, str], full: bool) -> Step:
    if full:
        return replace(step, reason="--full")
    if step.name not in recorded:
        return replace(step, reason="new")
    if recorded[step.name] == step.fingerprint:
        return step
    return replace(step, reason="changed: itself or what it reads")


def _only(steps: list[Step], chosen: set[str]) -> list[Step]:
    """The chosen steps, and what they read as far as it is out of date.

    Without the latter a step would be recorded as made from inputs that it never saw.
    """
    needed = set(chosen)
    for step in reversed(steps):
        if step.name in needed:
            needed |= {other.name for other in steps if other.reason} & set(step.parents)
    reasons = {name: "selected" if name in chosen else "out of date, and selected steps read it"
               for name in needed}  # fmt: skip
    return [replace(step, reason=reasons.get(step.name)) for step in steps]


def recorded_fingerprints(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Step name -> fingerprint of its last success, from `meta.builds`; empty for a new warehouse."""
    known = con.execute(
        "select count(*) from duckdb_tables() where schema_name = 'meta' and table_name = 'builds'"
    ).fetchall()[0][0]
    if not known:
        return {}
    return dict(
        con.execute(
            "select step, arg_max(fingerprint, build_id) from meta.builds group by step"
        ).fetchall()
    )


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr([_plain(part) for part in parts]).encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return sorted((key, _plain(item)) for key, item in value.items())
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    return value
