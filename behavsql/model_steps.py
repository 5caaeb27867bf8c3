"""The steps of a run that are about one task's models: train, score, compile."""

from typing import TYPE_CHECKING

from behavsql import learned, tasks
from behavsql.plan import records
from behavsql.plan.steps import OF_MODELS, Step

if TYPE_CHECKING:
    from behavsql.run import Run


def trained(run: "Run") -> set[str]:
    """The tasks that have models."""
    from behavsql import model_tables

    return model_tables.trained(run.con)


def train(run: "Run", step: Step) -> None:
    """Fit the step's models; what they are asked about now is scored too."""
    from behavsql import train

    task = next(task for task in tasks.ready(run.con) if task.name == step.task)
    digests = learned.digests(run.steps, task.name)
    train.train_task(run.con, task, run.config.settings, step.models, digests, run.progress)


def score(run: "Run", step: Step) -> int:
    """Let the published model speak about who is there now; rows."""
    from behavsql import score

    return score.score_task(run.con, step.task, run.config.settings)


def compile_(run: "Run", step: Step) -> tuple[int, str]:
    """Store the published model's functions; the rows they were compared on, and what came of it."""
    from behavsql import parity
    from behavsql.compile.step import compile_task

    one = next(one for one in parity.published_models(run.con) if one.task == step.task)
    found = compile_task(run.con, one, run.config.settings)
    for warning in found.warnings:
        run.progress.say(f"  {step.task}: {warning}")
    return found.rows, found.told


def forget(run: "Run", task: str) -> None:
    """Take away a task's models and functions, and the records of having made them."""
    from behavsql import model_tables
    from behavsql.compile import step

    if task in model_tables.trained(run.con):
        step.forget(run.con, task)
    model_tables.forget(run.con, task)
    records.forget(run.con, run.history, [f"{verb} {task}" for verb in OF_MODELS])
