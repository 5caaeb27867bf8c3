"""Gaussian naive Bayes: the density of every feature given the label, multiplied."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels, loss
from behavsql.models.parts.encoding import BLOCK_ROWS, FEWEST_ROWS, Encoder
from behavsql.models.parts.space import Between, OneOf, Range

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

MOST_ROWS = 200_000  # it is fitted on at most so many
IMPORTANCE_ROWS = 10_000
WIDEST = 1e6  # standard deviations from the mean of train; what is further away counts as so far
LARGEST = 100.0  # no single factor is worth more than exp(100)
SMOOTHINGS = (1e-9, 1e-3, 1e-1)  # shares of a feature's variance that are added to those per label
WEIGHTS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
PRIOR_ROWS = 1.0  # Laplace: every category counts as seen once more with each label


@dataclass(frozen=True)
class Gaussians:
    """What is known of each of the m columns of an unscaled matrix.

    A number is sign(x) log1p|x| if `log`, then standardised by `mean` and `std` (m,). `centre` and
    `variance` (2, m) are those of the standardised number where the label is 0 and 1. A category's
    flag has the log of its probability ratio in `ratio` (m,).
    """

    log: bool
    is_number: np.ndarray  # (m,) bool
    mean: np.ndarray
    std: np.ndarray
    centre: np.ndarray
    variance: np.ndarray
    ratio: np.ndarray

    def standardised(self, matrix: np.ndarray) -> np.ndarray:
        """The numbers (n, numbers) as the densities take them; missing = NaN."""
        values = matrix[:, self.is_number]
        if self.log:
            values = np.sign(values) * np.log1p(np.abs(values))
        z = (values - self.mean[self.is_number]) / self.std[self.is_number]
        return np.clip(z, -WIDEST, WIDEST)

    @property
    def parabola(self) -> np.ndarray:
        """(3, numbers) a, b, c: log N(z; 1) - log N(z; 0) = (a z + b) z + c."""
        c0, c1 = self.centre[:, self.is_number]
        v0, v1 = self.variance[:, self.is_number]
        constant = (np.log(v0) - np.log(v1) + c0**2 / v0 - c1**2 / v1) / 2
        return np.stack([(1 / v0 - 1 / v1) / 2, c1 / v1 - c0 / v0, constant])

    def factors(self, matrix: np.ndarray) -> np.ndarray:
        """(n, m) log p(column | 1) - log p(column | 0); 0 where the number or category is unknown."""
        z, found = self.standardised(matrix), matrix * self.ratio
        square, line, constant = self.parabola
        found[:, self.is_number] = np.nan_to_num((square * z + line) * z + constant)
        return np.clip(found, -LARGEST, LARGEST)

    def evidence(self, matrix: np.ndarray) -> np.ndarray:
        """(n,) sum of the factors of each row, few rows at a time: they stay in the cache."""
        blocks = [
            self.factors(matrix[start : start + BLOCK_ROWS]).sum(axis=1)
            for start in range(0, len(matrix), BLOCK_ROWS)
        ]
        return np.concatenate([np.empty(0), *blocks])

    def smoothed(self, share: float) -> Self:
        """With so much added to the variances, of 1 in all of train."""
        return replace(self, variance=self.variance + share)


class NaiveBayes(Model):
    """P(label = 1) from P(1) / P(0) and the product of p(feature | 1) / p(feature | 0).

    number    normal with the mean and variance it has in train among the rows of that label; the
              log scale, and how much variance is added, are what valid prefers
    category  its share among the rows of that label, smoothed
    missing   and an unseen or rare category: left out, the factor is 1

    The product is raised to `weight`, which valid chooses: 1 is the textbook's. Features that
    repeat each other are counted as often as they do, and less of their sum is then nearer to the
    truth; the order of the answers changes little, their trust in themselves much.
    Importance is the standard deviation of the log of the factors in train.
    Source: G. H. John and P. Langley, 1995, Estimating continuous distributions in Bayesian
    classifiers (the normal density); D. J. Hand and K. Yu, 2001, Idiot's Bayes: not so stupid after
    all? (why the product is too sure of itself, and a power of it).
    """

    name: ClassVar[str] = "naive_bayes"
    family: ClassVar[str] = "probabilistic"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    # None: valid chooses
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "log_features": None, "variance_smoothing": None, "weight": None,
    }  # fmt: skip
    SPACE: ClassVar[Mapping[str, Range]] = {
        "log_features": OneOf((True, False)),
        "variance_smoothing": Between(1e-9, 1.0, log=True),
        "weight": Between(0.005, 1.0, log=True),
    }

    def fit(self, train: Table, valid: Table) -> Self:
        train = at_most(train, MOST_ROWS, self.seed)
        labels(self, train, classes=2)
        labels(self, valid)
        positive = train.label.mean()
        self._prior = float(np.log(positive) - np.log1p(-positive))
        self._encoder = Encoder(scale=False).fit(train.features)
        matrix, valid_matrix = (self._encoder.transform(x.features) for x in (train, valid))
        best = np.inf
        for log in self._tried("log_features", (True, False)):
            learned = self._learn(matrix, train.label == 1, log)
            for smoothing in self._tried("variance_smoothing", SMOOTHINGS):
                gaussians = learned.smoothed(smoothing)
                evidence = gaussians.evidence(valid_matrix)
                for weight in self._tried("weight", WEIGHTS):
                    found = loss(self.kind, valid.label, self._answer(evidence * weight))
                    if found < best:
                        best, self._gaussians, self._weight = found, gaussians, float(weight)
                        self._params = {
                            "log_features": log, "variance_smoothing": smoothing, "weight": weight,
                            "valid_loss": found,
                        }  # fmt: skip
        some = matrix[np.random.default_rng(self.seed).permutation(len(matrix))[:IMPORTANCE_ROWS]]
        self._importance = self._encoder.shares(self._gaussians.factors(some).std(axis=0))
        return self

    def predict(self, table: Table) -> np.ndarray:
        evidence = self._gaussians.evidence(self._encoder.transform(table.features))
        return self._answer(evidence * self._weight)

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact, in log odds: the prior, and the log of each feature's factor."""
        from behavsql.models.parts.explanation import Explanation, together

        matrix = self._encoder.transform(table.features)
        factors = self._gaussians.factors(matrix) * self._weight
        names, parts = together([column.source for column in self._encoder.columns], factors)
        answer = self._answer(np.append(parts.sum(axis=1), 0.0))
        return Explanation.exact(
            "likelihood ratios", names, self._prior, parts, answer[-1], answer[:-1]
        )

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import bayes

        evidence = bayes.evidence(self._encoder, self._gaussians, form)
        return bayes.probability(evidence, self._prior, self._weight, form)

    def save(self) -> dict[str, bytes]:
        stored = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self._gaussians).items()
        }
        return self._card(
            encoder=self._encoder.to_dict(),
            prior=self._prior,
            weight=self._weight,
            gaussians=stored,
        )

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model._encoder = Encoder.from_dict(card["encoder"])
        model._prior, model._weight = card["prior"], card["weight"]
        model._gaussians = Gaussians(**{
            name: np.array(value) if isinstance(value, list) else value
            for name, value in card["gaussians"].items()
        })  # fmt: skip
        return model

    def _tried(self, option: str, choices: tuple) -> tuple:
        given = self.option(option)
        return choices if given is None else (given,)

    def _answer(self, evidence: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(self._prior + evidence, -500, 500)))

    def _learn(self, matrix: np.ndarray, positive: np.ndarray, log: bool) -> Gaussians:
        """Means, variances and category shares per label, of an unscaled matrix (n, m)."""
        is_number = np.array([column.role == "number" for column in self._encoder.columns])
        values = np.sign(matrix) * np.log1p(np.abs(matrix)) if log else matrix
        mean, variance, _ = _moments(values)
        varies = (variance > 0) & np.isfinite(variance)
        mean, std = np.where(varies, mean, 0.0), np.sqrt(np.where(varies, variance, 1.0))
        z = (values - mean) / std
        moments = [_moments(z[positive == label]) for label in (False, True)]
        centre, spread, rows = (np.stack(part) for part in zip(*moments, strict=True))
        # Too few to tell a mean and a variance from: alike for both labels, so that the factor is 1.
        told = (rows >= FEWEST_ROWS).all(axis=0) & varies
        centre, spread = np.where(told, centre, 0.0), np.where(told, spread, 1.0)
        ratio = np.where(is_number, 0.0, self._ratios(matrix, positive))
        return Gaussians(log, is_number, mean, std, centre, spread, ratio)

    def _ratios(self, matrix: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """(m,) log P(category | 1) - log P(category | 0) among the categories of its feature."""
        sources = [column.source for column in self._encoder.columns]
        _, feature = np.unique(sources, return_inverse=True)
        shares = []
        for label in (True, False):
            count = matrix[positive == label].sum(axis=0) + PRIOR_ROWS
            shares.append(count / np.bincount(feature, weights=count)[feature])
        return np.log(np.where(np.isnan(shares[0]), 1.0, shares[0] / shares[1]))


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and number of the known values of each column (n, m); 0 where there is none."""
    known = np.isfinite(values)
    rows = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(rows, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers no variance can hold
        squares = np.where(known, (values - mean) ** 2, 0.0)
    return mean, squares.sum(axis=0) / np.maximum(rows, 1), rows
