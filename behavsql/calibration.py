"""Turns a model's score into a probability that means what it says."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.metrics import FLOOR
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form

MIN_PER_CLASS = 10
ISOTONIC_ROWS = 1000  # of the rarer class; with fewer, steps follow single rows
METHODS = ("floor", "none", "sigmoid", "isotonic")


class Calibrator:
    """A weakly increasing map from score to probability, learned on held-out rows.

    floor     the score, or `least` where it is smaller: counts and amounts
    none      the score, clipped: before `fit`, and where fit saw fewer than 10 positives or
              fewer than 10 negatives (so also a single class), too few to learn anything from
    sigmoid   1 / (1 + exp(-(slope * logit(score) + intercept)))
    isotonic  straight lines between knots, flat beyond them: where the rarer class has 1,000 rows

    All but floor clip to [1e-6, 1 - 1e-6]. Maps are flat in places (isotonic steps, clipping),
    so distinct scores may get one probability: keep the raw score beside it and rank by
    probability, then raw score.
    """

    def __init__(
        self,
        method: str = "none",
        slope: float = 1.0,
        intercept: float = 0.0,
        x: Sequence[float] = (),
        y: Sequence[float] = (),
        least: float = 0.0,
    ) -> None:
        self.method, self.slope, self.intercept, self.least = method, slope, intercept, least
        self.x, self.y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)

    @classmethod
    def floor(cls, least: float) -> Self:
        """The map for counts and amounts: nobody's expected value is smaller than `least`."""
        return cls("floor", least=float(least))

    @classmethod
    def sigmoid(cls, score: np.ndarray, label: np.ndarray) -> Self:
        """The likeliest sigmoid through scores (n,) and labels (n,), however many there are."""
        return cls("sigmoid", *_fit_sigmoid(*_checked(score, label)))

    def fit(self, score: np.ndarray, label: np.ndarray) -> Self:
        """Learn the map from scores (n,) and labels (n,) of 0 and 1; any row order, same map.

        ModelError where a score is not finite or a label is neither 0 nor 1.
        """
        score, label = _checked(score, label)
        positives = int(label.sum())
        if min(positives, len(label) - positives) < MIN_PER_CLASS:
            self.method = "none"
        elif min(positives, len(label) - positives) < ISOTONIC_ROWS:
            self.method = "sigmoid"
            self.slope, self.intercept = _fit_sigmoid(score, label)
        else:
            self.method = "isotonic"
            self.x, self.y = _fit_isotonic(score, label)
        return self

    def transform(self, score: np.ndarray) -> np.ndarray:
        """(n,) scores to (n,) probabilities, from the stored numbers alone; NaN stays NaN."""
        score = np.asarray(score, dtype=np.float64)
        if self.method == "floor":
            return np.maximum(score, self.least)
        if self.method == "sigmoid":
            # beyond 20 the result is past the clip anyway, and exp cannot overflow
            line = np.clip(self.slope * _logit(score) + self.intercept, -20, 20)
            score = 1 / (1 + np.exp(-line))
        elif self.method == "isotonic":
            score = np.interp(score, self.x, self.y)
        return np.clip(score, FLOOR, 1 - FLOOR)

    def to_sql(self, score: str, form: "Form") -> str:
        """`transform` of a SQL expression."""
        from behavsql.compile import calibration as sql

        if self.method == "floor":
            return f"greatest({score}, {literal(self.least)})"
        if self.method == "sigmoid":
            score = sql.sigmoid(score, self.slope, self.intercept, FLOOR, form)
        elif self.method == "isotonic":
            score = sql.isotonic(score, self.x, self.y, form)
        return sql.clipped(score, FLOOR, 1 - FLOOR)

    def to_dict(self) -> dict[str, object]:
        """JSON-able numbers that `from_dict` turns into an identical map (floats keep all bits)."""
        if self.method == "sigmoid":
            return {"method": self.method, "slope": self.slope, "intercept": self.intercept}
        if self.method == "isotonic":
            return {"method": self.method, "x": self.x.tolist(), "y": self.y.tolist()}
        if self.method == "floor":
            return {"method": self.method, "least": self.least}
        return {"method": self.method}

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> Self:
        """Inverse of `to_dict`; ModelError where the numbers are missing or do not fit."""
        keys = {"sigmoid": {"slope", "intercept"}, "isotonic": {"x", "y"}, "floor": {"least"}}
        method = stored.get("method")
        wanted = {"method"} | keys.get(str(method), set())
        if method not in METHODS or set(stored) != wanted:
            raise ModelError(
                f"calibration: method {method!r} stored with {sorted(stored)}; allowed are "
                f"{', '.join(METHODS)}, each with its own numbers. Train the model again."
            )
        loaded = cls(**stored)
        if method == "isotonic" and not 0 < len(loaded.x) == len(loaded.y):
            raise ModelError(
                f"calibration: isotonic stored with {len(loaded.x)} x and {len(loaded.y)} y; "
                "allowed are as many of one as of the other. Train the model again."
            )
        return loaded


