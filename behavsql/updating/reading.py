"""What a SQL file's syntax tree tells of how a change of what it reads reaches its rows.

Whether its rows at a cutoff hang on the rows of that cutoff alone, which columns of a table it
looks at, and by which keys a table of all users is joined to the users' own. Where the tree does
not tell, the answer is the cautious one, and the file is made anew as a whole.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from behavsql.catalog.sql_scope import check_user_scope
from behavsql.catalog.sql_tree import USER, Node, ctes, everything, queries, split

CUTOFF = "cutoff_at"


@dataclass(frozen=True)
class Key:
    """One equality of a join: a column of the common table, and what it is compared with."""

    column: str
    other: Node  # an expression over columns of the other side, without its aliases
    columns: frozenset[str]  # these columns


def is_apart_by_cutoff(tree: Node, carrying: Collection[str], aggregates: Collection[str]) -> bool:
    """Whether a query's rows at a cutoff are made of the `carrying` tables' rows at that cutoff.

    The check for users, asked of cutoffs: all other tables are the same for every cutoff. And what
    comes out as `cutoff_at` must be what went in under that name.
    """
    if not is_carried(tree, CUTOFF):
        return False
    swapped = _swapped(tree)
    common = _base_tables(tree) - set(carrying)
    return not check_user_scope(swapped, common, aggregates)


def columns_read(tree: Node, table: str, columns: Collection[str]) -> list[str]:
    """The columns of a table that a query may look at; all of them where a star takes the table."""
    named: set[str] = set()
    for query, _ in queries(tree, {}):
        source = query["from_table"] if query["type"] == "SELECT_NODE" else {}
        aliases = {alias for alias, name in direct(source) if name == table}
        if not aliases:
            continue
        aliases |= {table.partition(".")[2]}
        if any(
            (node.get("relation_name") or "").lower() in {"", *aliases}
            for node in split(query)[0] if node.get("class") == "STAR"
        ):  # fmt: skip
            return list(columns)
        for node in everything(query):
            named |= {name.lower() for name in node.get("using_columns") or ()}
            if node.get("class") == "COLUMN_REF":
                parts = [part.lower() for part in node["column_names"]]
                if len(parts) == 1 or aliases.intersection(parts[:-1]):
                    named |= set(parts)
    return [name for name in columns if name.lower() in named]


def keys(tree: Node, table: str) -> list[list[Key]] | None:
    """The equalities of each join with a table of all users; None where it is read otherwise too."""
    found: list[list[Key]] = []
    mentions = sum(
        path(node) == table for node in everything(tree) if node.get("type") == "BASE_TABLE"
    )
    for node in everything(tree):
        if node.get("type") != "JOIN":
            continue
        for side in ("left", "right"):
            base = node[side]
            if base["type"] == "BASE_TABLE" and path(base) == table:
                alias = (base.get("alias") or table.partition(".")[2]).lower()
                found.append(list(_equalities(node.get("condition"), alias, tree)))
    return found if len(found) == mentions and all(found) else None


def _equalities(condition: Node | None, alias: str, tree: Node) -> Iterator[Key]:
    if not condition:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _equalities(child, alias, tree)
        return
    if condition.get("type") != "COMPARE_EQUAL":
        return
    for own, other in (("left", "right"), ("right", "left")):
        mine, theirs = condition[own], condition[other]
        if mine.get("class") != "COLUMN_REF" or mine["column_names"][0].lower() != alias:
            continue
        refs = [node for node in everything(theirs) if node.get("class") == "COLUMN_REF"]
        names = frozenset(node["column_names"][-1].lower() for node in refs)
        is_other = refs and all(node["column_names"][0].lower() != alias for node in refs)
        if is_other and all(is_carried(tree, name) for name in names):
            yield Key(mine["column_names"][-1], bare(theirs), names)


def bare(part: object) -> object:
    """An expression whose columns stand without the alias of their table."""
    if isinstance(part, list):
        return [bare(one) for one in part]
    if not isinstance(part, dict):
        return part
    node = {key: bare(value) for key, value in part.items()}
    if node.get("class") == "COLUMN_REF":
        node["column_names"] = node["column_names"][-1:]
    return node


def is_carried(tree: Node, column: str) -> bool:
    """Whether whatever comes out of a query of the tree under this name is the column itself."""
    for query, _ in queries(tree, {}):
        for item in query.get("select_list") or ():
            name = (item.get("alias") or "").lower()
            is_itself = (
                item.get("class") == "COLUMN_REF" and item["column_names"][-1].lower() == column
            )
            if name == column and not is_itself:
                return False
    return True


def _swapped(part: object) -> object:
    """The tree with cutoffs in the place of users."""
    if isinstance(part, list):
        return [_swapped(one) for one in part]
    if isinstance(part, dict):
        return {key: _swapped(value) for key, value in part.items()}
    if isinstance(part, str) and part.lower() in (USER, CUTOFF):
        return CUTOFF if part.lower() == USER else USER
    return part


def _base_tables(tree: Node) -> set[str]:
    return {path(node) for node in everything(tree) if node.get("type") == "BASE_TABLE"}


def path(node: Node) -> str:
    """The "schema.table" of a base table, in lower case."""
    return ".".join(part.lower() for part in node["qualified_name"]["path"])


def direct(source: Node) -> Iterator[tuple[str, str]]:
    """(alias, "schema.table") of the base tables of a FROM clause."""
    if source.get("type") == "JOIN":
        yield from direct(source["left"])
        yield from direct(source["right"])
    elif source.get("type") == "BASE_TABLE":
        name = path(source)
        yield (source.get("alias") or name.rpartition(".")[2]).lower(), name


__all__ = [
    "CUTOFF",
    "Key",
    "bare",
    "columns_read",
    "ctes",
    "direct",
    "is_apart_by_cutoff",
    "is_carried",
    "keys",
    "path",
]
