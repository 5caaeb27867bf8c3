"""What the scikit-learn tree models share: encoding, storage and prediction by arrays."""

from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import Model
from behavsql.models.parts import class_weight
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.tree_arrays import TreeArrays, as_float32
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation


class TreeModel(Model):
    """A mean over trees kept as arrays. Importance is the impurity the splits removed."""

    def predict(self, table: Table) -> np.ndarray:
        return self._trees.predict(self._matrix(table.features))

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact, on the answer's own scale."""
        from behavsql.models.parts import tree_shap
        from behavsql.models.parts.explanation import Explanation, together

        matrix, trees = self._matrix(table.features), self._trees.forks()
        base = sum(map(tree_shap.expected, trees)) / len(trees)
        sources = [column.source for column in self._encoder.columns]
        names, parts = together(sources, tree_shap.contributions(trees, matrix) / len(trees))
        return Explanation.exact("TreeSHAP", names, base, parts, base, self._trees.predict(matrix))

    def breakpoints(self) -> dict[str, list[float]]:
        from behavsql.models.parts import tree_shap

        sources = [column.source for column in self._encoder.columns]
        return tree_shap.breakpoints(self._trees.forks(), sources)

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import encoder, trees

        columns = self._encoder.columns
        roots = self._trees.nested(lambda j: encoder.atom(columns[j], form))
        return f"list_sum({trees.leaf_values(roots, form)}) / {literal(float(len(roots)))}"

    def save(self) -> dict[str, bytes]:
        card = self._card(encoder=self._encoder.to_dict())
        return {**card, "trees.npz": self._trees.to_bytes()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        model._encoder = Encoder.from_dict(model._read_card(files)["encoder"])
        model._trees = TreeArrays.from_bytes(files["trees.npz"])
        return model

    def _weighting(self) -> dict[str, str]:
        """The argument of a scikit-learn classifier that weighs its classes, if they are weighted."""
        way = class_weight.checked(self.kind, self.option("class_weight"))
        return {} if way == "none" else {"class_weight": way}

    def _matrix(self, features: pl.DataFrame) -> np.ndarray:
        return as_float32(self._encoder.transform(features))

    def _arrays(self, trees: list) -> TreeArrays:
        """The answer is P(label = 1) of a classifier, the only output of a regressor."""
        return TreeArrays.of(trees, output=1 if self.kind == "binary" else 0)
