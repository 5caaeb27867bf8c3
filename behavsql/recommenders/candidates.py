"""Candidates of a list with what is known of them: a row for each question and item.

Counted are choices up to the moment of asking alone, and of all users' those that recommenders
learned from. Times are in days.
"""

from collections.abc import Iterable, Mapping

import duckdb

from behavsql.recommenders.base import ASKED, CHOICES, ITEMS, OWN, POPULAR

# What is known beside what the members say. Of items: how often, by how many, how lately they are
# chosen, and chosen again. Of the user's own: `own_due` is 1 when the usual time has passed. Of
# users: how many choices, of how many items, in how many visits.
FACTS = (
    "popular_rank", "popular_score", "log_times", "users_share", "again_share", "item_age",
    "item_idle", "own_nth", "own_times", "own_idle", "own_visits", "own_share", "own_gap", "own_due",
    "kind_share", "user_items", "user_choices", "user_again", "user_visits", "user_idle",
)  # fmt: skip


def names(members: Iterable[str]) -> list[str]:
    """The columns of numbers that `query` has for these members."""
    return ["blend_score", "blend_rank", *(f"{kind}_{name}" for name in members
            for kind in ("rank", "share")), *FACTS]  # fmt: skip


def count_items(con: duckdb.DuckDBPyConnection, known: str) -> None:
    """Make `next_facts` of the items that somebody has chosen."""
    con.execute(f"""
        create or replace temp table next_facts as
        with taken as (
            select item, who, count(*) as times, count(distinct visit) as visits,
                min(chosen_at) as first_at, max(chosen_at) as last_at,
            from {known} group by item, who
        )
        select item, ln(1 + sum(times)) as log_times,
            count(*) / sum(times) as users_share,
            count(*) filter (where visits > 1) / count(*) as again_share,
            min(first_at) as first_at, max(last_at) as last_at,
        from taken group by item
    """)


def query(pool: str, tables: Mapping[str, str], members: Iterable[str]) -> str:
    """The query for (question, item, member, *names(members)), in the order of question and item.

    pool: the table of candidates (question, item, score, rank, member). tables: what the members
    said of the questions in `next_asked`; those that were not asked are NULL.
    """
    said, joins = _said(tables, members)
    return f"""
        with {_OWN}
        select pool.question, pool.item, pool.member,
            pool.score as blend_score, pool.rank as blend_rank, {said}
            popular.rank as popular_rank, popular.score as popular_score,
            log_times, users_share, again_share,
            {_days("facts.first_at")} as item_age, {_days("facts.last_at")} as item_idle,
            own.nth as own_nth, own.times as own_times, {_days("own.chosen_at")} as own_idle,
            met.visits as own_visits, met.visits / of_user.visits as own_share,
            epoch(own.chosen_at - met.first_at) / 86400 / nullif(met.visits - 1, 0) as own_gap,
            own_idle / nullif(own_gap, 0) as own_due,
            kinds.times / of_user.times as kind_share,
            of_user.items as user_items, of_user.times as user_choices,
            1 - of_user.items / of_user.times as user_again, of_user.visits as user_visits,
            {_days("of_user.last_at")} as user_idle,
        from {pool} as pool
        inner join {ASKED} as asked on asked.question = pool.question
        inner join {ITEMS} as items on items.item = pool.item {joins}
        left join {POPULAR} as popular on popular.item = pool.item
        left join next_facts as facts on facts.item = pool.item
        left join {OWN} as own on own.question = pool.question and own.item = pool.item
        left join met on met.question = pool.question and met.item = pool.item
        left join of_user on of_user.question = pool.question
        left join kinds on kinds.question = pool.question and kinds.category = items.category
        order by pool.question, pool.item
    """


_OWN = f"""
        chosen as (
            select question, choices.item, visit, choices.chosen_at, category
            from {ASKED} as asked
            inner join {CHOICES} as choices
                on choices.who = asked.who and choices.place <= asked.place
            inner join {ITEMS} as items on items.item = choices.item
        ),
        met as (
            select question, item, count(distinct visit) as visits, min(chosen_at) as first_at
            from chosen group by question, item
        ),
        kinds as (
            select question, category, count(*) as times
            from chosen where category is not null group by question, category
        ),
        of_user as (
            select question, count(*) as times, count(distinct item) as items,
                count(distinct visit) as visits, max(chosen_at) as last_at,
            from chosen group by question
        )
"""


def _days(since: str) -> str:
    return f"epoch(asked_at - {since}) / 86400"


def _said(tables: Mapping[str, str], members: Iterable[str]) -> tuple[str, str]:
    """The columns of what members said, and the joins that bring them; NULL of who was not asked."""
    columns, joins = [], []
    for name in members:
        if name not in tables:
            columns.append(f"null::double as rank_{name}, null::double as share_{name}, ")
            continue
        columns.append(f"of_{name}.rank as rank_{name}, of_{name}.share as share_{name}, ")
        joins.append(f"""
        left join (
            select question, item, rank,
                score / nullif(max(score) over (partition by question), 0) as share,
            from {tables[name]}
        ) as of_{name} on of_{name}.question = pool.question and of_{name}.item = pool.item""")
    return "".join(columns), "".join(joins)
