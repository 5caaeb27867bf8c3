"""Whom new rows touch, and at which cutoffs: told from tables that differ and the files that read them."""

import duckdb

from behavsql.catalog import sql_tree
from behavsql.catalog.sql_file import SqlFile
from behavsql.quoting import identifier
from behavsql.updating import reading
from behavsql.updating.reading import CUTOFF
from behavsql.updating.scratch import USERS, Cutoffs, Scratch

NONE: Cutoffs = frozenset()
WINDOWS = "cutoffs.windows"


class Reach:
    """What a run has found to be touched so far.

    cutoffs: table -> where users who are not touched may differ. diffs: common table -> the
    temporary table of its rows that differ; "" for all of it.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, scratch: Scratch) -> None:
        self.con, self.scratch = con, scratch
        self.aggregates = scratch.aggregates()
        self.cutoffs: dict[str, Cutoffs] = {}
        self.diffs: dict[str, str] = {}

    def touch(self, query: str) -> None:
        """Take note of more users: the ids that a query gives; NULL is nobody."""
        before = self.count()
        self.con.execute(
            f"insert into {identifier(USERS)} select distinct user_id from ({query}) "
            f"where user_id is not null and user_id not in (from {identifier(USERS)})"
        )
        if self.count() != before:
            self.scratch.clear()

    def count(self) -> int:
        """How many users are touched."""
        return self.con.execute(f"select count(*) from {identifier(USERS)}").fetchall()[0][0]

    def keep(self, table: str) -> None:
        """Remember the rows of a common table that is about to be made anew."""
        self.con.execute(
            f"create or replace temp table {identifier(f'old {table}')} as "
            f"from {identifier(*table.split('.'))}"
        )

    def compare(self, table: str) -> bool:
        """Find the rows of a common table that are not what they were; whether there are any."""
        old, new = identifier(f"old {table}"), identifier(*table.split("."))
        names = self.scratch.columns(table)
        was = self.con.execute(f"describe from {old}").fetchall()
        if was != self.con.execute(f"describe from {new}").fetchall():
            self.diffs[table] = ""  # all of it
            return True
        listed = ", ".join(map(identifier, names))
        diff = f"diff {table}"
        self.con.execute(
            f"create or replace temp table {identifier(diff)} as "
            f"(select {listed} from {old} except all select {listed} from {new}) union all "
            f"(select {listed} from {new} except all select {listed} from {old})"
        )
        rows = self.con.execute(f"select count(*) from {identifier(diff)}").fetchall()[0][0]
        if rows:
            self.diffs[table] = diff
        return rows > 0

    def reached(self, file: SqlFile) -> Cutoffs | None:
        """The cutoffs at which a file's rows may differ for any user; None: all, or it is not known.

        Users whom a changed common table reaches are touched from here on.
        """
        tree, cutoffs, carrying = file.tree, NONE, set()
        for table in file.inputs:
            found = self.cutoffs.get(table, NONE)
            if table in self.diffs and not self.scratch.is_by_user(table):
                more = self._reached_by(file, tree, table)
                if more is None:
                    return None
                found |= more
            if found:
                carrying.add(table)
                cutoffs |= found
        if not cutoffs or file.table == WINDOWS:
            return cutoffs
        # What has cutoffs at all is cut by them.
        carrying |= {table for table in file.inputs if CUTOFF in self.scratch.columns(table)}
        is_apart = reading.is_apart_by_cutoff(tree, carrying, self.aggregates)
        return cutoffs if is_apart else None

    def _reached_by(self, file: SqlFile, tree: dict, table: str) -> Cutoffs | None:
        """What the changed rows of a common table reach: cutoffs, or users, who are noted."""
        diff = self.diffs[table]
        if not diff:
            return None
        columns = reading.columns_read(tree, table, self.scratch.columns(table))
        listed = ", ".join(map(identifier, columns)) or "1"
        differing = self._differing(table, listed)
        if not self.con.execute(f"from ({differing}) limit 1").fetchall():
            return NONE
        if CUTOFF in columns:
            rows = self.con.execute(f"select distinct cutoff_at from ({differing})").fetchall()
            return frozenset(moment for (moment,) in rows)
        found = NONE
        for join in reading.keys(tree, table) or [[]]:
            reached = self._reached_through(file, join, differing)
            if reached is None:
                return None
            found |= reached
        # Windows that began a horizon before cutoffs would have to be found by the old horizon.
        return None if found and file.table == WINDOWS else found

    def _differing(self, table: str, listed: str) -> str:
        """The query for what differs of a changed table in some columns alone."""
        old, new = identifier(f"old {table}"), identifier(*table.split("."))
        was, now = f"select distinct {listed} from {old}", f"select distinct {listed} from {new}"
        return f"(({was}) except ({now})) union all (({now}) except ({was}))"

    def _reached_through(
        self, file: SqlFile, join: list[reading.Key], differing: str
    ) -> Cutoffs | None:
        """The cutoffs that a join brings together with differing rows; users are noted as touched.

        None where no input has the columns that are joined on.
        """
        found, is_told = NONE, False
        for table in file.inputs:
            names = {name.lower() for name in self.scratch.columns(table)}
            column = CUTOFF if CUTOFF in names else "user_id"
            usable = [key for key in join if key.columns <= names]
            is_own = column == CUTOFF or self.scratch.is_by_user(table)
            if not usable or not is_own:
                continue
            is_told = True
            query = self._met(table, column, usable, differing)
            if column == CUTOFF:
                found |= frozenset(at for (at,) in self.con.execute(query).fetchall())
            else:
                self.touch(query)
        return found if is_told else None

    def _met(self, table: str, column: str, keys: list[reading.Key], differing: str) -> str:
        """The query for a column of the rows of a table that meet a differing row."""
        name = identifier(*table.split("."))
        tree = sql_tree.parse_select(self.scratch.parser, f"select {column} from {name}", table)
        tree["select_list"] += [
            key.other | {"alias": f"key {position}"} for position, key in enumerate(keys)
        ]
        on = " and ".join(
            f"met.{identifier(f'key {position}')} = differing.{identifier(key.column)}"
            for position, key in enumerate(keys)
        )
        return (
            f"select distinct met.{column} from ({self.scratch.rewriter.text(tree)}) as met "
            f"semi join ({differing}) as differing on {on}"
        )
