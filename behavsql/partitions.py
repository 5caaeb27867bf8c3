"""`--partitions N`: SQL files that keep users apart, run on N parts of the users in N processes.

Each part has a database of its own in which its tables stay, so that a later file finds there what
an earlier one made. What a part lacks is copied to it once: its own users' rows of a table, or a
table that is not about users whole. The parts' results are put together in the order of the grain,
and are the rows that one run makes: no file of scope user joins, groups or looks across users, which
the catalog checks.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import duckdb

from behavsql import transform
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.config import Settings
from behavsql.errors import ConfigError, SqlFileError, WarehouseError
from behavsql.quoting import identifier, literal

LAST_STAGE = 5  # later files read what models said
LEAST_MEGABYTES = 50  # with less, DuckDB stops in the middle of anything
BY_USER = (
    "raw.events",
    "raw.users",
    "raw.consents",
)  # the raw tables that are cut; all others go to every part
# What DuckDB calls sizes of memory.
SIZES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Partitions:
    """N parts of the users, each with a file and a process; for the length of one build."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, settings: Settings, folder: Path
    ) -> None:
        self.con, self.catalog, self.folder = con, catalog, folder
        self.settings = settings
        self.limits: list[str] = []  # what each part may take
        self.memory = con.execute("select current_setting('memory_limit')").fetchall()[0][0]
        self.home = con.execute("select current_database()").fetchall()[0][0]
        self.paths = [folder / f"part_{number}.duckdb" for number in range(settings.partitions)]
        self.workers: list[subprocess.Popen] = []
        self.present: set[str] = set()  # tables that the parts have

    def takes(self, file: SqlFile) -> bool:
        """Whether a file is run in parts."""
        return file.scope == "user" and file.stage_number <= LAST_STAGE

    def run_file(self, file: SqlFile, params: Mapping[str, object]) -> int:
        """Build one file's table from its parts; the row count. Errors as `transform.run_file`.

        Once the transaction around it has ended, `release` must be called.
        """
        self._provide(file)
        kind, name = file.materialized, identifier(file.schema, file.name)
        made = f"create or replace {kind} {name} as\n{file.sql}"
        self._on_all([*self.limits, *transform.param_statements(params), made], file.where)
        self.present.add(file.table)
        if kind == "view":
            return transform.run_file(self.con, file)
        # Until `release`: a transaction holds what it has read, or merely listed, until it ends.
        with self.con.cursor() as cursor:
            parts = self._attach(cursor, "(read_only)")
        rows = " union all ".join(f"(from {identifier(part)}.{name})" for part in parts)
        order = ", ".join(identifier(column) for column in file.grain)
        return transform.run_file(self.con, file, f"from ({rows}) order by {order}")

    def release(self) -> None:
        """Leave the files to the parts' processes; for after the transaction that read them."""
        with self.con.cursor() as cursor:
            self._detach(cursor)

    def _provide(self, file: SqlFile) -> None:
        """Copy to the parts what the file reads and they lack; they start with schemas and macros."""
        if not self.workers:
            self._start()
        missing = [table for table in file.inputs if table not in self.present]
        if not missing:
            return
        # Of its own transaction: the build's writes to the build alone.
        with self.con.cursor() as cursor:
            parts = self._attach(cursor)
            for table in missing:
                for number, part in enumerate(parts):
                    self._copy(cursor, table, part, number)
                # What a build goes on to change while it runs is copied each time.
                if not table.startswith("meta."):
                    self.present.add(table)
            self._detach(cursor)

    def _copy(self, cursor: duckdb.DuckDBPyConnection, table: str, part: str, number: int) -> None:
        schema, name = table.split(".")
        made = self.catalog.files.get(table)
        if made and made.materialized == "view":
            for read in made.inputs:
                if read not in self.present:
                    self._copy(cursor, read, part, number)
            cursor.execute(f"use {identifier(part)}")
            cursor.execute(f"create or replace view {identifier(schema, name)} as\n{made.sql}")
            cursor.execute(f"use {identifier(self.home)}")
            return
        is_cut = table in BY_USER or bool(made and made.scope == "user")
        # A row keeps its number in the input: files refer to raw rows by it.
        columns = "rowid, *" if schema == "raw" and name != "events" else "*"
        cut = f"where hash(user_id) % {len(self.paths)} = {number}" if is_cut else ""
        cursor.execute(
            f"create or replace table {identifier(part, schema, name)} as "
            f"select {columns} from {identifier(schema, name)} {cut}"
        )

    def _start(self) -> None:
        self.limits = _limits(self.con, self.settings)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        schemas = {table.partition(".")[0] for table in (*self.catalog.files, "raw.", "meta.")}
        statements = [
            f"create schema if not exists {identifier(schema)}" for schema in sorted(schemas)
        ]
        statements += [macro.sql for macro in self.catalog.macros]
        for _ in self.paths:
            self.workers.append(subprocess.Popen(
                # -P: a json.py in the folder of the data is data, not a module.
                [sys.executable, "-P", "-m", "behavsql.partition_worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            ))  # fmt: skip
        self._on_all(statements, "partitions")

    def _on_all(self, statements: list[str], where: str) -> None:
        """Run statements in every part at once; the first part's error is raised."""
        for worker, path in zip(self.workers, self.paths, strict=True):
            asked = {"path": str(path), "statements": statements}
            with suppress(BrokenPipeError):  # it has ended: its answer is none, which is told below
                worker.stdin.write(json.dumps(asked) + "\n")
                worker.stdin.flush()
        answers = [worker.stdout.readline() for worker in self.workers]
        for number, answer in enumerate(answers):
            if not answer:
                raise WarehouseError(
                    f"partition {number}: its process ended with {self.workers[number].wait()}; "
                    f"allowed is that it goes on. Take more partitions if memory ran out, and "
                    f"build again: it goes on where this one stopped."
                )
            if error := json.loads(answer)["error"]:
                raise SqlFileError(f"{where}: {error}")

    def _attach(self, con: duckdb.DuckDBPyConnection, mode: str = "") -> list[str]:
        """Bring the parts' files within reach of the build; their names there."""
        names = [f"part_{number}" for number in range(len(self.paths))]
        for name, path in zip(names, self.paths, strict=True):
            con.execute(f"attach {literal(str(path))} as {name} {mode}")
        return names

    def _detach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Leave the files to the parts' processes."""
        for number in range(len(self.paths)):
            con.execute(f"detach database if exists part_{number}")

    def close(self) -> None:
        """End the processes, remove the files, and give the build its memory back."""
        for worker in self.workers:
            worker.kill()
            worker.communicate()
        if self.workers:
            self.con.execute(f"set memory_limit = {literal(self.memory)}")
        self.workers, self.present = [], set()
        shutil.rmtree(self.folder, ignore_errors=True)


def _limits(con: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Share memory and threads among the parts and the build itself; the statements for a part."""
    threads, memory = con.execute(
        "select current_setting('threads'), current_setting('memory_limit')"
    ).fetchall()[0]
    size, unit = str(memory).split()
    # The parts work while the build waits, but what it has read stays in its memory.
    share = int(float(size) * SIZES[unit] / (settings.partitions + 1) / 1e6)
    if share < LEAST_MEGABYTES:
        raise ConfigError(
            f"settings.partitions: {settings.partitions} parts and the build share {memory} of memory, "
            f"{share} MB each; allowed are {LEAST_MEGABYTES} MB or more. Take fewer parts, or raise "
            f"memory_limit."
        )
    limit = f"set memory_limit = {literal(f'{share}MB')}"
    con.execute(limit)
    return [
        "set enable_progress_bar = false",
        "set timezone = 'UTC'",
        f"set threads = {max(1, int(threads) // settings.partitions)}",
        limit,
    ]
