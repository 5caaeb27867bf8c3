"""Metrics against scikit-learn and scipy, against counting by hand, and against their laws."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from behavsql import metrics
from behavsql.bootstrap import Resampling
from behavsql.errors import ConfigError, ModelError
from behavsql.metrics import (
    DEFAULT_METRIC,
    DIRECTION,
    METRICS,
    best_threshold,
    evaluate,
    intervals,
    paired_gain,
)

KINDS = ("binary", "count", "amount")


def questions(kind: str, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that go together, with many ties (scores on a grid of 20)."""
    rng = np.random.default_rng(seed)
    chance = np.round(rng.uniform(0.05, 0.95, n) * 20) / 20
    if kind == "binary":
        return (rng.random(n) < chance).astype(float), np.clip(chance, 0.05, 0.95)
    if kind == "count":
        return rng.poisson(chance * 4).astype(float), chance * 4
    return np.round(rng.gamma(1.0, chance * 30) * (rng.random(n) < 0.6), 0), chance * 20


def by_sklearn(label: np.ndarray, score: np.ndarray, threshold: float) -> dict[str, float]:
    called = score >= threshold
    return {
        "roc_auc": reference.roc_auc_score(label, score),
        "average_precision": reference.average_precision_score(label, score),
        "log_loss": reference.log_loss(label, score),
        "brier": reference.brier_score_loss(label, score),
        "accuracy": reference.accuracy_score(label, called),
        "precision": reference.precision_score(label, called),
        "recall": reference.recall_score(label, called),
        "f1": reference.f1_score(label, called),
        "base_rate": label.mean(),
        "threshold": threshold,
    }


def by_sklearn_amount(label: np.ndarray, score: np.ndarray) -> dict[str, float]:
    return {
        "mae": reference.mean_absolute_error(label, score),
        "rmse": reference.root_mean_squared_error(label, score),
        "r2": reference.r2_score(label, score),
        "spearman": stats.spearmanr(label, score).statistic,
        "poisson_deviance": reference.mean_poisson_deviance(label, score),
        "tweedie_deviance": reference.mean_tweedie_deviance(label, score, power=1.5),
    }


def same(left: dict, right: dict, **tolerance: float) -> None:
    assert left.keys() == right.keys()
    assert left == pytest.approx(right, nan_ok=True, **tolerance)


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_binary_equals_sklearn(seed: int) -> None:
    label, score = questions("binary", seed=seed)
    found = evaluate("binary", label, score, 0.6)
    found.pop("lift_top_decile")
    same(found, by_sklearn(label, score, 0.6), rel=1e-12)


@pytest.mark.parametrize("kind", ["count", "amount"])
@pytest.mark.parametrize("seed", range(5))
def test_amounts_equal_sklearn_and_scipy(kind: str, seed: int) -> None:
    label, score = questions(kind, seed=seed)
    same(evaluate(kind, label, score), by_sklearn_amount(label, score), rel=1e-12)


def test_scores_without_ties_too() -> None:
    rng = np.random.default_rng(3)
    label, score = (rng.random(500) < 0.3).astype(float), rng.random(500)
    found = evaluate("binary", label, score, 0.5)
    found.pop("lift_top_decile")
    same(found, by_sklearn(label, score, 0.5), rel=1e-12)
    amount = rng.gamma(1.0, 10.0, 500)
    same(evaluate("amount", amount, score), by_sklearn_amount(amount, score), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_that_many_copies(kind: str) -> None:
    label, score = questions(kind, 150)
    weight = np.random.default_rng(1).integers(0, 4, 150)
    copies = evaluate(kind, np.repeat(label, weight), np.repeat(score, weight), 0.5)
    same(evaluate(kind, label, score, 0.5, weight), copies, rel=1e-10)


def test_binary_by_hand() -> None:
    label = np.array([1.0, 0.0, 1.0, 0.0])
    score = np.array([0.9, 0.6, 0.6, 0.2])
    found = evaluate("binary", label, score, 0.6)
    # pairs (positive, negative): 0.9>0.6, 0.9>0.2, 0.6=0.6 half, 0.6>0.2
    assert found["roc_auc"] == 3.5 / 4
    assert found["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4) * 1 + math.log(0.6)
                                               + math.log(0.8)) / 4)  # fmt: skip
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.16 + 0.04) / 4)
    assert (found["accuracy"], found["precision"], found["recall"]) == (0.75, 2 / 3, 1.0)
    assert found["f1"] == 0.8
    assert found["lift_top_decile"] == pytest.approx(2.0)  # 0.4 rows, all from the top positive
    assert (found["base_rate"], found["threshold"]) == (0.5, 0.6)


