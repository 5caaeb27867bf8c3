"""A warehouse that another process holds: exit 3, who holds what, and nothing is lost."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import run

HOLD = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project that was built."""
    monkeypatch.chdir(tmp_path)
    Path("events.csv").write_text("user_id,ts\nu,2024-01-01 10:00\n", encoding="utf-8")
    assert run("init", "events.csv").exit_code == 0
    assert run("build", "-q").exit_code == 0
    return tmp_path


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process has the file open for writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.communicate(b"\n", timeout=30)


@pytest.mark.parametrize("name", ["build.duckdb", "raw.duckdb"])
def test_the_work_files_are_held(here: Path, name: str) -> None:
    path = here / "warehouse" / ".work" / name
    with held(path):
        result = run("build", "--full", "-q")
    assert result.exit_code == 3
    assert f"{name}: another process holds it" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run("build", "--full", "-q").exit_code == 0


def test_the_published_file_is_held_for_writing(here: Path) -> None:
    with held(here / "warehouse" / "behaviour.duckdb"):
        for command in (("query", "select 1"), ("tasks",), ("models",)):
            result = run(*command)
            assert result.exit_code == 3
            assert result.stderr == (
                "Error: warehouse/behaviour.duckdb: another process writes to it; allowed are "
                "readers beside it. Close that process, or wait until it is done.\n"
            )
    assert run("query", "select 1").exit_code == 0
