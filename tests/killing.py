"""Builds that are killed as -9 does, at any moment, with readers attached: the tools of test_faults.py."""

import hashlib
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from processes import python

from behavsql.database_file import reading
from behavsql.warehouse import Warehouse

# Carries out commands, each in a process of its own that is forked when all is imported already.
SERVER = """
    import importlib, json, os, sys, traceback
    from behavsql.cli.main import app

    for module in sys.argv[1:]:
        importlib.import_module(module)

    for line in sys.stdin:
        folder, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.chdir(folder)
                log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1), os.dup2(log, 2)
                app(arguments)
            except SystemExit as left:
                code = left.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
# Reads the file in argv[1] until stdin ends, anew each time or (argv[2] = "stays") through one connection.
READER = """
    import select, sys, duckdb
    from behavsql.warehouse import connect

    path, kind, asked, reads, first = sys.argv[1], sys.argv[2], sys.argv[3], 0, None

    def opened():
        return connect(path) if kind == "library" else duckdb.connect(path, read_only=True)

    con = opened()
    while not reads or not select.select([sys.stdin], [], [], 0.3)[0]:
        if kind != "stays" and reads:
            con.close()
            con = opened()
        run, told = con.execute("select max(run_id) from meta.runs").fetchall()[0][0], con.execute(asked).fetchall()
        first = first or (run, told)
        if kind == "stays":
            assert (run, told) == first, (run, told, first)
        print(run, told[0][0], flush=True)
        reads += 1
    print("read", reads, flush=True)
"""
# Is there as much of everything as of what it is made from? And what exactly is there?
ASKED = """
    select if(
        (select count(*) from staging.events) = (
            select sum(last_out) from (
                select arg_max(count_rows_out, step_number) as last_out
                from staging.ledger group by source
            )
        ),
        (select cast(sum(hash(user_id, event_at, event_type)) as varchar) from staging.events),
        'torn'
    )
"""
_MADE = ("staging", "sessions", "cutoffs", "features", "labels")
_OF_THE_MOMENT = {"scored_at", "model_version"}


class Commands:
    """The command line in processes that begin at once."""

    def __init__(self, *libraries: str) -> None:
        """libraries: what the commands would import."""
        self.server = python(SERVER, "polars", "behavsql.pipeline", *libraries)

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.communicate(timeout=60)

    def start(self, folder: Path, *arguments: str) -> int:
        """Begin a command; its process."""
        self.server.stdin.write(json.dumps([str(folder), *arguments]) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def wait(self) -> int:
        """The exit code of the command that was begun; -9 if it was killed."""
        return int(self.server.stdout.readline())

    def run(self, folder: Path, *arguments: str) -> float:
        """A command that must succeed; the seconds it took."""
        started = time.monotonic()
        self.start(folder, *arguments)
        code = self.wait()
        assert code == 0, (code, (folder / "log").read_text())
        return time.monotonic() - started


class Readers:
    """Processes that read a published file all the time, each in its own way."""

    def __init__(self, path: Path, kinds: tuple[str, ...], allowed: set[str]) -> None:
        self.path, self.kinds, self.allowed = path, kinds, allowed

    def __enter__(self) -> "Readers":
        self.processes = [python(READER, str(self.path), kind, ASKED) for kind in self.kinds]
        self.told = [[process.stdout.readline()] for process in self.processes]
        return self

    def check(self) -> None:
        """All are at work still."""
        assert [process.poll() for process in self.processes] == [None] * len(self.processes)

    def __exit__(self, *failed: object) -> None:
        for process in self.processes:
            process.stdin.close()
        for process, told in zip(self.processes, self.told, strict=True):
            told += process.stdout.read().splitlines()
            process.stdout.close()
            code = process.wait(timeout=60)
            assert failed[0] or code == 0, process.stderr.read()
        if not failed[0]:
            self.judge()

    def judge(self) -> None:
        """Nobody ever read anything but whole versions, in the order they were published."""
        for kind, told in zip(self.kinds, self.told, strict=True):
            runs = [int(line.split()[0]) for line in told if line[0].isdigit()]
            assert {line.split()[1] for line in told if line[0].isdigit()} <= self.allowed, kind
            assert runs == sorted(runs), kind
            assert kind != "stays" or len(set(runs)) == 1

    @property
    def count(self) -> int:
        return sum(len(told) - 1 for told in self.told)


def digest(path: Path) -> str:
    """Of the file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(path: Path) -> dict[str, tuple]:
    """Every row of what is made from the sources, by table; every block of these is read for it."""
    found = {}
    with reading(path) as con:
        tables = con.execute(
            "select schema_name, table_name, list(column_name) from duckdb_columns() "
            "where database_name = 'file' and schema_name in ? "
            "or (schema_name, table_name) = ('predictions', 'purchase') group by all",
            [list(_MADE)],
        ).fetchall()
        for schema, table, columns in tables:
            kept = ", ".join(f'"{name}"' for name in columns if name not in _OF_THE_MOMENT)
            found[f"{schema}.{table}"] = con.execute(
                f'select count(*), sum(hash({kept})) from "{schema}"."{table}"'
            ).fetchall()[0]
    return found


def marker(path: Path) -> int:
    """Which run wrote the file."""
    with reading(path) as con:
        return con.execute("select max(run_id) from meta.runs").fetchall()[0][0]


def answer(path: Path) -> str:
    with reading(path) as con:
        return str(con.execute(ASKED).fetchall()[0][0])


def steps(path: Path) -> dict[int, set[str]]:
    """Run -> the steps it has finished."""
    found: dict[int, set[str]] = {}
    with reading(path) as con:
        for run, step in con.execute("select run_id, step from meta.builds").fetchall():
            found.setdefault(run, set()).add(step)
    return found


def kill(commands: Commands, warehouse: Warehouse, process: int, seconds: float, late: bool) -> int:
    """End a command without warning after a while, or (late) while it publishes; its exit code."""
    candidate = warehouse.work / "candidate.duckdb"
    until = time.monotonic() + 120
    while late and not candidate.exists() and _is_alive(process) and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    return commands.wait()


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return ") Z " not in state
