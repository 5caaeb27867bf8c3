"""Trees as SQL: one CASE per tree for batches, a walk through lists for single rows.

A forest in CASEs takes DuckDB about 60 us a split to plan; as lists it takes next to nothing, and
45 ns a step of each tree to walk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from behavsql.compile import literals
from behavsql.compile.form import MOST_VALUE, BatchForm, Form
from behavsql.quoting import literal


@dataclass(frozen=True)
class Split:
    """A row goes left where the atom is <= threshold, or missing and `missing_left`."""

    atom: int
    threshold: float  # not inf, which leaves have in `_Lists`
    missing_left: bool
    left: "Split | float"
    right: "Split | float"


Tree = Split | float  # a number is a leaf


def leaf_values(trees: list[Tree], form: Form) -> str:
    """The list of the leaf values a row comes to, one per tree, in order."""
    for tree in trees:
        for node in _nodes(tree):
            if isinstance(node, Split):
                form.ties.setdefault(node.atom, set()).add(node.threshold)
    if isinstance(form, BatchForm):
        return f"[{', '.join(_case(tree, form) for tree in trees)}]"
    return _walk(trees, form)


def _nodes(tree: Tree) -> Iterator[Tree]:
    yield tree
    if isinstance(tree, Split):
        yield from _nodes(tree.left)
        yield from _nodes(tree.right)


def _case(tree: Tree, form: Form) -> str:
    """A comparison with NULL is not true: so a missing value takes the ELSE."""
    if not isinstance(tree, Split):
        return literal(float(tree))
    left, right = _case(tree.left, form), _case(tree.right, form)
    atom, threshold = form.reference(tree.atom), literal(tree.threshold)
    if tree.missing_left:
        return f"CASE WHEN {atom} > {threshold} THEN {right} ELSE {left} END"
    return f"CASE WHEN {atom} <= {threshold} THEN {left} ELSE {right} END"


class _Lists:
    """A tree as lists, its root first and the two children of a split beside each other.

    A leaf is its own child and compares with infinity, so that a walk may take more steps than it
    needs.
    """

    def __init__(self, tree: Tree, place: Callable[[Split], int]) -> None:
        self.children: list[int] = []  # positions from 1
        self.atoms: list[int] = []
        self.thresholds: list[float] = []
        self.values: list[float] = []
        self.depth = 0
        level = [(tree, self._room(1))]
        while level := list(self._below(level, place)):
            self.depth += 1

    def _below(
        self, level: list[tuple[Tree, int]], place: Callable[[Split], int]
    ) -> Iterator[tuple[Tree, int]]:
        """Write the nodes of one level; those of the next with their positions."""
        for node, at in level:
            if isinstance(node, Split):
                child = self._room(2)
                self._set(at, place(node), node.threshold, child, 0.0)
                yield node.left, child
                yield node.right, child + 1
            else:
                self._set(at, 1, float("inf"), at, float(node))

    def _room(self, nodes: int) -> int:
        """The position of the first of so many new nodes."""
        first = len(self.atoms) + 1
        for column in (self.children, self.atoms, self.thresholds, self.values):
            column += [0] * nodes
        return first

    def _set(self, at: int, atom: int, threshold: float, child: int, value: float) -> None:
        i = at - 1
        self.children[i], self.atoms[i] = child, atom
        self.thresholds[i], self.values[i] = threshold, value

    @property
    def struct(self) -> str:
        """The text DuckDB casts to _TREE."""
        columns = {
            "c": map(str, self.children), "a": map(str, self.atoms),
            "t": (repr(float(value)) for value in self.thresholds),
            "v": (repr(float(value)) for value in self.values),
        }  # fmt: skip
        return "{" + ",".join(f"{name}:[{','.join(v)}]" for name, v in columns.items()) + "}"


_TREE = "STRUCT(c BIGINT[], a USMALLINT[], t DOUBLE[], v DOUBLE[])"


def _walk(trees: list[Tree], form: Form) -> str:
    """The same by walking through lists.

    The list that is walked holds every atom twice: missing as infinity, which goes right at every
    split, then missing as minus infinity, which goes left.
    """
    atoms = sorted({node.atom for tree in trees for node in _nodes(tree)
                    if isinstance(node, Split)})  # fmt: skip
    if not atoms:
        return literal([float(tree) for tree in trees])
    at = {atom: i for i, atom in enumerate(atoms, 1)}
    lists = [
        _Lists(tree, lambda node: at[node.atom] + (len(atoms) if node.missing_left else 0))
        for tree in trees
    ]
    read = f"list_select(_x, {literals.integers(atoms)})"
    both = (
        f"list_concat(list_transform({read}, lambda _u: coalesce(_u, 'inf'::DOUBLE)), "
        f"list_transform({read}, lambda _u: coalesce(_u, '-inf'::DOUBLE)))"
    )
    return form.bind(both, lambda y: _leaves(lists, y))


def _leaves(lists: list[_Lists], y: str) -> str:
    """A tree is an element of a list, not a constant: DuckDB builds those anew at every step."""
    step = f"_t.c[_n] + ({y}[_t.a[_n]] > _t.t[_n])::BIGINT"
    depth = max(tree.depth for tree in lists)
    trees = f"('[{','.join(tree.struct for tree in lists)}]'::{_TREE}[])"
    return (
        f"list_transform({trees}, lambda _t: "
        f"_t.v[list_reduce(range({depth}), lambda _n, _i: {step}, 1)])"
    )


def below_float32(threshold: float) -> float:
    """The largest float64 that is <= threshold once it is rounded to float32.

    scikit-learn's trees compare in single precision; rounding never reverses an order, so that one
    comparison in double precision says the same.
    """
    largest = float(np.finfo(np.float32).max)
    if threshold >= largest:  # as_float32 clips there
        return MOST_VALUE
    if threshold < -largest:
        return -np.inf  # nothing is so small, once it is clipped
    low = np.float32(threshold)
    # Compared as Python floats: numpy would round the threshold to float32 first.
    if float(low) > threshold:
        low = np.nextafter(low, np.float32(-np.inf))
    if float(low) == largest:
        return MOST_VALUE
    middle = (float(low) + float(np.nextafter(low, np.float32(np.inf)))) / 2
    return middle if np.float32(middle) <= low else float(np.nextafter(middle, -np.inf))
