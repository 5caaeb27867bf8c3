"""The steps of a run that are about models: train, score, compile, and the views that ask them."""

from typing import TYPE_CHECKING

from behavsql import learned, tasks
from behavsql.budget import Budget
from behavsql.errors import ModelError
from behavsql.plan import records
from behavsql.plan.steps import OF_MODELS, Step

if TYPE_CHECKING:
    from behavsql.live import Views
    from behavsql.parity import Published
    from behavsql.run import Run

PRETRAINING_SHARE = 1 / 3  # of time_budget


def trained(run: "Run") -> set[str]:
    """The tasks that have models."""
    from behavsql import model_tables

    return model_tables.trained(run.con)


def train(run: "Run", step: Step) -> None:
    """Fit the step's models; what they are asked about now is scored too."""
    from behavsql import train

    run.prepare_models()  # of a warehouse of before, whose matrix is not made anew
    budget = _budget(run)
    budget.ran_out = False
    task = next(task for task in tasks.ready(run.con) if task.name == step.task)
    digests = learned.digests(run.steps, task.name)
    if task.kind == tasks.CHOICE:
        from behavsql.recommenders import training

        training.train_task(
            run.con, task, run.config.settings, step.models, digests, run.progress, budget
        )
        run.is_cut_short = budget.ran_out
        return
    train.train_task(
        run.con, task, run.config.settings, step.models, digests, run.progress, budget,
        run.config.models,
    )  # fmt: skip
    run.is_cut_short = budget.ran_out


def _budget(run: "Run") -> Budget:
    """The run's time, from the first training on; tasks that are not asked get none of it."""
    if run.budget is None:
        ready = {task.name for task in tasks.scored(run.con)}
        due = sum(
            step.verb == "train" and step.reason is not None and step.task in ready
            for step in run.steps
        )
        limit = run.config.settings.time_budget
        run.budget = Budget(limit.total_seconds() if limit else None, due)
    return run.budget


def score(run: "Run", step: Step) -> int:
    """Let the published model speak about who is there now; rows."""
    from behavsql import score

    task = next(task for task in tasks.ready(run.con) if task.name == step.task)
    if task.kind == tasks.CHOICE:
        from behavsql.recommenders import training

        if run.update:
            run.note = "every list anew: each counts what everybody chose"
        return training.score_task(run.con, task, run.config.settings)
    users = run.update.scored_users() if run.update else None
    return score.score_task(run.con, step.task, run.config.settings, users)


def compile_(run: "Run", step: Step) -> int:
    """Store the published model's functions; the rows they were compared on."""
    from behavsql import parity
    from behavsql.compile.step import compile_task

    one = next(one for one in parity.published_models(run.con) if one.task == step.task)
    found = compile_task(run.con, one, run.config.settings)
    for warning in found.warnings:
        run.progress.say(f"  {step.task}: {warning}")
    run.note = found.told
    return found.rows


def explain(run: "Run", step: Step) -> int:
    """Say why the published model says what it says; rows of predictions.reasons."""
    from behavsql import explain, parity

    one = next(one for one in parity.published_models(run.con) if one.task == step.task)
    users = run.update.scored_users() if run.update else None
    rows, run.note = explain.explain_task(run.con, one, run.config, users)
    return rows


def live(run: "Run", step: Step) -> int:
    """Make the views of `live`, `live.<task>` for every task with a function; how many there are."""
    from behavsql import live, parity
    from behavsql.compile import registry

    exact = registry.functions(run.con)
    with live.Views(run.con, run.catalog, run.config) as views:
        run.note = views.create()
        count = 0 if run.note else len(live.VIEWS)
        for one in parity.published_models(run.con):
            if one.task in live.RESERVED:
                run.progress.say(
                    f"  no live.{one.task}: the name is taken; name the task otherwise"
                )
                continue
            live.drop_task_view(run.con, one.task)
            if run.note or f"predict_{one.task}" not in exact:
                continue
            told = _task_view(run, views, one)
            if told:
                run.progress.say(f"  {told}")
            count += not told
    return count


def _task_view(run: "Run", views: "Views", one: "Published") -> str:
    """Make the view of a task's published model; why there is none, or ""."""
    from behavsql import live, parity
    from behavsql.compile import CompileError, profile
    from behavsql.compile.scorer import Scorer

    task = next(task for task in tasks.ready(run.con) if task.name == one.task)
    try:
        scorer = Scorer.of(*parity.load(run.con, one), profile.types(run.con), one.task)
    except CompileError as error:  # a stale model, whose task is not trained anew in this run
        return f"no live.{one.task}: {error}"
    if scorer.lists:
        return (
            f"no live.{one.task}: {one.model} reads the last events as lists, which "
            "live.features does not have"
        )
    score = scorer.row.over_columns(scorer.row_score)
    query = f"select user_id, {score} as score from {live.FEATURES}"
    return views.create_task_view(task, query, one.model, one.version, scorer.features)


def pretrain(run: "Run", step: Step) -> None:
    """Let the large model learn from all users' histories; without it, if it cannot, the build goes on."""
    from behavsql import pretrained

    say = lambda told: run.progress.say(f"  {step.name}: {told}")  # noqa: E731
    limit = _budget(run).seconds
    seconds = None if limit is None else PRETRAINING_SHARE * limit
    try:
        run.note, run.is_cut_short = pretrained.ensure(run.con, run.config, say, seconds)
    except ModelError as error:
        run.note = f"nothing is pre-trained: {error}"


def embed(run: "Run", step: Step) -> int:
    """What the large model makes of who is asked about now; users."""
    from behavsql import pretrained

    return pretrained.embed(run.con, run.config)


def watch(run: "Run", step: Step) -> int:
    """Compare who is asked now with who was learned from; the bins that were counted."""
    from behavsql import drift, generated

    run.prepare_models()  # of a warehouse that was built before there was such a step
    generated.build_categories(run.con, run.catalog)
    asked = [task for task in tasks.scored(run.con) if task.name in trained(run)]
    return drift.watch(run.con, asked, run.config.settings)


def backtest(run: "Run", step: Step) -> int:
    """Train the published model's kind on the past of earlier moments; the questions they asked."""
    from behavsql import backtest

    task = next(task for task in tasks.ready(run.con) if task.name == step.task)
    return backtest.backtest(run.con, task, run.config.settings, run.config.models)


def learn(run: "Run", step: Step) -> None:
    """Learn from logged actions whom to act upon, and judge it."""
    from behavsql.acting import steps

    run.note = steps.learn(
        run.con, run.config, lambda told: run.progress.say(f"  {step.name}: {told}")
    )


def weigh(run: "Run", step: Step) -> int:
    """Ask the policy about who is there now; rows."""
    from behavsql.acting import steps

    rows, run.note = steps.weigh(run.con, run.config)
    return rows


VERBS = {
    "learn": learn,
    "weigh": weigh,
    "pretrain": pretrain,
    "embed": embed,
    "train": train,
    "score": score,
    "compile": compile_,
    "explain": explain,
    "live": live,
    "watch": watch,
    "backtest": backtest,
}


def forget(run: "Run", task: str) -> None:
    """Take away a task's models and functions, and the records of having made them."""
    from behavsql import live, model_tables
    from behavsql.compile import step
    from behavsql.explain import tables

    if task in model_tables.trained(run.con):
        step.forget(run.con, task)
        if task not in live.RESERVED:
            live.drop_task_view(run.con, task)
    model_tables.forget(run.con, task)
    tables.forget(run.con, task)
    records.forget(run.con, run.history, [f"{verb} {task}" for verb in OF_MODELS])
