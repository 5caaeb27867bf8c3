"""Explanations of models: exact where exact exists, additive everywhere."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from explain_data import check_explanation, usual
from models_data import ELSEWHERE, NOISE, fitted, questions, reloaded, table

from behavsql.frames import Table
from behavsql.models import MODELS, model_class
from behavsql.models.parts import shapley, tree_shap
from behavsql.models.parts.explanation import Explanation, most_of, summed, together
from behavsql.models.parts.tree_shap import Fork

pytestmark = pytest.mark.filterwarnings("error")
HERE = Path(__file__).parent
CASES = [
    (name, kind)
    for name in MODELS
    if name not in ELSEWHERE
    for kind in sorted(model_class(name).kinds)
]
LEFT_OVER = {"mlp": 0.1}  # integrated gradients are a sum over points of the way


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_parts_add_up_to_what_is_said(name: str, kind: str) -> None:
    model, test = reloaded(name, kind), table(kind, "test")
    one = check_explanation(model, test, LEFT_OVER.get(name, 1e-9))
    if model.family != "reference":
        size = dict(zip(one.features, np.abs(one.parts).mean(axis=0), strict=True))
        assert max(size, key=size.get) == "signal"
        assert max(size.get(column, 0.0) for column in NOISE) < size["signal"] / 3


@pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "binary"])
def test_missing_and_unseen_values_are_explained(name: str) -> None:
    test = table("binary", "test")
    strange = test.features.with_columns(
        pl.lit(None, pl.Float64).alias("twin"), pl.lit("gold").alias("plan"),
        pl.lit(float("inf")).alias("signal"),
    )  # fmt: skip
    asked = Table(**{**vars(test), "features": strange, "label": None})
    one = reloaded(name, "binary").explain(asked, usual(test))
    assert np.isfinite(one.parts).all()


def test_models_with_tests_of_their_own_are_explained_there() -> None:
    for name, file in ELSEWHERE.items():
        assert "check_explanation(" in (HERE / file).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("kind", ["binary", "count", "amount"])
def test_boosted_trees_are_told_as_lightgbm_tells_them(kind: str) -> None:
    model, test = fitted("lightgbm", kind), table(kind, "test")
    one = model.explain(test, usual(test))
    matrix = model._encoder.transform(test.features)
    known = model._booster.predict(matrix, pred_contrib=True)
    names, parts = together([column.source for column in model._encoder.columns], known[:, :-1])
    assert names == one.features
    assert np.abs(parts - one.parts).max() < 1e-12
    assert known[0, -1] == pytest.approx(one.base, abs=1e-12)


def _by_definition(tree: tree_shap.Tree, row: np.ndarray) -> np.ndarray:
    """Shapley values from all subsets, each valued by walking the tree (Lundberg's algorithm 1)."""
    columns = range(len(row))

    def value(known: frozenset[int], node: tree_shap.Tree) -> float:
        if not isinstance(node, Fork):
            return node
        x = row[node.column]
        if node.column in known:
            goes_left = node.missing_left if np.isnan(x) else x <= node.threshold
            return value(known, node.left if goes_left else node.right)
        return node.share * value(known, node.left) + (1 - node.share) * value(known, node.right)

    said = {
        code: value(frozenset(j for j in columns if code >> j & 1), tree)
        for code in range(2 ** len(row))
    }
    weight = {0: 1 / 3, 1: 1 / 6, 2: 1 / 3}  # of three columns: 1 / (3 binom(2, k))
    found = np.zeros(len(row))
    for code, before in said.items():
        for j in columns:
            if not code >> j & 1:
                found[j] += weight[bin(code).count("1")] * (said[code | 1 << j] - before)
    return found


def test_trees_by_definition() -> None:
    """A column that is split on twice, and once on two ways; a missing value."""
    tree = Fork(0, 0.0, True, 0.25, Fork(1, 1.0, False, 0.5, 3.0, Fork(0, -1.0, True, 0.9, -2.0, 7.0)),
                Fork(2, 0.5, False, 0.7, Fork(1, 2.0, True, 0.1, 1.0, 4.0), 11.0))  # fmt: skip
    rows = np.array([[-0.5, 2, 0], [-3, np.nan, 1], [2, 1.5, 0.5], [np.nan, 0, np.nan], [1, 9, 2]])
    found = tree_shap.contributions([tree], rows)
    for row, parts in zip(rows, found, strict=True):
        assert parts == pytest.approx(_by_definition(tree, row), abs=1e-12)


def test_deep_paths_are_told_as_shallow_ones_are() -> None:
    """More features on a path than patterns are tabled for."""
    random, tree = np.random.default_rng(3), 5.0
    for column in range(11):
        tree = Fork(column, 0.0, False, 0.4, tree, float(column))
    matrix = random.normal(size=(300, 11))
    parts = tree_shap.contributions([tree], matrix)
    left = matrix <= 0
    first_right = np.array([next((c for c in range(10, -1, -1) if not row[c]), -1) for row in left])
    answer = np.where(first_right < 0, 5.0, first_right)
    assert np.abs(tree_shap.expected(tree) + parts.sum(axis=1) - answer).max() < 1e-12


def test_shapley_values_by_hand() -> None:
    """x + y z at (1, 2, 3) over (0, 0, 0): x gets its own, y and z half of what they do together."""
    base = questions("amount", 1, seed=1)

    def at(*values: float) -> Table:
        features = pl.DataFrame([dict(zip("xyz", values, strict=True))])
        return Table(**{**vars(base), "features": features})

    ask = lambda t: (t.features["x"] + t.features["y"] * t.features["z"]).to_numpy()  # noqa: E731
    groups = [("x",), ("y",), ("z",)]
    one = shapley.explained(ask, at(1.0, 2.0, 3.0), at(0.0, 0.0, 0.0), groups, 7)
    assert one.parts.tolist() == [[1.0, 3.0, 3.0]] and one.base == 0.0
    pairs = shapley.explained(ask, at(1.0, 2.0, 3.0), at(0.0, 0.0, 0.0), [("x",), ("y", "z")], 7)
    assert pairs.parts.tolist() == [[1.0, 6.0]]


def test_sampled_shapley_values_add_up_and_come_close() -> None:
    columns = [f"c{j}" for j in range(7)]
    random = np.random.default_rng(1)
    base = questions("amount", 50, seed=1)
    frame = pl.DataFrame({name: random.normal(size=50) for name in columns})
    asked = Table(**{**vars(base), "features": frame})
    zero = Table(**{**vars(base.rows(np.arange(50) == 0)), "features": frame.head(1) * 0})
    ask = lambda t: t.features.sum_horizontal().to_numpy()  # noqa: E731
    one = shapley.explained(ask, asked, zero, [(name,) for name in columns], 7)
    assert one.method == "sampled Shapley values"
    assert np.abs(one.parts - frame.to_numpy()).max() < 1e-12


def _one(parts: list[list[float]], start: float, answer: list[float]) -> Explanation:
    names = [f"f{j}" for j in range(len(parts[0]))]
    return Explanation.exact("by hand", names, 0.0, np.array(parts), start, np.array(answer))


def test_parts_are_rescaled_by_one_factor() -> None:
    one = _one([[2.0, -1.0]], 0.5, [0.7]).rescaled(0.2, np.array([0.5]), 1.0)
    assert one.parts[0] == pytest.approx([0.6, -0.3]) and one.residual[0] == pytest.approx(0)
    assert (one.base, one.start) == (0.2, 0.2)


def test_what_parts_cannot_carry_is_residual() -> None:
    """No part, parts that cancel out, and parts that would be larger than the scale."""
    nothing = _one([[0.0, 0.0]], 0.5, [0.7]).rescaled(0.2, np.array([0.5]), 1.0)
    cancelled = _one([[3.0, -3.0]], 0.5, [0.7]).rescaled(0.2, np.array([0.5]), 1.0)
    for one in (nothing, cancelled):
        assert one.parts.tolist() == [[0.0, 0.0]] and one.residual[0] == pytest.approx(0.3)
    steep = _one([[5.0, -4.99]], 0.5, [0.7]).rescaled(0.2, np.array([0.5]), 1.0)
    assert np.abs(steep.parts).max() == pytest.approx(1.0)
    assert steep.parts.sum() + steep.residual[0] == pytest.approx(0.3)


def test_explanations_of_members_are_added_up_by_name() -> None:
    first = _one([[1.0, 2.0]], 0.0, [3.0])
    second = Explanation("by hand", ("f1", "f2"), 1.0, np.array([[3.0, 4.0]]), np.array([0.5]), 1.0,
                         np.array([8.5]))  # fmt: skip
    names, base, parts, residual = summed([(first, 1.0), (second, 0.5)], 10.0)
    assert (names, base) == (("f0", "f1", "f2"), 10.5)
    assert (parts.tolist(), residual.tolist()) == ([[1.0, 3.5, 2.0]], [0.25])


def test_a_part_is_at_most_the_whole_range_or_twice_what_is_said() -> None:
    assert most_of("binary", 0.1, np.array([0.2])) == 1.0
    assert most_of("amount", 1.0, np.array([2.0])) == pytest.approx([6.0])
