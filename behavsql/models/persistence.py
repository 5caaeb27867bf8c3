"""Reference: the next window will be like the last one."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import Model, labels
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation


class Persistence(Model):
    """What happened in the window before the cutoff, said again.

    count, amount  the last window's value itself
    binary         the share of positives in train among rows with the same last window
    An unknown last window (NaN), or one train has no row of, gets the mean of train.
    """

    name: ClassVar[str] = "persistence"
    family: ClassVar[str] = "reference"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})

    def fit(self, train: Table, valid: Table) -> Self:
        label = labels(self, train)
        mean = float(label.mean())
        self._params = {"mean": mean}
        if self.kind == "binary":
            last = train.last_window
            for name, rows in {"after_0": last <= 0, "after_1": last > 0}.items():
                self._params[name] = float(label[rows].mean()) if rows.any() else mean
        return self

    def predict(self, table: Table) -> np.ndarray:
        last = table.last_window
        if self.kind == "binary":
            answer = np.where(last > 0, self._params["after_1"], self._params["after_0"])
        else:
            answer = np.maximum(last, 0.0)
        return np.where(np.isnan(last), self._params["mean"], answer).astype(np.float64)

    def features(self, task: str) -> tuple[str, ...]:
        return (f"{task}_last_window",)

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """The last window moves the answer away from the mean, which is said where it is unknown."""
        from behavsql.models.parts.explanation import Explanation

        answer, mean = self.predict(table), self._params["mean"]
        parts = (answer - mean)[:, np.newaxis]
        return Explanation.exact("difference", self.features(table.task), mean, parts, mean, answer)

    def to_sql(self, form: "Form") -> str:
        last = form.last_window()
        if self.kind == "binary":
            after_1, after_0 = literal(self._params["after_1"]), literal(self._params["after_0"])
            answer = f"CASE WHEN {last} > 0 THEN {after_1} WHEN {last} <= 0 THEN {after_0} END"
        else:
            answer = f"CASE WHEN {last} > 0 THEN {last} WHEN {last} <= 0 THEN 0e0 END"
        return f"coalesce({answer}, {literal(self._params['mean'])})"

    def save(self) -> dict[str, bytes]:
        return self._card()

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        model._read_card(files)
        return model
