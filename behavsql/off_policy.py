"""What a policy would have brought, from the log of another one.

Every estimate is a mean over n logged decisions, with two ways to an interval: users drawn with
replacement (`low`, `high`), and for the means of independent users the normal one (`normal_low`,
`normal_high`). Weights are target probability over logging probability, the latter clipped from
below, which bounds them and biases towards what was logged: `count_clipped` says how often.
"""

from dataclasses import dataclass

import numpy as np

from behavsql.bootstrap import Resampling, percentiles
from behavsql.errors import ModelError

ESTIMATORS = ("ips", "self_normalised_ips", "doubly_robust")
REPLICATES = 1_000
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Log:
    """n decisions that were taken, of k actions each."""

    action: np.ndarray  # (n,) int: which of the k was taken
    reward: np.ndarray  # (n,) float64: what it brought
    propensity: np.ndarray  # (n,) float64 in (0, 1]: how likely that one was
    users: np.ndarray  # (n,) int: decisions about one user belong together

    def __post_init__(self) -> None:
        lengths = {len(self.action), len(self.reward), len(self.propensity), len(self.users)}
        if len(lengths) > 1:
            raise ModelError(
                f"off-policy: columns of {sorted(lengths)} rows; allowed is one length for all. "
                "Pass the columns of one log."
            )
        wrong = ~((self.propensity > 0) & (self.propensity <= 1))
        if wrong.any():
            raise ModelError(
                f"off-policy: {wrong.sum():,} of {len(wrong):,} propensities are not above 0 and at "
                "most 1; allowed is the probability that the logged action was taken. Mend the log."
            )


@dataclass(frozen=True)
class Estimate:
    """The value of a policy per decision. NaN where there is no decision to tell it from."""

    value: float
    low: float  # the middle 95% of the bootstrap over users
    high: float
    normal_low: float
    normal_high: float
    effective_sample_size: float
    count: int
    count_clipped: int
    largest_weight: float

    def includes(self, value: float) -> bool:
        """Whether the interval leaves open that the policy is worth just that."""
        return not (self.low > value or self.high < value)


def weights(log: Log, target: np.ndarray, clip: float = 0.0) -> np.ndarray:
    """(n,) importance weights; target: (n, k) probabilities of the policy that is judged."""
    chosen = target[np.arange(len(log.action)), log.action]
    return chosen / np.maximum(log.propensity, clip)


def effective_sample_size(weight: np.ndarray) -> float:
    """How many equally weighted decisions tell as much.

    Source: Kish 1965, Survey Sampling: (sum w)^2 / sum w^2.
    """
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def estimate(
    log: Log, target: np.ndarray, expected: np.ndarray | None = None, clip: float = 0.0,
    seed: int = 7,
) -> dict[str, Estimate]:  # fmt: skip
    """Estimator -> estimate; `expected` (n, k), a model's rewards of each action, adds doubly robust.

    ips                   mean(w r)
    self_normalised_ips   sum(w r) / sum(w)
    doubly_robust         mean(sum_a target_a q_a + w (r - q_taken))

    Unbiased: ips where propensities are right, doubly robust where these or the model are. The
    normal interval of the ratio is by linearisation.
    Source: Horvitz and Thompson 1952; Swaminathan and Joachims 2015, The self-normalized estimator
    for counterfactual learning; Dudik, Langford and Li 2011, Doubly robust policy evaluation.
    """
    weight = weights(log, target, clip)
    terms = {"ips": (weight * log.reward, np.ones(len(weight)))}
    terms["self_normalised_ips"] = (weight * log.reward, weight)
    if expected is not None:
        terms["doubly_robust"] = (_robust(log, target, expected, weight), np.ones(len(weight)))
    return _all(terms, log, weight, clip, seed)


def _robust(log: Log, target: np.ndarray, expected: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) what the model expects of the policy, mended by what it was off where that was done."""
    taken = expected[np.arange(len(log.action)), log.action]
    return (target * expected).sum(axis=1) + weight * (log.reward - taken)


def _all(
    terms: dict[str, tuple[np.ndarray, np.ndarray]], log: Log, weight: np.ndarray, clip: float,
    seed: int,
) -> dict[str, Estimate]:  # fmt: skip
    told = {
        "effective_sample_size": effective_sample_size(weight),
        "count": len(weight),
        "count_clipped": int((log.propensity < clip).sum()),
        "largest_weight": float(weight.max(initial=0.0)),
    }
    drawn = _replicates(terms, log.users, seed)
    return {name: _told(pair, drawn[name], log.users, told) for name, pair in terms.items()}


def _told(
    pair: tuple[np.ndarray, np.ndarray], drawn: np.ndarray, users: np.ndarray, told: dict
) -> Estimate:
    value, spread = _ratio(*pair, users)
    low, high = percentiles(drawn, 0.95)
    return Estimate(
        value=value, low=low, high=high, normal_low=value - NORMAL_95 * spread,
        normal_high=value + NORMAL_95 * spread, **told,
    )  # fmt: skip


def _ratio(over: np.ndarray, under: np.ndarray, users: np.ndarray) -> tuple[float, float]:
    """(sum over / sum under, its standard error for independent users)."""
    total = under.sum()
    if total == 0:
        return float("nan"), float("nan")
    value = float(over.sum() / total)
    _, codes = np.unique(users, return_inverse=True)
    residuals = np.bincount(codes, over - value * under)
    return value, float(np.sqrt(np.square(residuals).sum()) / total)


def _replicates(
    terms: dict[str, tuple[np.ndarray, np.ndarray]], users: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """(r,) values of each estimator over draws of users: the same draws for all of them."""
    if not len(users):
        return dict.fromkeys(terms, np.empty(0))
    resampling = Resampling(users, len(users))
    columns = [np.bincount(resampling.codes, part) for pair in terms.values() for part in pair]
    sums = np.stack(columns, axis=1)  # (users, 2 * estimators)
    drawn = np.concatenate([draw @ sums for draw in resampling.draws(REPLICATES, seed)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: drawn[:, 2 * place] / drawn[:, 2 * place + 1] for place, name in enumerate(terms)
        }


def gain(
    log: Log, target: np.ndarray, expected: np.ndarray | None, clip: float = 0.0, seed: int = 7
) -> Estimate:
    """How much more a policy brings than what was done, each decision compared with itself.

    Doubly robust; ips without a model of what is expected.
    """
    weight = weights(log, target, clip)
    own = weight * log.reward if expected is None else _robust(log, target, expected, weight)
    terms = {"gain": (own - log.reward, np.ones(len(weight)))}
    return _all(terms, log, weight, clip, seed)["gain"]


def mean_effect(effect: np.ndarray, users: np.ndarray, seed: int = 7) -> tuple[float, float, float]:
    """(mean, low, high) of one effect (n,) for each decision."""
    terms = {"mean": (effect, np.ones(len(effect)))}
    low, high = percentiles(_replicates(terms, users, seed)["mean"], 0.95)
    return _ratio(*terms["mean"], users)[0], low, high
