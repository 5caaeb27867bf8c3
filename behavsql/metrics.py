"""How good a prediction was, and how sure of it we can be.

One idea serves all three public verbs: rows are sorted once per model, and every metric is then
a weighted sum or a cumulative weighted sum, so that r bootstrap replicates are r rows of a
weight matrix. A weight is a multiplicity: weight 3 means the row three times (`np.repeat`).

Rules kept everywhere: a score >= threshold is called positive; tied scores count as ties, never
in row order; what is undefined is NaN, never an exception.
"""

import numpy as np

from behavsql.bootstrap import Gain, Resampling, percentiles
from behavsql.errors import ConfigError, ModelError

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1, predicted means this far above 0
DEFAULT_THRESHOLD = 0.5

BINARY = (
    "roc_auc", "average_precision", "log_loss", "brier", "accuracy", "precision", "recall", "f1",
    "lift_top_decile", "base_rate", "threshold",
)  # fmt: skip
AMOUNT = ("mae", "rmse", "r2", "spearman", "poisson_deviance", "tweedie_deviance")
METRICS: dict[str, tuple[str, ...]] = {"binary": BINARY, "count": AMOUNT, "amount": AMOUNT}
RANKING = frozenset({"roc_auc", "average_precision", "lift_top_decile", "r2", "spearman"})
LOWER_IS_BETTER = frozenset(
    {"log_loss", "brier", "mae", "rmse", "poisson_deviance", "tweedie_deviance"}
)
DIRECTION: dict[str, int] = {
    name: -1 if name in LOWER_IS_BETTER else 1
    for name in BINARY + AMOUNT
    if name not in ("base_rate", "threshold")  # facts about the data and the rule: no direction
}
DEFAULT_METRIC = {
    "binary": "log_loss",
    "count": "poisson_deviance",
    "amount": "tweedie_deviance",
    "choice": "ndcg_at_10",
}


