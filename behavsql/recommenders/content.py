"""What is alike in words: items whose names and category share what few others have.

It knows an item before anybody chose it, and so is what a new item has to speak for it.
"""

from typing import Self

import duckdb

from behavsql.errors import ModelError
from behavsql.recommenders.base import ITEMS, Recommender, total
from behavsql.recommenders.top import matrix, said_by_pairs

KEPT = 30  # neighbours of an item
READ = 10  # of a user's latest items
COMMON = 300  # items a word may stand in; a word of more says little, and pairs are many


class Content(Recommender):
    """Cosine of the words of title and category, rare ones counting more; n-th latest item 1/n."""

    name, source = "content", "similar content"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        con.execute(f"create or replace temp table {self.fitted} as {alike()}")
        if not con.execute(f"select 1 from {self.fitted} limit 1").fetchall():
            raise ModelError(
                f"model {self.name}: no two items share a word of title or category. "
                "Map a source's columns `title` and `category`."
            )
        self._pairs = matrix(con, self.fitted)
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return said_by_pairs(con, self.name, self._pairs, READ, depth)


def alike(kept: int = KEPT) -> str:
    """The query for (from_item, item, score, rank): the items most like each, by their words."""
    return f"""
        with words as (
            select distinct item, unnest(regexp_extract_all(lower(concat_ws(' ', title, description)),
                '[\\p{{L}}\\p{{N}}]{{2,}}')) as word from {ITEMS}
            union
            select item, 'category ' || category from {ITEMS} where category is not null
        ),
        rare as (
            select word, ln((select count(*) from {ITEMS}) / count(*)) as weight
            from words group by word having count(*) between 2 and {COMMON}
        ),
        weighed as (
            select item, word, weight, sqrt(sum(weight * weight) over (partition by item)) as length
            from words inner join rare using (word) where weight > 0
        )
        select ours.item as from_item, theirs.item,
            {total("ours.weight * theirs.weight / (ours.length * theirs.length)")} as score,
            cast(row_number() over (partition by ours.item order by score desc, theirs.item)
                as integer) as rank,
        from weighed as ours
        inner join weighed as theirs on theirs.word = ours.word and theirs.item <> ours.item
        group by ours.item, theirs.item
        qualify rank <= {int(kept)}
    """
