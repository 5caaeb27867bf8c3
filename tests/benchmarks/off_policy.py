"""Open Bandit data: what Thompson sampling would have earned, told from random recommendations alone.

    python tests/benchmarks/off_policy.py FOLDER

FOLDER holds random_all.parquet and bts_all.parquet (Saito et al. 2021, CC BY 4.0): 10,000 logged
recommendations under each policy, with clicks. The policy is known twice over: from the
prior it started the week with, of which its choices are drawn here, and from the propensities in its own
logs. Beside the estimates stands its click rate in its own logs, with an interval too.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from behavsql import off_policy
from behavsql.off_policy import NORMAL_95, Estimate, Log, estimate

ITEMS, POSITIONS = 80, 3
SIMULATIONS = 100_000
# Clicks and misses of each item before the week: the prior of the campaign "all", as published with
# the Open Bandit Pipeline (Saito et al. 2021).
CLICKS = (
    47, 8, 62, 142, 3, 14, 7, 857, 12, 15, 6, 100, 48, 23, 71, 61, 13, 16, 518, 30, 7, 4, 23, 8,
    10, 11, 11, 18, 121, 11, 11, 10, 14, 9, 204, 58, 3, 19, 42, 1013, 2, 328, 15, 31, 14, 138, 45,
    55, 23, 38, 10, 401, 52, 6, 3, 6, 5, 32, 35, 133, 52, 820, 43, 195, 8, 42, 40, 4, 32, 30, 9,
    22, 6, 23, 5, 54, 8, 22, 65, 246,
)  # fmt: skip
MISSES = (
    12198, 3566, 15993, 35522, 2367, 4609, 3171, 181745, 4372, 4951, 3100, 24665, 13210, 7061,
    18061, 17449, 5644, 6787, 111326, 8776, 3334, 2271, 7389, 2659, 3665, 4724, 3561, 5085, 27407,
    4601, 4756, 4120, 4736, 3788, 45292, 14719, 2189, 5589, 11995, 222255, 2308, 70034, 4801, 8274,
    5421, 31912, 12213, 13576, 6230, 10382, 4141, 85731, 12811, 2707, 2250, 2668, 2886, 9581, 9465,
    28336, 12062, 162793, 12107, 41240, 3162, 11604, 10818, 2923, 8897, 8654, 4000, 6580, 3174,
    6766, 2602, 14506, 3968, 7523, 16532, 51964,
)  # fmt: skip


def by_prior(seed: int = 12345) -> np.ndarray:
    """(items, positions) how often each item is among the three with the highest draws."""
    random, counts = np.random.default_rng(seed), np.zeros((ITEMS, POSITIONS))
    for _ in range(SIMULATIONS // 10_000):
        drawn = random.beta(CLICKS, MISSES, size=(10_000, ITEMS))
        first = np.argsort(-drawn, axis=1)[:, :POSITIONS]
        for place in range(POSITIONS):
            counts[:, place] += np.bincount(first[:, place], minlength=ITEMS)
    return counts / SIMULATIONS


def by_own_log(log: pl.DataFrame) -> np.ndarray:
    """(items, positions) the harmonic mean of an item's propensities: unbiased for its share."""
    told = log.group_by("item_id").agg((1 / (1 / pl.col("propensity_score")).mean()).alias("p"))
    share = np.zeros(ITEMS)
    share[told["item_id"].to_numpy()] = told["p"].to_numpy()
    return np.tile(share[:, None], (1, POSITIONS))


def loaded(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path, columns=["item_id", "position", "click", "propensity_score"])


def judged(random_log: pl.DataFrame, policy: np.ndarray) -> dict[str, Estimate]:
    """The policy's value from the random log; the model of doubly robust is each item's click rate.

    Rates are of the other half of the log, and lean on the mean.
    """
    item, place = random_log["item_id"].to_numpy(), random_log["position"].to_numpy() - 1
    click = random_log["click"].to_numpy().astype(float)
    half = np.arange(len(item)) % 2
    expected = np.zeros((len(item), ITEMS))
    for one in range(2):
        other = half != one
        shown = np.bincount(item[other], minlength=ITEMS)
        clicked = np.bincount(item[other], click[other], minlength=ITEMS)
        expected[half == one] = (clicked + 200 * click.mean()) / (shown + 200)
    log = Log(item, click, random_log["propensity_score"].to_numpy(), np.arange(len(item)))
    return estimate(log, policy[:, place].T, expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    random_log, own_log = (loaded(folder / f"{name}_all.parquet") for name in ("random", "bts"))
    base, n = random_log["click"].mean(), len(own_log)
    rate = own_log["click"].mean()
    half = NORMAL_95 * (rate * (1 - rate) / n) ** 0.5
    print(f"random, own log     {base:.4f}  {random_log['click'].sum()} clicks")
    print(f"Thompson, own log   {rate:.4f} [{rate - half:.4f}, {rate + half:.4f}]"
          f"  {own_log['click'].sum()} clicks")  # fmt: skip
    for name, policy in (("prior", by_prior()), ("own log", by_own_log(own_log))):
        found = judged(random_log, policy)
        print(f"\nThompson as told by its {name}; effective sample size "
              f"{found['ips'].effective_sample_size:,.0f} of {found['ips'].count:,}")  # fmt: skip
        for estimator in off_policy.ESTIMATORS:
            one = found[estimator]
            said = "recommended" if one.low > base else "not recommended"
            print(
                f"  {estimator:<20} {one.value:.5f} [{one.low:.4f}, {one.high:.4f}]"
                f"  normal [{one.normal_low:.4f}, {one.normal_high:.4f}]"
                f"  {one.value / base:.3f} x random  includes {rate:.4f}: {one.includes(rate)}; {said}"
            )


if __name__ == "__main__":
    main()
