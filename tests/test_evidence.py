"""What the reports say of models, against other tools and against planted truth."""

from datetime import datetime

import duckdb
import numpy as np
import polars as pl
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss, mean_poisson_deviance, mean_tweedie_deviance
from sklearn.metrics import roc_auc_score as auc

from behavsql import drift, transform
from behavsql.bootstrap import Resampling, percentiles
from behavsql.catalog import Catalog
from behavsql.gains import gains

CATALOG = Catalog.load()
AT = datetime(2024, 1, 10)


@pytest.fixture
def con():
    with duckdb.connect(config={"threads": 1}) as made:
        made.execute("create schema models")
        transform.prepare(made, CATALOG)
        yield made


def answered(con: duckdb.DuckDBPyConnection, label: np.ndarray, score: np.ndarray) -> None:
    """One published yes-or-no model that was asked these questions on test, of a user each."""
    con.execute("create table meta.tasks as select 'buy' as task, 'binary' as kind, "
                "'log_loss' as metric")  # fmt: skip
    con.execute("create table models.models as select 'buy__m' as model_id, 'buy' as task, "
                "'m' as model, true as is_published, 'linear' as family")  # fmt: skip
    scores = pl.DataFrame({
        "model_id": "buy__m", "task": "buy", "split": "test", "user_id": np.arange(len(label)),
        "cutoff_at": AT, "raw": score, "score": score, "label": label.astype(float),
    })  # fmt: skip
    con.register("given", scores.to_arrow())
    con.execute("create table models.scores as from given")


@pytest.mark.parametrize("decimals", [17, 2, 1])
def test_calibration_is_that_of_scikit_learn(con, decimals):
    """Also where many scores are equal, and a tenth holds several of them."""
    rng = np.random.default_rng(decimals)
    score = rng.beta(2, 5, 3_000).round(decimals)
    label = rng.random(3_000) < score
    answered(con, label, score)
    for table in ("report.calibration", "report.calibration_error"):
        transform.run_file(con, CATALOG.files[table])
    observed, predicted = calibration_curve(label, score, n_bins=10, strategy="quantile")
    rows = con.execute(
        "select observed_rate, predicted_rate, count_questions from report.calibration order by bin"
    ).fetchall()
    assert np.allclose(
        [row[:2] for row in rows], np.column_stack([observed, predicted]), atol=1e-12
    )
    weight = np.array([row[2] for row in rows])
    gap = np.abs(observed - predicted)
    told = con.execute(
        "select expected_calibration_error, maximum_calibration_error from report.calibration_error"
    ).fetchall()[0]
    assert np.allclose(told, (np.average(gap, weights=weight), gap.max()), atol=1e-9)


def test_losses_and_ranks_are_those_of_scikit_learn(con):
    rng = np.random.default_rng(3)
    chance, yes = rng.random(500).round(2).clip(0.01, 0.99), rng.random(500) < 0.3
    amount, mean = rng.poisson(2, 500).astype(float), rng.gamma(2, 1, 500)
    con.register("given", pl.DataFrame({"p": chance, "y": yes, "n": amount, "m": mean}).to_arrow())
    told = con.execute("""
        select avg(loss_of('log_loss', y::double, p)), avg(loss_of('brier', y::double, p)),
            avg(loss_of('poisson_deviance', n, m)), avg(loss_of('tweedie_deviance', n, m)),
            rank_auc(sum(twice) filter (where y), count(*) filter (where y), count(*)),
            avg(loss_of('median', n, m)), avg(loss_of('brier', null, m))
        from (select *, 2 * rank() over (order by p) + count(*) over (partition by p) - 1 as twice
            from given)
    """).fetchall()[0]
    expected = (
        log_loss(yes, chance), brier_score_loss(yes, chance), mean_poisson_deviance(amount, mean),
        mean_tweedie_deviance(amount, mean, power=1.5), auc(yes, chance),
    )  # fmt: skip
    assert np.allclose(told[:5], expected)
    assert told[5:] == (None, None)


def test_gains_are_counted_and_their_interval_covers_what_it_should():
    """Of 200 samples of a known population, about 95 in 100 intervals hold its own gain."""
    rng = np.random.default_rng(1)
    held, truth = 0, None
    population = rng.beta(2, 6, 2_000_000)
    truth = np.where(population >= np.quantile(population, 0.8), population, 0).mean()
    for seed in range(200):
        chance = rng.beta(2, 6, 400)
        users = np.repeat(np.arange(200), 2)  # two questions of each
        label = (rng.random(400) < chance).astype(float)
        value, low, high = gains(label, chance, chance, users, seed)[1]
        order = np.argsort(-chance)
        assert value == pytest.approx(label[order][:80].sum() / 400)
        held += low <= truth <= high
    assert 180 <= held <= 199


def test_one_user_has_gains_and_no_interval():
    value, low, high = gains(np.ones(4), np.arange(4.0), np.arange(4.0), np.zeros(4), 7)[4]
    assert value == 0.5 and np.isnan([low, high]).all()


