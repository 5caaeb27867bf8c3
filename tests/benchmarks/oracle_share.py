"""How much of what can be known the published models know, on a clickstream whose truth is known.

    python clickstream.py DATA --users 20000 --seed 7 --format csv
    behavsql build                     # in a project whose source is DATA/events.csv
    python tests/benchmarks/oracle_share.py DATA WAREHOUSE

For churn and purchase, on their test questions: log_loss and roc_auc of the published model, of
prevalence and of two oracles, and the share of the way from prevalence to the oracle,

    (prevalence loss - model loss) / (prevalence loss - oracle loss),

with an interval from drawing users with replacement. The oracles know the generator's process and

    everything    each user's rates, and until when they are alive: nobody can know that
    rates         each user's rates, and the history up to the cutoff: how likely somebody silent has
                  left follows by Bayes' rule. A model has to tell the rates from the history

Both are approximations of the generator, which is not part of this repository. Visits are Poisson
with the user's rate, plus 0.75 on average in the three days after a mail, which one user in ten gets
on Thursday morning; a visit has a purchase with the probability of the walk; a lifetime is
exponential, its mean Gamma distributed, and it begins before the first event by what the rate lets
expect. Left out are visits over midnight and the rows lost to dirt (0.3%). No mail may reach over a
cutoff: cutoffs end Sundays. `mean` beside the rate shows how well that holds.

Then the dirt: every row that each cleaning rule must take out, counted in the file itself, beside the
ledger, and the share of the bots none of whose events was left.
"""

import argparse
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from scipy.special import kv

from behavsql.bootstrap import Resampling, percentiles
from behavsql.metrics import evaluate
from behavsql.quoting import literal
from behavsql.warehouse import connect

