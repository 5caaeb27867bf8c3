"""One SQL file: where it lies, what it promises, and that its query keeps the promise."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import NamedTuple

import duckdb

from behavsql.catalog import sql_tree
from behavsql.catalog.sql_header import MACROS, Header, digest, read_header, tokens
from behavsql.errors import SqlFileError, nearest

# Made by the runner from the feature files, so only later stages can read them.
GENERATED = frozenset({
    "features.matrix", "features.latest", "features.sequences", "features.categories",
    "predictions.history", "predictions.outcomes",
})  # fmt: skip

_STAGE = re.compile(r"\d+_[a-z]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class SqlFile:
    """One table: the query, and what its header promises.

    `where` is the name used in messages, `sql` the whole text with its header. `digest` is 16 hex
    digits over the tokens of the query and the header keys that decide the table's content:
    comments, layout and the case of keywords and unquoted names leave it alone.
    `entity` to `types` are set for label files only; `metric` None means the kind's default.
    `macros` are the names of the shared macros the query calls, `tree` is its syntax tree, which
    nobody may change.
    """

    path: Traversable
    where: str
    stage: str
    name: str
    sql: str
    purpose: str
    grain: tuple[str, ...]
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    checks: tuple[str, ...]
    version: int
    digest: str
    materialized: str = "table"
    scope: str = "user"
    entity: str | None = None
    kind: str | None = None
    horizon: str | None = None
    active_within: str | None = None
    metric: str | None = None
    roles: tuple[str, ...] | None = None
    types: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)
    tree: sql_tree.Node = field(default_factory=dict, repr=False, compare=False)

    @property
    def schema(self) -> str:
        return self.stage.partition("_")[2]

    @property
    def stage_number(self) -> int:
        return int(self.stage.partition("_")[0])

    @property
    def table(self) -> str:
        return f"{self.schema}.{self.name}"

    def line(self, key: str, nth: int = 0) -> int:
        """Line of the nth `key` in the header; 1 where the header does not have it."""
        found = self.lines.get("check" if key == "checks" else key, ())
        return found[nth] if nth < len(found) else 1

    def comment(self) -> str:
        """The COMMENT of the built table."""
        grain = ", ".join(self.grain)
        known = f"(version {self.version}, digest {self.digest})"
        return f"{self.purpose.rstrip('.')}. grain: {grain} {known}"


@dataclass(frozen=True)
class Macro:
    """One `create or replace macro`; `table` is its name in versions.toml, `body` its expression."""

    path: Traversable
    where: str
    name: str
    sql: str
    purpose: str
    version: int
    digest: str
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)
    arguments: tuple[str, ...] = ()
    body: sql_tree.Node = field(default_factory=dict, repr=False, compare=False)

    stage = "0_macros"

    @property
    def table(self) -> str:
        return f"macros.{self.name}"

    def line(self, key: str, nth: int = 0) -> int:
        """Line of the nth `key` in the header; 1 where the header does not have it."""
        found = self.lines.get(key, ())
        return found[nth] if nth < len(found) else 1

    def comment(self) -> str:
        """The COMMENT of the macro."""
        known = f"(version {self.version}, digest {self.digest})"
        return f"{self.purpose.rstrip('.')} {known}"


class Source(NamedTuple):
    """A file found on disk or in the package; `where` names it in messages."""

    path: Traversable
    where: str

    def text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SqlFileError(
                f"{self.where}: the file is not UTF-8 ({error}). Save it as UTF-8."
            ) from None


def stage_names(root: Traversable) -> list[str]:
    """The stage folders of a sql folder, sorted."""
    return sorted(entry.name for entry in root.iterdir() if _STAGE.fullmatch(entry.name))


def find_sources(
    root: Traversable, shown: str, stages: Collection[str]
) -> dict[tuple[str, str], Source]:
    """(stage, name) -> source of every .sql file; a folder that is no stage is an error."""
    found = {}
    for entry in root.iterdir():
        if entry.name.endswith(".sql"):
            problem = "this file lies in no stage folder; allowed are <stage>/<table>.sql"
            raise SqlFileError(f"{shown}/{entry.name}: {problem}. Move it.")
        if not entry.is_dir() or entry.name.startswith((".", "_")):
            continue
        if entry.name not in stages:
            allowed = ", ".join(sorted(stages))
            raise SqlFileError(
                f"{shown}/{entry.name}: this folder is no stage; allowed are {allowed}."
                f"{nearest(entry.name, stages)}"
            )
        for path in entry.iterdir():
            if path.name.endswith(".sql"):
                source = Source(path, f"{shown}/{entry.name}/{path.name}")
                found[entry.name, _table_name(entry.name, source)] = source
    return found


def _table_name(stage: str, source: Source) -> str:
    name = source.path.name.removesuffix(".sql")
    if not _NAME.fullmatch(name):
        raise SqlFileError(
            f'{source.where}: "{name}" cannot name a table; allowed are lower-case letters,'
            " digits and _, a letter first. Rename the file."
        )
    if f"{stage.partition('_')[2]}.{name}" in GENERATED:
        raise SqlFileError(
            f'{source.where}: the table "{name}" is generated from all feature files; any other'
            " name is allowed. Rename the file."
        )
    return name


class Reader:
    """Turns sources into SqlFile and Macro, one DuckDB call each.

    `macros` are the names of all shared macros; those that fold rows join `aggregates` once read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, macros: Collection[str]) -> None:
        self.connection = connection
        self.macros = frozenset(macros)
        self.aggregates = set(sql_tree.AGGREGATES)

    def file(self, stage: str, name: str, source: Source) -> SqlFile:
        """A table's file."""
        sql = source.text()
        header = read_header(sql, source.where, stage)
        tree = sql_tree.parse_select(self.connection, sql, source.where)
        nodes = sql_tree.everything(tree)
        called = sql_tree.functions(nodes)
        _check_tables(header, sql, tree, nodes)
        _check_params(header, sql, nodes)
        _check_types(header, nodes)
        words = ("materialized", "scope", "entity", "kind", "horizon", "active_within", "metric")
        return SqlFile(
            path=source.path, where=source.where, stage=stage, name=name, sql=sql,
            purpose=header.one("purpose"), grain=header.names("grain"),
            inputs=header.names("inputs"), params=header.names("params"),
            checks=header.values.get("check", ()), version=int(header.one("version")),
            digest=digest(sql, header), lines=header.lines, tree=tree,
            roles=header.names("roles") if "roles" in header.values else None,
            types=header.names("types"),
            macros=tuple(sorted(self.macros & called)),
            **{key: header.one(key) for key in words if key in header.values},
        )  # fmt: skip

    def macro(self, name: str, source: Source) -> Macro:
        """A shared macro; it may use nothing but its arguments."""
        sql = source.text()
        header = read_header(sql, source.where, MACROS)
        arguments, body = _macro_parts(name, sql, source.where)
        tree = sql_tree.parse_select(self.connection, f"select {body}", source.where)
        called = sql_tree.functions(sql_tree.everything(tree))
        if sql_tree.tables(tree, {}) or called & {"getvariable", *self.macros}:
            raise SqlFileError(
                f"{source.where}: the macro reads a table, a variable or another macro; only its"
                " arguments are allowed. Pass the value in."
            )
        if called & self.aggregates:
            self.aggregates.add(name)
        return Macro(
            source.path, source.where, name, sql, header.one("purpose"),
            int(header.one("version")), digest(sql, header), header.lines, tuple(arguments),
            tree["select_list"][0],
        )  # fmt: skip


