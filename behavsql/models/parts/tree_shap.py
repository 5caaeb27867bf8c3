"""Exact Shapley values of tree ensembles, path-dependent: many rows at once, leaf by leaf.

Source: S. M. Lundberg et al., 2020, From local explanations to global understanding with explainable
AI for trees (the values and what stands for an unknown feature: the shares of the train rows that
went either way); P. Yu, A. Bifet, J. Read and C. Xu, 2022, Linear TreeSHAP (a leaf's values as a
polynomial). The integral over that polynomial is taken by Gauss-Legendre nodes, which is exact.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 8192  # rows walked together
MOST_BITS = 8  # features on a path up to which all 2^d answers of a leaf are worked out
SMALLEST = 1e-9  # no way is taken for one that no row went


@dataclass(frozen=True)
class Fork:
    """A row goes left where its column is <= threshold, or missing and `missing_left`."""

    column: int
    threshold: float
    missing_left: bool
    share: float  # of the train rows here that went left
    left: "Fork | float"
    right: "Fork | float"


Tree = Fork | float  # a number is a leaf


def expected(tree: Tree) -> float:
    """The mean of a tree's leaves over train."""
    if not isinstance(tree, Fork):
        return tree
    return tree.share * expected(tree.left) + (1 - tree.share) * expected(tree.right)


def contributions(trees: Sequence[Tree], matrix: np.ndarray) -> np.ndarray:
    """(n, m) what each column adds to the sum of the trees, on top of their expected values.

    matrix (n, m) as the trees compare it, NaN = missing.
    """
    found = np.empty(matrix.shape)
    for start in range(0, len(matrix), CHUNK):
        chunk = matrix[start : start + CHUNK]
        parts = np.zeros((chunk.shape[1], len(chunk)))
        columns = np.ascontiguousarray(chunk.T)
        for tree in trees:
            _descend(tree, columns, {}, parts)
        found[start : start + CHUNK] = parts.T
    return found


def breakpoints(trees: Sequence[Tree], sources: Sequence[str]) -> dict[str, list[float]]:
    """The thresholds of each feature, sorted; sources: the features of the columns."""
    found: dict[str, set[float]] = {}
    open_ = list(trees)
    while open_:
        node = open_.pop()
        if isinstance(node, Fork):
            found.setdefault(sources[node.column], set()).add(node.threshold)
            open_ += [node.left, node.right]
    return {name: sorted(values) for name, values in found.items()}


Way = dict[int, tuple[float, np.ndarray]]  # column -> share of train, (n,) whether the rows agree


def _descend(tree: Tree, columns: np.ndarray, way: Way, parts: np.ndarray) -> None:
    if not isinstance(tree, Fork):
        if way and tree:
            _add(tree, way, parts)
        return
    x = columns[tree.column]
    left = x <= tree.threshold
    if tree.missing_left:
        left |= np.isnan(x)
    share = min(max(tree.share, SMALLEST), 1 - SMALLEST)
    before, agrees = way.get(tree.column, (1.0, None))
    for child, part, goes in ((tree.left, share, left), (tree.right, 1 - share, ~left)):
        both = goes if agrees is None else agrees & goes
        _descend(child, columns, {**way, tree.column: (before * part, both)}, parts)


def _add(value: float, way: Way, parts: np.ndarray) -> None:
    """Add a leaf's values to those of the columns on the way to it."""
    shares = np.array([share for share, _ in way.values()])
    agrees = np.array([agreed for _, agreed in way.values()])  # (d, n)
    if len(shares) <= MOST_BITS:
        code = np.packbits(agrees, axis=0, bitorder="little")[0]
        patterns = _patterns(len(shares))
    else:
        found, code = np.unique(agrees, axis=1, return_inverse=True)
        patterns, code = found.astype(np.float64), code.ravel()
    for column, values in zip(way, value * _shapley(patterns, shares), strict=True):
        parts[column] += values.take(code)


@functools.cache
def _patterns(count: int) -> np.ndarray:
    """(d, 2^d) all ways in which d features may agree, 0 or 1: the j-th bit of the column's number."""
    return ((np.arange(2**count) >> np.arange(count)[:, np.newaxis]) & 1).astype(np.float64)


@functools.cache
def _nodes(count: int) -> list[tuple[float, float]]:
    """Places between 0 and 1 and their weights, by which a polynomial of degree 2 count - 1 is integrated."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def _shapley(agrees: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(d, p) Shapley values of the product of d factors, each 1 or 0 if known and its share if not.

    The factors are s + t (a - s) where each is known with probability t, and a factor's value is the
    integral over t of the others' product times (a - s): a polynomial of degree d - 1.
    """
    shares = shares[:, np.newaxis]
    step = agrees - shares
    found = np.zeros(agrees.shape)
    for node, weight in _nodes(-(-len(shares) // 2)):
        factors = shares + node * step  # > 0, as 0 < node < 1
        found += weight * np.multiply.reduce(factors, axis=0) / factors
    return found * step
