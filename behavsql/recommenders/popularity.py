"""What everybody is given alike: the items chosen most, the latest choices counting most."""

from typing import Self

import duckdb

from behavsql.errors import ModelError
from behavsql.recommenders.base import ASKED, ITEMS, OWN, Recommender, total

HALF_LIVES = 8  # that the data spans
READ = 20  # of a user's latest items


class Popularity(Recommender):
    """Choices of all users, halved in weight with every eighth of the time that the data spans."""

    name, family, source = "popularity", "reference", "popular"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        con.execute(f"create or replace temp table {self.fitted} as {popular(known)}")
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return (
            f"select question, item, score from {ASKED} as asked "
            f"inner join {self.fitted} as popular on popular.rank <= {int(depth)} + count_hidden"
        )


class SegmentPopularity(Recommender):
    """The popular items of the category that most of a user's latest items are of."""

    name, source = "segment_popularity", "popular in category"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        kinds = con.execute(
            f"select count(distinct category) from {ITEMS} where category is not null"
        ).fetchall()[0][0]
        if kinds < 2:
            raise ModelError(
                f"model {self.name}: the items are of {kinds} categories; at least 2 are needed. "
                "Map a source's column `category`."
            )
        known = f"(select known.*, category from {known} as known inner join {ITEMS} using (item))"
        con.execute(f"create or replace temp table {self.fitted} as {popular(known, 'category')}")
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return f"""
            with likes as (
                select question, category, {total("1.0 / nth")} as liking
                from {OWN} inner join {ITEMS} using (item)
                where category is not null and nth <= {READ}
                group by question, category
                qualify row_number() over (partition by question order by liking desc, category) = 1
            )
            select likes.question, item, score
            from likes inner join {ASKED} as asked on asked.question = likes.question
            inner join {self.fitted} as popular on popular.category = likes.category
                and popular.rank <= {int(depth)} + count_hidden
        """


def popular(known: str, by: str = "") -> str:
    """The query for (item, score, rank), within each value of the column `by` if one is given.

    Weights are whole numbers, so that their sum does not depend on the order of rows.
    """
    keys, within = (f"{by}, item", f"partition by {by}") if by else ("item", "")
    return f"""
        with span as (
            select max(chosen_at) as newest, nullif(epoch(newest - min(chosen_at)), 0) as seconds
            from {known}
        ),
        weighed as (
            select {keys}, cast(1048576 * pow(0.5, coalesce(
                {HALF_LIVES} * epoch(newest - chosen_at) / seconds, 0)) as bigint) as weight
            from {known} cross join span
        )
        select {keys}, sum(weight) / 1048576.0 as score,
            row_number() over ({within} order by score desc, item) as rank,
        from weighed group by {keys}
    """