def test_gains_whole_are_the_bootstrapped_mean():
    """Acting on everybody reaches every success: its interval is that of the label's mean."""
    rng = np.random.default_rng(5)
    users, label = np.repeat(np.arange(300), 3), (rng.random(900) < 0.2).astype(float)
    score = rng.random(900)
    value, low, high = gains(label, score, score, users, 11)[9]
    resampling = Resampling(users, 900)
    draws = np.concatenate(list(resampling.draws(200, 11)))
    means = [np.average(label, weights=draw[resampling.codes]) for draw in draws]
    assert (value, low, high) == pytest.approx((label.mean(), *percentiles(np.array(means), 0.95)))


def features(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    return pl.DataFrame({
        "orders": rng.poisson(1.5, rows).astype(float),
        "gap": np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(2, 5, rows)),
        "spent": rng.lognormal(3, 1, rows),
        "country": rng.choice(["Malta", "Spain", "France"], rows, p=[0.6, 0.3, 0.1]),
        "empty": np.full(rows, np.nan),
    }).with_columns(pl.col("gap", "empty").fill_nan(None), pl.lit(1.0).alias("always"))  # fmt: skip


def drifted(
    con: duckdb.DuckDBPyConnection, train: pl.DataFrame, now: dict[str, pl.DataFrame]
) -> dict[str, dict[str, dict]]:
    """task -> feature -> its row of report.drift, of tasks that learned from the same rows."""
    con.execute(drift.TABLES.replace("if not exists ", ""))
    con.execute("create table models.models (model_id varchar, task varchar, is_published boolean)")
    con.execute("create table models.importance "
                "(model_id varchar, feature varchar, importance double)")  # fmt: skip
    bins = drift.freeze(train, pl.Series(np.arange(len(train)) % 7))
    for task, rows in now.items():
        drift.store(con, task, bins)
        con.register("now", drift.counted(rows, bins).to_arrow())
        con.execute("insert into models.latest_bins by name select ? as task, * from now", [task])
    transform.run_file(con, CATALOG.files["report.drift"])
    found: dict[str, dict[str, dict]] = {task: {} for task in now}
    for row in con.sql("from report.drift").pl().to_dicts():
        found[row["task"]][row["feature"]] = row
    return found


@pytest.mark.parametrize("users", [60, 300, 3_000])
def test_drift_is_quiet_on_users_drawn_again(con, users):
    """Of 30 draws of six features each, by chance alone one or none is more than noise."""
    train = features(np.random.default_rng(users), 20_000)
    draws = {f"{seed}": train.sample(users, with_replacement=True, seed=seed) for seed in range(30)}
    rows = [row for told in drifted(con, train, draws).values() for row in told.values()]
    assert len(rows) == 30 * 6
    assert sum(row["status"] != "stable" for row in rows) <= 1
    assert sum(row["psi"] > row["noise"] for row in rows) <= 1


def test_planted_drift_is_found_and_told_apart(con):
    """Another shape, missing values and new categories, each in its own part of the index."""
    rng = np.random.default_rng(2)
    train, now = features(rng, 20_000), features(rng, 2_000)
    now = now.with_columns(
        pl.col("orders") + 1,
        pl.when(pl.int_range(2_000) < 1_000).then(None).otherwise(pl.col("gap")).alias("gap"),
        pl.when(pl.int_range(2_000) < 500).then(pl.lit("Italy")).otherwise("country").alias("country"),
    )  # fmt: skip
    told = drifted(con, train, {"buy": now})["buy"]
    parts = ("psi_missing", "psi_category", "psi_shape")
    largest = {name: max(parts, key=lambda part, row=row: row[part]) for name, row in told.items()}
    found = {name for name, row in told.items() if row["status"] == "shifted"}
    assert found == {"orders", "gap", "country"}
    assert [largest[name] for name in ("gap", "country", "orders")] == list(parts)
    assert told["spent"]["status"] == told["always"]["status"] == "stable"


def test_the_calendar_is_no_drift(con):
    """All who are asked now are asked on one weekday; who came last on one may be shifted."""
    days = np.arange(700) % 7
    train = pl.DataFrame({"weekday": days.astype(str), "last": days[::-1].astype(str)})
    train = train.with_columns(last=pl.col("last").shuffle(seed=1))
    bins = drift.freeze(train, pl.Series(days))
    assert bins["feature"].unique().to_list() == ["last"]
    alone = drift.freeze(train.head(7), pl.Series(days[:7]))  # a user a cutoff: nothing can be told
    assert {*alone["feature"]} == {"weekday", "last"}


def test_bins_hold_every_row_and_a_constant_that_moves_is_seen(con):
    train = pl.DataFrame({"same": [2.0] * 500, "word": ["a"] * 500})
    now = pl.DataFrame({"same": [3.0] * 500, "word": ["b"] * 500})
    told = drifted(con, train, {"buy": now})["buy"]
    assert {row["status"] for row in told.values()} == {"shifted"}
    assert {(row["count_train"], row["count_latest"]) for row in told.values()} == {(500, 500)}
