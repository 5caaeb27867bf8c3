"""Reports of the past, which an update lets stand: all they look at ended before anything that changed.

A report of valid and test questions, whose answers stay, may look at tables of users too, as of
those questions: joined on `cutoff_at`, or by days up to it (`days.day_at <= asked.cutoff_at`). Both
are told from its syntax tree. New rows change it only if they come as late as the questions are old.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import duckdb

from behavsql.catalog.sql_file import SqlFile
from behavsql.catalog.sql_tree import Node, ctes, everything, queries, split, string
from behavsql.quoting import identifier
from behavsql.updating.reading import CUTOFF, direct, is_carried, path

SCORES, MODELS = "models.scores", "models.models"
CATEGORIES = "features.categories"  # a view of the matrix, made by no SQL file
AT_MOST = ("COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO")
AT_LEAST = ("COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO")


class Past:
    """Which reports are of the past, and since when what they look at is another.

    looks: report -> the tables of users it looks at, each with the column that ends at the cutoff.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, files: Iterable[SqlFile], of_users: Collection[str]
    ) -> None:
        self.con = con
        found = {file.table: looks_at(file.tree, of_users) for file in files if is_of_past(file)}
        self.looks = {table: looks for table, looks in found.items() if looks is not None}
        self.watched = {pair for looks in self.looks.values() for pair in looks.items()}
        self.since: dict[tuple[str, str], datetime] = {}  # the earliest row that is another

    def is_watched(self, table: str) -> bool:
        """Whether a report looks at a table of users."""
        return any(table == watched for watched, _ in self.watched)

    def compare(self, table: str, old: str, new: str) -> None:
        """Note how early the rows of two relations differ: a table's rows of touched users."""
        for watched, column in self.watched:
            if watched == table:
                told = f"select {identifier(column)} as moment, hash(*columns(*)) as told"
                found = self.con.execute(
                    "select cast(moment as timestamp) from "
                    f"({told}, 1 as sign from {old} union all {told}, -1 as sign from {new}) "
                    "group by moment having sum(sign) <> 0 or sum(sign * cast(told as hugeint)) <> 0"
                ).fetchall()
                self.note(table, [moment for (moment,) in found if moment])

    def note(self, table: str, moments: Collection[datetime]) -> None:
        """Note that a table is another at these moments."""
        for pair in self.watched:
            if pair[0] == table and moments:
                self.since[pair] = min([*moments, self.since.get(pair, datetime.max)])

    def unchanged(self, report: str) -> set[str]:
        """The tables of users whose changes come after all that a report looks at."""
        looks: Mapping[str, str] = self.looks.get(report, {})
        if not looks:
            return set()
        asked = f"select max(cutoff_at) from {SCORES} where split in ('valid', 'test')"
        last = self.con.execute(asked).fetchall()[0][0] or datetime.max
        return {pair[0] for pair in looks.items() if self.since.get(pair, datetime.max) > last}


def is_of_past(file: SqlFile) -> bool:
    """Whether all that a file reads of the scores is about questions of the past, which stay answered.

    Of the models themselves it must not look at when they spoke last.
    """
    tree, selects = file.tree, 0
    for query, _ in queries(tree, {}):
        source = query["from_table"] if query["type"] == "SELECT_NODE" else {}
        aliases = {table: alias for alias, table in direct(source)}
        if MODELS in aliases and _has_star(query, aliases[MODELS]):
            return False
        if SCORES in aliases:
            selects += 1
            if not any(map(_is_past, _conjuncts(query["where_clause"]))):
                return False
    nodes = everything(tree)
    read = [node for node in nodes if node.get("type") == "BASE_TABLE"]
    names = {
        node["column_names"][-1].lower() for node in nodes if node.get("class") == "COLUMN_REF"
    }
    return 0 < selects == sum(path(node) == SCORES for node in read) and "scored_at" not in names


def looks_at(tree: Node, of_users: Collection[str]) -> dict[str, str] | None:
    """The tables of users that a report of the past looks at, each with the column that ends there.

    `cutoff_at` where it is the question's own, else the one that is at most that. None where more
    than that may be looked at, as far as the tree tells.
    """
    found: dict[str, str] = {}
    mentions, asked = 0, {SCORES}  # what holds questions of the past
    for name, body in (*ctes(tree), ("", tree | {"cte_map": {"map": []}})):
        for query, _ in queries(body, {}):
            if query["type"] != "SELECT_NODE" or any(True for _ in ctes(query)):
                continue
            reads = dict(direct(query["from_table"]))
            mentions += sum(table in of_users for table in reads.values())
            ends = _ends(query, reads, asked, of_users)
            if ends is None or any(found.get(table, end) != end for table, end in ends.items()):
                return None
            found |= ends
        if body["type"] == "SELECT_NODE" and _holds_questions(body, asked):
            asked.add(name)
    base = [node for node in everything(tree) if node.get("type") == "BASE_TABLE"]
    return found if mentions == sum(path(node) in of_users for node in base) else None


