"""What a model learned from: the SQL files and settings behind its features and its label.

A model that is asked about features of another making answers nonsense with a straight face, so
scoring refuses it and names what moved.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import duckdb

from behavsql.errors import ModelError
from behavsql.plan import cause, changes
from behavsql.plan.changes import Parts
from behavsql.plan.records import History
from behavsql.plan.steps import TELLS, Goal, Step, own_parts
from behavsql.progress import Progress

CUTOFFS_STAGE = 3  # decides when is asked, not what is known then


def digests(steps: list[Step], task: str) -> dict[str, Parts]:
    """Table -> parts of every SQL file from the sources to the features and to the task's label."""
    by_name = {step.name: step for step in steps}
    rows = [step.name for step in steps if step.file and step.file.schema == "features"]
    for step in steps:
        if step.verb in TELLS and step.task == task and "features.matrix" not in step.reads:
            rows = [name for name in step.reads if "." in name]  # a choice is made of no features
    found = {}
    for name in sorted(_with_above(by_name, [f"labels.{task}", *rows])):
        step = by_name[name]
        if step.file and step.file.stage_number != CUTOFFS_STAGE:
            found[name] = {part: value for part, value in step.parts.items() if part != "purpose"}
    return found | {"meta.tasks": own_parts(by_name["meta.tasks"].parts, task)}


def _with_above(by_name: Mapping[str, Step], names: Iterable[str]) -> set[str]:
    """Steps and all that they depend on; names that are no step are left out."""
    open_, found = list(names), set()
    while open_:
        name = open_.pop()
        if name in by_name and name not in found:
            found.add(name)
            open_ += by_name[name].parents
    return found


def refresh(con: duckdb.DuckDBPyConnection, steps: list[Step], history: History) -> None:
    """Let models say what their rows are made from now, where those came out as they were.

    Else scoring would refuse them for a file that changed and made the same. Not where anything
    above their rows is out of date: what it will make is not known.
    """
    from behavsql import model_tables

    by_name = {step.name: step for step in steps}
    late = {step.name for step in steps if cause(step, history)}
    labels = {step.name for step in steps if step.name.startswith("labels.")}
    for step in steps:
        learned = history.records.get(f"train {step.task}") if step.verb in TELLS else None
        if learned is None or any(history.names.get(k) != v for k, v in learned.inputs.items()):
            continue
        # The labels of other tasks are none of its rows; those of skipped tasks are never made.
        above = _with_above(by_name, step.parents) - (labels - {f"labels.{step.task}"})
        if not late & above:
            model_tables.replace_digests(con, step.task, digests(steps, step.task))


def moved(
    old: Mapping[str, Parts], now: Mapping[str, Parts], wheres: Mapping[str, str]
) -> str | None:
    """The first of the files that is not what it was, in words; files that came since do not count."""
    for table, parts in old.items():
        if table not in now:
            return f"{table} is gone"
        if told := changes.difference(parts, now[table], wheres.get(table, table)):
            return told
    return None


def without_stale(
    con: duckdb.DuckDBPyConnection, steps: list[Step], goal: Goal, progress: Progress,
    are_needed: bool = True,
) -> list[Step]:  # fmt: skip
    """The steps without the scoring of tasks whose model learned from something else.

    Where nothing is trained such a model is a ModelError, and so is that there is none, if they
    `are_needed`; beside a training it is left out, and said.
    """
    models = _published(con)
    wheres = {step.name: step.file.where for step in steps if step.file}
    stale = {}
    for step in steps:
        if step.verb == "score" and step.task in models:
            old, told = models[step.task], "trained by an earlier behavsql"
            if old is not None:
                told = moved(old, digests(steps, step.task), wheres)
            if told:
                stale[step.task] = told
    if not goal.tasks and not models and are_needed:
        raise ModelError(
            "score: there is no model yet; allowed is a warehouse with trained ones. "
            "Run `behavsql build`."
        )
    if stale and not goal.tasks:
        _refuse(stale)
    for task, told in stale.items():
        progress.say(f"  {task} keeps its predictions: its model is stale: {told}")
    left_out = {f"score {task}" for task in stale}
    return [replace(step, reason=None) if step.name in left_out else step for step in steps]


def _refuse(stale: Mapping[str, str]) -> None:
    task, told = next(iter(stale.items()))
    others = f" (and {', '.join(list(stale)[1:])})" if len(stale) > 1 else ""
    again = " ".join(f"-t {name}" for name in stale)
    raise ModelError(
        f"score {task}{others}: the model is stale: {told}; allowed are models "
        f"whose files and settings are as they were. Run `behavsql train {again}`."
    )


def _published(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Parts] | None]:
    """Task -> what its published model learned from; None where that was not kept."""
    known = con.execute(
        "select column_name from duckdb_columns() where database_name = current_database() "
        "and schema_name = 'models' and table_name = 'models'"
    ).fetchall()
    if not known:
        return {}
    kept = "feature_digests" if ("feature_digests",) in known else "null"
    rows = con.execute(
        f"select task, {kept} from models.models where is_published order by task"
    ).fetchall()
    return {task: json.loads(text) if text else None for task, text in rows}
