"""Does a query keep every user apart, so that it can run on a part of the users alone?

A `scope: user` query gives the same rows for a user whichever other users are present. The check
reads the syntax tree, not the data: it knows a user by the column name `user_id` and raises where
it cannot tell.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from behavsql.catalog.sql_tree import (
    AGGREGATES,
    USER,
    Node,
    Problem,
    Scope,
    location,
    queries,
    split,
    tables,
)  # fmt: skip

# The sides of a join of which every row comes out, matched or not.
_KEPT_WHOLE = {
    "INNER": (), "LEFT": ("left",), "SEMI": ("left",), "ANTI": ("left",), "RIGHT": ("right",),
}  # fmt: skip
_BOTH = ("left", "right")


@dataclass(frozen=True)
class _Common:
    """Knows which relations are the same for every part of the users."""

    global_tables: Collection[str]

    def holds(self, node: Node, scope: Scope, *schemas: str) -> bool:
        """Whether a relation reads tables of all users, `meta` and these schemas only."""
        return all(
            path[0] in ("meta", *schemas) or ".".join(path) in self.global_tables
            for path in tables(node, scope)
        )


def check_user_scope(
    tree: Node, global_tables: Collection[str], aggregates: Collection[str] = AGGREGATES
) -> list[Problem]:
    """Places where the query mixes users; empty when it keeps them apart.

    `global_tables` ("schema.table") are the same for every part of the users; `meta` tables are
    too. `raw` tables are taken as such in joins only. `aggregates` are the functions, and the
    macros, that fold rows. What reads no user table, or is tied to one user of the query around it
    by `inner.user_id = outer.user_id`, is free.
    """
    common = _Common(global_tables)
    problems: list[Problem] = []
    for query, scope in queries(tree, {}):
        source = query["from_table"] if query["type"] == "SELECT_NODE" else query
        own, _ = split(query)
        if not common.holds(source, scope) and not is_correlated(query):
            problems += _fold_problems(query, aggregates)
            problems += _row_problems(query, own)
        for node in own:
            if node.get("type") == "JOIN":
                problems += _join_problems(node, scope, common)
            elif node.get("class") == "SUBQUERY" and not _is_tied(node, scope, common):
                text = "a subquery reads all users; compare its user_id with the outer one, or join"
                problems.append(Problem(location(node), text))
            elif node.get("type") == "PIVOT" and not common.holds(node, scope):
                problems += _pivot_problems(node)
    return sorted(set(problems))


def is_user(node: Node) -> bool:
    return node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() == USER


def _is_named_user(node: Node) -> bool:
    """Whether a select item comes out as user_id; a star is trusted to hold it."""
    if node.get("class") == "STAR":
        return True
    return node["alias"].lower() == USER if node.get("alias") else is_user(node)


def _keeps_user(query: Node) -> bool:
    if query["type"] == "SELECT_NODE":
        return any(_is_named_user(item) for item in query["select_list"])
    return all(map(_keeps_user, split(query)[1]))


def is_correlated(query: Node) -> bool:
    """Whether WHERE ties a subquery to one user of the query around it."""
    if query["type"] != "SELECT_NODE":
        return False
    inner = _aliases(query["from_table"])
    return any((a in inner) != (b in inner) for a, b in _user_pairs(query.get("where_clause")))


def _user_pairs(condition: Node | None) -> Iterator[tuple[str, str]]:
    """(a, b) for each `a.user_id = b.user_id` that the condition demands."""
    if not condition:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _user_pairs(child)
    elif condition.get("type") in ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"):
        sides = (condition["left"], condition["right"])
        if all(is_user(side) and len(side["column_names"]) > 1 for side in sides):
            first, second = (side["column_names"][-2].lower() for side in sides)
            yield first, second


def _aliases(source: Node) -> set[str]:
    if source["type"] == "JOIN":
        return _aliases(source["left"]) | _aliases(source["right"])
    return {(source.get("alias") or source.get("table_name") or "").lower()}


def _fold_problems(query: Node, aggregates: Collection[str]) -> Iterator[Problem]:
    """GROUP BY, aggregates and windows that run over several users."""
    if query["type"] != "SELECT_NODE":
        return
    groups = query["group_expressions"]
    for group_set in query["group_sets"] if groups else ():
        if not any(is_user(groups[index]) for index in group_set):
            yield Problem(location(groups[0]), "GROUP BY lacks user_id")
    # The aggregates of a PIVOT stand in its FROM and are judged there.
    folds, _ = split({key: part for key, part in query.items() if key != "from_table"})
    for node in folds:
        if node.get("class") == "WINDOW" and not any(map(is_user, node["partitions"])):
            text = f"window {node['function_name']}() lacks user_id in PARTITION BY"
            yield Problem(location(node), text)
    if groups:
        return
    calls = [node for node in folds if node.get("class") == "FUNCTION"]
    called = [node for node in calls if node["function_name"].lower() in aggregates]
    if query["aggregate_handling"] == "FORCE_AGGREGATES":
        if not any(map(is_user, query["select_list"])):
            yield Problem(location(query["select_list"][0]), "GROUP BY ALL has no plain user_id")
    elif called:
        first = min(called, key=location)
        name = first["function_name"].replace("count_star", "count")
        yield Problem(location(first), f"aggregate {name}() without GROUP BY user_id")


def _row_problems(query: Node, own: list[Node]) -> Iterator[Problem]:
    """DISTINCT, UNION and LIMIT that choose among the rows of several users."""
    at = _first_location(query)
    for modifier in query["modifiers"]:
        if modifier["type"].startswith("LIMIT"):
            yield Problem(at, "LIMIT chooses among users")
        elif modifier["type"] == "DISTINCT_MODIFIER":
            targets = modifier["distinct_on_targets"]
            if not (any(map(is_user, targets)) if targets else _keeps_user(query)):
                yield Problem(at, "DISTINCT lacks user_id")
    if query["type"] != "SELECT_NODE" and not _keeps_user(query):
        # A recursive CTE is a UNION of its own kind.
        kind = query.get("setop_type", "UNION")
        if kind != "UNION" or not query.get("setop_all", query.get("union_all")):
            yield Problem(at, f"{kind} compares rows without user_id")
    if any(node.get("sample") for node in [query, *own]):
        yield Problem(at, "a sample chooses among users")


def _first_location(query: Node) -> int:
    if query["type"] == "SELECT_NODE":
        return location(query["select_list"][0])
    return min(map(_first_location, split(query)[1]))


def _join_problems(join: Node, scope: Scope, common: _Common) -> Iterator[Problem]:
    """A join of two user relations needs user_id; a common side must not be the one kept whole."""
    if join["ref_type"] in ("REGULAR", "ASOF") and _joins_user(join):
        return
    users = [side for side in _BOTH if not common.holds(join[side], scope)]
    if len(users) == 2:
        right = join["right"]
        is_lateral = right["type"] == "SUBQUERY" and is_correlated(right["subquery"]["node"])
        reads_raw = any(common.holds(join[side], scope, "raw") for side in _BOTH)
        if not is_lateral and not reads_raw:
            yield Problem(location(join), "a join of two user tables lacks user_id")
    elif len(users) == 1:
        kept = _KEPT_WHOLE.get(join["join_type"], _BOTH)
        if set(kept) - set(users):
            text = "an outer join keeps rows of a global table that no user here matches"
            yield Problem(location(join), text)


def _joins_user(join: Node) -> bool:
    if USER in (column.lower() for column in join["using_columns"]):
        return True
    left, right = _aliases(join["left"]), _aliases(join["right"])
    return any(
        (a in left and b in right) or (b in left and a in right)
        for a, b in _user_pairs(join["condition"])
    )


def _is_tied(node: Node, scope: Scope, common: _Common) -> bool:
    """Whether an expression subquery sees the rows of the outer row's user only."""
    inner = node["subquery"]["node"]
    if common.holds(inner, scope) or is_correlated(inner):
        return True
    is_in = node["subquery_type"] == "ANY" and node["comparison_type"] == "COMPARE_EQUAL"
    return (
        is_in
        and is_user(node["child"])
        and inner["type"] == "SELECT_NODE"
        and is_user(inner["select_list"][0])
    )


def _pivot_problems(pivot: Node) -> Iterator[Problem]:
    if not pivot["unpivot_names"] and USER not in (name.lower() for name in pivot["groups"]):
        yield Problem(location(pivot), "PIVOT lacks `group by user_id`")
