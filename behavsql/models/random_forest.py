"""Sixty trees, each on a resample of the rows, splitting on random features."""

from collections.abc import Mapping
from typing import ClassVar, Self

from behavsql.frames import Table
from behavsql.models.base import at_most, labels, loss
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.space import CLASS_WEIGHTS, Between, OneOf, Range
from behavsql.models.parts.tree_model import TreeModel

TREES = 60
MOST_LEAVES = 48  # with the depth: what keeps the forest small once it is SQL
MOST_DEPTH = 8
SEARCH_TREES = 10  # enough to tell leaf sizes apart
LEAF_SIZES = (20, 80)
ROWS_PER_TREE = 5_000  # drawn anew for each tree: bounds time and file, and trees differ more
MOST_ROWS = 300_000


class RandomForest(TreeModel):
    """The smallest leaf is chosen by valid loss. Source: L. Breiman, 2001, Random forests."""

    name: ClassVar[str] = "random_forest"
    family: ClassVar[str] = "trees"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "min_samples_leaf": None,  # of LEAF_SIZES the one that valid prefers
        "max_features": "sqrt",
        "rows_per_tree": ROWS_PER_TREE,
        "class_weight": "none",
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "min_samples_leaf": Between(5, 200, log=True),
        "max_features": OneOf(("sqrt", 0.25, 0.5)),
        "rows_per_tree": Between(2_000, 50_000, log=True),
        "class_weight": CLASS_WEIGHTS,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        train = at_most(train, MOST_ROWS, self.seed)
        label = labels(self, train, classes=2)
        valid_label = labels(self, valid)
        self._encoder = Encoder(scale=False).fit(train.features)
        matrix, valid_matrix = self._matrix(train.features), self._matrix(valid.features)
        losses = {}
        given = self.option("min_samples_leaf")
        for size in LEAF_SIZES if given is None else (given,):
            trial = self._new(SEARCH_TREES, size, len(train)).fit(matrix, label)
            answer = self._arrays(trial.estimators_).predict(valid_matrix)
            losses[size] = loss(self.kind, valid_label, answer)
        size = min(losses, key=losses.get)
        forest = self._new(TREES, size, len(train)).fit(matrix, label)
        self._trees = self._arrays(forest.estimators_)
        self._importance = self._encoder.shares(forest.feature_importances_)
        self._params = {
            "trees": TREES,
            "rows_per_tree": min(len(train), self.option("rows_per_tree")),
            "max_features": self.option("max_features"),
            "min_samples_leaf": size,
            "max_leaf_nodes": MOST_LEAVES,
            "max_depth": MOST_DEPTH,
            "valid_loss": loss(self.kind, valid_label, self._trees.predict(valid_matrix)),
            **self.options,
        }
        return self

    def _new(self, trees: int, leaf_size: int, rows: int):
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        cls = RandomForestClassifier if self.kind == "binary" else RandomForestRegressor
        return cls(
            **self._weighting(),
            n_estimators=trees,
            min_samples_leaf=leaf_size,
            max_leaf_nodes=MOST_LEAVES,
            max_depth=MOST_DEPTH,
            max_samples=min(rows, self.option("rows_per_tree")),
            max_features=self.option("max_features"),
            n_jobs=self.threads,
            random_state=self.seed,
        )
