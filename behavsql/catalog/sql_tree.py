"""What a query really does, read from DuckDB's own syntax tree.

`json_serialize_sql` gives the tree as JSON: a query node is a dict with a `cte_map`, every other
dict is a table reference, an expression or a part of one. Names are compared in lower case.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import duckdb

from behavsql.errors import SqlFileError

Node = dict[str, Any]
Path = tuple[str, ...]
Scope = Mapping[str, dict[Path, int]]  # CTE name -> the base tables below it

# Source: duckdb_functions() of DuckDB 2.0; asking it at run time costs more than all files do.
AGGREGATES = frozenset(
    [
        "any_value",
        "approx_count_distinct",
        "approx_quantile",
        "approx_top_k",
        "arbitrary",
        "arg_max",
        "arg_max_null",
        "arg_max_nulls_last",
        "arg_min",
        "arg_min_null",
        "arg_min_nulls_last",
        "argmax",
        "argmin",
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bitstring_agg",
        "bool_and",
        "bool_or",
        "combine_aggr",
        "corr",
        "count",
        "count_if",
        "count_star",
        "countif",
        "covar_pop",
        "covar_samp",
        "decimal_average",
        "entropy",
        "favg",
        "first",
        "fsum",
        "group_concat",
        "histogram",
        "histogram_exact",
        "kahan_sum",
        "kurtosis",
        "kurtosis_pop",
        "last",
        "list",
        "listagg",
        "lttb",
        "mad",
        "max",
        "max_by",
        "mean",
        "median",
        "min",
        "min_by",
        "mode",
        "product",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "regr_avgx",
        "regr_avgy",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
        "reservoir_quantile",
        "sem",
        "skewness",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "sum_no_overflow",
        "sumkahan",
        "var_pop",
        "var_samp",
        "variance",
        "variant_group_object",
    ]
)
# Anything else in FROM could read a file or a table that `inputs` does not name.
TABLE_FUNCTIONS = ("generate_series", "json_each", "json_tree", "range", "unnest")
USER = "user_id"
_NO_NODES = frozenset({"cte_map", "column_names", "literal", "qualified_name"})


class Problem(NamedTuple):
    """Something wrong in a query: the byte it starts at, and what it is."""

    at: int
    text: str


def parse_select(connection: duckdb.DuckDBPyConnection, sql: str, where: str) -> Node:
    """The query node of the one SELECT in `sql`; SqlFileError for anything else.

    A syntax error keeps DuckDB's own text with its caret; line numbers count the whole file.
    """
    reply = connection.execute("select json_serialize_sql($1)", [sql]).fetchall()[0][0]
    tree = json.loads(reply)
    statements = tree.get("statements", [])
    if len(statements) == 1:
        return statements[0]["node"]
    found = f"{len(statements) or 'no'} statements"
    if tree["error"]:
        try:
            kinds = [one.type.name for one in connection.extract_statements(sql)]
        except duckdb.Error as error:
            raise SqlFileError(f"{where}: {error}") from error
        found = "a " + " and a ".join(kinds)
    raise SqlFileError(
        f"{where}: the file holds {found}; it must hold exactly one SELECT."
        " Write a PIVOT as `select * from t pivot (...)`."
    )


def split(node: Node) -> tuple[list[Node], list[Node]]:
    """The dicts below a node: its own, and the queries nested in it, which are not entered.

    The CTEs of the node are in neither, see `ctes`.
    """
    own: list[Node] = []
    nested: list[Node] = []
    stack: list[object] = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += part
        elif isinstance(part, dict):
            if part is not node:
                if "cte_map" in part:
                    nested.append(part)
                    continue
                own.append(part)
            stack += [value for key, value in part.items() if value and key not in _NO_NODES]
    return own, nested


def ctes(query: Node) -> Iterator[tuple[str, Node]]:
    """Name and query node of each CTE, in the order written."""
    for entry in query["cte_map"].get("map", []):
        yield entry["key"].lower(), entry["value"]["query_node"]


def _inside(name: str, body: Node, scope: Scope) -> Scope:
    """What a CTE's body sees: itself only where it is recursive."""
    return {**scope, name: {}} if body["type"] == "RECURSIVE_CTE_NODE" else scope


