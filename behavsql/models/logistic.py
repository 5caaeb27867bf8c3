"""Logistic regression with an L1, L2 or elastic-net penalty, whichever valid prefers."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import at_most, labels, loss
from behavsql.models.parts import class_weight
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.space import CLASS_WEIGHTS, PCA, Between, OneOf, Range
from behavsql.models.parts.weights import WeightedSum

SEARCH_ROWS = 10_000  # penalties are compared on at most so many rows
MOST_ROWS = 500_000  # and the chosen one is fitted on at most so many
MOST_PASSES = 10  # over the rows, for the elastic net, whose solver never quite settles

# Share of L1 -> weights of the penalty per row, so that they mean the same at any number of rows.
PENALTIES = {
    0.0: (1e-4, 1e-3, 1e-2, 1e-1),
    1.0: (1e-3, 3e-3, 1e-2, 3e-2),
    0.5: (3e-3, 1e-2),
}
# The fastest solver that serves each share. liblinear also penalises the intercept; scaling it up
# makes that negligible.
SOLVERS = {
    0.0: {"solver": "newton-cholesky", "tol": 1e-6, "max_iter": 100},
    0.5: {"solver": "saga", "tol": 1e-3, "max_iter": MOST_PASSES},
    1.0: {"solver": "liblinear", "tol": 1e-3, "max_iter": 100, "intercept_scaling": 10.0},
}


@dataclass(frozen=True)
class Choice:
    """One point of the search: minimise log loss + penalty (share |w| + (1 - share) w^2 / 2)."""

    log: bool  # features on the log scale
    share: float  # 0 = L2, 1 = L1, between = elastic net
    penalty: float


class Logistic(WeightedSum):
    """P(label = 1) = 1 / (1 + exp(-sum)). Features are log-scaled if valid prefers it.

    Options that are None are chosen by valid loss among a few values.
    """

    name: ClassVar[str] = "logistic"
    family: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "log_features": None,
        "l1_share": None,
        "penalty_per_row": None,
        "class_weight": "none",
        "pca": 0,
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "log_features": OneOf((True, False)),
        "l1_share": OneOf((0.0, 0.5, 1.0)),
        "penalty_per_row": Between(1e-5, 0.3, log=True),
        "class_weight": CLASS_WEIGHTS,
        "pca": PCA,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        labels(self, train, classes=2)
        labels(self, valid)
        few = at_most(train, SEARCH_ROWS, self.seed)
        few = few if len(np.unique(few.label)) > 1 else train
        choice = self._search(few, valid)
        most = at_most(train, MOST_ROWS, self.seed)
        encoder = Encoder(log=choice.log).fit(most.features)
        weights = self._weights(encoder.transform(most.features), most.label, choice)
        self._adopt(encoder, *weights)
        penalty = {0.0: "l2", 1.0: "l1"}.get(choice.share, "elastic net")
        self._params = {
            "penalty": penalty,
            "penalty_per_row": choice.penalty,
            "l1_share": choice.share,
            "log_features": choice.log,
            "nonzero": int(np.count_nonzero(self._coefficients)),
            "valid_loss": loss(self.kind, valid.label, self.predict(valid)),
            **self.options,
        }
        return self

    def _search(self, train: Table, valid: Table) -> Choice:
        """The first kind of penalty on both feature scales, then the others on the better scale."""
        penalties = self._penalties(PENALTIES)
        first, *rest = penalties
        scored: dict[Choice, float] = {}
        for log in self._allowed("log_features", (True, False)):
            choices = [Choice(log, first, penalty) for penalty in penalties[first]]
            scored |= self._losses(choices, train, valid)
        log = min(scored, key=scored.get).log
        others = [Choice(log, share, penalty) for share in rest for penalty in penalties[share]]
        if others:
            scored |= self._losses(others, train, valid)
        return min(scored, key=scored.get)

    def _losses(self, choices: list[Choice], train: Table, valid: Table) -> dict[Choice, float]:
        """Valid loss of each choice; all of them must agree on the scale of the features."""
        encoder = Encoder(log=choices[0].log).fit(train.features)
        matrix, valid_matrix = (encoder.transform(part.features) for part in (train, valid))
        losses = {}
        for choice in choices:
            coefficients, intercept = self._weights(matrix, train.label, choice)
            answer = self._answer(valid_matrix @ coefficients + intercept)
            losses[choice] = loss(self.kind, valid.label, answer)
        return losses

    def _weights(
        self, matrix: np.ndarray, label: np.ndarray, choice: Choice
    ) -> tuple[np.ndarray, float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        solver = SOLVERS[choice.share]
        way = class_weight.checked(self.kind, self.option("class_weight"))
        components, matrix = self._projected(matrix)
        model = LogisticRegression(
            C=1 / (choice.penalty * len(label)),
            l1_ratio=choice.share,
            class_weight=None if way == "none" else way,
            random_state=self.seed,
            **solver,
        )
        with warnings.catch_warnings():
            # A penalty that has not settled by then competes on valid like the others.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, label)
        coefficients, intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])
        return components.fold(coefficients, intercept) if components else (coefficients, intercept)

    def _answer(self, sums: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(sums, -500, 500)))

    def _answer_sql(self, total: str) -> str:
        return f"1e0 / (1e0 + exp(-greatest(least({total}, 500e0), -500e0)))"
