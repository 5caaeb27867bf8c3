"""What the two linear models share: a weighted sum of encoded features."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import Model
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.principal_components import PrincipalComponents

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation


class WeightedSum(Model):
    """intercept + matrix @ coefficients, which the subclass fits and turns into an answer.

    Importance is |coefficient| times the standard deviation of its column in train.
    """

    def predict(self, table: Table) -> np.ndarray:
        return self._answer(self._sum(table.features))

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact, on the scale of the sum; the base is the average row of train."""
        from behavsql.models.parts.explanation import Explanation, together

        matrix = self._encoder.transform(table.features)
        parts = (matrix - self._encoder.centre) * self._coefficients
        base = float(self._encoder.centre @ self._coefficients) + self._intercept
        names, parts = together([column.source for column in self._encoder.columns], parts)
        answer = self._answer(np.append(self._sum(table.features), base))
        return Explanation.exact("weights", names, base, parts, answer[-1], answer[:-1])

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile.weighted_sum import weighted_sum

        total = weighted_sum(self._encoder, self._coefficients, self._intercept, form)
        return form.bind(total, self._answer_sql)

    @abstractmethod
    def _answer_sql(self, total: str) -> str:
        """`_answer` in SQL, of the name of a weighted sum."""

    @abstractmethod
    def _answer(self, sums: np.ndarray) -> np.ndarray:
        """Weighted sums (n,) -> predictions (n,)."""

    def save(self) -> dict[str, bytes]:
        return self._card(
            encoder=self._encoder.to_dict(),
            intercept=self._intercept,
            coefficients=self._coefficients.tolist(),
        )

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        coefficients = np.array(card["coefficients"])
        model._adopt(Encoder.from_dict(card["encoder"]), coefficients, card["intercept"])
        return model

    def _allowed(self, option: str, values: Sequence[object]) -> Sequence[object]:
        """The values of an option to compare: the given one alone, if one was given."""
        given = self.option(option)
        return values if given is None else (given,)

    def _penalties(self, usual: Mapping[float, Sequence[float]]) -> dict[float, Sequence[float]]:
        """Share of L1 -> penalties to compare; a share the search does not know has those of 0.5."""
        shares = self._allowed("l1_share", list(usual))
        return {
            share: self._allowed("penalty_per_row", usual.get(share, usual[0.5]))
            for share in shares
        }

    def _projected(self, matrix: np.ndarray) -> tuple[PrincipalComponents | None, np.ndarray]:
        """What the weights are fitted on: the matrix, or its principal components if they are asked for."""
        size = self.option("pca")
        if not size:
            return None, matrix
        components = PrincipalComponents.of(matrix, size)
        return components, components.project(matrix)

    def _adopt(self, encoder: Encoder, coefficients: np.ndarray, intercept: float) -> None:
        self._encoder = encoder
        self._coefficients = coefficients
        self._intercept = float(intercept)
        self._importance = encoder.shares(np.abs(coefficients) * encoder.spread)

    def _sum(self, features: pl.DataFrame) -> np.ndarray:
        matrix = self._encoder.transform(features)
        # Not `@`: there a row's last bits depend on which rows stand beside it.
        return np.einsum("ij,j->i", matrix, self._coefficients) + self._intercept