def test_amount_by_hand() -> None:
    label, score = np.array([0.0, 4.0, 9.0]), np.array([1.0, 1.0, 4.0])
    found = evaluate("amount", label, score)
    assert found["mae"] == 3.0
    assert found["rmse"] == pytest.approx(math.sqrt(35 / 3))
    assert found["r2"] == pytest.approx(1 - 35 / (122 / 3))
    assert found["spearman"] == pytest.approx(math.sqrt(3) / 2)  # ranks 1 2 3 against 1.5 1.5 3
    poisson = [2.0, 2 * (4 * math.log(4) - 3), 2 * (9 * math.log(9 / 4) - 5)]
    assert found["poisson_deviance"] == pytest.approx(sum(poisson) / 3)
    assert found["tweedie_deviance"] == pytest.approx((4 + 4 + 4 / 2) / 3)


def test_the_threshold_itself_is_called_positive() -> None:
    found = evaluate("binary", np.array([1.0, 0.0]), np.array([0.5, 0.4]))
    assert (found["threshold"], found["accuracy"]) == (0.5, 1.0)


def test_decile_edge_shares_ties_and_rows() -> None:
    # 20 rows: the decile is 2 rows; the best is a positive, then 4 tied rows hold 1 positive
    label = np.array([1, 1, 0, 0, 0, *[0] * 13, 1, 1], dtype=float)
    score = np.array([0.9, 0.5, 0.5, 0.5, 0.5, *[0.1] * 15])
    lift = evaluate("binary", label, score)["lift_top_decile"]
    assert lift == pytest.approx((1 + 1 / 4) / 2 / (4 / 20))
    assert evaluate("binary", label, np.full(20, 0.3))["lift_top_decile"] == pytest.approx(1.0)
    # 15 rows: the decile is the best row and half of the next
    label, score = np.zeros(15), np.linspace(1, 0, 15)
    label[[0, 1, 9]] = 1
    lift = evaluate("binary", label, score)["lift_top_decile"]
    assert lift == pytest.approx(1.5 / 1.5 / (3 / 15))


def test_lift_is_the_expectation_over_random_tie_breaking() -> None:
    label, score = questions("binary", 200, seed=4)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        top = np.lexsort((rng.random(200), -score))[:20]
        draws.append(label[top].mean() / label.mean())
    assert evaluate("binary", label, score)["lift_top_decile"] == pytest.approx(
        np.mean(draws), abs=0.01
    )


