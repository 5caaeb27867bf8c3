"""The README is run: its set-up commands, its config, its queries, its list of commands."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from behavsql.cli.main import app

from behavsql import config
from behavsql.demos import demo_config
from behavsql.pipeline import build
from behavsql.progress import Progress

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"<!-- query -->\n```sh\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample, built as the README says but without the network; its folder."""
    folder = tmp_path_factory.mktemp("sample")
    build(demo_config("retail", folder / "warehouse", models="fast"), progress=Progress(quiet=True))
    return folder


def test_the_readme_shows_three_queries() -> None:
    assert len(QUERIES) == 3


@pytest.mark.parametrize(("command", "shown"), QUERIES, ids=range(len(QUERIES)))
def test_a_query_prints_what_the_readme_shows(sample: Path, command: str, shown: str) -> None:
    """Same columns and rows; the figures themselves depend on which model won on this machine."""
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "behavsql.cli.main", *words[1:]],
        cwd=sample,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed, expected = done.stdout.splitlines(), shown.splitlines()
    assert printed[0].split() == expected[0].split()
    assert len(printed) == len(expected)
    keys = [line.split()[0] for line in expected[2:]]
    if keys[0].isalpha():  # task names, not users or figures
        assert [line.split()[0] for line in printed[2:]] == keys


def test_the_sample_has_the_rows_the_readme_names(sample: Path) -> None:
    from behavsql.warehouse import connect

    con = connect(sample / "warehouse")
    assert con.execute("select count_rows from staging.sources").fetchall() == [(541_909,)]
    assert "541,909" in README
    con.close()


def test_the_readme_config_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"<!-- config -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    tomllib.loads(text)
    (tmp_path / "behavsql.toml").write_text(text)
    loaded = config.load(tmp_path / "behavsql.toml")
    assert loaded.tasks["purchase"].horizon.days == 14


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(app)
    for name in group.commands:
        assert f"`behavsql {name}" in README, name
    for name in group.commands["sql"].commands:
        assert re.search(rf"`(behavsql sql )?{name}`", README), name


def test_the_readme_names_every_shipped_task() -> None:
    tasks = {path.stem for path in (ROOT / "sql/5_labels").glob("*.sql")}
    section = README[README.index("## What it predicts") : README.index("## Why the numbers")]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == tasks


def test_the_ci_runs_the_readme_test_command() -> None:
    command = re.search(r"^python3 -m venv .*pytest$", README, re.MULTILINE)[0]
    steps = [step.strip() for step in command.split("&&")]
    script = (ROOT / ".ci/run").read_text()
    for step in steps:
        assert step in script
