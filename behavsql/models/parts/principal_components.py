"""Fewer inputs for a linear first layer: the directions in which the rows of train differ most."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from behavsql.errors import ModelError


@dataclass(frozen=True)
class PrincipalComponents:
    """k directions of an encoded matrix (n, m).

    What is learned on the projection is folded into weights on the matrix itself: storing,
    predicting and SQL know nothing of components, and nothing is lost but rounding.
    """

    mean: np.ndarray  # (m,)
    directions: np.ndarray  # (m, k)

    @classmethod
    def of(cls, matrix: np.ndarray, size: float) -> Self:
        """size: the number of components, or, below 1, the share of the variance they keep.

        Source: Pearson 1901; from the eigenvectors of the covariance, in descending order.
        """
        from sklearn.decomposition import PCA

        if not size > 0 or (size > 1 and size != int(size)):
            raise ModelError(
                f"option pca: it is {size}; allowed are 0 for none, a share of the variance below 1 "
                "and a whole number of components. Choose one of these."
            )
        most = min(matrix.shape)
        wanted = float(size) if size < 1 else min(int(size), most)
        fitted = PCA(wanted, svd_solver="covariance_eigh").fit(matrix)
        return cls(fitted.mean_, fitted.components_.T)

    def project(self, matrix: np.ndarray) -> np.ndarray:
        """(n, m) -> (n, k)."""
        return (matrix - self.mean) @ self.directions

    def fold(
        self, weights: np.ndarray, bias: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray | float]:
        """Weights on the components, (k,) or (k, units), and their bias, as those on the matrix."""
        folded = self.directions @ weights.astype(np.float64)
        return folded, bias - self.mean @ folded
