"""How much of what happened the top tenths of the scores hold, and how far that could vary."""

import numpy as np

from behavsql.bootstrap import Resampling, percentiles

REPLICATES = 200
TENTHS = np.arange(1, 11) / 10


def gains(
    label: np.ndarray, score: np.ndarray, raw: np.ndarray, users: np.ndarray, seed: int
) -> list[tuple[float, float, float]]:
    """(value, low, high) of the top tenth, two tenths ... ten: their labels' sum per question asked.

    Each replicate draws users with all their questions and takes exactly its own top d tenths, the
    last question in part; so what is left to vary is what was reached, not how many were acted on,
    and a profit is a straight line of it. NaN without two users.
    Source: Efron 1979; Field and Welsh 2007 (cluster bootstrap).
    """
    order = np.lexsort((-raw, -score))
    label = label[order]
    resampling = Resampling(users, len(order))
    value = _reached(np.ones(len(order)), label)
    if resampling.users < 2:
        return [(float(one), float("nan"), float("nan")) for one in value]
    drawn = np.array([
        _reached(weight, label)
        for draw in resampling.draws(REPLICATES, seed)
        for weight in resampling.weights(draw, order)
    ])  # fmt: skip
    return [
        (float(one), *percentiles(drawn[:, position], 0.95)) for position, one in enumerate(value)
    ]


def _reached(weight: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Weighted label sums up to each tenth of the weight, over the whole weight: (10,)."""
    upto = np.concatenate(([0.0], np.cumsum(weight)))
    reached = np.concatenate(([0.0], np.cumsum(weight * label)))
    return np.interp(TENTHS * upto[-1], upto, reached) / upto[-1]
