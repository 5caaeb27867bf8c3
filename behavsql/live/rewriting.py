"""A SQL file as it must read inside a view: no macro, no variable, other tables in place of its own."""

import json
from collections.abc import Mapping

import duckdb

from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_file import SqlFile
from behavsql.catalog.sql_tree import Node
from behavsql.transform import typed_literal


class Rewriter:
    """Writes queries anew: macros as their bodies, `getvariable` as values, tables by other names.

    The text is DuckDB's own of the changed syntax tree, so what a query says is written once: in
    its file. con: a connection of its own; on one that has set a storage version for older readers,
    trees have another shape. Trees share their parts: nothing changes one once it is there.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, params: Mapping[str, object]
    ) -> None:
        self.con = con
        self.values = {name: typed_literal(value) for name, value in params.items()}
        self.macros = {macro.name: macro for macro in catalog.macros}
        self.parsed: dict[str, Node] = {}  # name -> its value's tree
        self.files: dict[str, Node] = {}  # table -> the tree of its file

    def define(self, name: str, sql: str) -> None:
        """What `getvariable(name)` is from now on."""
        self.values[name] = sql

    def tree(self, sql: str) -> Node:
        """The syntax tree of a query, without macros and variables; its last ORDER BY is left out."""
        return _unsorted(self._changed(sql_tree.parse_select(self.con, sql, "live")))

    def tree_of(self, file: SqlFile) -> Node:
        """The same of a file's query."""
        if file.table not in self.files:
            self.files[file.table] = _unsorted(self._changed(file.tree))
        return self.files[file.table]

    def text(self, tree: Node) -> str:
        whole = json.dumps({"error": False, "statements": [{"node": tree}]})
        return self.con.execute("select json_deserialize_sql($1::json)", [whole]).fetchall()[0][0]

    def _changed(self, part: object) -> object:
        if isinstance(part, list):
            return [self._changed(one) for one in part]
        if not isinstance(part, dict):
            return part
        node = {key: self._changed(value) for key, value in part.items()}
        return self._called(node) if node.get("class") == "FUNCTION" else node

    def _called(self, node: Node) -> Node:
        name = node["function_name"].lower()
        values = [argument["expression"] for argument in node["arguments"]]
        if name == "getvariable":
            found = self._value((sql_tree.string(values[0]) or "").lower())
        elif name in self.macros:
            macro = self.macros[name]
            found = _filled(macro.body, dict(zip(macro.arguments, values, strict=True)))
        else:
            return node
        return found | {"alias": node["alias"]}

    def _value(self, name: str) -> Node:
        if name not in self.parsed:
            sql = self.values[name]
            tree = sql_tree.parse_select(self.con, f"select {sql}", name)
            self.parsed[name] = tree["select_list"][0]
        return self.parsed[name]


def replaced(part: object, tables: Mapping[str, str | Node]) -> object:
    """A tree that reads other tables: for "schema.table" a CTE of that name, or a query in place."""
    if isinstance(part, list):
        return [replaced(one, tables) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "BASE_TABLE":
        return _relation(part, tables)
    node = {key: replaced(value, tables) for key, value in part.items()}
    # schema.table.column: the table stands under its bare name now.
    names = node["column_names"] if node.get("class") == "COLUMN_REF" else []
    if len(names) > 2 and ".".join(names[:2]).lower() in tables:
        node["column_names"] = names[1:]
    return node


def _relation(node: Node, tables: Mapping[str, str | Node]) -> Node:
    path = node["qualified_name"]["path"]
    found = tables.get(".".join(path).lower())
    if found is None:
        return node
    common = {"alias": node["alias"] or path[-1], "sample": None, "column_name_alias": []}
    if isinstance(found, str):
        name = {"table_name": found, "schema_name": "", "qualified_name": {"path": [found]}}
        return node | common | name
    query = {"node": found, "named_param_map": []}
    return common | {
        "type": "SUBQUERY",
        "query_location": 0,
        "query_location_length": 0,
        "subquery": query,
    }


def _filled(part: object, arguments: Mapping[str, Node]) -> object:
    """A macro's body with its arguments put in."""
    if isinstance(part, list):
        return [_filled(one, arguments) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("class") == "COLUMN_REF" and len(part["column_names"]) == 1:
        name = part["column_names"][0].lower()
        if name in arguments:
            return arguments[name]
    return {key: _filled(value, arguments) for key, value in part.items()}


def _unsorted(tree: Node) -> Node:
    kinds = {modifier["type"] for modifier in tree["modifiers"]}
    return tree | {"modifiers": []} if kinds == {"ORDER_MODIFIER"} else tree
