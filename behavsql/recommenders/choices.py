"""The choices of a warehouse as the tables that recommenders read, see base.py."""

from dataclasses import dataclass
from typing import Self

import duckdb

from behavsql.quoting import identifier, literal
from behavsql.recommenders.base import CHOICES, ITEMS

ASKED_MOST = 3_000  # questions with an answer that a split asks: of whole users, by hash
TRAIN_CUTOFFS = 8  # the newest of train, at which a re-ranker is taught
REPEATS = 0.05  # share of choices below which nobody chooses an item again: what was seen is hidden
_CHOSEN = "item_id is not null and role not in ('return', 'other')"

_LATEST_OF_TRAIN = f"""
select distinct cutoff_at from cutoffs.splits where task = $task and split = 'train'
order by cutoff_at desc limit {TRAIN_CUTOFFS}
"""
_TABLES = f"""
create or replace temp table next_people as
select cast(row_number() over (order by user_id) as integer) as who, user_id
from (
    select user_id from sessions.item_events union
    select user_id from cutoffs.populations where task = $task
);

create or replace temp table next_items as
with counted as (
    select item_id, count(*) filter (where event_at <= $until) as count_known,
        count(*) as count_events
    from sessions.item_events group by item_id
)
select cast(row_number() over (
        order by coalesce(count_known, 0) desc, coalesce(counted.count_events, 0) desc, item_id
    ) as integer) as item,
    item_id, category, title, description
from staging.items left join counted using (item_id);

create or replace temp table {CHOICES} as
select who,
    cast(row_number() over (partition by who order by event_id) as integer) as place,
    item, event_at as chosen_at,
    who * 1048576::bigint + dense_rank() over (partition by who order by session_id) as visit,
from sessions.session_events as events
inner join next_people using (user_id)
inner join next_items using (item_id)
where {_CHOSEN}
order by who, place
"""


@dataclass(frozen=True)
class Choices:
    """The tables are there; until: split -> the last moment that is learned from before it is asked."""

    until: dict[str, object]
    hides_seen: bool
    has_categories: bool
    has_words: bool

    @classmethod
    def load(cls, con: duckdb.DuckDBPyConnection, task: str, seen_items: str, seed: int) -> Self:
        """Fill `next_people`, `next_items`, `next_choices`, `next_questions` and `next_answers`.

        seen_items: "keep" | "drop" | "auto", which drops where hardly anything is chosen again.
        """
        until = dict(con.execute(
            "select split, min(cutoff_at) from cutoffs.splits where task = $task and "
            f"(split <> 'train' or cutoff_at in ({_LATEST_OF_TRAIN})) group by split", {"task": task}
        ).fetchall())  # fmt: skip
        first = until.get("valid", until["latest"])
        for statement in _TABLES.split(";"):
            named = {"task": task, "until": first}
            con.execute(statement, {key: v for key, v in named.items() if f"${key}" in statement})
        _questions(con, task, seed)
        hides = seen_items == "drop" or (seen_items == "auto" and _is_once(con, first))
        _answers(con, task, hides)
        kinds, words = con.execute(
            f"select count(distinct category), count(coalesce(title, description, category)) from {ITEMS}"
        ).fetchall()[0]
        return cls(until, hides, kinds > 1, words > 1)

    def known(self, split: str) -> str:
        """The relation of what is known before a split's first question."""
        moment = literal(str(self.until[split]))
        return f"(from {CHOICES} where chosen_at <= timestamp {moment})"

    @staticmethod
    def questions(split: str, more: str = "true") -> str:
        """The relation of a split's questions."""
        return f"(from next_questions where split = {literal(split)} and {more})"


def _questions(con: duckdb.DuckDBPyConnection, task: str, seed: int) -> None:
    """Number who is asked when, each with the last place that is known then; 0 = none.

    Of the past only who then chose something: lists for others cannot be judged.
    """
    con.execute(f"""
        create or replace temp table next_questions as
        with answered as (
            select split, user_id, cutoff_at
            from cutoffs.populations
            inner join {identifier("labels", task)} as labels using (user_id, cutoff_at)
            where task = $task and len(label) > 0
                and (split in ('valid', 'test') or cutoff_at in ({_LATEST_OF_TRAIN}))
        ),
        counted as (select split, count(*) as n from answered group by split),
        asked as (
            select split, user_id, cutoff_at from answered inner join counted using (split)
            where hash(user_id, 2) / 18446744073709551616.0 < {ASKED_MOST} / n
            union all
            select split, user_id, cutoff_at from cutoffs.populations
            where task = $task and split = 'latest'
        ),
        numbered as (
            select split, who, asked.user_id, cutoff_at,
                hash(asked.user_id, {int(seed)}) % 2 = 0 as is_fit_half,
            from asked inner join next_people as people on people.user_id = asked.user_id
        ),
        known as (
            select who, chosen_at, max(place) as place from {CHOICES} group by who, chosen_at
        )
        select cast(row_number() over (order by split, asked.who, cutoff_at) as integer) as question,
            split, asked.who, user_id, cutoff_at, is_fit_half, coalesce(known.place, 0) as place,
        from numbered as asked asof left join known
            on known.who = asked.who and known.chosen_at <= asked.cutoff_at
        order by question
    """, {"task": task})  # fmt: skip


def _answers(con: duckdb.DuckDBPyConnection, task: str, hides_seen: bool) -> None:
    """What was chosen next; without what had been chosen before, where that is hidden."""
    before = "where not exists (from next_choices as choices where choices.who = chosen.who " \
        "and choices.item = chosen.item and choices.place <= chosen.place)" if hides_seen else ""  # fmt: skip
    con.execute(f"""
        create or replace temp table next_answers as
        with labelled as (
            select question, who, place, unnest(label) as item_id
            from next_questions as asked
            inner join {identifier("labels", task)} as labels
                on labels.user_id = asked.user_id and labels.cutoff_at = asked.cutoff_at
            where split <> 'latest'
        ),
        chosen as (select question, who, place, item from labelled inner join {ITEMS} using (item_id))
        select question, item from chosen {before}
    """)


def _is_once(con: duckdb.DuckDBPyConnection, until: object) -> bool:
    """Whether, up to a moment, users hardly ever came back to an item after another one."""
    share = con.execute(
        f"""select 1 - count(distinct (who, item)) / nullif(count(*), 0)
            from (from {CHOICES} where chosen_at <= $until
                qualify item is distinct from lag(item) over (partition by who order by place))""",
        {"until": until},
    ).fetchall()[0][0]
    return share is not None and share < REPEATS
