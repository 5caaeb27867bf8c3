"""LightGBM's text format read as trees and what is done with their sum.

Source: src/io/tree.cpp and src/boosting/gbdt_model_text.cpp of LightGBM 4, `Tree::ToString` and
`NumericalDecision`: the text that a Booster is loaded from holds all that its predictions use.
"""

import math
from collections.abc import Callable, Mapping

from behavsql.compile.errors import CompileError
from behavsql.compile.form import MOST_VALUE, ZERO, Form
from behavsql.compile.trees import Split, Tree
from behavsql.quoting import literal

CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of decision_type
MISSING = {0: "none", 1: "zero", 2: "nan"}  # the two bits above them

# The column of a split (an index), whether zero is missing there, and the categories that go left
# (None for a split on a number) -> the atom to compare.
Atom = Callable[[int, bool, frozenset[int] | None], int]


def read(text: str, atom: Atom) -> tuple[list[Tree], dict[str, str]]:
    """The trees, and the objective with its parameters under "name".

    CompileError for several classes, linear leaves and averaged trees, which nothing here says.
    """
    head, *blocks = text.split("\nTree=")
    header = _fields(head)
    if "average_output" in head.split("\n"):
        raise _unknown("average_output", "trees whose sum is the answer")
    for key in ("num_class", "num_tree_per_iteration"):
        if header.get(key, "1") != "1":
            raise _unknown(f"{key}={header[key]}", "one answer per row")
    trees = [_tree(_fields(block.partition("\nend of trees")[0]), atom) for block in blocks]
    name, *given = header.get("objective", "").split(" ")
    parameters = dict(part.split(":", 1) for part in given if ":" in part)
    return trees, {"name": name, "all": header.get("objective", ""), **parameters}


def output(total: str, objective: Mapping[str, str], form: Form) -> str:
    """What the booster answers, of the sum of its trees; CompileError for an unknown objective."""
    name = objective["name"]
    if name == "binary":
        steep = literal(float(objective.get("sigmoid", 1)))
        return form.bind(total, lambda v: f"1e0 / (1e0 + exp(-{steep} * {v}))")
    if name in ("poisson", "tweedie", "gamma"):
        return f"exp({total})"
    if name in ("regression", "regression_l1", "huber") and "sqrt" not in objective["all"]:
        return total
    raise _unknown(f"objective={objective['all']}", "binary, poisson, tweedie, gamma, regression")


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.split("\n") if "=" in line)


def _unknown(what: str, allowed: str) -> CompileError:
    return CompileError(
        f"lightgbm: {what} has no SQL here; allowed are {allowed}. It stays in Python."
    )


def _tree(fields: Mapping[str, str], atom: Atom) -> Tree:
    if fields.get("is_linear", "0") != "0":
        raise _unknown("is_linear=1", "trees with one number in a leaf")
    values = [float(value) for value in fields["leaf_value"].split()]
    if int(fields["num_leaves"]) == 1:
        return values[0]
    return _Reader(fields, values, atom).node(0)


def _around_zero(threshold: float) -> float:
    """A threshold that says of numbers as they are what LightGBM says once it took tiny ones as 0.

    >>> _around_zero(-ZERO) < -ZERO, _around_zero(0.0) == ZERO, _around_zero(0.5)
    (True, True, 0.5)
    """
    if -ZERO <= threshold < 0:
        return math.nextafter(-ZERO, -math.inf)
    return ZERO if 0 <= threshold < ZERO else threshold


class _Reader:
    """One tree's arrays; a child >= 0 is a split, ~child a leaf."""

    def __init__(self, fields: Mapping[str, str], values: list[float], atom: Atom) -> None:
        whole = lambda key: [int(value) for value in fields.get(key, "").split()]  # noqa: E731
        self.values, self.atom = values, atom
        self.columns, self.types = whole("split_feature"), whole("decision_type")
        self.lefts, self.rights = whole("left_child"), whole("right_child")
        self.thresholds = [float(value) for value in fields["threshold"].split()]
        self.bounds, self.bits = whole("cat_boundaries"), whole("cat_threshold")

    def node(self, i: int) -> Tree:
        if i < 0:
            return self.values[~i]
        left, right = self.node(self.lefts[i]), self.node(self.rights[i])
        column, kind, threshold = self.columns[i], self.types[i], self.thresholds[i]
        if kind & CATEGORICAL:
            # A flag, 1 for those that go left: so they are right of one half.
            flag = self.atom(column, False, self._categories(int(threshold)))
            return Split(flag, 0.5, True, right, left)
        missing = MISSING.get(kind >> 2 & 3)
        if missing is None or kind >> 4:
            raise _unknown(f"decision_type={kind}", "the missing types none, zero and nan")
        # Where no value was missing in train, one that is now counts as 0.
        is_left = threshold >= 0 if missing == "none" else bool(kind & DEFAULT_LEFT)
        threshold = _around_zero(min(max(threshold, -MOST_VALUE), MOST_VALUE))
        return Split(self.atom(column, missing == "zero", None), threshold, is_left, left, right)

    def _categories(self, index: int) -> frozenset[int]:
        """The categories of a bitset of 32-bit words."""
        words = self.bits[self.bounds[index] : self.bounds[index + 1]]
        return frozenset(
            32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1
        )
