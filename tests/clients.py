"""DuckDB clients other than the library that builds: each installed into a folder, then asked.

A client that cannot be installed skips its test with the reason.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from behavsql.quoting import literal

INSTALL_SECONDS = 600
MEMORY = ":memory:"

PYTHON = """
import json, sys
import duckdb
asked = json.load(sys.stdin)
con = duckdb.connect(asked["file"], read_only=asked["read_only"])
for query in asked["queries"]:
    print(json.dumps(con.execute(query).fetchall(), default=str))
"""

NODE = """
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";
const asked = JSON.parse(readFileSync(0, "utf8"));
const options = asked.read_only ? { access_mode: "READ_ONLY" } : {};
const instance = await DuckDBInstance.create(asked.file, options);
const con = await instance.connect();
for (const query of asked.queries) {
  console.log(JSON.stringify((await con.runAndReadAll(query)).getRowsJson()));
}
"""


@dataclass(frozen=True)
class Client:
    """A program that reads {file, read_only, queries} and answers each query with a line of rows."""

    command: tuple[str, ...]

    def ask(
        self, queries: list[str], file: str | Path = MEMORY, *, writes: bool = False
    ) -> list[list[list]]:
        """The rows that each query returns; the test fails with the client's words on an error.

        Read-only unless it `writes`. Numbers may come as text, as JSON has no wide integers.
        """
        read_only = not writes and file != MEMORY
        # Some print a bar among the answers when a query takes long.
        asked = ["set enable_progress_bar = false", *queries]
        _, *answers = self._answers(str(file), read_only, asked)
        assert len(answers) == len(queries)
        return answers

    def _answers(self, file: str, read_only: bool, queries: list[str]) -> list[list[list]]:
        asked = json.dumps({"file": file, "read_only": read_only, "queries": queries})
        return [json.loads(line) for line in _run(self.command, asked).strip("\n").split("\n")]


class CommandLine(Client):
    """DuckDB's own, which takes statements and prints JSON."""

    def _answers(self, file: str, read_only: bool, queries: list[str]) -> list[list[list]]:
        options = ("-no-init", "-bail", "-json", *(["-readonly"] if read_only else []))
        # A statement without rows prints nothing: so each is announced.
        mark = "-- answer --"
        script = "".join(f".print {literal(mark)}\n{query};\n" for query in queries)
        _, *said = _run((*self.command, *options, file), script).split(f"{mark}\n")
        # Two columns may have one name: so values are taken without names.
        values = lambda pairs: [value for _, value in pairs]  # noqa: E731
        return [json.loads(text or "[]", object_pairs_hook=values, strict=False) for text in said]


def _run(command: tuple[str, ...], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def installed(_: Path) -> Client:
    """The library of this process, in one of its own."""
    return Client((sys.executable, "-c", PYTHON))


def wheel(folder: Path) -> Client:
    """The oldest Python library that is supported."""
    return Client((str(_pip(folder, "duckdb==1.4.4") / "python"), "-c", PYTHON))


def command_line(folder: Path) -> Client:
    """The command line of the releases before 2.0."""
    return CommandLine((str(_pip(folder, "duckdb-cli>=1.5,<2") / "duckdb"),))


def node(folder: Path) -> Client:
    """The library for Node."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("@duckdb/node-api cannot be installed: node and npm are not on this machine")
    _install("@duckdb/node-api", (npm, "install", "--prefix", str(folder), "@duckdb/node-api"))
    script = folder / "ask.mjs"
    script.write_text(NODE, encoding="utf-8")
    return Client(("node", str(script)))


def _pip(folder: Path, package: str) -> Path:
    """Install into a virtual environment; the folder of its programs."""
    _install(package, (sys.executable, "-m", "venv", str(folder)))
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    command = (str(programs / "python"), "-m", "pip", "install", "-q", "--only-binary=:all:")
    _install(package, (*command, package))
    return programs


def _install(package: str, command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} cannot be installed: not done in {INSTALL_SECONDS} seconds")
    if done.returncode:
        said = " ".join((done.stderr or done.stdout)[:400].split())
        pytest.skip(f"{package} cannot be installed: {said}")
