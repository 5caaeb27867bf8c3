"""A warehouse that another process holds: exit 3, who holds what, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import few_files, run
from processes import holding


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small project that was built, as the current folder."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch)
        patch.chdir(folder)
        Path("events.csv").write_text("user_id,ts\nu,2024-01-01 10:00\n", encoding="utf-8")
        assert run("init", "events.csv").exit_code == 0
        assert run("build", "-q").exit_code == 0
        yield folder


@pytest.mark.parametrize("name", ["build.duckdb", "raw.duckdb"])
def test_the_work_files_are_held(here: Path, name: str) -> None:
    path = here / "warehouse" / ".work" / name
    with holding(path):
        result = run("build", "-s", "publish", "-q")
    assert result.exit_code == 3
    assert f"{name}: another process holds it" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run("build", "-s", "publish", "-q").exit_code == 0


def test_the_published_file_is_held_for_writing(here: Path) -> None:
    with holding(here / "warehouse" / "behaviour.duckdb"):
        for command in (("query", "select 1"), ("tasks",), ("models",)):
            result = run(*command)
            assert result.exit_code == 3
            assert result.stderr == (
                "Error: warehouse/behaviour.duckdb: another process writes to it; allowed are "
                "readers beside it. Close that process, or wait until it is done.\n"
            )
    assert run("query", "select 1").exit_code == 0
