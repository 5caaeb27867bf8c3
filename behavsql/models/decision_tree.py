"""One decision tree, as large as valid allows."""

from collections.abc import Mapping
from typing import ClassVar, Self

from behavsql.frames import Table
from behavsql.models.base import at_most, labels, loss
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.space import CLASS_WEIGHTS, Between, Range
from behavsql.models.parts.tree_model import TreeModel

LEAVES = (8, 24)  # the best splits first, so a smaller tree is a pruned larger one
FEWEST_IN_LEAF = 20
MOST_ROWS = 300_000


class DecisionTree(TreeModel):
    """The number of leaves is chosen by valid loss; every leaf holds 20 rows of train or more."""

    name: ClassVar[str] = "decision_tree"
    family: ClassVar[str] = "trees"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "max_leaf_nodes": None,  # of LEAVES the number that valid prefers
        "min_samples_leaf": FEWEST_IN_LEAF,
        "class_weight": "none",
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "max_leaf_nodes": Between(4, 48, log=True),
        "min_samples_leaf": Between(10, 500, log=True),
        "class_weight": CLASS_WEIGHTS,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        train = at_most(train, MOST_ROWS, self.seed)
        label = labels(self, train, classes=2)
        valid_label = labels(self, valid)
        self._encoder = Encoder(scale=False).fit(train.features)
        matrix, valid_matrix = self._matrix(train.features), self._matrix(valid.features)
        best = float("inf")
        given = self.option("max_leaf_nodes")
        for leaves in LEAVES if given is None else (given,):
            tree = self._new(leaves).fit(matrix, label)
            arrays = self._arrays([tree])
            valid_loss = loss(self.kind, valid_label, arrays.predict(valid_matrix))
            if valid_loss < best:
                best, self._trees = valid_loss, arrays
                self._importance = self._encoder.shares(tree.feature_importances_)
                self._params = {
                    "max_leaf_nodes": leaves,
                    "min_samples_leaf": self.option("min_samples_leaf"),
                    "leaves": int(tree.get_n_leaves()),
                    "depth": int(tree.get_depth()),
                    "valid_loss": valid_loss,
                    **self.options,
                }
        return self

    def _new(self, leaves: int):
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        cls = DecisionTreeClassifier if self.kind == "binary" else DecisionTreeRegressor
        least = self.option("min_samples_leaf")
        return cls(
            max_leaf_nodes=leaves,
            min_samples_leaf=least,
            random_state=self.seed,
            **self._weighting(),
        )
