"""One statement for a live view: every table as it would be if the inbox were built in.

A table is replaced by a query in its place (Relation), made from its SQL file:

    stage 2      the published rows of users with nothing new, and the file's own query over the
                 events of the others ("fresh sessions.user_days")
    stage 3 on   the file's own query over such tables; there is one cutoff, now
    others       as published, where events.py has nothing of its own for them

DuckDB takes a filter on the view, user_id = 7, down to the tables it reads, but into a CTE that is
read several times only if each of its readers is the view's own query. So a table that this reads
several times is a CTE, with all that it is made from written out in it; what else is read is
written out where it is read. The CTEs of users with new events are small and stay whole.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_tree import Node
from behavsql.live.rewriting import Rewriter, replaced
from behavsql.quoting import identifier

KEPT_STAGE = 2  # the last stage whose rows are kept of users with nothing new
FEW = 3  # times that something cheap is written out
FRESH = "fresh "  # before a table's name: its rows of users with new events
CHANGED = "changed users"


class NotLiveError(Exception):
    """Why a view cannot be made, in words."""


@dataclass(frozen=True)
class Relation:
    """A query in place of a table; `reads`: the tables it names -> the relations meant by them."""

    tree: Node
    reads: Mapping[str, str] = field(default_factory=dict)
    is_small: bool = False
    is_kept: bool = False  # published rows, and those of users with new events

    @functools.cached_property
    def tables(self) -> list[str]:
        """The tables its query names."""
        return table_names(self.tree)

    def read(self) -> list[str]:
        """The relations it reads, one as often as it does."""
        return [self.reads.get(table, table) for table in self.tables]


class Relations:
    """own: the relations that no SQL file makes, or makes from what is not published."""

    def __init__(
        self, catalog: Catalog, rewriter: Rewriter, own: Mapping[str, Relation]
    ) -> None:  # fmt: skip
        self.catalog, self.rewriter = catalog, rewriter
        self.known: dict[str, Relation | None] = dict(own)
        self.barred: dict[str, Relation] = {}  # those that are kept, behind the barrier
        self.order = list(catalog.order)
        self.ctes: dict[str, str] = {}

    def add(self, name: str, relation: Relation) -> None:
        """A relation that reads those of SQL files, or another one in the place of one added before."""
        if name not in self.known:
            self.order.append(name)
        self.known[name] = relation

    def tree_of_file(self, table: str) -> Node:
        return self.rewriter.tree_of(self.catalog.files[table])

    def statement(self, parts: Mapping[str, str], sql: str, is_final: bool = False) -> str:
        """A query over live tables, and over `parts`: queries over live tables, by CTE name.

        is_final: `sql` reads nothing but the parts and is taken as it stands.
        """
        self.ctes = {}
        queries = {name: Relation(self.rewriter.tree(text)) for name, text in parts.items()}
        if not is_final:
            queries[""] = Relation(self.rewriter.tree(sql))
        for name in self._shared(queries.values()):
            self._share(name)
        texts = {name: self._text(query) for name, query in queries.items()}
        last = texts.pop("", sql)
        ctes = [*self.ctes.items(), *texts.items()]
        known = "\n".join([last, *(text for _, text in ctes)])
        told = [
            # Read once, it is better not kept: then filters reach into it.
            f"{identifier(name)} as {_hint(name, known)}({text})" for name, text in ctes
        ]  # fmt: skip
        return f"with {', '.join(told)} {last}" if told else last

    def _shared(self, queries: Iterable[Relation]) -> list[str]:
        """The tables that these queries read more than once, what they are made from first."""
        counts = Counter(name for query in queries for name in query.read())
        found = []
        for name in reversed(self.order):
            relation = self.relation(name) if counts[name] else None
            if relation is None or relation.is_small:
                continue
            if counts[name] > 1 and not self._is_cheap(relation, counts[name]):
                found.append(name)
            else:
                counts.update(relation.read() * counts[name])
        return found[::-1]

    def _is_cheap(self, relation: Relation, times: int) -> bool:
        """Whether it is better written out again: a few times, and what it reads is shared then.

        DuckDB takes a filter down to a table that is written out; to one in a CTE it comes too late
        to pass over parts of the file, where the query has filters of its own.
        """
        others = [self.relation(name) for name in relation.read()]
        return times <= FEW and all(
            other is None or other.is_small or other.is_kept for other in others
        )

    def _share(self, name: str) -> None:
        self.ctes[name] = self._text(self.relation(name), is_inside=True)

    def _text(self, relation: Relation, is_inside: bool = False) -> str:
        return self.rewriter.text(self._filled(relation, is_inside))

    def _filled(self, relation: Relation, is_inside: bool) -> Node:
        """A relation's query with those it reads in it; is_inside: it is part of a CTE."""
        found: dict[str, str | Node] = {}
        for table in dict.fromkeys(relation.tables):
            name = relation.reads.get(table, table)
            other = self.relation(name)
            if other is None:
                continue
            if other.is_small and name not in self.ctes:
                self._share(name)
            is_named = name in self.ctes and (other.is_small or not is_inside)
            if is_inside and other.is_kept:
                if name not in self.barred:
                    self.barred[name] = kept(self.rewriter, name, BARRIER)
                other = self.barred[name]
            found[table] = name if is_named else self._filled(other, is_inside)
        return replaced(relation.tree, found)

    def relation(self, name: str) -> Relation | None:
        """What is read in place of a table; None: the table itself, as it was published."""
        if name not in self.known:
            self.known[name] = self._made(name)
        return self.known[name]

    def _made(self, name: str) -> Relation | None:
        table = name.removeprefix(FRESH)
        file = self.catalog.files.get(table)
        if file is None or file.scope == "global" or file.stage_number < KEPT_STAGE:
            return None
        for other in file.inputs:
            if other.startswith("raw."):
                raise NotLiveError(f"{table} reads {other}, which is not published")
        tree, is_fresh = self.tree_of_file(table), name != table
        if is_fresh:
            reads = {other: self._fresh(other) for other in file.inputs}
            return Relation(tree, reads, is_small=True)
        if file.stage_number > KEPT_STAGE or file.materialized == "view":
            return Relation(tree)
        return kept(self.rewriter, table)

    def _fresh(self, table: str) -> str:
        return FRESH + table if self.relation(FRESH + table) else table


