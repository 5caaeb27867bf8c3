"""A small project that is brought through to features.matrix twice: by what is new, and from nothing.

No model is trained: tasks only look as if they had one, so that they keep their windows.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from behavsql import config, inbox, plan, transform
from behavsql.config import Config
from behavsql.pipeline import load_catalog
from behavsql.plan import records
from behavsql.plan.steps import Goal
from behavsql.progress import Progress
from behavsql.run import Run
from behavsql.updating import Update, updates
from behavsql.verdicts import reopen
from behavsql.warehouse import Warehouse

START = datetime(2024, 1, 1)
DAYS = 60
SCHEMAS = ("staging", "sessions", "cutoffs", "features", "labels")
TASKS = ("purchase", "churn", "click", "engagement", "spend", "next_visit", "next_item", "dropout")
EVENTS = {"user_id": "user", "item_id": "item", "event_type": "type", "event_at": "at"}


def project(folder: Path, **settings: object) -> Config:
    """Three sources of events: with times, with days, and of a web server; one of items, one of users.

    The log's visitors are told by their address alone, so that another browser may clear one.
    """
    sources = [
        {"name": "shop", "path": "shop*.csv",
         "columns": EVENTS | {"value": "price", "category": "category"}},
        {"name": "diary", "path": "diary*.csv", "columns": EVENTS},
        {"name": "web", "kind": "weblog", "path": "web*.log", "columns": {"user_id": "address"}},
        {"name": "products", "path": "items.csv", "kind": "items",
         "columns": {"item_id": "item", "category": "category"}},
        {"name": "people", "path": "people.csv", "kind": "users", "columns": {"user_id": "user"},
         "features": ["country"]},
    ]  # fmt: skip
    off = {
        task: {"enabled": False} for task in TASKS if task not in ("purchase", "churn", "next_item")
    }
    chosen = {"threads": 1, "late_days": 3650, "max_rejected_share": 1.0} | settings
    data = {"settings": chosen, "source": sources, "tasks": off}
    return config.from_dict(data, folder, "behavsql.toml")


def write(path: Path, rows: Iterable[tuple], columns: str) -> None:
    """Rows of texts as a CSV file; None is an empty field."""
    pl.DataFrame(
        [[None if cell is None else str(cell) for cell in row] for row in rows],
        schema=dict.fromkeys(columns.split(), pl.String), orient="row",
    ).write_csv(path)  # fmt: skip


def insert(warehouse: Path, rows: Iterable[tuple]) -> None:
    """Rows of user, item, type and time as if they had been inserted into live.inbox after all others."""
    archive = warehouse / "inbox.parquet"
    columns = ", ".join(f"cast(null as {type_}) as {name}" for name, type_ in inbox.TYPES.items())
    with duckdb.connect() as con:
        con.execute(f"create table kept as select {columns} limit 0")
        if archive.exists():
            con.execute(f"insert into kept from '{archive}'")
        con.executemany(
            "insert into kept values (?, ?, ?, ?, null, null, timestamp '2024-03-01')", list(rows)
        )
        con.execute(f"copy kept to '{archive}' (format parquet)")


SHOP, DIARY = "user item type at price category device", "user item type at"


def advance(made: Config, by_update: bool) -> str:
    """Bring the tables up to features.matrix up to date; why an update did so with everything."""
    warehouse, catalog, why = Warehouse(made.warehouse), load_catalog(made), ""
    with warehouse.locked(), warehouse.building(made) as con:
        made = inbox.joined(made)
        history = records.read(con, {})
        steps = plan.make_plan(catalog, made, history, goal=Goal(tasks=()))
        update = None
        if by_update:
            known = updates.named(made, ())
            found = updates.find(con, made, steps, history, known)
            steps, why = found.steps, found.why_whole
            update = None if why else Update(con, catalog, found.news, history.names)
        last = next(at for at, step in enumerate(steps) if step.name == "features.matrix")
        steps = [replace(step, reason=None) if at > last else step for at, step in enumerate(steps)]
        transform.prepare(con, catalog)
        run = Run(con, catalog, made, warehouse, Progress(quiet=True), update=update)
        run.carry_out(steps, {})
        if by_update and not why and run.update is None:
            why = "not appendable"
    return why


def pretend(made: Config) -> None:
    """Let the tasks look as if they had models, for which they keep their windows and are asked."""
    with Warehouse(made.warehouse).building(made) as con:
        reopen(con)
        con.execute(
            "insert into models.models (model_id, task, model, is_published) "
            "select task || '__none', task, 'none', true from meta.tasks where status = 'ready'"
        )


def copied(made: Config, folder: Path) -> Config:
    """The project with all its files, in another folder."""
    shutil.copytree(made.folder, folder, copy_function=shutil.copy2)
    return made.model_copy(update={"folder": folder})


def differences(one: Config, other: Config) -> list[str]:
    """The tables whose rows are not the same in both, with an example."""
    found = []
    with duckdb.connect() as con:
        for name, made in (("one", one), ("other", other)):
            con.execute(f"attach '{Warehouse(made.warehouse).build}' as {name} (read_only)")
        listed = {
            name: con.execute(
                "select schema_name || '.' || table_name from duckdb_tables() "
                "where database_name = ? and (schema_name in ? or table_name in ('clock', 'tasks')) "
                "order by all", [name, list(SCHEMAS)]
            ).fetchall() for name in ("one", "other")
        }  # fmt: skip
        if listed["one"] != listed["other"]:
            found.append(f"tables: {set(listed['one']) ^ set(listed['other'])}")
        for (table,) in listed["one"]:
            for here, there in (("one", "other"), ("other", "one")):
                rows = con.execute(
                    f"from {here}.{table} except all from {there}.{table} limit 2"
                ).fetchall()
                found += [f"{table}: only in {here}: {row}" for row in rows]
    return found