def _ends(
    query: Node, reads: Mapping[str, str], asked: Collection[str], of_users: Collection[str]
) -> dict[str, str] | None:
    """Table of users -> the column that ends at the questions' cutoffs; None where one has none."""
    own = {alias: table for alias, table in reads.items() if table in of_users}
    if not own:
        return {}
    known = {alias for alias, table in reads.items() if table in asked}
    if not known or not _is_inner(query["from_table"]):
        return None
    found, conditions = {}, list(_conditions(query))
    for _ in own:  # each may be told from the one before
        for alias, table in own.items():
            for column, is_equal in _compared(alias, known, conditions):
                if is_equal and column == CUTOFF:
                    known.add(alias)
                found.setdefault(table, column)
    return found if set(found) == set(own.values()) and len(set(own.values())) == len(own) else None


def _compared(
    alias: str, known: Collection[str], conditions: Iterable[Node]
) -> Iterator[tuple[str, bool]]:
    """(column, whether they are equal) where one of a table's is compared with a question's cutoff."""
    for node in conditions:
        left, right, kind = node.get("left"), node.get("right"), node.get("type")
        sides = [(left, right)] if kind in AT_MOST else [(right, left)] if kind in AT_LEAST else []
        if kind == "COMPARE_EQUAL":
            sides = [(left, right), (right, left)]
        for mine, theirs in sides:
            if _column(theirs) in {(one, CUTOFF) for one in known} and _column(mine)[0] == alias:
                column = _column(mine)[1]
                if kind != "COMPARE_EQUAL" or column == CUTOFF:
                    yield column, kind == "COMPARE_EQUAL"


def _column(node: Node) -> tuple[str, str]:
    """(alias, name) of a column; of no such, nothing."""
    names = node["column_names"] if node.get("class") == "COLUMN_REF" else []
    return (names[0].lower(), names[1].lower()) if len(names) == 2 else ("", "")


def _conditions(query: Node) -> Iterator[Node]:
    """All that must hold of a row that a query of inner joins gives."""
    yield from _conjuncts(query["where_clause"])
    for node in everything(query["from_table"]):
        if node.get("type") == "JOIN":
            yield from _conjuncts(node.get("condition"))


def _is_inner(source: Node) -> bool:
    if source["type"] == "JOIN":
        is_inner = source["join_type"] == "INNER" and source["ref_type"] in ("REGULAR", "CROSS")
        return is_inner and _is_inner(source["left"]) and _is_inner(source["right"])
    return source["type"] == "BASE_TABLE"


def _holds_questions(body: Node, asked: Collection[str]) -> bool:
    """Whether every row of a CTE is of a past question, whose cutoff it calls so."""
    reads = dict(direct(body["from_table"]))
    known = {alias for alias, table in reads.items() if table in asked}
    if not known or not _is_inner(body["from_table"]) or not is_carried(body, CUTOFF):
        return False
    only = known if len(reads) > 1 else {*known, ""}
    return {*_whose(body["select_list"])} <= only


def _whose(items: Iterable[Node]) -> Iterator[str]:
    """The aliases that stars, and columns called cutoff_at, of a select list are taken of."""
    for item in items:
        names = item.get("column_names") or []
        if item.get("class") == "STAR":
            yield (item.get("relation_name") or "").lower()
        elif item.get("class") == "COLUMN_REF" and names[-1].lower() == CUTOFF:
            yield names[0].lower() if len(names) > 1 else ""


def _has_star(query: Node, alias: str) -> bool:
    stars = [node for node in split(query)[0] if node.get("class") == "STAR"]
    return any((node.get("relation_name") or "").lower() in ("", alias) for node in stars)


def _conjuncts(condition: Node | None) -> list[Node]:
    """The parts of a condition that must all hold."""
    if condition and condition.get("type") == "CONJUNCTION_AND":
        return [part for child in condition["children"] for part in _conjuncts(child)]
    return [condition] if condition else []


def _is_past(condition: Node) -> bool:
    """Whether a condition demands of `split` to be valid or test."""
    parts = condition.get("children") or [condition.get("left"), condition.get("right")]
    if condition.get("type") not in ("COMPARE_EQUAL", "COMPARE_IN") or not all(parts):
        return False
    column, *values = parts
    is_split = column.get("class") == "COLUMN_REF" and column["column_names"][-1].lower() == "split"
    return is_split and {string(value) for value in values} <= {"valid", "test"}
