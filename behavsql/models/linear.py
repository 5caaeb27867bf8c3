"""Linear regression with a ridge, lasso or elastic-net penalty, on the label or on its log."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import at_most, labels, loss
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.smearing import smearing_factor, unlogged, unlogged_sql
from behavsql.models.parts.space import PCA, Between, OneOf, Range
from behavsql.models.parts.weights import WeightedSum
from behavsql.quoting import literal

SEARCH_ROWS = 50_000  # penalties are compared on at most so many rows
MOST_ROWS = 500_000  # and the chosen one is fitted on at most so many
MOST = 2.0  # no answer is larger than this many times the largest label of train

# Share of L1 -> weights of the penalty per row, for a label of standard deviation 1.
PENALTIES = {
    0.0: (1e-3, 1e-2, 1e-1, 1.0),
    1.0: (1e-3, 3e-3, 1e-2, 3e-2),
    0.5: (1e-3, 3e-3, 1e-2, 3e-2),
}


@dataclass(frozen=True)
class Choice:
    """One point of the search."""

    log_features: bool
    log_label: bool  # fitted to log(1 + label), brought back by the smearing factor
    l1_share: float  # 0 = ridge, 1 = lasso, between = elastic net
    penalty_per_row: float


class Linear(WeightedSum):
    """The weighted sum itself, or exp(sum) smearing - 1; between 0 and twice train's largest.

    Options that are None are chosen by valid loss among a few values.
    """

    name: ClassVar[str] = "linear"
    family: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset({"count", "amount"})
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "log_features": None,
        "log_label": None,
        "l1_share": None,
        "penalty_per_row": None,
        "pca": 0,
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "log_features": OneOf((True, False)),
        "log_label": OneOf((False, True)),
        "l1_share": OneOf((0.0, 0.5, 1.0)),
        "penalty_per_row": Between(1e-4, 3.0, log=True),
        "pca": PCA,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        labels(self, train, classes=2)
        labels(self, valid)
        most = at_most(train, MOST_ROWS, self.seed)
        few = at_most(train, SEARCH_ROWS, self.seed)
        choice = self._search(few if len(np.unique(few.label)) > 1 else train, valid)
        encoder = Encoder(log=choice.log_features).fit(most.features)
        weights = self._fit_one(encoder.transform(most.features), most.label, choice)
        self._adopt(encoder, *weights)
        self._params |= {
            **asdict(choice),
            "nonzero": int(np.count_nonzero(self._coefficients)),
            "valid_loss": loss(self.kind, valid.label, self.predict(valid)),
            **self.options,
        }
        return self

    def _search(self, train: Table, valid: Table) -> Choice:
        """The first kind of penalty on every pair of scales, then the others on the best pair."""
        penalties = self._penalties(PENALTIES)
        first, *rest = penalties
        on_labels = self._allowed("log_label", (False, True))
        scored: dict[Choice, float] = {}
        for log in self._allowed("log_features", (True, False)):
            ridges = [Choice(log, y, first, p) for y in on_labels for p in penalties[first]]
            scored |= self._losses(ridges, train, valid)
        best = min(scored, key=scored.get)
        others = [
            Choice(best.log_features, best.log_label, share, penalty)
            for share in rest
            for penalty in penalties[share]
        ]
        if others:
            scored |= self._losses(others, train, valid)
        return min(scored, key=scored.get)

    def _losses(self, choices: list[Choice], train: Table, valid: Table) -> dict[Choice, float]:
        """Valid loss of each choice; all of them must agree on the scale of the features."""
        encoder = Encoder(log=choices[0].log_features).fit(train.features)
        matrix, valid_matrix = (encoder.transform(part.features) for part in (train, valid))
        losses = {}
        for choice in choices:
            coefficients, intercept = self._fit_one(matrix, train.label, choice)
            answer = self._answer(valid_matrix @ coefficients + intercept)
            losses[choice] = loss(self.kind, valid.label, answer)
        return losses

    def _fit_one(
        self, matrix: np.ndarray, label: np.ndarray, choice: Choice
    ) -> tuple[np.ndarray, float]:
        """Weights of one choice; what `_answer` needs beside them goes to the parameters."""
        target = np.log1p(label) if choice.log_label else label
        spread = float(target.std())
        components, inputs = self._projected(matrix)
        coefficients, intercept = _weights(inputs, target / spread, choice)
        if components:
            coefficients, intercept = components.fold(coefficients, intercept)
        coefficients, intercept = coefficients * spread, intercept * spread
        self._params = {"largest": float(label.max()), "smearing": None}
        if choice.log_label:
            fitted = matrix @ coefficients + intercept
            self._params["smearing"] = smearing_factor(target, fitted)
        return coefficients, intercept

    def _answer(self, sums: np.ndarray) -> np.ndarray:
        smearing = self._params["smearing"]
        answer = sums if smearing is None else unlogged(sums, smearing)
        return np.clip(answer, 0.0, MOST * self._params["largest"])

    def _answer_sql(self, total: str) -> str:
        smearing = self._params["smearing"]
        answer = total if smearing is None else unlogged_sql(total, smearing)
        return f"greatest(least({answer}, {literal(MOST * self._params['largest'])}), 0e0)"


def _weights(matrix: np.ndarray, target: np.ndarray, choice: Choice) -> tuple[np.ndarray, float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNet, Ridge

    if choice.l1_share == 0:
        model = Ridge(alpha=choice.penalty_per_row * len(target), solver="cholesky")
    else:
        model = ElasticNet(
            alpha=choice.penalty_per_row,
            l1_ratio=choice.l1_share,
            precompute=True,
            tol=1e-3,
            max_iter=5000,
        )
    with warnings.catch_warnings():
        # A penalty that has not settled by then competes on valid like the others.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, target)
    return model.coef_.astype(np.float64), float(model.intercept_)
