"""What users chose before, they choose again."""

from typing import Self

import duckdb

from behavsql.recommenders.base import OWN, Recommender


class OwnItems(Recommender):
    """A user's own items, the latest first."""

    name, family, source = "own_items", "reference", "own"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return f"select question, item, 1.0 / nth as score from {OWN}"


class OwnHabits(OwnItems):
    """A user's own items, the most frequent first; of equals the latest."""

    name, family = "own_habits", "recommender"

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return f"select question, item, times + 1.0 / (1 + nth) as score from {OWN}"
