"""Shapley values by asking a model: what any model can be explained by."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import comb

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.parts.explanation import Explanation

EXACT = 5  # groups of features up to which every combination is asked
ROUNDS = 2  # orders that are drawn for more, each walked there and back

Ask = Callable[[Table], np.ndarray]


def explained(
    ask: Ask, table: Table, usual: Table, groups: Sequence[tuple[str, ...]], seed: int
) -> Explanation:
    """What each group of features adds to the answers (n,) on top of that for the `usual` row.

    A group goes by its first name. Up to EXACT groups the values are exact: the mean over all orders
    in which the row's own values may replace the usual ones. For more, over a few random orders and
    their reverses; in each the steps add up to the whole difference, so nothing is left over.
    Source: L. S. Shapley, 1953; R. Mitchell et al., 2022, Sampling permutations for Shapley value
    estimation, section 3 (antithetic orders).
    """
    start, answer = float(ask(usual)[0]), ask(table)
    tell = _exact if len(groups) <= EXACT else _sampled
    parts = tell(
        lambda known: ask(_mixed(table, usual, groups, known)), len(groups), answer, start, seed
    )
    method = "Shapley values" if tell is _exact else "sampled Shapley values"
    return Explanation.exact(method, [group[0] for group in groups], start, parts, start, answer)


def _exact(
    ask: Callable[[np.ndarray], np.ndarray], count: int, answer: np.ndarray, start: float, seed: int
) -> np.ndarray:
    said = {}
    for known in product((False, True), repeat=count):
        ends = {0: np.full(len(answer), start), count: answer}
        said[known] = ends[sum(known)] if sum(known) in ends else ask(np.array(known))
    parts = np.zeros((len(answer), count))
    for known, without in said.items():
        for j in np.flatnonzero(~np.array(known, dtype=bool)):
            among = (*known[:j], True, *known[j + 1 :])
            weight = 1 / (count * comb(count - 1, sum(known)))
            parts[:, j] += weight * (said[among] - without)
    return parts


def _sampled(
    ask: Callable[[np.ndarray], np.ndarray], count: int, answer: np.ndarray, start: float, seed: int
) -> np.ndarray:
    random, parts = np.random.default_rng(seed), np.zeros((len(answer), count))
    for _ in range(ROUNDS):
        order = random.permutation(count)
        for way in (order, order[::-1]):
            known, before = np.zeros(count, dtype=bool), np.full(len(answer), start)
            for place, j in enumerate(way):
                known[j] = True
                now = answer if place == count - 1 else ask(known)
                parts[:, j] += (now - before) / (2 * ROUNDS)
                before = now
    return parts


def _mixed(
    table: Table, usual: Table, groups: Sequence[tuple[str, ...]], known: np.ndarray
) -> Table:
    """The table with the usual values in the place of those of the groups that are not known."""
    gone = [name for j, group in enumerate(groups) if not known[j] for name in group]
    values = [pl.lit(usual.features[name][0], table.features[name].dtype).alias(name)
              for name in gone if name in table.features.columns]  # fmt: skip
    return replace(table, features=table.features.with_columns(values))
