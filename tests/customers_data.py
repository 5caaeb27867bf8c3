"""Customers of a known BG/NBD and Gamma-Gamma population: what happened, and what then follows."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.parts.bg_nbd_formulas import Histories, Population
from behavsql.models.parts.gamma_gamma import GammaGamma

TRUE = Population(r=0.8, alpha=20.0, a=0.9, b=2.5)  # times in days
TRUE_MONEY = GammaGamma(p=6.0, q=4.0, gamma=15.0)
HORIZON = 28.0
LONGEST = 400  # purchases simulated of one customer

ORDERS = ("count_order_days_lifetime", "order_gap_mean_days", "days_since_last_purchase")
VISITS = ("count_active_days_lifetime", "visit_gap_mean_days", "days_since_last_activity")


@dataclass(frozen=True)
class Lives:
    """n customers, all (n,)."""

    x: np.ndarray
    t_x: np.ndarray
    age: np.ndarray
    value: np.ndarray  # mean value of the x + 1 purchases so far
    is_alive: np.ndarray  # bool
    next_count: np.ndarray  # purchases within the horizon
    next_value: np.ndarray
    next_wait: np.ndarray  # days until the next one, the horizon at most

    @property
    def known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x, self.t_x, self.age

    @property
    def histories(self) -> Histories:
        return Histories.of(*self.known)


@cache
def lives(n: int, seed: int) -> Lives:
    """Drawn one purchase at a time, as the paper tells the story; none of its equations is used."""
    random = np.random.default_rng(seed)
    rate = random.gamma(TRUE.r, 1 / TRUE.alpha, n)
    repeats_in_life = random.geometric(random.beta(TRUE.a, TRUE.b, n))  # one leaves after the last
    age = random.uniform(30, 300, n)
    times = np.cumsum(random.exponential(1 / rate[:, None], (n, LONGEST)), axis=1)
    happens = np.arange(1, LONGEST + 1) <= repeats_in_life[:, None]
    past = happens & (times <= age[:, None])
    ahead = happens & (times > age[:, None]) & (times <= age[:, None] + HORIZON)
    x, next_count = past.sum(axis=1).astype(float), ahead.sum(axis=1).astype(float)
    rate_of_value = random.gamma(TRUE_MONEY.q, 1 / TRUE_MONEY.gamma, n)
    next_at = np.where(ahead, times, np.inf).min(axis=1)
    return Lives(
        x=x,
        t_x=np.where(past, times, 0.0).max(axis=1),
        age=age,
        value=random.gamma(TRUE_MONEY.p * (x + 1), 1 / rate_of_value) / (x + 1),
        is_alive=repeats_in_life > x,
        next_count=next_count,
        next_value=random.gamma(TRUE_MONEY.p * np.maximum(next_count, 1e-9), 1 / rate_of_value)
        * (next_count > 0),
        next_wait=np.minimum(next_at - age, HORIZON),
    )


LABELS = {
    "purchase": ("binary", lambda one: (one.next_count > 0).astype(float)),
    "churn": ("binary", lambda one: (one.next_count == 0).astype(float)),
    "engagement": ("count", lambda one: one.next_count),
    "spend": ("amount", lambda one: one.next_value),
    "next_visit": ("amount", lambda one: one.next_wait),
}
PARTS = {"train": (3000, 1), "valid": (1000, 2), "test": (3000, 3)}


def features(one: Lives) -> pl.DataFrame:
    """As the feature table has them, of a shop whose visits are not recorded."""
    gap = np.where(one.x > 0, one.t_x / np.maximum(one.x, 1), np.nan)
    columns = (one.x + 1, gap, one.age - one.t_x)
    known = dict(zip(ORDERS, columns, strict=True))
    known["value_lifetime"] = one.value * (one.x + 1)
    known["noise"] = np.random.default_rng(0).normal(size=len(gap))
    return pl.DataFrame(known).with_columns(pl.all().fill_nan(None))


def meaningless_visits(n: int) -> list[pl.Series]:
    """Columns of visits that have nothing to do with anything."""
    random = np.random.default_rng(0)
    days = random.integers(1, 5, n).astype(float)
    columns = (days, random.uniform(1, 9, n), random.uniform(1, 9, n))
    return [pl.Series(name, column) for name, column in zip(VISITS, columns, strict=True)]


@cache
def table(task: str, part: str) -> Table:
    """Questions of the task: `kind` and label follow from it."""
    one = lives(*PARTS[part])
    kind, label = LABELS[task]
    return Table(
        features=features(one),
        label=label(one),
        users=np.arange(len(one.x), dtype=np.int64),
        last_window=np.full(len(one.x), np.nan),
        task=task,
        kind=kind,
        horizon_days=HORIZON,
    )
