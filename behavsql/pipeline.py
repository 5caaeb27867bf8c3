"""`behavsql build`: the plan carried out, step by step, into a published warehouse."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavsql import (
    __version__,
    describe,
    generated,
    ingest,
    ledger,
    model_tables,
    plan,
    tasks,
    transform,
)
from behavsql.catalog import Catalog
from behavsql.config import Config
from behavsql.errors import ConfigError, nearest
from behavsql.plan import Step
from behavsql.progress import Progress
from behavsql.quoting import identifier
from behavsql.warehouse import Warehouse, open_file


@dataclass(frozen=True)
class Built:
    """What a build did: the published file, the steps that ran, the seconds it took."""

    path: Path
    steps: tuple[str, ...]
    seconds: float


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

    Only steps whose own text or inputs changed run, unless `full`; `select` runs just the steps
    it names. A step that fails leaves the published file and the finished steps as they are.
    Raises the errors of `behavsql.errors`; LockedError if another build runs.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    with warehouse.locked(), warehouse.building(config) as con:
        steps = plan.make_plan(catalog, config, _recorded(con, warehouse), select, full)
        todo = [step for step in steps if step.reason]
        if not todo:
            return Built(warehouse.published, (), time.perf_counter() - started)
        transform.prepare(con, catalog)
        _Run(con, catalog, config, warehouse, progress).carry_out(steps)
    return Built(
        warehouse.published, tuple(step.name for step in todo), time.perf_counter() - started
    )


def dry_run(config: Config, *, select: Iterable[str] = (), full: bool = False) -> list[Step]:
    """The plan of a build, with the reason of each step; nothing runs and nothing is written."""
    warehouse, catalog = Warehouse(config.warehouse), load_catalog(config)
    recorded = {}
    if warehouse.build.exists():
        with open_file(warehouse.build, read_only=True) as con:
            recorded = _recorded(con, warehouse)
    return plan.make_plan(catalog, config, recorded, select, full)


def _recorded(con: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> dict[str, str]:
    """The fingerprints of what is there: a published file that somebody removed is not."""
    recorded = plan.recorded_fingerprints(con)
    if not warehouse.published.exists():
        recorded.pop("publish", None)
    return recorded


class _Run:
    """One build under way."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, config: Config,
        warehouse: Warehouse, progress: Progress,
    ) -> None:  # fmt: skip
        self.con, self.catalog, self.config = con, catalog, config
        self.warehouse, self.progress = warehouse, progress
        self.run_id = 0

    def carry_out(self, steps: list[Step]) -> None:
        """Run what the plan says must run; every step and its record are one transaction."""
        self._begin()
        try:
            self._drop_gone()
            self._reopen_tasks(steps)
            for step in steps:
                if step.reason and step.verb != "publish":
                    self._run(step)
            self._finish("done")
            publish = steps[-1]
            if publish.reason:
                with self.progress.step("publish") as line:
                    started = time.perf_counter()
                    generated.build_lineage(self.con, steps)
                    describe.comment_tables(self.con)
                    generated.build_columns(self.con)
                    self.warehouse.publish(self.con, int(self.config.settings.publish_mode, 8))
                    transform.record(self.con, self.run_id, publish, None, started)
                    line.note = f"{self.warehouse.published.stat().st_size / 1e6:,.1f} MB"
        except BaseException:
            self._finish("failed")
            raise

    def _drop_gone(self) -> None:
        """Take away the tables, and the models, of SQL files that are no longer there."""
        for task in transform.drop_gone(self.con, self.catalog):
            self._forget_models(task)

    def _reopen_tasks(self, steps: list[Step]) -> None:
        """Judge every task anew with the matrix: what refused one may have changed since."""
        due = {step.verb for step in steps if step.reason}
        if "matrix" in due and "resolve" not in due:
            with self._transaction():
                tasks.resolve(self.con, self.catalog, self.config)

    def _forget_models(self, task: str) -> None:
        model_tables.prepare(self.con)
        model_tables.forget(self.con, task)

    def _run(self, step: Step) -> None:
        started = time.perf_counter()
        work: dict[str, Callable[[Step], int | None]] = {
            "sql": self._sql, "resolve": self._resolve, "matrix": self._matrix,
            "present": self._present,
        }  # fmt: skip
        if step.verb == "ingest":
            # DuckDB writes to one database a transaction, and raw is one of its own: an ingest
            # that is cut short is not recorded, so the next build starts it again.
            with self.progress.step(step.name) as line:
                rows = line.rows = ingest.ingest(self.con, self.config)
            transform.record(self.con, self.run_id, step, rows, started)
            return
        with self._transaction():
            if step.verb == "train":
                rows = self._train(step)
            elif step.file and self._is_closed(step):
                rows = self._drop(step)
            else:
                with self.progress.step(step.name) as line:
                    rows = line.rows = work[step.verb](step)
                    line.note = self._note(step)
            transform.record(self.con, self.run_id, step, rows, started)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.con.execute("begin")
        try:
            yield
            self.con.execute("commit")
        except BaseException:
            self.con.execute("rollback")
            raise

    def _sql(self, step: Step) -> int:
        transform.set_params(self.con, plan.all_params(self.con, self.config))
        rows = transform.run_file(self.con, step.file)
        if step.name == "staging.ledger":
            ledger.check_rejected(self.con, self.config)
        return rows

    def _resolve(self, step: Step) -> int:
        tasks.resolve(self.con, self.catalog, self.config)
        return self.con.execute("select count(*) from meta.tasks").fetchall()[0][0]

    def _matrix(self, step: Step) -> int:
        tasks.judge(self.con)
        rows = generated.build_matrix(self.con, self.catalog, tasks.ready(self.con))
        for name, status, reason in self.con.execute(
            "select task, status, reason from meta.tasks where status <> 'ready' order by task"
        ).fetchall():
            self.progress.say(f"  task {name} {status}: {reason}")
        return rows

    def _train(self, step: Step) -> None:
        from behavsql import train

        asked = {task.name: task for task in tasks.ready(self.con)}
        name = step.name.removeprefix("train ")
        if name not in asked:
            self._forget_models(name)
            return
        model_tables.prepare(self.con)
        train.train_task(
            self.con, asked[name], self.config.settings, step.fingerprint, self.progress
        )

    def _present(self, step: Step) -> int:
        asked = tasks.ready(self.con)
        generated.build_predictions(self.con, self.catalog, asked)
        generated.build_customers(self.con, asked)
        return self.con.execute("select count(*) from main.customers").fetchall()[0][0]

    def _is_closed(self, step: Step) -> bool:
        """Whether a label file's task was skipped before its labels were worth making."""
        if step.file.schema != "labels":
            return False
        status = self.con.execute("select status from meta.tasks where task = ?", [step.file.name])
        return status.fetchall()[0][0] != "ready"

    def _drop(self, step: Step) -> None:
        self.con.execute(f"drop table if exists {identifier('labels', step.file.name)}")

    def _note(self, step: Step) -> str:
        if step.name == "staging.rejected":
            rules = self.con.execute(
                "select rule, count(*) as n from staging.rejected group by rule order by n desc, rule"
            ).fetchall()
            return ", ".join(f"{rule} {count:,}" for rule, count in rules)
        if step.name == "staging.events":
            unknown = self.con.execute(
                "select distinct event_type from staging.events "
                "where lower(event_type) not in (select event_type from raw.types) order by 1 limit 5"
            ).fetchall()
            words = ", ".join(word for (word,) in unknown)
            return f"taken as role action, not in [types]: {words}" if words else ""
        return ""

    def _begin(self) -> None:
        self.run_id = self.con.execute(
            "select coalesce(max(run_id), 0) + 1 from meta.runs"
        ).fetchall()[0][0]
        settings = json.dumps(self.config.settings.model_dump(mode="json"))
        self.con.execute(
            "insert into meta.runs values (?, now()::timestamp, null, 'running', ?, ?, ?)",
            [self.run_id, __version__, duckdb.__version__, settings],
        )

    def _finish(self, status: str) -> None:
        self.con.execute(
            "update meta.runs set finished_at = now()::timestamp, status = ? where run_id = ?",
            [status, self.run_id],
        )
