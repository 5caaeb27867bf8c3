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
    """Weights (m,) and bias of the linear model that loses least on valid, of each ridge and of either
    all columns or those of `own` alone, which say something of the label before any is seen.

    The answer is sigmoid (binary) or softplus of the sum, and the loss that of network_loss. A column
    is measured in its standard deviations; one that is always the same gets no weight.
    """
    from scipy.optimize import minimize

    center, spread = train.matrix.mean(axis=0), train.matrix.std(axis=0)
    known = np.where(spread > 1e-6 * np.maximum(np.abs(center), 1), spread, np.inf)
    best = (np.inf, np.zeros(0), 0.0)
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
            loss = _loss(kind, way, outside @ at[:-1] + at[-1], valid)[0]
            if loss < best[0]:
                weights = at[:-1] / scale
                best = (loss, weights, float(at[-1] - weights @ center))
    return best[1:]


def _even(kind: str, mean: float) -> float:
    """The sum whose answer is the mean."""
    mean = np.clip(mean, 1e-6, 1 - 1e-6 if kind == "binary" else None)
    return float(np.log(mean / (1 - mean)) if kind == "binary" else np.log(np.expm1(mean)))


def _penalised(
    at: np.ndarray, kind: str, way: str, matrix: np.ndarray, seen: Seen, ridge: float
) -> tuple[float, np.ndarray]:
    loss, slope = _loss(kind, way, matrix @ at[:-1] + at[-1], seen)
    gradient = np.append(slope @ matrix + ridge * at[:-1], slope.sum())
    return loss + ridge / 2 * float(at[:-1] @ at[:-1]), gradient


def _loss(kind: str, way: str, sums: np.ndarray, seen: Seen) -> tuple[float, np.ndarray]:
    """The mean loss, and how it grows with each sum (n,)."""
    label, share = seen.label, seen.weight / seen.weight.sum()
    steep = (1 + np.tanh(sums / 2)) / 2  # of softplus; the sigmoid
    answer = steep if kind == "binary" else np.logaddexp(0, sums) + LEAST_ANSWER
    if way == "squared_error":
        slope = 2 * (answer - label) * (steep * (1 - steep) if kind == "binary" else steep)
        return float(share @ (answer - label) ** 2), share * slope
    if kind == "binary":
        return float(share @ (np.logaddexp(0, sums) - label * sums)), share * (steep - label)
    loss = answer - label * np.log(answer)
    return float(share @ loss), share * (1 - label / answer) * steep
