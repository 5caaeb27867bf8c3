"""What every recommender promises, and the tables in which they are asked.

All of them are temporary, and speak of users, items and questions by numbers:

    next_items      item, item_id, category            item 1 is the one met most often
    next_choices    who, place, item, chosen_at, visit what each user chose, place 1 first
    next_asked      question, who, place, asked_at, count_hidden    who is asked when, knowing
                                                       places up to `place`
    next_own        question, item, nth, times, chosen_at    what they chose; nth 1 = chosen last

A recommender learns from a relation with the columns of `next_choices` and answers with a query
for (question, item, score). Equal scores stand in the order of the items' numbers: those met more
often before the first valid cutoff come first, and among equals the smaller item_id.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import duckdb

# A sum of doubles depends on the order of the rows; one of whole numbers does not.
UNIT = 2.0**30

ASKED, OWN, CHOICES, ITEMS = "next_asked", "next_own", "next_choices", "next_items"
POPULAR = "next_fit_popularity"


class Recommender(ABC):
    """One way to say which item comes next."""

    name: ClassVar[str]
    family: ClassVar[str] = "recommender"  # or "reference"
    source: ClassVar[str]  # what is said of its items: "own", "co-visited", "popular" ...

    def __init__(self, seed: int = 7, threads: int | None = None) -> None:
        self.seed, self.threads = seed, threads or 1
        self.seconds: float | None = None  # that learning may take; None: as long as it takes

    @abstractmethod
    def fit(self, con: duckdb.DuckDBPyConnection, known: str) -> Self:
        """Learn from `known`, the choices before the moment of asking; ModelError where it cannot."""

    @abstractmethod
    def answer(self, con: duckdb.DuckDBPyConnection, depth: int) -> str:
        """A query for (question, item, score), all scores above 0, for the rows of `next_asked`.

        Its best `depth` items of a question, or more, after `count_hidden` of the user's own are
        taken out; fewer where it has no more to say. It may be run until the next call.
        """

    def save(self) -> dict[str, bytes]:
        """What it learned as named files; {} where counting again says it."""
        return {}

    def load(self, con: duckdb.DuckDBPyConnection, files: dict[str, bytes]) -> bool:
        """The inverse of `save`, for the items of `next_items`; whether there was anything to load."""
        return False

    @property
    def fitted(self) -> str:
        """The temporary table that holds what it counted."""
        return f"next_fit_{self.name}"


def total(expression: str) -> str:
    """The SQL for a sum of doubles that is the same in any order of the rows."""
    return f"(sum(cast({UNIT} * ({expression}) as bigint)) / {UNIT})"


def ask(con: duckdb.DuckDBPyConnection, questions: str, hides_seen: bool = False) -> None:
    """Fill `next_asked` with a relation's (question, who, place, cutoff_at), and `next_own`."""
    con.execute(f"""
        create or replace temp table {OWN} as
        with chosen as (
            select question, item, max(choices.place) as last_place, count(*) as times,
                max(chosen_at) as chosen_at,
            from (select question, who, place from {questions}) as asked
            inner join {CHOICES} as choices
                on choices.who = asked.who and choices.place <= asked.place
            group by question, item
        )
        select question, item, times, chosen_at,
            row_number() over (partition by question order by last_place desc) as nth,
        from chosen
    """)
    hidden = "coalesce(count_own, 0)" if hides_seen else "0"
    con.execute(f"""
        create or replace temp table {ASKED} as
        select asked.question, who, place, cutoff_at as asked_at, {hidden} as count_hidden,
        from {questions} as asked
        left join (select question, count(*) as count_own from {OWN} group by question) as own
            on own.question = asked.question
    """)


def say(
    con: duckdb.DuckDBPyConnection, into: str, answer: str, depth: int, hides_seen: bool
) -> None:
    """Make the table (question, item, score, rank) of the `depth` best items of each question."""
    unseen = f"anti join {OWN} as own using (question, item)" if hides_seen else ""
    con.execute(f"""
        create or replace temp table {into} as
        select question, item, score,
            cast(row_number() over (partition by question order by score desc, item) as integer)
                as rank,
        from (select answers.* from ({answer}) as answers {unseen})
        qualify rank <= {int(depth)}
    """)


def fill(con: duckdb.DuckDBPyConnection, into: str, depth: int, hides_seen: bool) -> None:
    """Put popular items, in their order, behind lists of `say` that are shorter than `depth`.

    `Popularity` must have been fitted.
    """
    unseen = f"anti join {OWN} as own using (question, item)" if hides_seen else ""
    con.execute(f"""
        insert into {into}
        with short as (
            select asked.question, count_hidden, coalesce(count_said, 0) as count_said
            from {ASKED} as asked
            left join (select question, count(*) as count_said from {into} group by question) as said
                on said.question = asked.question
            where coalesce(count_said, 0) < {int(depth)}
        ),
        more as (
            select question, count_said, item, popular.rank
            from short inner join {POPULAR} as popular
                on popular.rank <= {int(depth)} + short.count_hidden
        )
        select question, item, 0.0 as score,
            cast(count_said + row_number() over (partition by question order by more.rank)
                as integer) as rank,
        from more anti join {into} as said using (question, item) {unseen}
        qualify rank <= {int(depth)}
    """)
