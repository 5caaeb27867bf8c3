"""What trainings, pre-training and the windows of tasks are made from, beside what they read."""

from behavsql.catalog import Catalog
from behavsql.config import Config, Settings
from behavsql.plan.changes import TIME_BUDGET, Parts, digest, text

ECONOMICS = "economics"  # the parameter that only reports read


def task_parts(catalog: Catalog, config: Config) -> Parts:
    """What windows are resolved from; those of one task are named `tasks.<task>.` or `labels.<task> `."""
    parts = {}
    for file in catalog.label_files():
        own = config.tasks.get(file.name)
        for key in ("enabled", "horizon", "active_within"):
            value = getattr(own, key) if own else True if key == "enabled" else None
            parts[f"tasks.{file.name}.{key}"] = text(value).lower()
        for key in ("purpose", "kind", "metric", "horizon", "active_within", "roles", "types"):
            parts[f"labels.{file.name} {key}"] = text(getattr(file, key, None))
    return parts | {"settings.max_train_cutoffs": str(config.settings.max_train_cutoffs)}


def own_parts(parts: Parts, task: str) -> Parts:
    """The parts of meta.tasks that decide over one task's windows."""
    names = [
        f"{prefix}{key}" for prefix in (f"tasks.{task}.", f"labels.{task} ")
        for key in ("horizon", "active_within")
    ]  # fmt: skip
    return {name: parts.get(name, "") for name in names}


def pretraining_parts(config: Config) -> Parts:
    chosen = config.settings
    parts = {
        "settings.pretrain_size": chosen.pretrain_size, TIME_BUDGET: text(chosen.time_budget),
    }  # fmt: skip
    if chosen.pretrained:
        file = config.folder / chosen.pretrained
        stat = file.stat() if file.exists() else None
        state = f" of {stat.st_size:,} bytes, {stat.st_mtime_ns}" if stat else ""
        parts["settings.pretrained"] = f"{chosen.pretrained}{state}"
    return parts


def tuning_parts(chosen: Settings) -> Parts:
    """How models are tuned; trials are no part where there are none."""
    parts = {"settings.tune": text(chosen.tune).lower(), TIME_BUDGET: text(chosen.time_budget)}
    if chosen.tune:
        parts |= {"settings.trials": str(chosen.trials), "settings.search": chosen.search}
    return parts


def live_parts(
    catalog: Catalog, config: Config, last_stage: int, params: dict[str, object]
) -> Parts:
    """What the live views say: the SQL files, the settings these read, the words for roles."""
    files = [file for file in catalog.files.values() if file.stage_number <= last_stage]
    told = [(file.table, file.digest) for file in (*catalog.macros, *files)]
    params = {
        f"settings.{name}": text(value) for name, value in params.items()
        if name != ECONOMICS
    }  # fmt: skip
    return {"sql files": digest(told), "types": digest(config.roles())} | params