def tables(node: Node, scope: Scope) -> dict[Path, int]:
    """Base tables at or below a node, through CTEs, with the byte of the first mention."""
    if node.get("type") == "BASE_TABLE":
        path = tuple(part.lower() for part in node["qualified_name"]["path"])
        return scope[path[0]] if path[0] in scope and len(path) == 1 else {path: location(node)}
    found: dict[Path, int] = {}
    if "cte_map" in node:
        for name, body in ctes(node):
            below = tables(body, _inside(name, body, scope))
            found = below | found
            scope = {**scope, name: below}
    own, nested = split(node)
    for part in [part for part in own if part.get("type") == "BASE_TABLE"] + nested:
        found = tables(part, scope) | found
    return found


def queries(query: Node, scope: Scope) -> Iterator[tuple[Node, Scope]]:
    """A query node and every one below, each with the CTEs it sees."""
    for name, body in ctes(query):
        inside = _inside(name, body, scope)
        yield from queries(body, inside)
        scope = {**scope, name: tables(body, inside)}
    yield query, scope
    for nested in split(query)[1]:
        yield from queries(nested, scope)


def everything(tree: Node) -> list[Node]:
    """Every dict at or below a node, CTEs included, in the order of the text where it is known."""
    found = []
    stack: list[object] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            found.append(node)
            stack += [value for value in node.values() if isinstance(value, (dict, list))]
        elif isinstance(node, list):
            stack += node
    return sorted(found, key=location)


def functions(nodes: Iterable[Node]) -> set[str]:
    """Functions called in these nodes, in lower case."""
    calls = (node for node in nodes if node.get("class") in ("FUNCTION", "WINDOW"))
    return {node["function_name"].lower() for node in calls}


def parameters(nodes: Iterable[Node]) -> tuple[dict[str, int], list[Problem]]:
    """Names read with getvariable('...'), and the calls whose argument is not a plain string."""
    found: dict[str, int] = {}
    problems = []
    for node in nodes:
        if node.get("class") != "FUNCTION" or node["function_name"].lower() != "getvariable":
            continue
        text = [string(argument["expression"]) for argument in node["arguments"]]
        if len(text) == 1 and text[0] is not None:
            found.setdefault(text[0].lower(), location(node))
        else:
            text = "getvariable() takes one string literal, or the header could not be checked"
            problems.append(Problem(location(node), text))
    return found, problems


def string(node: Node) -> str | None:
    """The text of a string literal; None for any other node."""
    constant = node.get("literal") or {}
    return constant["text"] if constant.get("kind") == "STRING" else None


def hidden_reads(nodes: Iterable[Node]) -> list[Problem]:
    """Table functions and SHOW forms that could read what `inputs` does not name."""
    problems = []
    for node in nodes:
        name = ""
        if node.get("type") == "TABLE_FUNCTION":
            name = node["function"]["function_name"].lower() + "()"
        elif node.get("type") == "SHOW_REF":
            name = "DESCRIBE, SUMMARIZE or SHOW"
        if name and name[:-2] not in TABLE_FUNCTIONS:
            text = f"{name} in FROM hides what it reads; allowed are {', '.join(TABLE_FUNCTIONS)}"
            problems.append(Problem(location(node), text))
    return problems


def location(node: Node) -> int:
    """Byte offset of a node in the text; 0 where DuckDB does not say."""
    at = node.get("query_location") or 0
    return at if at < 2**32 else 0


def line_at(sql: str, at: int) -> int:
    """Line number of a byte offset."""
    return sql.encode()[:at].count(b"\n") + 1
