"""All SQL files, checked against each other, in build order.

A file is `sql/<number>_<schema>/<table>.sql`. A project's own `sql/` folder is layered over the
package's: the same path overrides, a new name adds.
"""

import functools
import graphlib
import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import duckdb

from behavsql.catalog.sql_file import (
    GENERATED,
    Macro,
    Reader,
    Source,
    SqlFile,
    find_sources,
    stage_names,
)
from behavsql.catalog.sql_header import MACROS
from behavsql.catalog.sql_scope import check_user_scope
from behavsql.catalog.sql_tree import line_at
from behavsql.errors import SqlFileError, nearest

# Tables no SQL file makes: ingest writes raw, the runner meta, training models.
EXTERNAL_SCHEMAS = ("raw", "meta", "models")
LAST_USER_STAGE = 5  # what models say (later stages) is ranked over all users


class Lock(NamedTuple):
    """What versions.toml remembers of one file."""

    version: int
    digest: str


@dataclass(frozen=True)
class Catalog:
    """Every table's file by name ("features.recency") in build order, and the shared macros."""

    files: dict[str, SqlFile]
    macros: tuple[Macro, ...]

    @classmethod
    def load(cls, project_sql: Path | None = None) -> "Catalog":
        """Read and check the package's files and a project's; SqlFileError names file and line.

        A `project_sql` that is no folder, or has no stage in it, adds nothing: a folder called
        sql may belong to something else.
        """
        package = package_folder()
        stages = stage_names(package)
        sources = find_sources(package, "sql", stages)
        if project_sql is not None and _has_stages(project_sql):
            sources |= find_sources(project_sql, _shown(project_sql), stages)
        return cls.read(sources)

    @classmethod
    def read(cls, sources: Mapping[tuple[str, str], Source]) -> "Catalog":
        """Check these (stage, name) -> source files together; the same texts are checked once."""
        by_place = sorted(sources.items(), key=lambda item: (_number(item[0][0]), item[0]))
        found = cls._checked(tuple((place, source, source.text()) for place, source in by_place))
        return replace(found, files=dict(found.files))

    @classmethod
    @functools.lru_cache(maxsize=8)
    def _checked(cls, sources: tuple[tuple[tuple[str, str], Source, str], ...]) -> "Catalog":
        names = [name for (stage, name), _, _ in sources if stage == MACROS]
        files, macros = {}, []
        with duckdb.connect() as connection:
            reader = Reader(connection, names)
            for (stage, name), source, _ in sources:
                if stage == MACROS:
                    macros.append(reader.macro(name, source))
                else:
                    file = reader.file(stage, name, source)
                    files[file.table] = file
        for file in files.values():
            _check_inputs(file, files)
        for file in files.values():
            _check_scope(file, files, reader.aggregates)
        return cls({name: files[name] for name in _build_order(files)}, tuple(macros))

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self.files)

    def parents(self, table: str) -> tuple[str, ...]:
        """The SQL files a table reads from; a generated table stands for all feature files."""
        return _parents(self.files[table], self.files)

    def only_in(self, folder: Path) -> "Catalog":
        """The files that lie in `folder`: a project's own, without the package's."""
        inside = folder.resolve()
        is_own = lambda file: Path(str(file.path)).resolve().is_relative_to(inside)  # noqa: E731
        own = {name: file for name, file in self.files.items() if is_own(file)}
        return replace(self, files=own, macros=tuple(filter(is_own, self.macros)))

    def feature_files(self) -> tuple[SqlFile, ...]:
        """The files of grain user_id, cutoff_at that make up the feature matrix."""
        return tuple(file for file in self.files.values() if _is_feature(file))

    def label_files(self) -> tuple[SqlFile, ...]:
        return tuple(file for file in self.files.values() if file.schema == "labels")


def _has_stages(folder: Path) -> bool:
    return folder.is_dir() and any(
        re.fullmatch(r"\d_[a-z]+", path.name) for path in folder.iterdir()
    )


def package_folder() -> Traversable:
    """The package's own sql folder."""
    try:
        return importlib.resources.files("behavsql.sql")
    except ModuleNotFoundError:
        # A checkout that was not installed: only setuptools maps the sibling folder in.
        return Path(__file__).parent.parent.parent / "sql"