def evaluate(
    kind: str,
    label: np.ndarray,
    score: np.ndarray,
    threshold: float | None = None,
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Every metric of the label kind ("binary", "count", "amount"): name -> value.

    label, score: (n,) finite, else ModelError. weight: (n,) non-negative multiplicities.
    threshold: None means 0.5. No rows: all NaN. NaN also stands for roc_auc with one class,
    average_precision, recall and lift_top_decile without positives, precision without predicted
    positives, r2 with a constant label, spearman with a constant label or score, the deviances
    with a negative label.

    lift_top_decile: rate of positives among the highest-scored 10% of the rows (exactly 10%, the
    last row counts in part) over the base rate; rows tied at the edge count in equal parts, which
    is the expectation under random tie-breaking. average_precision groups ties as scikit-learn.
    log_loss clips scores to [1e-6, 1 - 1e-6]; the deviances clip predictions to >= 1e-6.
    tweedie_deviance is the unit deviance of power 1.5, 4 (sqrt(y) - sqrt(m))^2 / sqrt(m): a proper
    score of a mean, which grows with y, not y^2, so that whales do not decide it.
    Source: Jorgensen 1987, power variance 1 < p < 2.
    """
    rows = _rows(kind, label, score, threshold)
    if len(rows.order) == 0:
        return dict.fromkeys(METRICS[kind], float("nan"))
    weight = np.ones(len(rows.order)) if weight is None else np.asarray(weight, dtype=np.float64)
    if weight.shape != rows.order.shape or not np.all(weight >= 0):
        raise ModelError(
            f"metrics: weight has shape {weight.shape} or a negative or missing value; "
            f"allowed is one value >= 0 for each of {len(rows.order)} rows. Pass row counts."
        )
    values = rows.metrics(weight[None, rows.order])
    return {name: float(values[name][0]) for name in METRICS[kind]}


def intervals(
    kind: str,
    label: np.ndarray,
    score: np.ndarray,
    users: np.ndarray,
    threshold: float | None,
    *,
    replicates: int = 200,
    seed: int,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of every metric: name -> (low, high).

    Whole users are drawn, not rows, because the rows of one user (its several cutoffs) are not
    independent. Replicates in which a metric is undefined are left out; with fewer than two
    users, or fewer than half of the replicates defined, the interval is (NaN, NaN).
    The same seed and users give the same draws, whatever the score and the row order.
    Source: Efron 1979; Field and Welsh 2007 (cluster bootstrap).
    """
    rows = _rows(kind, label, score, threshold)
    resampling = Resampling(users, len(rows.order))
    if resampling.users < 2:
        return dict.fromkeys(METRICS[kind], (float("nan"), float("nan")))
    found = [
        rows.metrics(resampling.weights(draw, rows.order))
        for draw in resampling.draws(replicates, seed)
    ]
    columns = {name: np.concatenate([part[name] for part in found]) for name in METRICS[kind]}
    return {name: percentiles(values, level) for name, values in columns.items()}


def paired_gain(
    kind: str,
    metric: str,
    label: np.ndarray,
    challenger: np.ndarray,
    reference: np.ndarray,
    users: np.ndarray,
    *,
    replicates: int = 1000,
    seed: int,
) -> Gain:
    """Improvement of `metric` by the challenger, with its 95% interval, bootstrapped by users.

    Both models see the same draws, so what they share cancels. Metrics that need a threshold use
    0.5 for both. NaN as in `intervals`. ConfigError for a metric without a direction.
    """
    if metric not in METRICS.get(kind, ()) or metric not in DIRECTION:
        allowed = ", ".join(name for name in METRICS.get(kind, ()) if name in DIRECTION)
        raise ConfigError(
            f"metric: {metric!r} cannot compare models of kind {kind!r}; "
            f"allowed are {allowed or 'the kinds ' + ', '.join(METRICS)}. Choose one of them."
        )
    sides = (_rows(kind, label, challenger, None), _rows(kind, label, reference, None))
    resampling = Resampling(users, len(sides[0].order))
    if resampling.users < 2:
        return Gain(*[float("nan")] * 4)

    def gains(draw: np.ndarray) -> np.ndarray:
        ours, theirs = (
            side.metrics(resampling.weights(draw, side.order), metric)[metric] for side in sides
        )
        return DIRECTION[metric] * (ours - theirs)

    observed = float(gains(np.ones((1, resampling.users)))[0])
    values = np.concatenate([gains(draw) for draw in resampling.draws(replicates, seed)])
    return Gain.of(observed, values)


def best_threshold(label: np.ndarray, score: np.ndarray) -> float:
    """The score at or above which calling rows positive has the highest F1; ties: the highest.

    Without positives F1 is 0 everywhere, so it is the highest score; without rows it is 0.5.
    """
    rows = _rows("binary", label, score, None)
    if len(rows.order) == 0:
        return DEFAULT_THRESHOLD
    positives = np.cumsum(rows.label)[rows.ends]
    f1 = 2 * positives / (rows.label.sum() + rows.ends + 1)
    return float(rows.score[rows.ends[np.argmax(f1)]])  # argmax takes the first: scores fall


class _BinaryRows:
    """Rows of a yes/no question sorted by falling score, ready for (r, n) weights in that order."""

    def __init__(self, label: np.ndarray, score: np.ndarray, threshold: float | None) -> None:
        self.order = np.lexsort((label, -score))
        self.label, self.score = label[self.order], score[self.order]
        self.ends = _last_of_ties(self.score)
        self.threshold = DEFAULT_THRESHOLD if threshold is None else float(threshold)
        chance = np.clip(self.score, FLOOR, 1 - FLOOR)
        loss = -np.where(self.label == 1, np.log(chance), np.log1p(-chance))
        called = (self.score >= self.threshold).astype(np.float64)
        squared = (self.score - self.label) ** 2
        self.columns = np.column_stack(
            [np.ones_like(loss), self.label, loss, squared, called, called * self.label]
        )

    def metrics(self, weight: np.ndarray, only: str | None = None) -> dict[str, np.ndarray]:
        rows, positives, loss, squared, called, hits = (weight @ self.columns).T
        values = {
            "log_loss": _ratio(loss, rows),
            "brier": _ratio(squared, rows),
            "accuracy": _ratio(rows - positives - called + 2 * hits, rows),
            "precision": _ratio(hits, called),
            "recall": _ratio(hits, positives),
            "f1": _ratio(2 * hits, called + positives),
            "base_rate": _ratio(positives, rows),
            "threshold": np.full(len(rows), self.threshold),
        }
        return values | self._ranking(weight) if only is None or only in RANKING else values

    def _ranking(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        # (r, g + 1): rows and positives at or above each of the g distinct scores, from none on
        above = _cumulative(weight, self.ends)
        hits = _cumulative(weight * self.label, self.ends)
        misses = above - hits
        rows, positives = above[:, -1], hits[:, -1]
        gained = np.diff(hits)
        area = (np.diff(misses) * (hits[:, 1:] + hits[:, :-1])).sum(axis=1) / 2
        steps = (gained * hits[:, 1:] / np.maximum(above[:, 1:], 1)).sum(axis=1)
        target = rows / 10
        edge = np.minimum((above[:, 1:] < target[:, None]).sum(axis=1), len(self.ends) - 1)
        each = np.arange(len(rows))
        part = _ratio(target - above[each, edge], np.diff(above)[each, edge])
        caught = hits[each, edge] + part * gained[each, edge]
        return {
            "roc_auc": _ratio(area, positives * misses[:, -1]),
            "average_precision": _ratio(steps, positives),
            "lift_top_decile": _ratio(caught * 10, positives),
        }


class _AmountRows:
    """Rows of a count or an amount sorted by label, ready for (r, n) weights in that order."""

    def __init__(self, label: np.ndarray, score: np.ndarray, threshold: float | None) -> None:
        self.order = np.lexsort((score, label))
        label, score = label[self.order], score[self.order]
        self.label_ends = _last_of_ties(label)
        self.by_score = np.argsort(score, kind="stable")
        self.score_ends = _last_of_ties(score[self.by_score])
        # the tie group, 0 = lowest, in which each row stands
        self.label_group = np.searchsorted(label[self.label_ends], label)
        self.score_group = np.searchsorted(score[self.by_score][self.score_ends], score)
        error, mean = score - label, np.maximum(score, FLOOR)
        real = np.where(label >= 0, label, np.nan)
        poisson = 2 * (real * np.log(np.where(real > 0, real, mean) / mean) - real + mean)
        tweedie = 4 * (np.sqrt(real) - np.sqrt(mean)) ** 2 / np.sqrt(mean)
        centred = label - label.mean() if len(label) else label  # keeps r2 exact far from zero
        self.columns = np.column_stack(
            [np.ones_like(error), abs(error), error**2, centred, centred**2, poisson, tweedie]
        )

    def metrics(self, weight: np.ndarray, only: str | None = None) -> dict[str, np.ndarray]:
        rows, absolute, squared, first, second, poisson, tweedie = (weight @ self.columns).T
        values = {
            "mae": _ratio(absolute, rows),
            "rmse": np.sqrt(_ratio(squared, rows)),
            "poisson_deviance": _ratio(poisson, rows),
            "tweedie_deviance": _ratio(tweedie, rows),
        }
        if only is not None and only not in RANKING:
            return values
        label_rank, varies = self._ranks(weight, self.label_ends)
        spread = np.where(varies, second - _ratio(first**2, rows), 0)
        score_rank, _ = self._ranks(np.take(weight, self.by_score, axis=1), self.score_ends)
        x = np.take(label_rank, self.label_group, axis=1)
        y = np.take(score_rank, self.score_group, axis=1)
        xx, yy, xy = ((weight * product).sum(axis=1) for product in (x * x, y * y, x * y))
        spearman = _ratio(xy, np.sqrt(xx * yy))
        return values | {"r2": 1 - _ratio(squared, spread), "spearman": spearman}

    @staticmethod
    def _ranks(weight: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average rank of each tie group, less the mean rank (r, g); is there more than one?"""
        upto = _cumulative(weight, ends)
        centred = (upto[:, 1:] + upto[:, :-1] - upto[:, -1:]) / 2
        return centred, (np.diff(upto) > 0).sum(axis=1) > 1


def _rows(
    kind: str, label: np.ndarray, score: np.ndarray, threshold: float | None
) -> _BinaryRows | _AmountRows:
    """The sorted rows of a kind; ModelError unless label and score are finite and fit together."""
    if kind not in METRICS:
        raise ConfigError(
            f"kind: {kind!r} has no metrics; allowed are {', '.join(METRICS)}. Choose one of them."
        )
    label, score = np.asarray(label, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if label.ndim != 1 or label.shape != score.shape:
        raise ModelError(
            f"metrics: label has shape {label.shape} and score {score.shape}; "
            "allowed are two of the same length. Score the rows that carry the labels."
        )
    wrong = int(np.sum(~np.isfinite(score)) + np.sum(~np.isfinite(label)))
    if kind == "binary":
        wrong += int(np.sum((label != 0) & (label != 1) & np.isfinite(label)))
    if wrong:
        raise ModelError(
            f"metrics: {wrong} values cannot be judged; allowed are finite numbers, and 0 or 1 "
            "as a binary label. Look for NaN in what the model predicts."
        )
    return (_BinaryRows if kind == "binary" else _AmountRows)(label, score, threshold)


def _cumulative(weight: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Running weight at the end of each tie group, with a 0 in front: (r, n) -> (r, g + 1)."""
    running = np.zeros((len(weight), len(ends) + 1))
    running[:, 1:] = np.cumsum(weight, axis=1)[:, ends]
    return running


def _last_of_ties(ordered: np.ndarray) -> np.ndarray:
    """Position of the last of each run of equal values in a sorted array."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, NaN where the bottom is zero."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
