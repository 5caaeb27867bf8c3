"""The steps of a build in order: what each is made from and what it reads."""

from collections.abc import Iterable
from dataclasses import replace

from behavsql import __version__, model_options
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Config
from behavsql.models import MODEL_SETS, MODELS, NEED_PRETRAINED, REFERENCES
from behavsql.plan import content
from behavsql.plan.acting import GAINS, LEARN, acting_steps
from behavsql.plan.changes import TIME_BUDGET, Parts, text
from behavsql.plan.own_parts import ECONOMICS as ECONOMICS
from behavsql.plan.own_parts import live_parts, pretraining_parts, task_parts, tuning_parts
from behavsql.plan.own_parts import own_parts as own_parts
from behavsql.plan.params import FOUND_PARAMS, settings_params
from behavsql.plan.source_parts import source_parts
from behavsql.plan.step import Goal as Goal
from behavsql.plan.step import Step as Step
from behavsql.recommenders import COMBINED, RECOMMENDER_SETS, RECOMMENDERS
from behavsql.recommenders import REFERENCES as OF_CHOICES

CHOICE = "choice"  # the kind of label that is a list of items, as in tasks.py
BEFORE_MODELS = 5  # the last stage that is built before training
PREDICTIONS = 6  # the stage of what the published models say of who is asked now
JUDGE = "judge tasks"
TELLS = ("train", "score")  # verbs that make models speak
OF_MODELS = (*TELLS, "compile", "backtest", "explain")  # verbs of one task's models
OF_PRETRAINING = ("pretrain", "embed")
# Verbs outside a transaction, so that what they did stays, half done, where they are cut short.
# DuckDB writes to one database a transaction, and raw is one of its own; and functions that fail
# when they are tried would end it.
NOT_UNDONE = ("ingest", "compile")
VERDICTS = "verdicts"  # its result: which tasks are asked
PRETRAIN, EMBEDDINGS = "pretrain", "features.embeddings"  # steps; the latter's table too
PRETRAINED = "pretrained"  # read by trainings, named by no step: what a model was fitted from stays
WATCH, REMEMBER = "models.latest_bins", "predictions.history"
# Tables that a step makes beside the one it is called after.
MADE_WITH = {
    "features.latest": "features.matrix", "features.sequences": "features.matrix",
    "features.categories": WATCH, "models.label_rates": WATCH,
    "predictions.outcomes": REMEMBER, "meta.quality": "staging.ledger",
    "models.policies": LEARN, "models.action_effects": LEARN, "models.action_values": LEARN,
    "models.action_propensities": LEARN, "models.action_balance": LEARN, "models.propensity_bins": LEARN,
}  # fmt: skip
SIMILAR_USERS = "similar_users"  # the function that reads it
# Tables that the explaining of a task's models fills.
EXPLAINED = (
    "models.explanations",
    "models.contributions",
    "models.permutation_importance",
    "models.dependence",
)


def all_steps(catalog: Catalog, config: Config, goal: Goal) -> list[Step]:
    """Every step with its parents, in the order in which they can be done; no reasons yet."""
    # What `train -m` alone asked for is not in the next plan: publishing must not miss it then; nor
    # what `score` leaves as it is.
    is_kept = _needs_pretrained(MODEL_SETS[config.settings.models])
    passing = ("learn", *(() if is_kept else OF_PRETRAINING))
    return _linked(list(_listed(catalog, config, goal)), passing)


