"""One run under way: every step that must run does, in one transaction with its record."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import duckdb

from behavsql import (
    data_steps,
    describe,
    generated,
    learned,
    ledger,
    model_steps,
    plan,
    transform,
    verdicts,
)
from behavsql.budget import Budget
from behavsql.catalog import Catalog
from behavsql.compile import registry
from behavsql.config import Config
from behavsql.inbox import create as create_inbox
from behavsql.partitions import Partitions
from behavsql.plan import Cause, changes, records
from behavsql.plan.records import History, Record
from behavsql.plan.results import Results, is_before_models
from behavsql.plan.steps import NOT_UNDONE, OF_MODELS, TELLS, Step
from behavsql.privacy.register import build_audit
from behavsql.progress import Line, Progress
from behavsql.publishing import publish
from behavsql.transactions import Transactions
from behavsql.updating import Update
from behavsql.warehouse import Warehouse

VERBS = data_steps.VERBS | model_steps.VERBS  # publishing is no verb among others: it comes last


class Run:
    """Carries out a plan on the build database."""

    results: Results  # names what steps make; there once the run has begun

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config,
        warehouse: Warehouse, progress: Progress, full: bool = False,
        update: Update | None = None,
    ) -> None:  # fmt: skip
        self.con, self.catalog, self.config = con, catalog, config
        self.warehouse, self.progress, self.full = warehouse, progress, full
        self.update = update  # only what new rows touch is made anew; None: all that is out of date
        # Where files that keep users apart are run in parts; None: they are not.
        self.partitions = (
            Partitions(con, catalog, config.settings, warehouse.work / "parts")
            if config.settings.partitions > 1
            else None
        )
        self.transactions = Transactions(con)
        self.history = History()
        self.done: list[str] = []
        self.run_id = 0
        self.current: str | None = None  # the step under way
        self.is_prepared = False  # whether there are all tables about models
        self.is_opened = False  # whether verdicts on tasks were taken back, to be given anew
        self.steps: list[Step] = []
        self.budget: Budget | None = None  # of the trainings, from the first on
        self.note = ""  # what a step has to say of what it made
        self.is_cut_short = False  # whether time_budget ended it before it was done
        self.shared = ""  # the reason of all steps, where they have the same

    def carry_out(self, steps: list[Step], lost: Mapping[str, str]) -> list[str]:
        """Run what the plan says, as far as it turns out to be needed; the names of what ran."""
        self._drop_gone()
        self.history = records.read(self.con, lost)
        self.run_id, self.steps = records.begin(self.con, self.config), steps
        try:
            self._announce(steps)
            for step in steps:
                if step.reason and step.verb != "publish":
                    self._consider(step)
            self.transactions.end()
            learned.refresh(self.con, self.steps, self.history)
            records.finish(self.con, self.run_id, "done")
            publish = steps[-1]
            if publish.reason and (found := self._cause(publish)):
                self._publish(publish, found)
        except BaseException:
            self.transactions.undo()
            with suppress(duckdb.Error):  # what failed first is what is told
                records.finish(self.con, self.run_id, "failed", self.current)
            raise
        finally:
            if self.partitions:
                self.partitions.close()
            if self.update:
                self.update.close()
        return self.done

    def is_published(self) -> bool:
        """Whether the published file holds everything that is built now."""
        return plan.cause(self.steps[-1], self.history) is None

    def _drop_gone(self) -> None:
        """Take away the tables, and the models, of SQL files that are no longer there."""
        for task in transform.drop_gone(self.con, self.catalog):
            model_steps.forget(self, task)

    def _announce(self, steps: list[Step]) -> None:
        raw = sorted({name for step in steps for name in step.reads if name.startswith("raw.")})
        settings, new = self.config.settings, f"run {self.run_id}"
        self.results = Results(self.con, settings, raw, new)
        reasons = {step.reason for step in steps if step.reason}
        if len(reasons) == 1 and reasons & {*plan.FORCED, "new"}:
            self.shared = reasons.pop()
            self.progress.say(f"  every step that runs: {self.shared}")

    def _reopen_tasks(self, step: Step) -> None:
        """Take back the verdicts on tasks before the first step that must not know them.

        Up to the verdicts every task is asked that is not skipped. The next build judges, if this
        one does not come to it.
        """
        must_not = step.verb == "resolve" or (is_before_models(step) and "meta.tasks" in step.reads)
        if must_not and not self.is_opened:
            self.is_opened = True
            self.transactions.end()
            with self.transactions.step():
                verdicts.reopen(self.con)
                records.loosen(self.con, plan.JUDGE)
            self.transactions.end()

    def _cause(self, step: Step) -> Cause | None:
        if step.reason in plan.FORCED:
            return Cause(step.reason, step.name)
        found = plan.cause(step, self.history)
        if found is None and step.verb == "judge" and self.is_opened:
            return Cause(step.reason or "", step.name)
        return found

    def _consider(self, step: Step) -> None:
        found = self._cause(step)
        if found is None or not self._is_asked(step):
            return
        is_forced = step.reason in plan.FORCED
        is_told = self.update is None and not is_forced  # else the whole matrix would be read
        if step.verb in TELLS and is_told and self._tells_the_same(step):
            return
        old = self.history.records.get(step.name)
        if self.update and old and self.update.stands(step, old, self.history.names):
            self._again(step, old, dict(old.results))
            return
        self._run(step, found)

    def _is_asked(self, step: Step) -> bool:
        """Whether a step's task is asked; true for steps that are of no task."""
        if step.verb not in OF_MODELS and not step.name.startswith("labels."):
            return True
        # Labels are made of a task that was refused too: it may be for them.
        found = self.con.execute(
            "select status = 'ready' or (is_judged and ?) from meta.tasks where task = ?",
            [step.verb == "sql", step.task],
        )
        if found.fetchall() != [(True,)]:
            return False
        if (
            step.verb in OF_MODELS
            and step.verb != "train"
            and step.task not in model_steps.trained(self)
        ):
            if step.verb == "score":
                self.progress.say(f"  {step.task} has no model yet: behavsql train -t {step.task}")
            return False
        return True

    def _tells_the_same(self, step: Step) -> bool:
        """Whether a task's rows are those its models learned from and scored, though others moved."""
        old = self.history.records.get(step.name)
        if step.verb == "train" and (
            old is None or old.parts is None or changes.difference(old.parts, step.parts)
        ):
            return False
        if not self.results.are_known(step, self.history.names):
            return False
        # So that the next plan need not ask; by the names of now: the models may have scored since.
        told = old.results if old else (f"models[{step.task}]", f"latest[{step.task}]")
        self._again(step, old, {name: self.history.names[name] for name in told})
        return True

    def _run(self, step: Step, found: Cause) -> None:
        self.history.roots[step.name], self.current = found.root, step.name
        is_quick = step.verb == "sql" and not self.partitions  # whose parts are read by others
        if not is_quick:
            self.transactions.end()
        if not self.transactions.is_open:  # otherwise it is killed with those before it
            records.start(self.con, self.run_id, step.name)
        self._reopen_tasks(step)
        started = time.perf_counter()
        old = self.history.records.get(step.name)
        is_updated = self.update is not None and self.update.takes(step, old)
        is_undone = step.verb not in NOT_UNDONE  # if it is cut short
        # What a step left that was stopped half-way is not what its last record tells of.
        is_known = old is not None and (is_undone or step.name not in self.history.stopped)
        before = self.results.before(step) if is_known and not self.full and not is_updated else {}
        with self.transactions.step() if is_undone else nullcontext():
            with self._line(step, found) as line:
                self.note, self.is_cut_short = "", False
                line.rows = self._work(step)
                line.note = self.note
                if is_updated and self.update:
                    results = self.update.results(step, old, self.results.new)
                else:
                    results = self.results.after(step, old, before)
                if before and results == old.results:
                    line.note = "same rows as before"
            self._record(step, results, line.rows, started, self.is_cut_short)
            if is_quick and not self.update:  # which a failed one is not gone on with
                repeat = partial(self._repeat, step, results, line.rows, started)
                self.transactions.members.append(repeat)
        if is_quick:
            self.transactions.pause(None if self.update else line.rows)
        else:
            self.transactions.end()
        if self.partitions:
            self.partitions.release()
        self.done.append(step.name)

    def prepare_models(self) -> None:
        """Make the tables about models that are missing; once a run."""
        if not self.is_prepared:
            from behavsql import model_tables

            model_tables.prepare(self.con)
            self.is_prepared = True

    def _repeat(self, step: Step, *told: object) -> None:
        self._work(step)
        self._record(step, *told)

    def _work(self, step: Step) -> int | None:
        """What the step's verb does; the rows it made."""
        return VERBS[step.verb](self, step)

    @contextmanager
    def _line(self, step: Step, found: Cause) -> Iterator[Line]:
        """The line of a step: its rows and seconds, why it ran, and what it has to say."""
        why = "" if found.reason == self.shared else found.reason
        if step.verb == "train":  # has a line for each model
            if why:
                self.progress.say(f"  {step.name}: {why}")
            yield Line()
            return
        with self.progress.step(step.name) as line:
            yield line
            line.note = "; ".join(
                part for part in (why, ledger.told(self.con, step.name), line.note) if part
            )

    def _again(self, step: Step, old: Record | None, results: dict[str, str]) -> None:
        """Record what stays as it was made."""
        was_cut_short = changes.TIME_BUDGET in ((old and old.parts) or {})
        self._record(step, results, None, time.perf_counter(), was_cut_short)

    def _record(
        self, step: Step, results: dict[str, str], rows: int | None, started: float,
        is_cut_short: bool = False,
    ) -> None:  # fmt: skip
        inputs = {
            name: self.history.names[name] for name in step.reads if name in self.history.names
        }
        parts = dict(step.parts)
        if not is_cut_short:
            parts.pop(changes.TIME_BUDGET, None)
        record = Record(parts, inputs, results)
        records.write(self.con, self.run_id, step, record, rows, started)
        self.history.add(step.name, record)

    def _publish(self, step: Step, found: Cause) -> None:
        started = time.perf_counter()
        self.history.roots[step.name] = found.root
        with self._line(step, found) as line:
            create_inbox(self.con, self.config)
            for told in registry.drop_broken(self.con):  # every function is called once
                self.progress.say(f"  {told}")
            with self.transactions.step():  # one instead of hundreds
                generated.build_lineage(self.con, self.steps)
                build_audit(self.con, self.warehouse)
                describe.comment_tables(self.con)
                generated.build_columns(self.con)
            self.transactions.end()
            damaged = publish(self.warehouse, self.con, self.config.settings.publish_mode)
            self._record(step, {}, None, started)
            line.note = f"{self.warehouse.published.stat().st_size / 1e6:,.1f} MB"
            if damaged:
                line.note += f"; the damaged file before it is kept as {damaged.name}"
        self.done.append(step.name)
