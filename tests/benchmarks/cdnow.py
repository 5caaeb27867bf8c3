"""BG/NBD and Gamma-Gamma on CDNOW's 1/10 sample: the published estimates, and the hold-out.

    python tests/benchmarks/cdnow.py PURCHASES.parquet

PURCHASES holds the sample (sample_id, date, spend; Fader and Hardie), which may not be shipped.
Weeks 1-39 are fitted, 40-78 held out; a customer's purchases of one day are one.

Published: Fader, Hardie and Lee (2005), tables 2 and 3, for both models; Fader and Hardie (2013)
for Gamma-Gamma. The Pareto/NBD is not fitted here, only its published parameters are used.
"""

import datetime
import sys
from dataclasses import asdict

import numpy as np
import polars as pl
from scipy.special import hyp2f1
from sklearn.metrics import roc_auc_score

from behavsql.models.parts import bg_nbd_formulas, gamma_gamma
from behavsql.models.parts.bg_nbd_formulas import Histories

FITTED_UNTIL = datetime.date(1997, 9, 30)
WEEKS = 39.0
PUBLISHED = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
PUBLISHED_MONEY = {"p": 6.25, "q": 3.74, "gamma": 15.44}
PARETO = (0.553, 10.578, 0.606, 11.669)  # r, alpha, s, beta


def customers(path: str) -> pl.DataFrame:
    """One row each: x, t_x, age in weeks, mean spend of the repeat purchases, and what followed."""
    day, first = pl.col("date"), pl.col("date").min().over("sample_id")
    by_day = pl.read_parquet(path).group_by("sample_id", "date").agg(pl.col("spend").sum())
    by_day = by_day.with_columns(first.alias("first"), (day <= FITTED_UNTIL).alias("is_known"))
    known, weeks = pl.col("is_known"), 7.0
    return (
        by_day.group_by("sample_id")
        .agg(
            (known.sum().cast(pl.Float64) - 1).alias("x"),
            (day.filter(known).max() - pl.col("first").first()).dt.total_days().alias("t_x")
            / weeks,
            (pl.lit(FITTED_UNTIL) - pl.col("first").first()).dt.total_days().alias("age") / weeks,
            pl.col("spend").filter(known & (day > pl.col("first"))).mean().alias("mean"),
            (~known).sum().cast(pl.Float64).alias("next"),
        )
        .sort("sample_id")
    )


def pareto_nbd(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Expected purchases under the published Pareto/NBD (alpha < beta). Source: the paper's (22)."""
    r, alpha, s, beta = PARETO
    power = r + s + x

    def part(t: np.ndarray) -> np.ndarray:
        series = hyp2f1(power, r + x, power + 1, (beta - alpha) / (beta + t))
        return series / (beta + t) ** power

    odds = s / power * (alpha + age) ** (r + x) * (beta + age) ** s * (part(t_x) - part(age))
    stays = 1 - ((beta + age) / (beta + age + WEEKS)) ** (s - 1)
    return (r + x) * (beta + age) / ((alpha + age) * (s - 1)) * stays / (1 + odds)


def main(path: str) -> None:
    frame = customers(path)
    x, t_x, age, following = (frame[name].to_numpy() for name in ("x", "t_x", "age", "next"))
    population = bg_nbd_formulas.fit(Histories.of(x, t_x, age).grouped())
    paid = frame.filter(pl.col("mean") > 0)
    money = gamma_gamma.fit(paid["x"].to_numpy(), paid["mean"].to_numpy())
    print(f"{len(frame):,} customers, {len(paid):,} with repeat purchases of known value")
    for found, published in ((population, PUBLISHED), (money, PUBLISHED_MONEY)):
        for name, value in asdict(found).items():
            print(f"  {name:<6} {value:8.3f}   published {published[name]:8.3f}")
    told = {
        "BG/NBD": population.expected(x, t_x, age, WEEKS),
        "Pareto/NBD": pareto_nbd(x, t_x, age),
    }
    print(f"weeks 40-78: {following.mean():.3f} purchases each")
    for name, said in told.items():
        print(
            f"  {name:<11} mean {said.mean():.3f}, "
            f"correlation {np.corrcoef(said, following)[0, 1]:.3f}, "
            f"MAE {np.abs(said - following).mean():.3f}, "
            f"AUC of buying at all {roc_auc_score(following > 0, said):.3f}"
        )
    comes = population.comes(x, t_x, age, WEEKS)
    print(f"  BG/NBD's P(at least one): AUC {roc_auc_score(following > 0, comes):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
