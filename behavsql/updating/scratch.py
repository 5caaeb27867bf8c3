"""Parts of tables, and what a SQL file makes of them: rows of touched users, or of touched cutoffs.

A part lies in a temporary table, and a file's query is run on parts by other table names in its own
syntax tree. There are two kinds:

    users      every row of the touched users, of all cutoffs
    cutoffs    the other users' rows at some cutoffs, of tables that have cutoffs; all else whole
"""

from collections.abc import Collection, Container, Mapping
from datetime import datetime

import duckdb

from behavsql.catalog import Catalog, sql_tree
from behavsql.catalog.sql_file import SqlFile
from behavsql.live.rewriting import Rewriter, replaced
from behavsql.quoting import identifier, literal
from behavsql.updating.reading import CUTOFF

USERS = "touched users"  # the temporary table of their ids
Cutoffs = frozenset[datetime]


class Scratch:
    """The parts that were made in this run; those of users are out of date once there are more."""

    def __init__(self, con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
        self.con, self.catalog = con, catalog
        self.parser = duckdb.connect()  # of its own, see Rewriter
        self.rewriter = Rewriter(self.parser, catalog, {})
        self.parts: dict[tuple[str, Cutoffs | None], str] = {}  # (table, cutoffs) -> its part
        self.new_rows = "false"  # the condition that a row of raw.events is new

    def close(self) -> None:
        """End what parses; the parts go with the connection."""
        self.clear()
        self.parser.close()

    def clear(self) -> None:
        """Forget all parts."""
        for part in self.parts.values():
            self.con.execute(f"drop table if exists {identifier(part)}")
        self.parts.clear()

    def aggregates(self) -> set[str]:
        """The functions, and the macros, that fold rows."""
        folding = {
            macro.name for macro in self.catalog.macros
            if sql_tree.functions(sql_tree.everything(macro.body)) & sql_tree.AGGREGATES
        }  # fmt: skip
        return set(sql_tree.AGGREGATES) | folding

    def columns(self, table: str) -> list[str]:
        """The columns of a table or view, those of `raw` too."""
        rows = self.con.execute(f"describe from {identifier(*table.split('.'))}").fetchall()
        return [row[0] for row in rows]

    def is_by_user(self, table: str) -> bool:
        """Whether every row of a table is about one user."""
        file = self.catalog.files.get(table)
        if file:
            return file.scope == "user"
        # Raw tables of items have the columns of those of users.
        return (
            table.startswith("raw.") and table != "raw.items" and "user_id" in self.columns(table)
        )

    def run(self, file: SqlFile, cutoffs: Cutoffs | None, only: Cutoffs | None = None) -> str:
        """What a file makes of the parts of its inputs, as a part of its own table; its name.

        cutoffs: None for the touched users' rows. only: the cutoffs to keep of what comes out.
        """
        tables = {}
        for name in file.inputs:
            part = self.part(name, cutoffs)
            if part:
                tables[name] = part
        sql = self.rewriter.text(replaced(file.tree, tables))
        kept = cutoffs if only is None else only
        condition = f"user_id in (from {identifier(USERS)})"
        if cutoffs is not None:
            condition = f"user_id not in (from {identifier(USERS)}) and {at(kept)}"
        return self._make(file.table, kept, f"select * from ({sql}) where {condition}")

    def part(self, table: str, cutoffs: Cutoffs | None) -> str | None:
        """The name of a table's part, made if it is not there; None where the whole table is meant."""
        file = self.catalog.files.get(table)
        is_by_user = self.is_by_user(table)
        has_cutoffs = cutoffs is not None and CUTOFF in self.columns(table)
        if not has_cutoffs and (cutoffs is not None or not is_by_user):
            return None
        if (table, cutoffs) in self.parts:
            return self.parts[table, cutoffs]
        if file and file.materialized == "view" and is_by_user:
            return self.run(file, cutoffs)
        conditions = []
        if has_cutoffs:
            conditions.append(at(cutoffs))
        if is_by_user:
            sign = "in" if cutoffs is None else "not in"
            conditions.append(f"user_id {sign} (from {identifier(USERS)})")
        # Files refer to the rows of raw tables by their number.
        is_numbered = table.startswith("raw.") and table != "raw.events"
        columns = "rowid, *" if is_numbered else "*"
        rows = f"select {columns} from {identifier(*table.split('.'))} where "
        query = rows + " and ".join(conditions)
        if table == "raw.events":  # of nobody's rows the new ones are to be told
            query += f" union all {rows}user_id is null and ({self.new_rows})"
        return self._make(table, cutoffs, query)

    def known(self, tables: Container[str], cutoffs: Cutoffs | None) -> dict[str, str]:
        """Of these tables, the parts that were made and have all rows of the kind, or more of it."""
        return {
            table: name for (table, made), name in self.parts.items()
            if table in tables and (made == cutoffs or (made and cutoffs and made > cutoffs))
        }  # fmt: skip

    def _make(self, table: str, cutoffs: Cutoffs | None, query: str) -> str:
        name = f"{'users' if cutoffs is None else digest(cutoffs)} {table}"
        self.con.execute(f"create or replace temp table {identifier(name)} as {query}")
        self.parts[table, cutoffs] = name
        return name


def digest(cutoffs: Collection[datetime]) -> str:
    """A short name of a set of cutoffs."""
    from behavsql.plan.changes import digest as short

    return short(sorted(cutoffs))


def at(cutoffs: Collection[datetime]) -> str:
    """The condition that a row lies at one of these cutoffs."""
    listed = ", ".join(
        f"timestamp {literal(moment.isoformat(sep=' '))}" for moment in sorted(cutoffs)
    )
    return f"cutoff_at in ({listed})" if listed else "false"


def replace_rows(con: duckdb.DuckDBPyConnection, table: str, parts: Mapping[str, str]) -> None:
    """Put parts in the place of rows. parts: the condition of the rows that go -> the new ones."""
    name = identifier(*table.split("."))
    con.execute(f"delete from {name} where {' or '.join(f'({one})' for one in parts)}")
    for part in parts.values():
        con.execute(f"insert into {name} by name from {identifier(part)}")
