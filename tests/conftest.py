"""What the tests of whole builds share: one built shop, and small projects to build anew."""

import functools
import hashlib
import json
import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before lightgbm is loaded: more threads only wait

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path

import duckdb
import polars as pl
import pytest
from behavsql.cli.main import app
from clickstream import COLUMNS, clickstream, dirtied
from filelock import FileLock
from typer.testing import CliRunner

from behavsql import catalog, config, ingest, models, plan, transform
from behavsql.catalog import Catalog
from behavsql.config import Config
from behavsql.pipeline import Built, build
from behavsql.progress import Progress
from behavsql.warehouse import FILE_NAME, connect

FAST = models.MODEL_SETS["fast"]  # as shipped, whatever a test puts in its place
ALL_FILES = catalog.find_sources  # likewise
QUICK = ("prevalence", "persistence", "decision_tree")
SHIPPED = ("churn", "click", "engagement", "next_visit", "purchase", "spend")


@dataclass(frozen=True)
class Shop:
    """A project that was built, and what is known of its events."""

    config: Config
    built: Built
    events: pl.DataFrame  # the clean ones
    dirt: dict[str, int]  # rule -> rows it must remove


class Heard(Progress):
    """Keeps what a build says instead of printing it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)


def project(
    folder: Path,
    events: pl.DataFrame | None = None,
    *,
    only: tuple[str, ...] = SHIPPED,
    **parts: object,
) -> Config:
    """A project of one source called shop; `parts` go to the source, `settings`, `types`, `tasks`."""
    source = {"name": "shop", "path": "events.parquet", "columns": COLUMNS}
    data = {key: parts.pop(key) for key in ("types", "tasks", "explain") if key in parts}
    off = {task: {"enabled": False} for task in (*SHIPPED, "next_item") if task not in only}
    data["tasks"] = off | data.get("tasks", {})
    settings = {"models": "fast", "threads": 1} | parts.pop("settings", {})
    if events is not None:
        events.write_parquet(folder / "events.parquet")
    return config.from_dict(
        data | {"settings": settings, "source": [source | parts]}, folder, "behavsql.toml"
    )


def prebuilt(made: Config) -> Built:
    """What `build(made)` leaves where nothing was built yet: made once in a run of all tests, then copied.

    The copy is the project as if it had moved here, with the times of its files. What tells two
    projects apart is their configuration, their files, the models of the set "fast" and few_files().
    """
    place = _templates() / _fingerprint(made)
    with FileLock(f"{place}.lock"):
        if not (place / "steps.json").exists():
            steps = build(made, progress=Progress(quiet=True)).steps
            shutil.copytree(made.folder, place / "folder")
            (place / "steps.json").write_text(json.dumps(steps))
    shutil.copytree(place / "folder", made.folder, dirs_exist_ok=True)
    steps = tuple(json.loads((place / "steps.json").read_text()))
    return Built(made.warehouse / FILE_NAME, steps, 0.0)


def _fingerprint(made: Config) -> str:
    assert not made.warehouse.exists(), "it was built before"
    parts = [made.model_dump_json().encode(), repr(models.MODEL_SETS["fast"]).encode()]
    parts += [name.encode() for name in sorted(Catalog.load().files)]
    for path in sorted(path for path in made.folder.rglob("*") if path.is_file()):
        parts += [path.relative_to(made.folder).as_posix().encode(), path.read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def few_files(patch: pytest.MonkeyPatch, *more: str) -> None:
    """From now on the package has one file of features, and no report that nothing else reads.

    For tests that are about neither, or about `more` tables alone: a build takes little more than
    half as long.
    """
    kept, find = _few(*more), catalog.find_sources

    def found(folder: Traversable, *more: object) -> dict:
        sources = find(folder, *more)
        if folder != catalog.package_folder():
            return sources
        return {place: source for place, source in sources.items() if _table(*place) in kept}

    patch.setattr(catalog, "find_sources", found)


@functools.cache
def _few(*more: str) -> frozenset[str]:
    """The tables that are left, and the macros."""
    files = shipped().files
    wanted = [name for name, file in files.items() if file.schema not in ("features", "report")]
    wanted += ["features.recency", *more]
    kept = {_table("0_macros", macro.name) for macro in shipped().macros}
    while wanted:
        name = wanted.pop()
        if name in files and name not in kept:
            kept.add(name)
            wanted += files[name].inputs
    return frozenset(kept)


def _table(stage: str, name: str) -> str:
    return f"{stage.partition('_')[2]}.{name}"


@functools.cache
def shipped() -> Catalog:
    """The package's own SQL files."""
    return Catalog.load()


def stage(
    project: Config, last: int = 1, files: Catalog | None = None
) -> duckdb.DuckDBPyConnection:
    """The raw tables and the stages up to `last`, in memory; stages from 2 need `meta` made before."""
    files = files or shipped()
    con = duckdb.connect()
    con.execute("attach ':memory:' as raw; set timezone = 'UTC'; set enable_progress_bar = false")
    ingest.ingest(con, project)
    transform.prepare(con, files)
    transform.set_params(
        con, plan.settings_params(project) | {"latest_possible_at": datetime(2100, 1, 1)}
    )
    for file in files.files.values():
        if file.stage_number <= last:
            transform.run_file(con, file)
    return con


_shared: list[Path] = []  # the folder that the workers of a run share, once it is known


def _templates() -> Path:
    (folder,) = _shared
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _share(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Workers have folders of their own below that of the run."""
    base = tmp_path_factory.getbasetemp()
    _shared[:] = [(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Seven hundred users over 120 days, read from a shuffled and dirty CSV, all tasks built."""
    folder = tmp_path_factory.mktemp("shop")
    events = clickstream()
    text, dirt = dirtied(events)
    (folder / "events.csv").write_text(text, encoding="utf-8")
    made = project(folder, path="events.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", FAST)
        patch.setattr(catalog, "find_sources", ALL_FILES)
        return Shop(made, prebuilt(made), events, dirt)


@pytest.fixture
def con(shop: Shop) -> Iterator[duckdb.DuckDBPyConnection]:
    """The shop's warehouse, open as its readers open it."""
    with connect(shop.built.path) as con:
        yield con


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three models instead of five, none slow: for tests that are not about the models."""
    monkeypatch.setitem(models.MODEL_SETS, "fast", QUICK)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """few_files() for a test."""
    few_files(monkeypatch)


@pytest.fixture
def rows() -> Callable[..., list[tuple]]:
    """Run a query on a connection, or on a warehouse by its file, and take all rows."""

    def run(where: duckdb.DuckDBPyConnection | Path, query: str) -> list[tuple]:
        if isinstance(where, Path):
            with connect(where) as con:
                return con.execute(query).fetchall()
        return where.execute(query).fetchall()

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str):
    """What the command line answers to these arguments."""
    return CliRunner().invoke(app, list(arguments))


def cut_short(con: duckdb.DuckDBPyConnection, _: object) -> int:
    """An ingest that is stopped when half of it is written."""
    con.execute("delete from raw.types")
    raise KeyboardInterrupt
