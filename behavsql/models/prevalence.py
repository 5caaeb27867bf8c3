"""Reference: everybody gets the mean of train."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import Model, labels
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation


class Prevalence(Model):
    """One constant: what a model that looked at no feature would say."""

    name: ClassVar[str] = "prevalence"
    family: ClassVar[str] = "reference"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})

    def fit(self, train: Table, valid: Table) -> Self:
        self._params = {"mean": float(labels(self, train).mean())}
        return self

    def predict(self, table: Table) -> np.ndarray:
        return np.full(len(table), self._params["mean"])

    def features(self, task: str) -> tuple[str, ...]:
        return ()

    def to_sql(self, form: "Form") -> str:
        return literal(self._params["mean"])

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Nothing adds to the base."""
        from behavsql.models.parts.explanation import Explanation

        answer = self.predict(table)
        base = float(self.predict(usual)[0])
        return Explanation.exact("none", (), base, np.zeros((len(answer), 0)), base, answer)

    def save(self) -> dict[str, bytes]:
        return self._card()

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        model._read_card(files)
        return model
