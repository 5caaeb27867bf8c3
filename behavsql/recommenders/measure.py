"""How good lists of items are: every item is ranked, none is sampled, nothing is left to chance.

Equal scores stand in a fixed order (see base.py), so that a list is a list. A question without an
answer, of a user who chose nothing afterwards, has no ranking to judge and is left out.
"""

from dataclasses import dataclass

import duckdb
import numpy as np

from behavsql.bootstrap import Gain, Resampling, percentiles
from behavsql.recommenders.base import ITEMS

DEPTH = 60  # items of a list that are looked at
KS = (10, 20)
METRICS = tuple(f"{name}_at_{k}" for k in KS for name in ("ndcg", "hit_rate", "recall", "mrr"))
# Beside these there is distance_at_10, see diversity.py.
OF_LISTS = ("coverage_at_10", "novelty_at_10", "diversity_at_10", "popularity_ratio_at_10")
LEVEL = 0.95


@dataclass(frozen=True)
class Judged:
    """What lists were worth, question by question: metric -> (n,), and whose questions they are."""

    values: dict[str, np.ndarray]
    who: np.ndarray
    is_fit_half: np.ndarray
    of_lists: dict[str, float | None]

    def mean(self, metric: str, rows: np.ndarray | None = None) -> float:
        value = self.values[metric] if rows is None else self.values[metric][rows]
        return float(value.mean()) if len(value) else float("nan")


def judge(con: duckdb.DuckDBPyConnection, said: str, questions: str, known: str) -> Judged:
    """Judge a table (question, item, rank) by `next_answers`.

    questions: the table of those that were asked, with is_fit_half. known: what was learned from.
    """
    sums = ", ".join(
        f"count(*) filter (where rank <= {k}) as hits_{k}, "
        f"coalesce(sum(1 / log2(1 + rank)) filter (where rank <= {k}), 0) as gain_{k}" for k in KS
    )  # fmt: skip
    rows = con.execute(f"""
        with answers as (
            select question, count(*) as count_answers from next_answers group by question
        ),
        hits as (
            select question, {sums}, min(rank) as first_rank
            from (select question, item, rank from {said} inner join next_answers using (question, item)
                order by question, rank)
            group by question
        )
        select asked.who, asked.is_fit_half, count_answers, hits.*,
        from {questions} as asked
        inner join answers on answers.question = asked.question
        left join hits on hits.question = asked.question
        order by asked.question
    """).fetchnumpy()
    number = {
        name: np.ma.filled(np.ma.asarray(column).astype(np.float64), 0.0)
        for name, column in rows.items()
    }
    ideal = np.cumsum(1 / np.log2(np.arange(2, max(KS) + 2)))
    values = {}
    for k in KS:
        answers, hits = number["count_answers"], number[f"hits_{k}"]
        most = np.minimum(answers, k).astype(int)
        first = number["first_rank"]
        values[f"ndcg_at_{k}"] = number[f"gain_{k}"] / ideal[np.maximum(most - 1, 0)]
        values[f"hit_rate_at_{k}"] = (hits > 0).astype(np.float64)
        values[f"recall_at_{k}"] = hits / np.maximum(answers, 1)
        values[f"mrr_at_{k}"] = np.where(hits > 0, 1 / np.maximum(first, 1), 0.0)
    half = number["is_fit_half"].astype(bool)
    return Judged(values, number["who"].astype(np.int64), half, of_lists(con, said, known))


def of_lists(con: duckdb.DuckDBPyConnection, said: str, known: str) -> dict[str, float | None]:
    """What the first ten items of all lists are like together.

    coverage: share of the known items that anybody is shown. novelty: mean of -log2 of the share
    of users who chose an item. diversity: chance that two items of a list are of different
    categories. popularity_ratio: how often the shown items were chosen over how often the items
    that were chosen next had been; above 1, lists are more popular than choices.
    """
    row = con.execute(f"""
        with fame as (
            select item, count(*) as times, count(distinct who) as users from {known} group by item
        ),
        size as (select count(*) as items, (select count(distinct who) from {known}) as users from fame),
        shown as (
            select question, item, coalesce(times, 0) as times, coalesce(fame.users, 0) as users
            from {said} left join fame using (item) where rank <= 10
        ),
        kinds as (
            select question, category, count(*) as n from shown inner join {ITEMS} using (item)
            where category is not null group by question, category
        ),
        lists as (
            select question, sum(n) as n, sum(n * (n - 1)) as alike from kinds group by question
        )
        select
            (select count(distinct item) filter (where times > 0) from shown) / any_value(size.items),
            (select avg(-log2((1 + shown.users) / (1 + all_.users))) from shown cross join size as all_),
            (select avg(1 - alike / (n * (n - 1))) from lists where n > 1
                and (select count(distinct category) from kinds) > 1),
            (select avg(times) from shown) / (
                select nullif(avg(coalesce(times, 0)), 0)
                from next_answers inner join (select distinct question from {said}) using (question)
                left join fame using (item)
            )
        from size
    """).fetchall()[0]  # fmt: skip
    return dict(zip(OF_LISTS, row, strict=True))


def spread(judged: Judged, seed: int, replicates: int = 200) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of the means, users drawn with all their questions."""
    names = list(judged.values)
    table = np.column_stack([judged.values[name] for name in names])
    sums, counts, users = _by_user(judged.who, table)
    if users.users < 2:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    drawn = np.concatenate(
        [draw @ sums / (draw @ counts)[:, None] for draw in users.draws(replicates, seed)]
    )
    return {name: percentiles(drawn[:, at], LEVEL) for at, name in enumerate(names)}


def gain(
    one: Judged, other: Judged, metric: str, rows: np.ndarray, seed: int, replicates: int = 1000
) -> Gain:
    """How much better one is than the other on some of the same questions; bootstrap by users."""
    difference = (one.values[metric] - other.values[metric])[rows]
    sums, counts, users = _by_user(one.who[rows], difference[:, None])
    if users.users < 2:
        return Gain(*[float("nan")] * 4)
    drawn = [draw @ sums[:, 0] / (draw @ counts) for draw in users.draws(replicates, seed)]
    return Gain.of(float(difference.mean()), np.concatenate(drawn))


def _by_user(who: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, Resampling]:
    """Sums (users, columns) and numbers of questions (users,), and who can be drawn."""
    codes = np.unique(who, return_inverse=True)[1]
    counts = np.bincount(codes).astype(np.float64)
    sums = np.column_stack([np.bincount(codes, column) for column in table.T])
    return sums, counts, Resampling(np.arange(len(counts)), len(counts))
