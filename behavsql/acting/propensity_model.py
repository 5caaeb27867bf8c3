"""How likely each action is in a state: a multinomial logistic regression on binned numbers."""

from typing import Self

import numpy as np

BINS = 8  # of each number that is known of a user
MOST_ROWS = 200_000  # it is fitted on
STRENGTH = 0.3  # of the penalty, inverse


class PropensityModel:
    """Beside the state it reads the share of each action at the moment.

    How many are acted upon at a moment is decided before whom, so the moment's own shares are known.
    """

    def fit(self, matrix: np.ndarray, shares: np.ndarray, action: np.ndarray) -> Self:
        """matrix (n, f) with NaN = missing; shares (n, k); action (n,) of which the k occur or not."""
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        some = np.sort(np.random.default_rng(0).permutation(len(action))[:MOST_ROWS])
        self._edges = [_edges(column) for column in matrix.T]
        self._starts = np.cumsum([0, *(len(edges) + 2 for edges in self._edges)])
        self._center = _log_odds(shares).mean(axis=0)
        bins, odds = self._bins(matrix[some]), _log_odds(shares[some]) - self._center
        n, f = bins.shape
        ones = sparse.csr_matrix(
            (np.ones(n * f), bins.ravel(), np.arange(0, n * f + 1, f)), (n, self._starts[-1])
        )
        inputs = sparse.hstack([ones, sparse.csr_matrix(odds)]).tocsr()
        model = LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-4).fit(inputs, action[some])
        coefficients = (
            model.coef_ if len(model.classes_) > 2 else np.vstack([0 * model.coef_, model.coef_])
        )
        intercept = model.intercept_ if len(model.classes_) > 2 else np.r_[0.0, model.intercept_]
        self._coefficients = np.zeros((shares.shape[1], coefficients.shape[1]))
        self._intercept = np.full(shares.shape[1], -np.inf)  # what never occurred does not
        self._coefficients[model.classes_] = coefficients
        self._intercept[model.classes_] = intercept
        return self

    def predict(self, matrix: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """(n, k), rows adding up to 1."""
        logits = np.tile(self._intercept, (len(matrix), 1))
        for place in self._bins(matrix).T:
            logits += self._coefficients.T[place]
        logits += (_log_odds(shares) - self._center) @ self._coefficients[:, self._starts[-1] :].T
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return odds / odds.sum(axis=1, keepdims=True)

    def _bins(self, matrix: np.ndarray) -> np.ndarray:
        """(n, f) int: the place of each number's bin among all bins; missing has one of its own."""
        return np.stack([
            start + np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column))
            for column, edges, start in zip(matrix.T, self._edges, self._starts, strict=False)
        ], axis=1)  # fmt: skip


def moment_shares(moment: np.ndarray, action: np.ndarray, actions: int) -> np.ndarray:
    """(n, k) which share of a decision's moment got each action, smoothed."""
    counts = np.bincount(moment * actions + action)
    counts = np.pad(counts, (0, -len(counts) % actions)).reshape(-1, actions) + 1 / actions
    shares = counts / counts.sum(axis=1, keepdims=True)
    return shares[moment]


def anchored(chance: np.ndarray, moment: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The same odds between users, scaled at each moment to the share (n, k) that each action had."""
    k, sizes = chance.shape[1], np.maximum(np.bincount(moment), 1)
    found = chance
    for _ in range(10):
        expected = np.stack(
            [np.bincount(moment, found[:, one]) / sizes for one in range(k)], axis=1
        )
        found = found * shares / np.maximum(expected[moment], 1e-12)
        found /= found.sum(axis=1, keepdims=True)
    return found


def _log_odds(shares: np.ndarray) -> np.ndarray:
    """(n, k - 1) of each action against doing nothing."""
    return np.log(shares[:, 1:] / shares[:, :1])


def _edges(column: np.ndarray) -> np.ndarray:
    known = column[~np.isnan(column)]
    if not len(known):
        return np.empty(0)
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