def own(rewriter: Rewriter, sql: str, **kind: bool) -> Relation:
    """A relation by its query, which reads schema.table as published and "relations" as live."""
    tree = rewriter.tree(sql)
    named = table_names(tree)
    reads = {table: f"published {table}" for table in named if "." in table}
    reads |= {table: table for table in named if " " in table}
    return Relation(tree, reads, **kind)


# Lets a filter on the user through and no other. Where a query's own filters reach the file first,
# DuckDB 2.0 leaves the user's above them and reads every part of the file. It drops the number, which
# nobody reads.
BARRIER = (
    "(select * exclude (nth) from "
    "(select *, row_number() over (partition by user_id) as nth from {}))"
)


def kept(rewriter: Rewriter, table: str, published: str = "{}") -> Relation:
    """A table as published, but for the users with new events."""
    return own(
        rewriter,
        f"select * from {published.format(identifier(*table.split('.')))} "
        f"anti join {identifier(CHANGED)} using (user_id) "
        f"union all select * from {identifier(FRESH + table)}",
        is_kept=True,
    )


def _hint(name: str, text: str) -> str:
    return "materialized " if text.count(identifier(name)) > 1 else ""


def table_names(tree: Node) -> list[str]:
    """The tables a query names in its FROM clauses, its CTEs among them."""
    return [
        ".".join(node["qualified_name"]["path"]).lower()
        for node in sql_tree.everything(tree) if node.get("type") == "BASE_TABLE"
    ]  # fmt: skip
