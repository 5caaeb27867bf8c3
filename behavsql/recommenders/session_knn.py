"""Visits like this one: what was chosen in the past visits that share the user's latest items.

Source: Jannach and Ludewig 2017 (session-kNN); Garg et al. 2019 (closeness to the shared item).
"""

from typing import Self

import duckdb

from behavsql.recommenders.base import OWN, Recommender, total

READ = 10  # of a user's latest items
PER_ITEM = 500  # latest visits that an item is looked up in
VISITS = 100  # that speak for a question
LONGEST = 200  # items of a visit; longer ones are nobody's taste
REACH = 12  # steps from the latest shared item
FAME = 0.1  # as in co_visitation


class SessionKNN(Recommender):
    """Visits weigh the sum of 1/n over the shared items, n-th latest, over the root of their length.

    An item of a visit counts the less the more steps it lies from the latest shared one, up to 12.
    """

    name, source = "session_knn", "similar visits"

    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        con.execute(f"""
            create or replace temp table {self.fitted} as
            with met as (
                select visit, item, max(place) as place, max(chosen_at) as chosen_at
                from {known} group by visit, item
            )
            select visit, item, place, chosen_at,
                cast(count(*) over (partition by visit) as integer) as length,
                pow(count(*) over (partition by item), -{FAME}) as rarity,
            from met
            qualify length between 2 and {LONGEST}
            order by visit
        """)
        con.execute(f"""
            create or replace temp table {self.fitted}_of_item as
            select item, visit, length from {self.fitted}
            qualify row_number() over (partition by item order by chosen_at desc, visit desc)
                <= {PER_ITEM}
        """)
        return self

    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        return f"""
            with alike as (
                select question, visit, {total("1.0 / nth")} / sqrt(any_value(length)) as likeness,
                    arg_min(own.item, nth) as shared_item,
                from {OWN} as own inner join {self.fitted}_of_item as visits using (item)
                where nth <= {READ}
                group by question, visit
                qualify row_number() over
                    (partition by question order by likeness desc, visit desc) <= {VISITS}
            ),
            placed as (
                select question, visit, likeness, visits.place
                from alike inner join {self.fitted} as visits using (visit)
                where visits.item = shared_item
            )
            select question, item,
                {total("likeness / (1 + abs(visits.place - placed.place))")}
                    * any_value(rarity) as score,
            from placed inner join {self.fitted} as visits using (visit)
            where visits.place between placed.place - {REACH} and placed.place + {REACH}
            group by question, item
        """
