"""Who chose this, chose that soon after: ordered pairs of items within five steps, counted."""

from typing import Self

import duckdb

from behavsql.recommenders.base import Recommender
from behavsql.recommenders.top import matrix, said_by_pairs

STEPS = 5
KEPT = 100  # neighbours of an item
READ = 20  # of a user's latest items
FAME = 0.25  # how far a pair's count is held against how often its two items were chosen


class CoVisitation(Recommender):
    """Pairs k steps apart count 1/k; the n-th latest of a user's items speaks with 1/n.

    A pair's count is divided by (count of one x count of the other)^0.25: between counts, which
    prefer what everybody chooses, and cosines, which prefer what hardly anybody does.
    """

    name, source = "co_visitation", "co-visited"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        con.execute(f"create or replace temp table {self.fitted} as {neighbours(known)}")
        self._pairs = matrix(con, self.fitted)
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return said_by_pairs(con, self.name, self._pairs, READ, depth)


def neighbours(known: str, kept: int = KEPT) -> str:
    """The query for (from_item, item, score, rank): what follows each item, the closest first."""
    after = ", ".join(f"lead(item, {step}) over whose" for step in range(1, STEPS + 1))
    weights = ", ".join(str(60 // step) for step in range(1, STEPS + 1))
    return f"""
        with changes as (
            select who, place, item from {known}
            qualify item is distinct from lag(item) over (partition by who order by place)
        ),
        followed as (
            select item as from_item, unnest([{after}]) as item, unnest([{weights}]) as weight,
            from changes window whose as (partition by who order by place)
        ),
        counted as (
            select from_item, item, sum(weight) as weight
            from followed where item is not null and item <> from_item
            group by from_item, item
        ),
        times as (select item, count(*) as times from {known} group by item)
        select from_item, counted.item,
            weight / 60.0 * pow(ours.times * theirs.times, -{FAME}) as score,
            cast(row_number() over (partition by from_item order by score desc, counted.item)
                as integer) as rank,
        from counted
        inner join times as ours on ours.item = from_item
        inner join times as theirs on theirs.item = counted.item
        qualify rank <= {int(kept)}
    """
