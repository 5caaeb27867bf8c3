"""What the page asks of a warehouse, which may be older, or smaller, than this code.

A table or a column that is not there has no rows: the part of the page that would show it says so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import duckdb

from behavsql.quoting import identifier

FEWEST = 10  # unless [privacy] k says another number


class Reader:
    """Rows as dictionaries, from an open warehouse; one query at a time, nothing is written."""

    def __init__(self, con: duckdb.DuckDBPyConnection, k: int | None = None) -> None:
        """k: numbers of fewer users are not shown: few people are somebody. None: that of the last build."""
        self.con = con
        self.columns: dict[str, set[str]] = {}
        for table, column in con.execute(
            "select schema_name || '.' || table_name, column_name from duckdb_columns() "
            "where database_name = current_database() and not internal"
        ).fetchall():
            self.columns.setdefault(table, set()).add(column)
        self.fewest = k or self._k_of_build()

    def _k_of_build(self) -> int:
        stored = self.ask(
            "select settings from meta.runs where settings is not null order by run_id desc limit 1",
            needs={"meta.runs": "run_id settings"},
        )
        return json.loads(stored[0]["settings"]).get("privacy_k", FEWEST) if stored else FEWEST

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table is there, with these columns."""
        return set(columns) <= self.columns.get(table, set()) and table in self.columns

    def ask(
        self, sql: str, parameters: Sequence | Mapping = (), needs: Mapping[str, str] | None = None
    ) -> list[dict]:
        """The rows of a query, decimals as floats; none where a table, or a column, of `needs` is missing.

        needs: table -> its columns, with spaces between.
        """
        for table, columns in (needs or {}).items():
            if not self.has(table, *columns.split()):
                return []
        cursor = self.con.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [
            {
                name: float(value) if isinstance(value, Decimal) else value
                for name, value in zip(names, row, strict=True)
            }
            for row in cursor.fetchall()
        ]

    def rows(self, table: str, order: str = "", **where: object) -> list[dict]:
        """All columns of the rows of a table whose columns have these values.

        order: columns, with spaces between; those that are not there are left out.
        """
        if not self.has(table, *where):
            return []
        sql = f"select * from {identifier(*table.split('.'))}"
        if where:
            sql += " where " + " and ".join(f"{identifier(name)} = ?" for name in where)
        known = [name for name in order.split() if name in self.columns[table]]
        if known:
            sql += " order by " + ", ".join(map(identifier, known))
        return self.ask(sql, list(where.values()))

    def enough(self, users: object) -> bool:
        """Whether a number of users, or what is counted of them, may be shown."""
        return users is None or users == 0 or users >= self.fewest

    def but_few(self, rows: Iterable[dict], users: str) -> tuple[list[dict], int]:
        """The rows that tell of enough users, and how many others there were.

        users: the column that counts them; rows without it are of enough.
        """
        listed = list(rows)
        kept = [row for row in listed if self.enough(row.get(users))]
        return kept, len(listed) - len(kept)