def _checked(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by score, then label, so that sums and hence the fit do not depend on row order."""
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if score.ndim != 1 or score.shape != label.shape:
        raise ModelError(
            f"calibration: score has shape {score.shape} and label {label.shape}; "
            "allowed are two of the same length. Score the rows that carry the labels."
        )
    wrong = int(np.sum(~np.isfinite(score)) + np.sum((label != 0) & (label != 1)))
    if wrong:
        raise ModelError(
            f"calibration: {wrong} values cannot be used; allowed are finite scores and labels "
            "0 or 1. Look for NaN in what the model predicts."
        )
    order = np.lexsort((label, score))
    return score[order], label[order]


def _logit(score: np.ndarray) -> np.ndarray:
    score = np.clip(score, FLOOR, 1 - FLOOR)
    return np.log(score) - np.log1p(-score)


def _smoothed(positives: float, negatives: float) -> tuple[float, float]:
    """Platt's targets for the label 0 and 1: as sure as that many rows allow, never 0 or 1."""
    return 1 / (negatives + 2), (positives + 1) / (positives + 2)


def _fit_sigmoid(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Slope >= 0 and intercept of the likeliest sigmoid.

    Where the likeliest slope would be negative (the score ranks backwards on these rows) or there
    is only one score, the answer is slope 0: everybody gets the base rate. That is the likeliest
    sigmoid that never reverses a ranking, what isotonic regression does too, and more honest than
    passing on a score of which these rows say that it means nothing.
    Source: Platt 1999, section 2.2, on the logit, so that a calibrated score maps to itself.
    """
    from sklearn.linear_model import LogisticRegression

    low, high = _smoothed(label.sum(), len(label) - label.sum())
    target = np.where(label == 1, high, low)
    x = _logit(score)
    centre, scale = x.mean(), x.std()
    if scale > 1e-9:  # else rounding noise around one score
        # a soft target t is a positive of weight t and a negative of weight 1 - t
        model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
        model.fit(
            np.tile((x - centre) / scale, 2)[:, None],
            np.repeat([1, 0], len(x)),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        slope = float(model.coef_[0, 0] / scale)
        if slope > 0:
            return slope, float(model.intercept_[0] - slope * centre)
    mean = target.mean()
    return 0.0, float(np.log(mean) - np.log1p(-mean))


def _fit_isotonic(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots x, y of the best increasing step function, joined by straight lines.

    Outer steps are kept within Platt's targets: 5,000 rows without a positive do not prove 0.
    Source: Zadrozny and Elkan 2002 (pool adjacent violators).
    """
    from sklearn.isotonic import IsotonicRegression

    low, high = _smoothed(label.sum(), len(label) - label.sum())
    model = IsotonicRegression(y_min=low, y_max=high, out_of_bounds="clip").fit(score, label)
    return model.X_thresholds_, model.y_thresholds_
