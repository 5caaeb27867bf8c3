"""The linear model that fine-tuning begins with: right for every loss, and on valid's side."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from behavsql.models.parts import linear_probe
from behavsql.models.parts.linear_probe import Seen, fitted
from behavsql.models.parts.network_loss import WAYS

TRUTH = np.array([1.0, -2.0, 0.0, 0.5])
ALL = slice(None)


def seen(kind: str, n: int, seed: int) -> Seen:
    random = np.random.default_rng(seed)
    matrix = random.normal(3.0, [1.0, 0.5, 2.0, 1.0], (n, 4))
    sums = (matrix - 3) @ TRUTH
    if kind == "binary":
        label = (random.random(n) < 1 / (1 + np.exp(-sums))).astype(float)
    else:
        label = random.poisson(np.logaddexp(0, sums)).astype(float)
    return Seen(matrix, label, np.ones(n))


@pytest.mark.parametrize("kind", ["binary", "count", "amount"])
@pytest.mark.parametrize("way", WAYS)
def test_the_slope_is_that_of_the_loss(kind, way):
    label, sums = seen(kind, 50, 1).label, np.random.default_rng(2).normal(size=50)
    _, slope = linear_probe._losses(kind, way, sums, label)
    above, below = (
        linear_probe._losses(kind, way, sums + step, label)[0] for step in (1e-6, -1e-6)
    )
    assert slope == pytest.approx((above - below) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_planted_is_found(kind, way):
    weights, bias = fitted(kind, way, seen(kind, 20_000, 1), seen(kind, 5_000, 2), slice(0, 1))
    size = np.linalg.norm(weights) / np.linalg.norm(TRUTH)
    assert weights / size == pytest.approx(TRUTH, abs=0.15)
    assert 0.7 < size < 1.1  # shrunk, by no more than valid cannot tell apart
    assert bias + 3 * weights.sum() == pytest.approx(0, abs=0.3)


def test_the_weakest_ridge_is_the_logistic_regression_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(linear_probe, "RIDGES", (0.01,))
    train = seen("binary", 500, 1)
    scaled = train.matrix - train.matrix.mean(axis=0)
    scaled /= train.matrix.std(axis=0)
    theirs = LogisticRegression(C=1 / (0.01 * 500), tol=1e-8).fit(scaled, train.label)
    weights, bias = fitted("binary", "likelihood", train, seen("binary", 5_000, 2), slice(0, 0))
    assert weights * train.matrix.std(axis=0) == pytest.approx(theirs.coef_[0], abs=1e-4)
    at_mean = float(train.matrix.mean(axis=0) @ weights + bias)
    assert at_mean == pytest.approx(float(theirs.intercept_[0]), abs=1e-4)


def test_of_few_labels_what_says_something_before_them_is_taken_alone():
    random = np.random.default_rng(4)
    forecast = random.normal(size=2_030)
    label = (random.random(2_030) < 1 / (1 + np.exp(-2 * forecast))).astype(float)
    matrix = np.column_stack([random.normal(size=(2_030, 60)), forecast])
    few, many = slice(0, 30), slice(30, None)
    sets = [Seen(matrix[rows], label[rows], np.ones(len(label[rows]))) for rows in (few, many)]
    weights, _ = fitted("binary", "likelihood", *sets, own=slice(60, 61))
    assert not weights[:60].any() and weights[60] > 0.5


def test_a_column_that_never_varies_and_labels_that_are_all_the_same_do_no_harm():
    table = seen("binary", 100, 1)
    flat = Seen(np.column_stack([table.matrix, np.full(100, 7.0)]), np.ones(100), table.weight)
    weights, bias = fitted("binary", "likelihood", flat, flat, ALL)
    assert weights[-1] == 0 and np.isfinite(weights).all() and np.isfinite(bias)
