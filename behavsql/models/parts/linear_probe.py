"""A linear model over what a network that is held still makes of its input: where fine-tuning begins.

A head that begins at random is noise at first, and has pulled a pre-trained body out of shape by the
time it has learned. Source: Kumar et al., 2022, "Fine-tuning can distort pretrained features and
underperform out-of-distribution", section 3.4 (linear probing, then fine-tuning).
"""

from dataclasses import dataclass

import numpy as np

RIDGES = (10.0, 1.0, 0.1, 0.01, 1e-3)  # per mean loss, tried from the strongest on
MOST_STEPS = 200
LEAST_ANSWER = 1e-7  # as in Keras: so much is added to what a logarithm is taken of


@dataclass(frozen=True)
class Seen:
    """What the network makes of n questions, and what they came to."""

    matrix: np.ndarray  # (n, m)
    label: np.ndarray  # (n,) in units of the mean label
    weight: np.ndarray  # (n,)


def fitted(
    kind: str, way: str, train: Seen, valid: Seen, own: slice
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Weights (m,) and bias of a linear model: of either the columns `own` alone, which say something of
    the label before any is seen, or of all, and of each ridge.

    The simplest one is taken that loses no more on valid than the best does and one standard error of
    its loss: of few rows of valid the least loss is luck. Source: Breiman et al., 1984, section 3.4.3.
    The answer is sigmoid (binary) or softplus of the sum, and the loss that of network_loss. A column
    is measured in its standard deviations; one that is always the same gets no weight.
    """
    from scipy.optimize import minimize

    center, spread = train.matrix.mean(axis=0), train.matrix.std(axis=0)
    known = np.where(spread > 1e-6 * np.maximum(np.abs(center), 1), spread, np.inf)
    found = []  # the simplest first
    for columns in (own, slice(None)):
        scale = np.full(len(known), np.inf)
        scale[columns] = known[columns]
        inside, outside = ((seen.matrix - center) / scale for seen in (train, valid))
        at = np.zeros(len(known) + 1)
        at[-1] = _even(kind, np.average(train.label, weights=train.weight))
        for ridge in RIDGES:
            at = minimize(
                _penalised, at, (kind, way, inside, train, ridge), "L-BFGS-B", jac=True,
                options={"maxiter": MOST_STEPS},
            ).x  # fmt: skip
            losses, _ = _losses(kind, way, outside @ at[:-1] + at[-1], valid.label)
            weights = at[:-1] / scale
            found.append((*_mean(losses, valid.weight), weights, float(at[-1] - weights @ center)))
    least, error, *_ = min(found, key=lambda one: one[0])
    return next((weights, bias) for loss, _, weights, bias in found if loss <= least + error)


def _mean(losses: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The weighted mean, and its standard error."""
    share = weight / weight.sum()
    mean = float(share @ losses)
    return mean, float(np.sqrt(share**2 @ (losses - mean) ** 2))


def _even(kind: str, mean: float) -> float:
    """The sum whose answer is the mean."""
    mean = np.clip(mean, 1e-6, 1 - 1e-6 if kind == "binary" else None)
    return float(np.log(mean / (1 - mean)) if kind == "binary" else np.log(np.expm1(mean)))


def _penalised(
    at: np.ndarray, kind: str, way: str, matrix: np.ndarray, seen: Seen, ridge: float
) -> tuple[float, np.ndarray]:
    share = seen.weight / seen.weight.sum()
    losses, slopes = _losses(kind, way, matrix @ at[:-1] + at[-1], seen.label)
    slope = share * slopes
    gradient = np.append(slope @ matrix + ridge * at[:-1], slope.sum())
    return float(share @ losses + ridge / 2 * at[:-1] @ at[:-1]), gradient


def _losses(
    kind: str, way: str, sums: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row (n,), and how it grows with the row's sum."""
    steep = (1 + np.tanh(sums / 2)) / 2  # of softplus; the sigmoid
    answer = steep if kind == "binary" else np.logaddexp(0, sums) + LEAST_ANSWER
    if way == "squared_error":
        slope = 2 * (answer - label) * (steep * (1 - steep) if kind == "binary" else steep)
        return (answer - label) ** 2, slope
    if kind == "binary":
        return np.logaddexp(0, sums) - label * sums, steep - label
    return answer - label * np.log(answer), (1 - label / answer) * steep
