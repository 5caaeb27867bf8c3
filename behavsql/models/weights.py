"""What the two linear models share: a weighted sum of encoded features."""

from abc import abstractmethod
from typing import Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import Model
from behavsql.models.encoding import Encoder


class WeightedSum(Model):
    """intercept + matrix @ coefficients, which the subclass fits and turns into an answer.

    Importance is |coefficient| times the standard deviation of its column in train.
    """

    def predict(self, table: Table) -> np.ndarray:
        return self._answer(self._sum(table.features))

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

    def _adopt(self, encoder: Encoder, coefficients: np.ndarray, intercept: float) -> None:
        self._encoder = encoder
        self._coefficients = coefficients
        self._intercept = float(intercept)
        self._importance = encoder.shares(np.abs(coefficients) * encoder.spread)

    def _sum(self, features: pl.DataFrame) -> np.ndarray:
        return self._encoder.transform(features) @ self._coefficients + self._intercept