# The generator's own figures; times are days since its first midnight.
START = "timestamp '2026-01-01'"
MAIL_AT, MAIL_EVERY, MAIL_SHARE = 9 / 24, 7.0, 0.1
MAIL_VISITS, MAIL_DAYS = 0.75, 3.0
CELLS = 96  # pieces that the time from the last event on is cut into
# Rule -> the rows it must take out, of those that no earlier rule did.
DIRT = {
    "missing_user": "user_id is null",
    "bot": "user_agent like '%Googlebot%'",
    "future_time": "ts > timestamp '2098-01-01'",
    "negative_value": "price < 0",
}
QUESTIONS = f"""
    select scores.user_id, scores.label, hash(scores.user_id) as cluster,
        scores.score as model_score, prevalence.score as prevalence_score,
        epoch(scores.cutoff_at - {START}) / 86400 as cutoff,
        epoch(tasks.horizon) / 86400 as horizon, models.model,
        matrix.days_since_first_event as first_ago, matrix.days_since_last_event as last_ago,
        matrix.days_since_last_activity as visit_ago,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    inner join models.scores as prevalence
        on prevalence.task = scores.task and prevalence.model_id like '%prevalence'
        and prevalence.user_id = scores.user_id and prevalence.cutoff_at = scores.cutoff_at
    inner join features.matrix as matrix
        on matrix.user_id = scores.user_id and matrix.cutoff_at = scores.cutoff_at
    where scores.task = ? and scores.split = 'test' and models.is_published
    order by scores.user_id, scores.cutoff_at
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder with events.csv and truth.parquet")
    parser.add_argument("warehouse", type=Path, help="a warehouse folder, or its file")
    given = parser.parse_args()
    with connect(given.warehouse) as con:
        truth = _truth(given.data)
        for task in ("churn", "purchase"):
            asked = con.sql(QUESTIONS, params=[task]).pl().join(truth, on="user_id")
            if asked.is_empty():
                print(f"\n{task}: no test questions of known users; not compared")
                continue
            _show_task(task, asked.filter(~pl.col("is_bot")))
        _show_dirt(given.data, con, truth)
    return 0


def _truth(data: Path) -> pl.DataFrame:
    """user_id, rate (visits a day), buys (purchase probability of a visit), alive (day), is_bot."""
    truth = pl.read_parquet(data / "truth.parquet")
    start = pl.lit("2026-01-01").str.to_datetime(time_unit="us")
    alive = (pl.col("alive_until") - start).dt.total_microseconds() / 86_400e6
    return truth.select(
        "user_id", "is_bot", rate="visits_per_day", alive=alive, buys=_buys(pl.col("buy_rate"))
    )


def _buys(buy: pl.Expr) -> pl.Expr:
    """P(a visit has a purchase): the walk's chance of ever reaching one, from its first state.

    view -> cart p, view .45, search .15; search -> view .75; cart -> purchase b, view (1 - b) / 2;
    it begins with a view three times in four, else with a search.
    """
    to_cart = 0.05 + 0.15 * buy
    from_view = to_cart * buy / (1 - 0.45 - 0.15 * 0.75 - to_cart * (1 - buy) / 2)
    return from_view * (0.75 + 0.25 * 0.75)


def _mails(since: np.ndarray, until: np.ndarray) -> np.ndarray:
    """How many of the weekly mailings lie in (since, until]."""
    count = np.floor((until - MAIL_AT) / MAIL_EVERY) - np.floor((since - MAIL_AT) / MAIL_EVERY)
    return np.maximum(count, 0)


def _nothing(
    rate: np.ndarray, share: np.ndarray, cutoff: np.ndarray, horizon: float, alive: np.ndarray
) -> np.ndarray:
    """P(no visit of the kind in (cutoff, cutoff + horizon]) of users alive until then; share: of visits."""
    end = np.minimum(alive, cutoff + horizon)
    chance = np.exp(-rate * share * np.maximum(end - cutoff, 0))
    first = np.floor((cutoff - MAIL_AT) / MAIL_EVERY) + 1
    for ahead in range(int(np.ceil(horizon / MAIL_EVERY))):
        mail_at = MAIL_AT + MAIL_EVERY * (first + ahead)
        reached = np.clip((end - mail_at) / MAIL_DAYS, 0, 1)
        silent = np.exp(-MAIL_VISITS * share * reached)
        chance = chance * np.where(mail_at < end, 1 - MAIL_SHARE * (1 - silent), 1)
    return chance


def _survival(age: np.ndarray, days: float = 180.0) -> np.ndarray:
    """P(lifetime > age): exponential, with a mean that is Gamma(2, days / 3) distributed."""
    ratio = np.maximum(age, 1e-9) * 3 / days
    return 2 * ratio * kv(2, 2 * np.sqrt(ratio))


def _by_rates(asked: dict[str, np.ndarray], share: np.ndarray, horizon: float) -> np.ndarray:
    """The same for users known up to the cutoff: averaged over when they may leave, or have left."""
    cutoff, rate = asked["cutoff"][:, None], asked["rate"][:, None]
    last, visit, first = (
        cutoff - asked[name][:, None] for name in ("last_ago", "visit_ago", "first_ago")
    )
    # They joined before their first event by a wait that is exponential, cut at the first day.
    begun = np.maximum(first, 1e-3)
    joined = first - (1 / rate - begun / np.expm1(np.minimum(rate * begun, 700)))
    steps = np.linspace(0, 1, CELLS + 1)[None, :]
    edges = np.concatenate(
        [last + (cutoff - last) * steps, cutoff + horizon * steps[:, 1:]], axis=1
    )
    left = (edges[:, 1:] + edges[:, :-1]) / 2
    alive = _survival(edges - joined)
    prior = np.concatenate([alive[:, :-1] - alive[:, 1:], alive[:, -1:]], axis=1)
    left = np.concatenate([left, np.full_like(last, np.inf)], axis=1)
    # Silence, and no mail either: both grow less likely with every day of being alive.
    known = np.minimum(left, cutoff)
    unseen = np.exp(-rate * (known - visit)) * (1 - MAIL_SHARE) ** _mails(last, known)
    weight = prior * unseen
    chance = _nothing(rate, share[:, None], cutoff, horizon, left)
    return (weight * chance).sum(axis=1) / weight.sum(axis=1)


def _oracles(task: str, asked: pl.DataFrame) -> dict[str, np.ndarray]:
    """Each oracle's probability that the label is true."""
    arrays = {name: asked[name].to_numpy() for name in asked.columns if name != "model"}
    share = arrays["buys"] if task == "purchase" else np.ones(len(asked))
    horizon = float(arrays["horizon"][0])
    nothing = {
        "oracle: everything": _nothing(
            arrays["rate"], share, arrays["cutoff"], horizon, arrays["alive"]
        ),
        "oracle: rates": _by_rates(arrays, share, horizon),
    }
    return {name: 1 - p if task == "purchase" else p for name, p in nothing.items()}


