"""Feature files that read the same rows as one query: their expressions side by side over one FROM.

Most of what a view costs for one user is DuckDB's planning, which grows with the joins. Many feature
files join the same rows of the same tables and only calculate, some of them with what others make.
Written out down to those rows, they are one list of expressions:

    gaps: with measured as (select upto.gap / 2 as half from known inner join upto ...)
          select half + 1 as due from measured
    ->    select upto.gap / 2 + 1 as due from known inner join upto ...
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_tree import AGGREGATES, Node

KEYS = ("user_id", "cutoff_at")
ONE_ROW = frozenset({"meta.clock"})  # joined with, they leave the rows as they are
_PLAIN = (
    "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify", "modifiers",
)  # fmt: skip


@dataclass(frozen=True)
class Flat:
    """Expressions by column name, over tables by alias: (join type, table, condition)."""

    first: str
    joins: dict[str, tuple[str, str, str]]
    columns: dict[str, Node]
    source: Node  # the FROM clause

    @property
    def rows(self) -> set[str]:
        """What decides which rows there are."""
        return {alias for alias, (kind, *_) in self.joins.items() if kind in ("FIRST", "INNER")}


class _NotFlat(Exception):
    """A query that does more than calculate from rows that are joined one to one."""


class Flattener:
    """columns_of: the columns of a table, in order."""

    def __init__(
        self, catalog: Catalog, tree_of: Callable[[str], Node],
        columns_of: Callable[[str], list[str]],
    ) -> None:  # fmt: skip
        self.catalog, self.tree_of, self.columns_of = catalog, tree_of, columns_of
        self.known: dict[str, Flat | None] = {}

    def flat(self, table: str) -> Flat | None:
        """A feature file written out; None if it cannot be."""
        if table not in self.known:
            try:
                self.known[table] = self._query(self.tree_of(table), {})
            except _NotFlat:
                self.known[table] = None
        return self.known[table]

    def merged(self, tables: Iterable[str]) -> list[list[str]]:
        """Tables that can be one query, together."""
        groups: list[list[str]] = []
        for table in tables:
            flat = self.flat(table)
            for group in groups if flat else ():
                if all(_agree(flat, self.flat(other)) for other in group):
                    group.append(table)
                    break
            else:
                if flat:
                    groups.append([table])
        return [group for group in groups if len(group) > 1]

    def query(self, tables: list[str], wanted: Collection[str]) -> Node:
        """One SELECT with the keys and those columns of these tables that are wanted."""
        flats = [self.flat(table) for table in tables]
        lowered = {name.lower() for name in wanted}
        items = {key: flats[0].columns[key] for key in KEYS}
        for flat in flats:
            items |= {name: one for name, one in flat.columns.items() if name in lowered}
        select = [expression | {"alias": name} for name, expression in items.items()]
        return _select(select, _together(flats).source)

    def _query(self, query: Node, above: Mapping[str, Flat]) -> Flat:
        if query["type"] != "SELECT_NODE" or any(query[key] for key in _PLAIN):
            raise _NotFlat
        scope = dict(above)
        for name, body in sql_tree.ctes(query):
            scope[name] = self._query(body, scope)
        base, names = self._from(query["from_table"], scope)
        columns: dict[str, Node] = {}
        for item in query["select_list"]:
            if item["class"] == "STAR":
                columns |= self._star(item, names)
            else:
                name = item["alias"] or item.get("column_names", [""])[-1]
                if not name:
                    raise _NotFlat
                columns[name.lower()] = _written(item, names, columns) | {"alias": ""}
        return Flat(base.first, base.joins, columns, base.source)

    def _star(self, item: Node, names: Mapping[str, Mapping[str, Node]]) -> dict[str, Node]:
        alias = item["relation_name"].lower()
        if alias not in names or any(
            item[key] for key in ("exclude_list", "replace_list", "columns", "rename_list")
        ):
            raise _NotFlat
        return dict(names[alias])

    def _from(
        self, source: Node, scope: Mapping[str, Flat]
    ) -> tuple[Flat, dict[str, dict[str, Node]]]:
        """What a FROM clause comes down to, and what each of its aliases' columns are."""
        links = _chain(source)
        parts = [links[0]["left"] if links else source, *(link["right"] for link in links)]
        if any(part.get("type") != "BASE_TABLE" for part in parts):
            raise _NotFlat
        names: dict[str, dict[str, Node]] = {}
        flats: list[Flat] = []
        joins: dict[str, tuple[str, str, str]] = {}
        for position, part in enumerate(parts):
            alias, table = _alias(part), _table(part)
            flat = scope.get(table) or (self.flat(table) if table.startswith("features.") else None)
            if flat:
                flats.append(flat)
                names[alias] = flat.columns
            else:
                names[alias] = {name: _column(alias, name) for name in self.columns_of(table)}
                link = links[position - 1] if position else None
                joins[alias] = ("FIRST", table, "") if link is None else self._join(link, table)
        if not flats:
            return Flat(_table(parts[0]), joins, {}, source), names
        is_one = all(_agree(flats[0], flat) for flat in flats) and all(map(_on_keys, links))
        if joins or not is_one:
            raise _NotFlat
        return _together(flats), names

    def _join(self, link: Node, table: str) -> tuple[str, str, str]:
        """Join type, table and condition, of a table that adds one row at most."""
        if link["ref_type"] == "CROSS" and table in ONE_ROW:
            return "CROSS", table, ""
        file = self.catalog.files.get(table)
        if link["join_type"] not in ("INNER", "LEFT") or file is None or not link["condition"]:
            raise _NotFlat
        own = {
            side["column_names"][-1].lower() for pair in _equalities(link["condition"])
            for side in pair if side["column_names"][0].lower() == _alias(link["right"])
        }  # fmt: skip
        if not own >= set(file.grain):
            raise _NotFlat
        return link["join_type"], table, _told(link["condition"])


