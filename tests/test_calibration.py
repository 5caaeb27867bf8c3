"""Calibration: probabilities get better, rankings stay, and what is stored is what is used."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavsql.calibration import Calibrator
from behavsql.errors import ModelError
from behavsql.metrics import evaluate

SIZES = {"sigmoid": 3000, "isotonic": 20000}  # one row in five is a positive


def distorted(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that rank well and mean nothing: the square root of the chance, pulled to 1."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(1, 4, n)
    return np.sqrt(chance) * 0.6 + 0.4, (rng.random(n) < chance).astype(float)


@pytest.mark.parametrize("method", SIZES)
def test_a_distorted_score_gets_better_on_rows_not_seen(method: str) -> None:
    fitted = Calibrator().fit(*distorted(SIZES[method]))
    score, label = distorted(20000, seed=1)
    chance = fitted.transform(score)
    before, after = evaluate("binary", label, score), evaluate("binary", label, chance)
    assert fitted.method == method
    truth = ((score - 0.4) / 0.6) ** 2
    best = evaluate("binary", label, truth)
    assert before["log_loss"] > best["log_loss"] + 0.4
    assert after["log_loss"] < best["log_loss"] + 0.02
    assert after["brier"] < best["brier"] + 0.01 < before["brier"]
    assert chance.mean() == pytest.approx(label.mean(), abs=0.02)
    assert np.abs(chance - truth).mean() < 0.03


@pytest.mark.parametrize("method", SIZES)
def test_the_ranking_stays(method: str) -> None:
    fitted = Calibrator().fit(*distorted(SIZES[method]))
    line = np.linspace(-1, 2, 100_001)
    chance = fitted.transform(line)
    assert np.all(np.diff(chance) >= 0) and chance[0] < chance[-1]


@pytest.mark.parametrize("method", SIZES)
def test_stored_and_loaded_is_identical(method: str) -> None:
    fitted = Calibrator().fit(*distorted(SIZES[method]))
    loaded = Calibrator.from_dict(json.loads(json.dumps(fitted.to_dict())))
    score = np.concatenate([np.random.default_rng(3).random(5000), fitted.x, [0.0, 1.0, -3, 7]])
    np.testing.assert_array_equal(loaded.transform(score), fitted.transform(score))
    assert loaded.to_dict() == fitted.to_dict()


@pytest.mark.parametrize("method", SIZES)
def test_row_order_changes_nothing(method: str) -> None:
    score, label = distorted(SIZES[method])
    score = score.round(2)
    order = np.random.default_rng(0).permutation(len(score))
    fitted = Calibrator().fit(score, label)
    assert fitted.method == method
    assert Calibrator().fit(score[order], label[order]).to_dict() == fitted.to_dict()


@pytest.mark.parametrize("method", ["none", *SIZES])
def test_probabilities_keep_off_zero_and_one(method: str) -> None:
    fitted = Calibrator()
    if method != "none":
        score = np.linspace(0, 1, SIZES[method])
        fitted.fit(score, (score > 0.8).astype(float))  # perfectly separated
    assert fitted.method == method
    chance = fitted.transform(np.array([-5.0, 0.0, 1e-300, 0.5, 1.0, 5.0]))
    assert chance.min() >= 1e-6 and chance.max() <= 1 - 1e-6
    assert np.isnan(fitted.transform(np.array([np.nan]))).all()
    assert fitted.transform(np.array([])).shape == (0,)


def test_isotonic_is_no_surer_than_its_rows() -> None:
    score = np.linspace(0, 1, 10_000)
    label = (score > 0.8).astype(float)
    low, high = Calibrator().fit(score, label).transform(np.array([0.0, 1.0]))
    assert (low, high) == pytest.approx((1 / 8002, 2001 / 2002))


def test_the_method_goes_by_the_number_of_rows_in_each_class() -> None:
    def method(positives: int, negatives: int) -> str:
        label = np.repeat([1.0, 0.0], [positives, negatives])
        return Calibrator().fit(np.linspace(0.9, 0.1, len(label)), label).method

    assert method(9, 5000) == method(5000, 9) == method(0, 50) == method(50, 0) == "none"
    assert method(0, 0) == "none"
    assert method(10, 10) == method(999, 2000) == method(2000, 999) == "sigmoid"
    assert method(1000, 2000) == method(2000, 1000) == "isotonic"


def test_a_sigmoid_finds_the_numbers_it_was_made_with() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-2, 1, 12_000)
    label = (rng.random(12_000) < 1 / (1 + np.exp(-(0.5 * logit - 2)))).astype(float)
    fitted = Calibrator().fit(1 / (1 + np.exp(-logit)), label)
    assert fitted.method == "sigmoid"
    assert (fitted.slope, fitted.intercept) == pytest.approx((0.5, -2.0), abs=0.1)


def test_the_sigmoid_is_the_optimum_of_platts_loss() -> None:
    from scipy.optimize import minimize

    score, label = distorted(500)
    fitted = Calibrator().fit(score, label)
    positives = label.sum()
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (502 - positives))
    x = np.log(score / (1 - score))

    def loss(numbers: np.ndarray) -> float:
        line = numbers[0] * x + numbers[1]
        return float(np.sum(np.logaddexp(0, line) - target * line))

    best = minimize(loss, [1.0, 0.0], tol=1e-12)
    assert (fitted.slope, fitted.intercept) == pytest.approx(tuple(best.x), rel=1e-4)


@pytest.mark.parametrize("n", [500, 20000])
def test_a_score_that_ranks_backwards_becomes_the_base_rate(n: int) -> None:
    score, label = distorted(n)
    fitted = Calibrator().fit(1 - score, label)
    chance = fitted.transform(np.linspace(0, 1, 50))
    assert fitted.method != "none"
    assert np.ptp(chance) < 0.15 and np.all(np.diff(chance) >= 0)
    assert np.ptp(fitted.transform(1 - score[:100])) < 0.02
    assert fitted.transform(1 - score).mean() == pytest.approx(label.mean(), abs=0.01)
    assert fitted.slope == 0 or fitted.method == "isotonic"


@pytest.mark.parametrize("n", [500, 20000])
@pytest.mark.parametrize("value", [0.0, 0.01, 0.1 + 0.2, 1.0])
def test_a_constant_score_becomes_the_base_rate(n: int, value: float) -> None:
    _, label = distorted(n)
    chance = Calibrator().fit(np.full(n, value), label).transform(np.array([value]))
    assert chance[0] == pytest.approx(label.mean(), rel=0.02)


def test_a_calibrated_score_is_left_about_alone() -> None:
    rng = np.random.default_rng(0)
    for n in (3000, 50_000):
        chance = rng.beta(1, 4, n)
        fitted = Calibrator().fit(chance, (rng.random(n) < chance).astype(float))
        assert np.abs(fitted.transform(chance) - chance).mean() < 0.02


def test_a_floor_for_amounts_lifts_only_what_is_below_it() -> None:
    spend = np.array([0.0, 2.0, 250.5, np.nan])
    floor = Calibrator.from_dict(Calibrator.floor(2.5).to_dict())
    np.testing.assert_array_equal(floor.transform(spend), [2.5, 2.5, 250.5, np.nan])


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(ModelError, match="1 values cannot be used"):
        Calibrator().fit(np.array([0.1, np.nan]), np.array([0.0, 1.0]))
    with pytest.raises(ModelError, match="1 values cannot be used"):
        Calibrator().fit(np.array([0.1, 0.2]), np.array([0.0, 0.5]))
    with pytest.raises(ModelError, match="same length"):
        Calibrator().fit(np.ones(3), np.ones(2))


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"method": "beta"},
        {"method": "sigmoid", "slope": 1.0},
        {"method": "isotonic", "x": [], "y": []},
        {"method": "isotonic", "x": [0.1, 0.2], "y": [0.1]},
        {"method": "none", "slope": 1.0},
    ],
)
def test_a_damaged_store_is_refused(stored: dict) -> None:
    with pytest.raises(ModelError, match=r"^calibration: .*; allowed are .* Train the model again"):
        Calibrator.from_dict(stored)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=20, max_size=120))
@settings(max_examples=60, deadline=None)
def test_any_fit_is_monotone_in_bounds_and_survives_json(rows: list) -> None:
    score, label = np.array(rows).T
    fitted = Calibrator().fit(score, label)
    line = np.concatenate([np.sort(score), [2.0]])
    chance = fitted.transform(line)
    assert np.all(np.diff(chance) >= 0)
    assert chance.min() >= 1e-6 and chance.max() <= 1 - 1e-6
    stored = json.loads(json.dumps(fitted.to_dict(), allow_nan=False))
    np.testing.assert_array_equal(Calibrator.from_dict(stored).transform(line), chance)