def _shown(path: Path) -> str:
    """A folder as people see it: relative to where they are, if it lies below."""
    full = path.resolve()
    here = Path.cwd()
    return (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()


def _number(stage: str) -> int:
    return int(stage.partition("_")[0])


def _is_feature(file: SqlFile) -> bool:
    return file.schema == "features" and set(file.grain) == {"user_id", "cutoff_at"}


def _parents(file: SqlFile, files: Mapping[str, SqlFile]) -> tuple[str, ...]:
    found = dict.fromkeys(name for name in file.inputs if name in files)
    if GENERATED & set(file.inputs):
        found |= dict.fromkeys(name for name, other in files.items() if _is_feature(other))
    return tuple(found)


def _check_inputs(file: SqlFile, files: Mapping[str, SqlFile]) -> None:
    """Every input has an origin, and none lies in a later stage."""
    for name in file.inputs:
        at = f"{file.where}:{file.line('inputs')}"
        schema = name.partition(".")[0]
        if name in GENERATED:
            stage = LAST_USER_STAGE + 1  # it holds every task's label of the window before
        elif schema in EXTERNAL_SCHEMAS:
            stage = LAST_USER_STAGE + 1 if schema == "models" else 0
        elif name in files:
            stage = files[name].stage_number
        else:
            near = nearest(name, [*files, *GENERATED]) or " Write its file, or correct the name."
            raise SqlFileError(
                f'{at}: input "{name}" has no SQL file; allowed are tables with one, schemas'
                f" {', '.join(EXTERNAL_SCHEMAS)} and {', '.join(sorted(GENERATED))}.{near}"
            )
        if stage > file.stage_number:
            raise SqlFileError(
                f'{at}: input "{name}" is not there before stage {stage}, and this is stage'
                f" {file.stage_number}; a file reads its own stage and earlier ones. Move the file."
            )


def _check_scope(file: SqlFile, files: Mapping[str, SqlFile], aggregates: set[str]) -> None:
    """A file of scope user keeps users apart (`sql_scope.py` says how that is told)."""
    is_about_users = file.scope == "user" and file.entity in (None, "user")
    if not is_about_users or file.stage_number > LAST_USER_STAGE:
        return
    common = {name for name, other in files.items() if other.scope == "global"}
    for problem in check_user_scope(file.tree, common, aggregates):
        raise SqlFileError(
            f"{file.where}:{line_at(file.sql, problem.at)}: {problem.text}; in scope user every"
            " row is about one user. Add user_id, or write `-- scope: global`."
        )


def _build_order(files: Mapping[str, SqlFile]) -> list[str]:
    """Parents first; where that leaves a choice, by stage and name."""
    sorter = graphlib.TopologicalSorter(
        {name: _parents(file, files) for name, file in files.items()}
    )
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        loop = [files[name].where for name in error.args[1]]
        raise SqlFileError(
            f"{loop[0]}: files read each other in a circle: {' -> '.join(loop)};"
            " inputs must lead back to raw tables. Break the circle."
        ) from error
    ready: list[str] = []
    order = []
    while sorter.is_active():
        ready = sorted(
            [*ready, *sorter.get_ready()], key=lambda name: (files[name].stage_number, name)
        )
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def locked_versions(text: str) -> dict[str, Lock]:
    """Read versions.toml: table (or macros.<name>) -> version and digest."""
    return {name: Lock(**lock) for name, lock in tomllib.loads(text).get("versions", {}).items()}


def unbumped(catalog: Catalog, locked: Mapping[str, Lock]) -> list[str]:
    """Files whose version must rise before the lock may be rewritten."""
    problems = []
    for file in _all(catalog):
        lock = locked.get(file.table)
        at = f"{file.where}:{file.line('version')}"
        if lock and file.version < lock.version:
            problems.append(
                f"{at}: version is {file.version}, but was {lock.version}; a version only rises."
                f" Write {lock.version + 1}."
            )
        elif lock and file.version == lock.version and file.digest != lock.digest:
            problems.append(
                f"{at}: the file changed (digest {lock.digest} -> {file.digest}) and its version"
                f" is still {file.version}; new rows need a new one. Write {file.version + 1}."
            )
    return problems


def check_lock(catalog: Catalog, locked: Mapping[str, Lock]) -> list[str]:
    """Every difference between the files and versions.toml, as messages; empty when they agree."""
    problems = unbumped(catalog, locked)
    fix = "Run `behavsql sql lock`."
    files = {file.table: file for file in _all(catalog)}
    for name, file in files.items():
        if name not in locked:
            problems.append(f"{file.where}: {name} is not in versions.toml. {fix}")
        elif file.version > locked[name].version:
            problems.append(
                f"{file.where}:{file.line('version')}: version is {file.version}, versions.toml"
                f" still says {locked[name].version}. {fix}"
            )
    for name in sorted(locked.keys() - files.keys()):
        problems.append(f'versions.toml: "{name}" has no SQL file.{nearest(name, files)} {fix}')
    return problems


def render_lock(catalog: Catalog) -> str:
    """The text of versions.toml, sorted by name."""
    lines = ["# Written by `behavsql sql lock`; a test compares it with the files.", "[versions]"]
    for file in sorted(_all(catalog), key=lambda file: file.table):
        entry = f'version = {file.version}, digest = "{file.digest}"'
        lines.append(f'"{file.table}" = {{ {entry} }}')
    return "\n".join(lines) + "\n"


def _all(catalog: Catalog) -> list[SqlFile | Macro]:
    return [*catalog.macros, *catalog.files.values()]