def _together(flats: list[Flat]) -> Flat:
    """The rows of flat queries that agree, with everything that any of them joins."""
    first = flats[0]
    joins, source = dict(first.joins), first.source
    for flat in flats[1:]:
        for link in _chain(flat.source):
            alias = _alias(link["right"])
            if alias not in joins:
                joins[alias], source = flat.joins[alias], link | {"left": source}
    return Flat(first.first, joins, {}, source)


def _agree(one: Flat, other: Flat) -> bool:
    """Whether two flat queries have the same rows, and mean the same by the same alias."""
    same = all(one.joins[alias] == other.joins[alias] for alias in one.joins.keys() & other.joins)
    return one.first == other.first and one.rows == other.rows and same


def _written(
    node: Node, names: Mapping[str, Mapping[str, Node]], aliases: Mapping[str, Node]
) -> Node:
    """An expression with its columns written out; _NotFlat for one that looks at other rows."""
    if node.get("class") == "COLUMN_REF":
        *qualifier, name = (part.lower() for part in node["column_names"])
        if len(qualifier) > 1:
            raise _NotFlat
        found = [
            columns[name] for alias, columns in names.items()
            if name in columns and (not qualifier or alias == qualifier[0])
        ] or [aliases[name] for _ in [0] if not qualifier and name in aliases]  # fmt: skip
        if not found or any(_told(other) != _told(found[0]) for other in found):
            raise _NotFlat
        return found[0]
    is_call = node.get("class") == "FUNCTION"
    if node.get("class") in ("WINDOW", "SUBQUERY", "LAMBDA", "STAR") or (
        is_call and node["function_name"].lower() in AGGREGATES
    ):
        raise _NotFlat
    return {key: _inside(value, names, aliases) for key, value in node.items()}


def _inside(value: object, names: Mapping, aliases: Mapping) -> object:
    if isinstance(value, list):
        return [_inside(one, names, aliases) for one in value]
    return _written(value, names, aliases) if isinstance(value, dict) else value


def _chain(source: Node) -> list[Node]:
    """The joins of a FROM clause, the innermost first; _NotFlat if it branches to the right."""
    links = []
    while source.get("type") == "JOIN":
        links.append(source)
        source = source["left"]
    return links[::-1]


def _equalities(condition: Node) -> list[tuple[Node, Node]]:
    parts = condition["children"] if condition["type"] == "CONJUNCTION_AND" else [condition]
    return [
        (part["left"], part["right"]) for part in parts
        if part["type"] == "COMPARE_EQUAL"
        and all(part[side]["class"] == "COLUMN_REF" for side in ("left", "right"))
        and all(len(part[side]["column_names"]) == 2 for side in ("left", "right"))
    ]  # fmt: skip


def _on_keys(link: Node) -> bool:
    """Whether two feature tables are joined row by row."""
    if link["join_type"] != "INNER" or not link["condition"]:
        return False
    pairs = _equalities(link["condition"])
    parts = link["condition"].get("children") or [link["condition"]]
    columns = [{side["column_names"][-1].lower() for side in pair} for pair in pairs]
    return len(pairs) == len(parts) and sorted(map(sorted, columns)) == sorted(
        [key] for key in KEYS
    )


def _alias(table: Node) -> str:
    return (table.get("alias") or _table(table).rpartition(".")[2]).lower()


def _table(table: Node) -> str:
    return ".".join(table["qualified_name"]["path"]).lower()


def _column(alias: str, name: str) -> Node:
    return {
        "class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0,
        "query_location_length": 0, "column_names": [alias, name],
    }  # fmt: skip


def _told(node: Node) -> str:
    """A tree as text, wherever it stood."""
    return json.dumps(_placeless(node), sort_keys=True).lower()


def _placeless(part: object) -> object:
    if isinstance(part, list):
        return [_placeless(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _placeless(value)
        for key, value in part.items()
        if not key.startswith("query_location")
    }


def _select(items: list[Node], source: Node) -> Node:
    return {
        "type": "SELECT_NODE", "modifiers": [], "cte_map": {"map": []}, "select_list": items,
        "from_table": source, "where_clause": None, "group_expressions": [], "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING", "having": None, "sample": None, "qualify": None,
    }  # fmt: skip