def _listed(catalog: Catalog, config: Config, goal: Goal) -> Iterable[Step]:
    package = {"behavsql": __version__}
    asked = [file for file in catalog.label_files() if _is_enabled(file.name, config)]
    labels = [file.table for file in asked]
    tables = [
        _sql_step(file, catalog, config, asked) for file in catalog.files.values()
        if file.schema != "labels" or file.table in labels
    ]  # fmt: skip
    yield Step("raw.events", "ingest", (), source_parts(config) | package)
    yield from (step for step in tables if step.file.stage_number == 1)
    read = ("staging.events", "staging.sources", "staging.identities")
    yield Step("meta.tasks", "resolve", read, task_parts(catalog, config) | package)
    yield from (step for step in tables if 1 < step.file.stage_number <= BEFORE_MODELS)
    read = ("meta.tasks", "cutoffs.splits", "cutoffs.populations", *labels)
    yield Step(JUDGE, "judge", read, package)
    features = [file.table for file in catalog.feature_files()]
    read = ("cutoffs.cutoffs", "meta.tasks", "meta.clock", *features, *labels, VERDICTS)
    yield Step("features.matrix", "matrix", read, package)
    models = [_model_step(file, config, goal) for file in asked]
    yield from _pretraining_steps(config, models)
    yield from models
    yield from acting_steps(config, goal)
    with_numbers = [file for file in asked if file.kind != CHOICE]
    for file in with_numbers:
        yield Step(f"compile {file.name}", "compile", (f"fitted[{file.name}]",), package)
    yield from _backtests(with_numbers, config, package)
    told = {"explain.reasons": str(config.explain.reasons)}
    for file in with_numbers:
        name, read = f"explain {file.name}", (f"models[{file.name}]",)
        yield Step(name, "explain", read, package | told)
    compiled = [f"compile {file.name}" for file in with_numbers]
    read = ("features.matrix", "meta.tasks", "meta.clock", VERDICTS, *compiled)
    yield Step(
        "live.views",
        "live",
        read,
        live_parts(catalog, config, BEFORE_MODELS, settings_params(config)) | package,
    )
    said = [step for step in tables if step.file.stage_number > BEFORE_MODELS]
    yield from (step for step in said if step.file.stage_number <= PREDICTIONS)
    yield from _looking_back(with_numbers, package)
    yield from (step for step in said if step.file.stage_number > PREDICTIONS)
    read = ("predictions.scored", "predictions.next_item", "staging.users", "meta.tasks", VERDICTS)
    yield Step("main.customers", "present", read, package)
    yield Step("publish", "publish", (), {"settings.publish_mode": config.settings.publish_mode})


def _backtests(asked: list[SqlFile], config: Config, package: Parts) -> Iterable[Step]:
    """Of tasks whose models were fitted anew; they take as long as training does, for each fold."""
    parts = package | {"settings.seed": str(config.settings.seed)}
    for file in asked if config.settings.backtest else ():
        yield Step(f"backtest {file.name}", "backtest", (f"fitted[{file.name}]",), parts)


def _looking_back(asked: list[SqlFile], package: Parts) -> Iterable[Step]:
    """What is asked of models that have spoken: who they speak of now, and what became of it."""
    labels = [file.table for file in asked]
    fitted = [f"fitted[{file.name}]" for file in asked]
    read = ("features.matrix", "cutoffs.populations", "meta.tasks", "meta.clock", *labels)
    yield Step(WATCH, "watch", (*read, VERDICTS, *fitted), package)
    # A label is asked of moments that no table of labels has: it hangs on what its file reads.
    below = {name for file in asked for name in file.inputs} - {content.WINDOWS}
    read = ("predictions.scored", "staging.users", "meta.tasks", "meta.clock", *labels)
    yield Step(REMEMBER, "remember", (*read, *sorted(below - {*read}), VERDICTS), package)


def _is_enabled(task: str, config: Config) -> bool:
    return task not in config.tasks or config.tasks[task].enabled


def _sql_step(file: SqlFile, catalog: Catalog, config: Config, asked: list[SqlFile]) -> Step:
    parts = {"sql": f"{file.version} {file.digest}", "purpose": file.purpose}
    for macro in catalog.macros:
        if macro.name in file.macros:
            parts[macro.table] = f"{macro.version} {macro.digest}"
    params = settings_params(config)
    parts |= {f"settings.{name}": text(params[name]) for name in file.params if name in params}
    if file.table == "staging.ledger":  # what a build checks it against
        parts["settings.max_rejected_share"] = text(config.settings.max_rejected_share)
    reads: list[str] = []
    for name in content.slices_read(file):
        if name in (WATCH, GAINS, *MADE_WITH):
            reads.append(MADE_WITH.get(name, name))
        elif name in EXPLAINED:
            reads += [f"explain {task.name}" for task in asked if task.kind != CHOICE]
        elif name.startswith("models."):
            reads += [f"models[{task.name}]" for task in asked]
            if name == "models.backtest" and config.settings.backtest:
                reads += [f"backtest {task.name}" for task in asked if task.kind != CHOICE]
        elif name.startswith("meta.") and file.stage_number > BEFORE_MODELS:
            reads += ["meta.tasks", "meta.clock", VERDICTS]
        else:
            reads.append(name)
    reads += [FOUND_PARAMS[name] for name in file.params if name in FOUND_PARAMS]
    return Step(file.table, "sql", tuple(dict.fromkeys(reads)), parts, file)


