"""The steps of a run that are about data: sources read, SQL files, tasks, the matrix, predictions."""

from typing import TYPE_CHECKING

from behavsql import (
    generated,
    ingest,
    item_functions,
    ledger,
    model_steps,
    outcomes,
    plan,
    score_history,
    tasks,
    transform,
    verdicts,
)
from behavsql.appending import NotAppendable
from behavsql.plan import records
from behavsql.plan.steps import Step, own_parts
from behavsql.privacy import entering
from behavsql.quoting import identifier

if TYPE_CHECKING:
    from behavsql.run import Run


def ingest_(run: "Run", step: Step) -> int:
    """Read the sources, or add what is new to what was read; rows."""
    if run.update:
        try:
            return run.update.ingest(run.config)
        except NotAppendable as reason:
            run.progress.say(f"  everything is read again: {reason}")
            run.update.close()
            run.update = None
    return ingest.ingest(run.con, run.config)


def sql(run: "Run", step: Step) -> int | None:
    """Make the table of a SQL file; its rows, None for a view."""
    names = plan.FOUND_PARAMS if run.partitions else step.file.params
    params = plan.all_params(run.con, run.config, names) if names else {}
    transform.set_params(run.con, {name: params[name] for name in step.file.params})
    if run.update and run.update.takes(step, run.history.records.get(step.name)):
        rows = run.update.run_file(step.file)
    elif run.partitions and run.partitions.takes(step.file):
        rows = run.partitions.run_file(step.file, params)
    else:
        rows = transform.run_file(run.con, step.file)
    if step.name == "staging.ledger":
        ledger.check_rejected(run.con, run.config)
        ledger.remember(run.con, run.run_id)
    if step.name == "report.economics" and not run.config.valued():
        run.note = "profits are NULL until [economics] says success_value and action_cost"
    return rows


def resolve(run: "Run", step: Step) -> int:
    """Find the clock of the data and the windows of each task; how many are asked."""
    old = run.history.records.get(step.name)
    kept = set()
    if old and not run.full:
        parts = old.parts or step.parts
        kept = {
            task for task in model_steps.trained(run)
            if own_parts(parts, task) == own_parts(step.parts, task)
        }  # fmt: skip
    if run.update:
        run.update.keep_meta()
    told = tasks.resolve(run.con, run.catalog, run.config, kept).outgrown
    if run.update:
        run.update.compare_meta()
    if told:
        run.progress.say(
            f"  tasks: windows are those of the first build; --full revises them ({told})"
        )
    for task in tasks.closed(run.con):
        run.con.execute(f"drop table if exists {identifier('labels', task)}")
        records.forget(run.con, run.history, [f"labels.{task}"])
        model_steps.forget(run, task)
    return len(tasks.ready(run.con))


def judge(run: "Run", step: Step) -> None:
    """Refuse the tasks that the data cannot answer."""
    if run.partitions:  # what follows reads what they made together
        run.partitions.close()
    # A task that is only scored keeps its model, whatever its labels are by now.
    scored = {other.task for other in run.steps if other.verb == "score"}
    verdicts.judge(run.con, scored & model_steps.trained(run))
    for name, (status, reason) in tasks.closed(run.con).items():
        run.progress.say(f"  task {name} {status}: {reason}")
        model_steps.forget(run, name)


def matrix(run: "Run", step: Step) -> int:
    """Join the feature files; rows."""
    run.prepare_models()  # for the SQL files that read them, should no task be asked
    ready = tasks.scored(run.con)
    if run.update:
        return run.update.matrix(ready)
    return generated.build_matrix(run.con, run.catalog, ready)


def present(run: "Run", step: Step) -> int:
    """Make the tables of predictions, `customers` and the functions of items; rows of `customers`."""
    trained = model_steps.trained(run)
    asked = [task for task in tasks.scored(run.con) if task.name in trained]
    generated.build_predictions(run.con, run.catalog, asked)
    generated.build_customers(run.con, asked)
    item_functions.create(run.con)
    return run.con.execute("select count(*) from main.customers").fetchall()[0][0]


def remember(run: "Run", step: Step) -> int:
    """Add the scores of now to the history, and judge those whose time has come; how many."""
    score_history.add(run.con, entering.kept_since(run.con, run.config))
    transform.set_params(run.con, plan.all_params(run.con, run.config))
    return outcomes.judge(run.con, run.catalog, tasks.scored(run.con))


VERBS = {
    "ingest": ingest_,
    "sql": sql,
    "resolve": resolve,
    "judge": judge,
    "matrix": matrix,
    "present": present,
    "remember": remember,
}