def _macro_parts(name: str, sql: str, where: str) -> tuple[list[str], str]:
    """Arguments and expression of `create or replace macro name(...) as <expression>`."""
    words = tokens(sql)
    depth, end = 0, 0
    for index, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if word == ")" and depth == 0:
            end = index
            break
    start = ["create", "or", "replace", "macro", name, "("]
    if words[:6] != start or words[end + 1 : end + 2] != ["as"] or ";" in words:
        raise SqlFileError(
            f"{where}: the file is not `create or replace macro {name}(...) as <expression>`;"
            " nothing else is allowed in it. The macro is called like its file."
        )
    return words[6:end:2], " ".join(words[end + 2 :])


def _check_tables(
    header: Header, sql: str, tree: sql_tree.Node, nodes: list[sql_tree.Node]
) -> None:
    """The header's inputs are exactly the tables the query reads."""
    for problem in sql_tree.hidden_reads(nodes):
        raise SqlFileError(f"{header.where}:{sql_tree.line_at(sql, problem.at)}: {problem.text}.")
    read = {}
    for path, at in sql_tree.tables(tree, {}).items():
        table = ".".join(path)
        if len(path) != 2:
            raise SqlFileError(
                f'{header.where}:{sql_tree.line_at(sql, at)}: table "{table}" is not a CTE and not'
                " schema-qualified; allowed is schema.table. Write its schema in front."
            )
        read[table] = at
    _compare("inputs", "table", header, sql, dict(sorted(read.items(), key=lambda item: item[1])))


def _check_params(header: Header, sql: str, nodes: list[sql_tree.Node]) -> None:
    """The header's params are exactly the variables the query reads."""
    read, problems = sql_tree.parameters(nodes)
    for problem in problems:
        raise SqlFileError(f"{header.where}:{sql_tree.line_at(sql, problem.at)}: {problem.text}.")
    _compare("params", "variable", header, sql, read)


def _check_types(header: Header, nodes: list[sql_tree.Node]) -> None:
    """Each of the header's event types stands in the query as a text."""
    texts = {text.lower() for node in nodes if (text := sql_tree.string(node)) is not None}
    for word in header.names("types"):
        if word not in texts:
            raise header.error(
                "types", f'types names "{word}", which the query does not look for; allowed are'
                " words that stand in it as a text. Take it out, or add it to the query.",
            )  # fmt: skip


def _compare(key: str, thing: str, header: Header, sql: str, read: dict[str, int]) -> None:
    declared = header.names(key)
    for name, at in read.items():
        if name not in declared:
            raise SqlFileError(
                f'{header.where}:{sql_tree.line_at(sql, at)}: the query reads {thing} "{name}",'
                f" which the header's {key} lack; {key}: {', '.join(declared) or 'none'}."
                f" Add it to {key}."
            )
    for name in declared:
        if name not in read:
            raise header.error(
                key, f'{key} names "{name}", which the query does not read; it reads'
                f" {', '.join(read) or 'nothing'}.{nearest(name, read) or ' Take it out.'}",
            )  # fmt: skip