def test_certain_and_wrong_is_clipped() -> None:
    found = evaluate("binary", np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    assert found["log_loss"] == pytest.approx(-(math.log(1e-6) + math.log1p(-1e-6)) / 2)
    found = evaluate("count", np.array([1.0]), np.array([0.0]))
    assert found["poisson_deviance"] == pytest.approx(2 * (math.log(1e6) - 1 + 1e-6))
    assert found["tweedie_deviance"] == pytest.approx(4 * (1 - 1e-3) ** 2 / 1e-3)


@pytest.mark.parametrize("name", ["poisson_deviance", "tweedie_deviance"])
def test_deviances_are_proper_scores_of_the_mean(name: str) -> None:
    spend = np.random.default_rng(0).pareto(1.8, 5000) * 10 * (np.arange(5000) % 3 == 0)
    scores = {
        factor: evaluate("amount", spend, np.full(5000, spend.mean() * factor))[name]
        for factor in (0.8, 0.99, 1.0, 1.01, 1.25)
    }
    assert min(scores, key=scores.get) == 1.0


def test_r2_keeps_its_digits_far_from_zero() -> None:
    label = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    assert evaluate("amount", label, label + 0.5)["r2"] == pytest.approx(1 - 1 / 5)


# --- the undefined ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_and_no_weight_are_nan(kind: str) -> None:
    assert all(math.isnan(v) for v in evaluate(kind, np.array([]), np.array([])).values())
    label, score = questions(kind, 10)
    found = evaluate(kind, label, score, weight=np.zeros(10))
    assert all(math.isnan(v) for name, v in found.items() if name != "threshold")
    assert all(math.isnan(v) for pair in intervals(
        kind, np.array([]), np.array([]), np.array([]), None, seed=1).values() for v in pair
    )  # fmt: skip


def test_metrics_of_one_class_alone_are_nan_or_known() -> None:
    score = np.array([0.2, 0.4, 0.7])
    none = evaluate("binary", np.zeros(3), score)
    assert {name for name, v in none.items() if math.isnan(v)} == {
        "roc_auc", "average_precision", "recall", "lift_top_decile",
    }  # fmt: skip
    assert none["precision"] == none["f1"] == 0
    every = evaluate("binary", np.ones(3), score)
    assert {name for name, v in every.items() if math.isnan(v)} == {"roc_auc"}
    assert every["average_precision"] == every["lift_top_decile"] == 1
    silent = evaluate("binary", np.zeros(3), score, 0.9)
    assert math.isnan(silent["precision"]) and math.isnan(silent["f1"])


def test_constant_scores_are_chance() -> None:
    label, _ = questions("binary")
    found = evaluate("binary", label, np.full(400, 0.3))
    assert found["roc_auc"] == 0.5
    assert found["average_precision"] == pytest.approx(label.mean())
    assert found["lift_top_decile"] == pytest.approx(1.0)


def test_constant_labels_or_scores_of_amounts() -> None:
    found = evaluate("count", np.full(7, 0.1), np.arange(7.0))
    assert math.isnan(found["r2"]) and math.isnan(found["spearman"])
    found = evaluate("count", np.arange(7.0), np.full(7, 3.0))
    assert found["r2"] == 0 and math.isnan(found["spearman"])


def test_a_negative_label_has_no_deviance() -> None:
    found = evaluate("amount", np.array([-1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    assert math.isnan(found["tweedie_deviance"]) and math.isnan(found["poisson_deviance"])
    assert found["spearman"] == pytest.approx(1.0) and found["mae"] == pytest.approx(2 / 3)


def test_what_cannot_be_judged_is_refused() -> None:
    two = np.array([0.0, 1.0])
    with pytest.raises(ConfigError, match="'choice' has no metrics; allowed are binary"):
        evaluate("choice", two, two)
    with pytest.raises(ModelError, match="1 values cannot be judged"):
        evaluate("binary", two, np.array([0.1, np.nan]))
    with pytest.raises(ModelError, match="1 values cannot be judged"):
        evaluate("binary", np.array([0.0, 2.0]), two)
    with pytest.raises(ModelError, match="same length"):
        evaluate("binary", two, np.ones(3))
    with pytest.raises(ModelError, match="one value >= 0 for each of 2 rows"):
        evaluate("binary", two, two, weight=np.array([1, -1]))
    with pytest.raises(ModelError, match="one user for each of 2 rows"):
        intervals("binary", two, two, np.ones(3), None, seed=1)
    with pytest.raises(ConfigError, match="'threshold' cannot compare models of kind 'binary'"):
        paired_gain("binary", "threshold", two, two, two, two, seed=1)


def test_every_metric_is_listed_once_and_has_a_direction() -> None:
    for kind in KINDS:
        label, score = questions(kind, 50)
        assert tuple(evaluate(kind, label, score)) == METRICS[kind]
        assert tuple(intervals(kind, label, score, np.arange(50), None, seed=1)) == METRICS[kind]
        assert DEFAULT_METRIC[kind] in METRICS[kind]
        assert set(METRICS[kind]) - set(DIRECTION) <= {"base_rate", "threshold"}
        better = evaluate(kind, label, label)
        worse = evaluate(kind, label, score)
        for name in set(METRICS[kind]) & set(DIRECTION):
            assert DIRECTION[name] * (better[name] - worse[name]) > 0, name


# --- laws ------------------------------------------------------------------------------------

grid = st.integers(0, 6).map(lambda i: i / 6)
rows = st.lists(st.tuples(st.integers(0, 1), grid, st.integers(0, 3)), min_size=1, max_size=40)


@given(rows=rows, kind=st.sampled_from(KINDS), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_row_order_changes_nothing(rows: list, kind: str, seed: int) -> None:
    label, score, weight = np.array(rows, dtype=float).T
    order = np.random.default_rng(seed).permutation(len(rows))
    plain = evaluate(kind, label, score)
    np.testing.assert_equal(evaluate(kind, label[order], score[order]), plain)  # to the last bit
    same(
        evaluate(kind, label[order], score[order], weight=weight[order]),
        evaluate(kind, label, score, weight=weight),
        rel=1e-9, abs=1e-9,
    )  # fmt: skip


@given(rows=rows, kind=st.sampled_from(KINDS))
@settings(max_examples=80, deadline=None)
def test_weights_are_copies_for_any_rows(rows: list, kind: str) -> None:
    label, score, weight = np.array(rows, dtype=float).T
    times = weight.astype(int)
    if times.sum():
        copies = evaluate(kind, np.repeat(label, times), np.repeat(score, times))
        same(evaluate(kind, label, score, weight=weight), copies, rel=1e-9, abs=1e-9)


@given(rows=rows)
@settings(max_examples=60, deadline=None)
def test_ranking_metrics_know_only_the_ranking(rows: list) -> None:
    label, score, _ = np.array(rows, dtype=float).T
    plain, bent = evaluate("binary", label, score), evaluate("binary", label, score**3)
    for name in ("roc_auc", "average_precision", "lift_top_decile"):
        assert bent[name] == pytest.approx(plain[name], nan_ok=True)
    flipped = evaluate("binary", 1 - label, 1 - score)
    assert flipped["roc_auc"] == pytest.approx(plain["roc_auc"], nan_ok=True)


@given(rows=rows)
@settings(max_examples=60, deadline=None)
def test_best_threshold_beats_every_other(rows: list) -> None:
    label, score, _ = np.array(rows, dtype=float).T
    chosen = best_threshold(label, score)
    f1 = {float(t): reference.f1_score(label, score >= t, zero_division=0.0) for t in set(score)}
    best = max(f1.values())
    assert chosen == max(t for t, value in f1.items() if value == pytest.approx(best, abs=1e-12))


def test_best_threshold_by_hand() -> None:
    label = np.array([1.0, 0.0, 1.0, 0.0])
    assert best_threshold(label, np.array([0.9, 0.6, 0.6, 0.2])) == 0.6
    assert best_threshold(np.zeros(3), np.array([0.1, 0.3, 0.2])) == 0.3
    assert best_threshold(np.array([]), np.array([])) == 0.5
    # F1 is 2/3 at 0.9 (1 of 2 found, nothing wrong) and at 0.1 (2 found, 2 wrong): the higher
    assert best_threshold(np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.9, 0.8, 0.7, 0.1])) == 0.9


# --- intervals -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_replicates_equal_evaluating_the_drawn_rows(kind: str) -> None:
    label, score = questions(kind, 120)
    users = np.random.default_rng(2).integers(0, 40, 120) * 7
    resampling = Resampling(users, 120)
    counts = np.concatenate(list(resampling.draws(30, seed=5)))
    assert counts.shape == (30, resampling.users)
    assert np.all(counts.sum(axis=1) == resampling.users)
    by_hand = [
        evaluate(kind, np.repeat(label, w), np.repeat(score, w), 0.5)
        for w in resampling.weights(counts, np.arange(120)).astype(int)
    ]
    found = intervals(kind, label, score, users, 0.5, replicates=30, seed=5)
    for name in METRICS[kind]:
        expected = np.quantile([values[name] for values in by_hand], [0.025, 0.975])
        assert found[name] == pytest.approx(tuple(expected), rel=1e-9), name


def test_the_chunk_size_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    resampling = Resampling(np.arange(50), 50)
    whole = np.concatenate(list(resampling.draws(20, seed=1)))
    monkeypatch.setattr("behavsql.bootstrap.CHUNK", 150)
    parts = list(resampling.draws(20, seed=1))
    assert len(parts) == 7
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_repeat_and_ignore_row_order(kind: str) -> None:
    label, score = questions(kind)
    users = np.arange(400) // 4
    first = intervals(kind, label, score, users, 0.5, seed=3)
    assert intervals(kind, label, score, users, 0.5, seed=3) == first
    assert intervals(kind, label, score, users, 0.5, seed=4) != first
    order = np.random.default_rng(0).permutation(400)
    mixed = intervals(kind, label[order], score[order], users[order], 0.5, seed=3)
    for name in METRICS[kind]:
        assert mixed[name] == pytest.approx(first[name], rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_copied_rows_of_a_user_add_no_certainty(kind: str) -> None:
    label, score = questions(kind)
    users = np.arange(400)
    plain = intervals(kind, label, score, users, 0.5, seed=3)
    twice = [np.repeat(values, 4) for values in (label, score, users)]
    clustered = intervals(kind, *twice, 0.5, seed=3)
    as_if_independent = intervals(kind, *twice[:2], np.arange(1600), 0.5, seed=3)
    for name in METRICS[kind]:
        assert clustered[name] == pytest.approx(plain[name], rel=1e-9), name
        if name != "threshold":
            width, narrow = (high - low for low, high in (clustered[name], as_if_independent[name]))
            assert 1.5 < width / narrow < 2.6, name  # four copies: about sqrt(4)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        chance = rng.beta(2, 5, 150)  # one chance per user, two rows each: clustered
        label = (rng.random(300) < np.repeat(chance, 2)).astype(float)
        users = np.repeat(np.arange(150), 2)
        low, high = intervals("binary", label, np.full(300, 0.5), users, None, seed=seed)[
            "base_rate"
        ]
        covered += low <= 2 / 7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_lower_level_is_narrower() -> None:
    label, score = questions("binary")
    wide = intervals("binary", label, score, np.arange(400), 0.5, seed=1)["brier"]
    narrow = intervals("binary", label, score, np.arange(400), 0.5, seed=1, level=0.5)["brier"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_undefined_replicates_are_left_out() -> None:
    # two positives among 30 users: about one replicate in seven has none
    label = np.zeros(30)
    label[:2] = 1
    score = np.linspace(0.9, 0.1, 30)
    found = intervals("binary", label, score, np.arange(30), 0.5, seed=1)
    assert 0.5 < found["roc_auc"][0] <= found["roc_auc"][1] <= 1
    assert found["base_rate"][0] == 0
    # no replicate is defined; and one user says nothing about other users
    nobody = intervals("binary", np.zeros(30), score, np.arange(30), 0.5, seed=1)
    assert np.isnan(nobody["roc_auc"]).all() and nobody["base_rate"] == (0, 0)
    assert np.isnan(intervals("binary", label, score, np.ones(30), 0.5, seed=1)["brier"]).all()


# --- gains -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "average_precision", "brier"])
def test_a_real_gain_is_found_and_its_sign_is_improvement(metric: str) -> None:
    label, score = questions("binary", 2000)
    users = np.arange(2000) // 2
    blurred = 0.5 * score + 0.5 * np.random.default_rng(9).uniform(0.05, 0.95, 2000)
    gain = paired_gain("binary", metric, label, score, blurred, users, replicates=300, seed=1)
    assert 0 < gain.low < gain.mean < gain.high
    assert gain.p_better == 1
    loss = paired_gain("binary", metric, label, blurred, score, users, replicates=300, seed=1)
    assert loss == pytest.approx((-gain.mean, -gain.high, -gain.low, 0.0))
    plain = evaluate("binary", label, score)[metric] - evaluate("binary", label, blurred)[metric]
    assert gain.mean == pytest.approx(DIRECTION[metric] * plain)


@pytest.mark.parametrize("kind", ["count", "amount"])
def test_gain_of_amounts(kind: str) -> None:
    label, score = questions(kind, 2000)
    flat, users = np.full(2000, label.mean()), np.arange(2000)
    for metric in METRICS[kind]:
        gain = paired_gain(kind, metric, label, score, flat, users, replicates=200, seed=1)
        if metric == "spearman":  # a flat reference has no ranking
            assert np.isnan(gain).all()
        else:
            assert gain.low < gain.mean < gain.high
    deviance = paired_gain(kind, DEFAULT_METRIC[kind], label, score, flat, users, seed=1)
    assert deviance.low > 0


def test_noise_is_not_called_a_gain() -> None:
    rng = np.random.default_rng(5)
    claims = 0
    for seed in range(100):
        label, score = questions("binary", 300, seed=seed)
        ours, theirs = (np.clip(score + rng.normal(0, 0.05, 300), 0.01, 0.99) for _ in range(2))
        gain = paired_gain(
            "binary", "log_loss", label, ours, theirs, np.arange(300), replicates=200, seed=seed
        )
        claims += gain.low > 0
    assert claims <= 9  # 2.5 expected


def test_equal_models_are_a_draw() -> None:
    label, score = questions("binary")
    gain = paired_gain("binary", "log_loss", label, score, score.copy(), np.arange(400), seed=1)
    assert gain == (0, 0, 0, 0.5)
    alone = paired_gain("binary", "log_loss", label, score, score, np.ones(400), seed=1)
    assert np.isnan(alone).all()


def test_six_thousand_rows_take_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(1, 6, 6000)
    label = (rng.random(6000) < score).astype(float)
    users = rng.integers(0, 2000, 6000)
    start = time.perf_counter()
    intervals("binary", label, score, users, 0.3, seed=1)
    assert time.perf_counter() - start < 1


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    code = f"import sys; import {metrics.__name__}, behavsql.calibration; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "scipy", "lightgbm", "tensorflow"} & set(ran.stdout.split())
