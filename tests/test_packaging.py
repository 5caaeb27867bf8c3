"""What is shipped: the wheel holds every package and data file, and works where nothing else is."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as a release would be."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def _shipped() -> set[str]:
    """Every file of the repository that must be in the wheel, by its name in there."""
    files = set()
    for folder, package in (
        ("behavsql", "behavsql"),
        ("sql", "behavsql/sql"),
        ("cli", "behavsql/cli"),
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                files.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    return files


def test_every_package_folder_is_named_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"behavsql.sql", "behavsql.cli"}
    for init in (ROOT / "behavsql").rglob("__init__.py"):
        folders.add(".".join(init.parent.relative_to(ROOT).parts))
    assert set(settings["packages"]) == folders


@pytest.mark.slow
def test_the_wheel_holds_every_file(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == _shipped()


def test_the_repository_has_only_the_fixed_folders() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    top = {name.split("/")[0] for name in listed.splitlines() if "/" in name}
    assert {name for name in top if not name.startswith(".")} == {
        "behavsql", "cli", "sql", "tests", "warehouse",
    }  # fmt: skip


@pytest.mark.slow
def test_the_wheel_builds_the_sample_in_a_clean_venv(wheel: Path, tmp_path: Path) -> None:
    """Of its tasks one, with two models: the others are built from the checkout by test_docs.py."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    # Most of what is installed is never imported, and need not be compiled.
    command = [str(venv / "bin/pip"), "install", "-q", "--no-compile", str(wheel)]
    subprocess.run(command, check=True)
    models = ("-m", "decision_tree", "-m", "lightgbm")
    command = [str(venv / "bin/behavsql"), "train", "-t", "purchase", *models]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    query = "select count(*) as n from customers where purchase_probability > 0"
    command = [str(venv / "bin/behavsql"), "query", "--csv", query]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert int(done.stdout.split()[1]) > 1_000, done