def _model_step(file: SqlFile, config: Config, goal: Goal) -> Step:
    """Training reads one task's rows of the matrix: that is looked at when its turn comes."""
    if file.kind == CHOICE:
        return _choice_step(file, config, goal)
    reads = ("features.matrix", "cutoffs.populations", file.table, VERDICTS)
    if not goal.trains(file.name):
        return Step(f"score {file.name}", "score", reads, {})
    chosen = config.settings
    parts = {
        "settings.models": chosen.models,
        "models": text(MODEL_SETS[chosen.models]),
        "settings.seed": str(chosen.seed),
        "settings.max_train_rows": str(chosen.max_train_rows),
        "settings.select_features": text(chosen.select_features).lower(),
        **tuning_parts(chosen),
        **model_options.parts(config.models, MODEL_SETS[chosen.models]),
        **(pretraining_parts(config) if _needs_pretrained(MODEL_SETS[chosen.models]) else {}),
        "kind": text(file.kind),
        "metric": text(file.metric),
        "behavsql": __version__,
    }
    # What `train -m` chose once is no part: it stays until something else changes.
    fitted = [name for name in MODELS if name in (*goal.models, *REFERENCES)]
    names = tuple(fitted) if goal.models else MODEL_SETS[chosen.models]
    reads += (PRETRAINED,) if _needs_pretrained(names) else ()
    return Step(f"train {file.name}", "train", reads, parts, models=names)


def _choice_step(file: SqlFile, config: Config, goal: Goal) -> Step:
    """Recommenders read what was chosen and what items are, and no features."""
    reads = ("sessions.session_events", "sessions.item_events", "staging.items", "cutoffs.splits",
             "cutoffs.populations", file.table, VERDICTS)  # fmt: skip
    if not goal.trains(file.name):
        return Step(f"score {file.name}", "score", reads, {})
    chosen, names = config.settings, RECOMMENDER_SETS[config.settings.models]
    parts = {
        "settings.models": chosen.models,
        "models": text(names),
        "settings.seed": str(chosen.seed),
        "settings.seen_items": chosen.seen_items,
        "settings.diversity": text(chosen.diversity),
        TIME_BUDGET: text(chosen.time_budget),
        "metric": text(file.metric),
        "behavsql": __version__,
    }
    mixes = tuple(name for name in COMBINED if name in goal.models)
    asked = [name for name in RECOMMENDERS if name in (*goal.models, *OF_CHOICES)]
    if set(goal.models) & {*RECOMMENDERS}:
        names = (*asked, *mixes)
    elif mixes:  # of all the others
        names = (*(name for name in names if name not in COMBINED), *mixes)
    return Step(f"train {file.name}", "train", reads, parts, models=names)


def _needs_pretrained(names: Iterable[str]) -> bool:
    return not set(NEED_PRETRAINED).isdisjoint(names)


def _pretraining_steps(config: Config, models: list[Step]) -> Iterable[Step]:
    """The large model, if one of those that are trained now needs it, and its view of the users."""
    is_trained = any(_needs_pretrained(step.models) for step in models)
    package = {"behavsql": __version__}
    if is_trained:
        parts = {"settings.seed": str(config.settings.seed), **pretraining_parts(config)}
        read = ("sessions.session_events", "cutoffs.splits")
        yield Step(PRETRAIN, "pretrain", read, parts | package)
    if is_trained or _needs_pretrained(MODEL_SETS[config.settings.models]):
        yield Step(EMBEDDINGS, "embed", ("features.matrix", "models.pretrained"), package)


def _linked(steps: list[Step], passing: tuple[str, ...]) -> list[Step]:
    """Every step with the steps behind what it reads.

    Publishing reads what all the others made, but for those of the verbs in `passing`.
    """
    owners = {"meta.clock": "meta.tasks", VERDICTS: JUDGE,
              "models.pretrained": PRETRAIN, PRETRAINED: PRETRAIN}  # fmt: skip
    for step in steps:
        if step.verb in TELLS:
            owners |= {f"models[{step.task}]": step.name, f"fitted[{step.task}]": step.name}
    linked = []
    for step in steps:
        if step.verb == "publish":
            made = [other for other in steps[:-1] if other.verb not in passing]
            step = replace(step, reads=tuple(map(_published, made)))
        made_by = {name: owners.get(name) or _owner(name) for name in step.reads}
        linked.append(replace(step, made_by=made_by))
    return linked


def _published(step: Step) -> str:
    """What is published of a step; of a task's models it is the same whoever made them speak."""
    return f"models[{step.task}]" if step.verb in TELLS else f"made {step.name}"


def _owner(result: str) -> str:
    """The step that makes a result.

    >>> _owner("cutoffs.windows[churn]"), _owner("raw.users"), _owner("made train churn")
    ('cutoffs.windows', 'raw.events', 'train churn')
    """
    table = result.removeprefix("made ").partition("[")[0]
    return "raw.events" if table.startswith("raw.") else table
