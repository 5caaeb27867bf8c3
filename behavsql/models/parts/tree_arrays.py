"""Decision trees as plain arrays: stored without pickle, walked by numpy alone."""

from dataclasses import dataclass, fields
from io import BytesIO
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from sklearn.tree import BaseDecisionTree

    from behavsql.compile.trees import Tree
    from behavsql.models.parts import tree_shap

CHUNK = 2048  # rows walked together, few enough that they stay in the processor's cache


@dataclass(frozen=True)
class TreeArrays:
    """t trees of k nodes in all, one behind the other; a row's answer is the mean over trees.

    At a node a row goes left if x[feature] <= threshold, or x is NaN and missing_go_left. A leaf
    is its own left and right child, so that a walk may take more steps than the row needs.
    """

    roots: np.ndarray  # (t,) int32
    depths: np.ndarray  # (t,) int32: steps from the root to the deepest leaf
    feature: np.ndarray  # (k,) int32
    threshold: np.ndarray  # (k,) float64
    left: np.ndarray  # (k,) int32
    right: np.ndarray  # (k,) int32
    missing_go_left: np.ndarray  # (k,) bool
    value: np.ndarray  # (k,) float64: P(label = 1) or the mean label of the node

    @classmethod
    def of(cls, trees: list["BaseDecisionTree"], output: int) -> Self:
        """From fitted scikit-learn trees; `output` = the class whose probability is the answer."""
        inner = [tree.tree_ for tree in trees]
        counts = [tree.node_count for tree in inner]
        roots = np.cumsum([0, *counts[:-1]])
        nodes = np.arange(sum(counts))
        first = np.repeat(roots, counts)
        left = np.concatenate([tree.children_left for tree in inner])
        right = np.concatenate([tree.children_right for tree in inner])
        leaf = left < 0
        return cls(
            roots=roots.astype(np.int32),
            depths=np.array([tree.max_depth for tree in inner], dtype=np.int32),
            feature=np.where(leaf, 0, np.concatenate([t.feature for t in inner])).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in inner]),
            left=np.where(leaf, nodes, left + first).astype(np.int32),
            right=np.where(leaf, nodes, right + first).astype(np.int32),
            missing_go_left=np.concatenate([t.missing_go_to_left for t in inner]).astype(bool),
            value=np.concatenate([tree.value[:, 0, output] for tree in inner]),
        )

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, m) float32 -> (n,) float64."""
        starts = range(0, len(matrix), CHUNK)
        parts = [self._predict_chunk(matrix[start : start + CHUNK]) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    def _predict_chunk(self, matrix: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(matrix).ravel()
        first = np.arange(len(matrix)) * matrix.shape[1]
        any_missing = bool(np.isnan(flat).any())
        total = np.zeros(len(matrix))
        for root, depth in zip(self.roots, self.depths, strict=True):
            node = np.full(len(matrix), root)
            for _ in range(depth):
                x = flat.take(first + self.feature.take(node))
                go_left = x <= self.threshold.take(node)
                if any_missing:
                    go_left |= np.isnan(x) & self.missing_go_left.take(node)
                node = np.where(go_left, self.left.take(node), self.right.take(node))
            total += self.value.take(node)
        return total / len(self.roots)

    def nested(self, atom: "Callable[[int], int]") -> "list[Tree]":
        """The trees for the compiler; `atom` gives the place of a column of the matrix."""
        from behavsql.compile.trees import Split, below_float32

        def node(i: int) -> "Tree":
            if self.left[i] == i:
                return float(self.value[i])
            return Split(
                atom(int(self.feature[i])), below_float32(self.threshold[i]),
                bool(self.missing_go_left[i]), node(self.left[i]), node(self.right[i]),
            )  # fmt: skip

        return [node(root) for root in self.roots]

    def forks(self) -> "list[tree_shap.Tree]":
        """The trees with the shares of the train rows that went left.

        A node's value is the mean of its children's by their rows: so the shares need not be stored.
        """
        from behavsql.models.parts.tree_shap import Fork

        def node(i: int) -> "tree_shap.Tree":
            if self.left[i] == i:
                return float(self.value[i])
            left, right = self.left[i], self.right[i]
            apart = self.value[left] - self.value[right]
            share = (self.value[i] - self.value[right]) / apart if apart else 0.5
            return Fork(
                int(self.feature[i]), float(self.threshold[i]), bool(self.missing_go_left[i]),
                float(np.clip(share, 0.0, 1.0)), node(left), node(right),
            )  # fmt: skip

        return [node(root) for root in self.roots]

    def to_bytes(self) -> bytes:
        """A compressed .npz with one array per field."""
        file = BytesIO()
        np.savez_compressed(file, **vars(self))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The inverse of `to_bytes`; refuses pickled content."""
        with np.load(BytesIO(stored), allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def as_float32(matrix: np.ndarray) -> np.ndarray:
    """What scikit-learn's trees see: single precision, its largest number instead of infinity."""
    largest = np.finfo(np.float32).max
    return np.clip(matrix, -largest, largest).astype(np.float32)
