"""A SQL file as it must read inside a view: no macro, no variable, other tables in place of its own."""

import copy
import json
from collections.abc import Mapping

import duckdb

from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_file import macro_parts
from behavsql.catalog.sql_tree import Node
from behavsql.transform import typed_literal


class Rewriter:
    """Writes queries anew: macros as their bodies, `getvariable` as values, tables by other names.

    The text is DuckDB's own of the changed syntax tree, so what a query says is written once: in
    its file. con: a connection of its own; on one that has set a storage version for older readers,
    trees have another shape.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, catalog: Catalog, params: Mapping[str, object]
    ) -> None:
        self.con = con
        self.values = {
            name: self._expression(typed_literal(value)) for name, value in params.items()
        }
        self.macros: dict[str, tuple[list[str], Node]] = {}
        for macro in catalog.macros:
            arguments, body = macro_parts(macro.name, macro.sql, macro.where)
            self.macros[macro.name] = arguments, self._expression(body)

    def define(self, name: str, sql: str) -> None:
        """What `getvariable(name)` is from now on."""
        self.values[name] = self._expression(sql)

    def tree(self, sql: str, where: str = "live") -> Node:
        """The syntax tree of a query, without macros and variables; its last ORDER BY is left out."""
        tree = sql_tree.parse_select(self.con, sql, where)
        return _unsorted(self._changed(tree))

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
            found = self.values[(sql_tree.string(values[0]) or "").lower()]
        elif name in self.macros:
            names, body = self.macros[name]
            found = _filled(body, dict(zip(names, values, strict=True)))
        else:
            return node
        return copy.deepcopy(found) | {"alias": node["alias"]}

    def _expression(self, sql: str) -> Node:
        return sql_tree.parse_select(self.con, f"select {sql}", sql)["select_list"][0]


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
    query = {"node": copy.deepcopy(found), "named_param_map": []}
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
            return copy.deepcopy(arguments[name])
    return {key: _filled(value, arguments) for key, value in part.items()}


def _unsorted(tree: Node) -> Node:
    kinds = {modifier["type"] for modifier in tree["modifiers"]}
    return tree | {"modifiers": []} if kinds == {"ORDER_MODIFIER"} else tree