def _show_task(task: str, asked: pl.DataFrame) -> None:
    label = asked["label"].to_numpy()
    model = asked["model"][0]
    scores = {"prevalence": asked["prevalence_score"].to_numpy()}
    scores |= {model: asked["model_score"].to_numpy(), **_oracles(task, asked)}
    print(f"\n{task}: {len(asked):,} test questions, rate {label.mean():.3f}")
    head = f"{'log_loss':>10}{'roc_auc':>10}{'mean':>8}"
    print(f"  {'':20}{head}   share of the oracle that the model reaches")
    losses = {name: _log_loss(label, score) for name, score in scores.items()}
    for name, score in scores.items():
        found = evaluate("binary", label, score)
        line = f"  {name:20}{found['log_loss']:10.4f}{found['roc_auc']:10.3f}{score.mean():8.3f}"
        if name.startswith("oracle"):
            share = _share(losses["prevalence"], losses[model], losses[name], asked["cluster"])
            line += "   {:.2f} [{:.2f}, {:.2f}]".format(*share)
        print(line)


def _log_loss(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    score = np.clip(score, 1e-6, 1 - 1e-6)
    return -np.where(label > 0, np.log(score), np.log1p(-score))


def _share(
    prevalence: np.ndarray, model: np.ndarray, oracle: np.ndarray, users: pl.Series
) -> tuple[float, float, float]:
    """(share, low, high): the way from prevalence to the oracle that the model has gone."""
    drawing = Resampling(users.to_numpy(), len(model))
    won, possible = (
        np.bincount(drawing.codes, weights=prevalence - other, minlength=drawing.users)
        for other in (model, oracle)
    )
    replicates = [draw @ won / (draw @ possible) for draw in drawing.draws(1_000, seed=7)]
    return won.sum() / possible.sum(), *percentiles(np.concatenate(replicates), 0.95)


def _show_dirt(data: Path, con: duckdb.DuckDBPyConnection, truth: pl.DataFrame) -> None:
    """What each rule must take out, by the file, and did, by the ledger; and the bots that are left."""
    ledger = dict(con.execute(
        "select rule, count_rows_removed from staging.ledger where count_rows_removed > 0"
    ).fetchall())  # fmt: skip
    planted = _planted(data)
    print(f"\n{'rule':20}{'planted':>10}{'removed':>10}")
    for rule in sorted({*planted, *ledger}, key=[*planted, *ledger].index):
        print(f"{rule:20}{planted.get(rule, 0):10,}{ledger.get(rule, 0):10,}")
    kept = con.sql("select distinct user_id from staging.events").pl()["user_id"]
    bots = truth.filter(pl.col("is_bot"))["user_id"]
    found = ~bots.is_in(kept.implode())
    print(f"\nbots without an event left: {found.sum():,} of {len(bots):,}")


def _planted(data: Path) -> dict[str, int]:
    """Rule -> rows of the file that it must take out, first come first served; then the repeats."""
    files = literal(str(data / "events.*"))
    read = "read_parquet" if list(data.glob("events.parquet")) else "read_csv"
    cases = " ".join(f"when {test} then {literal(rule)}" for rule, test in DIRT.items())
    with duckdb.connect() as con:
        con.execute(f"create view rows as select * from {read}({files})")
        con.execute(f"create table judged as select *, case {cases} end as rule from rows")
        counts = dict.fromkeys(DIRT, 0) | dict(con.execute(
            "select rule, count(*) from judged where rule is not null group by rule"
        ).fetchall())  # fmt: skip
        counts["duplicate"] = con.execute(
            "select (select count(*) from judged where rule is null) - count(*) "
            "from (select distinct * from judged where rule is null)"
        ).fetchall()[0][0]
    return counts


if __name__ == "__main__":
    sys.exit(main())
