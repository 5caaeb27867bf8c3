"""What a policy would have brought, from the log of another one.

Every estimate is a mean over n logged decisions, with two ways to an interval: users drawn with
replacement (`low`, `high`), and for the means of independent users the normal one (`normal_low`,
`normal_high`). Weights are target probability over logging probability, the latter clipped from
below, which bounds them and biases towards what was logged: `count_clipped` says how often.
"""

from collections.abc import Sequence
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
    reach: np.ndarray | None = None  # (n, k) how likely an action meets its user; None: surely

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
    seed: int = 7, shifted: Sequence[Log] = (),
) -> dict[str, Estimate]:  # fmt: skip
    """Estimator -> estimate; `expected` (n, k), a model's rewards of each action, adds doubly robust.

    ips                   mean(w r)
    self_normalised_ips   sum(w r) / sum(w)
    doubly_robust         mean(sum_a target_a reach_a q_a + w (r - q_taken))

    Unbiased: ips where propensities are right, doubly robust where these or the model are; with a
    reach below 1 both must be. The self-normalised one speaks of who is reached alone. The normal
    interval of the ratio is by linearisation.
    shifted: the same log, each with one of its estimated propensities a standard error off. What that
    changes is part of the intervals.
    Source: Horvitz and Thompson 1952; Swaminathan and Joachims 2015, The self-normalized estimator
    for counterfactual learning; Dudik, Langford and Li 2011, Doubly robust policy evaluation.
    """
    return _all(
        [_terms(one, target, expected, clip) for one in (log, *shifted)], log, target, clip, seed
    )


def value(log: Log, target: np.ndarray, expected: np.ndarray, clip: float = 0.0) -> float:
    """The doubly robust estimate without its interval; NaN without decisions."""
    robust = _robust(log, target, expected, weights(log, target, clip))
    return float(robust.mean()) if len(robust) else float("nan")


def _terms(
    log: Log, target: np.ndarray, expected: np.ndarray | None, clip: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Estimator -> (n,) what is summed, and (n,) what the sum is divided by."""
    weight, ones = weights(log, target, clip), np.ones(len(log.action))
    terms = {
        "ips": (weight * log.reward, ones),
        "self_normalised_ips": (weight * log.reward, weight),
    }
    if expected is not None:
        terms["doubly_robust"] = (_robust(log, target, expected, weight), ones)
    return terms


def _robust(log: Log, target: np.ndarray, expected: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) what the model expects of the policy, mended by what it was off where that was done."""
    taken = expected[np.arange(len(log.action)), log.action]
    met = target if log.reach is None else target * log.reach
    return (met * expected).sum(axis=1) + weight * (log.reward - taken)


def _all(
    terms: Sequence[dict[str, tuple[np.ndarray, np.ndarray]]], log: Log, target: np.ndarray,
    clip: float, seed: int,
) -> dict[str, Estimate]:  # fmt: skip
    """terms: those of the log, then those of each shifted one."""
    weight = weights(log, target, clip)
    told = {
        "effective_sample_size": effective_sample_size(weight),
        "count": len(weight),
        "count_clipped": int((log.propensity < clip).sum()),
        "largest_weight": float(weight.max(initial=0.0)),
    }
    drawn, random = _replicates(terms[0], log.users, seed), np.random.default_rng(seed + 1)
    found = {}
    for name, pair in terms[0].items():
        shifts = [_ratio(*other[name], log.users)[0] for other in terms[1:]]
        shift = np.array(shifts) - _ratio(*pair, log.users)[0]
        more = random.normal(size=(len(drawn[name]), len(shift))) @ shift
        found[name] = _told(pair, drawn[name] + more, log.users, float(shift @ shift), told)
    return found


def _told(
    pair: tuple[np.ndarray, np.ndarray], drawn: np.ndarray, users: np.ndarray, variance: float,
    told: dict,
) -> Estimate:  # fmt: skip
    value, spread = _ratio(*pair, users)
    spread = float(np.sqrt(spread**2 + variance))
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
    log: Log, target: np.ndarray, expected: np.ndarray, clip: float = 0.0, seed: int = 7,
    shifted: Sequence[Log] = (),
) -> Estimate:  # fmt: skip
    """How much more a policy brings than what was done, each decision compared with itself."""
    ones, terms = np.ones(len(log.action)), []
    for one in (log, *shifted):
        robust = _robust(one, target, expected, weights(one, target, clip))
        terms.append({"gain": (robust - one.reward, ones)})
    return _all(terms, log, target, clip, seed)["gain"]


def mean_effect(
    effect: np.ndarray, users: np.ndarray, seed: int = 7, shifts: Sequence[float] = ()
) -> tuple[float, float, float]:
    """(mean, low, high) of one effect (n,) for each decision; shifts: see `estimate`, of the mean."""
    terms = {"mean": (effect, np.ones(len(effect)))}
    drawn = _replicates(terms, users, seed)["mean"]
    random = np.random.default_rng(seed + 1)
    low, high = percentiles(
        drawn + random.normal(size=(len(drawn), len(shifts))) @ np.array(shifts), 0.95
    )
    return _ratio(*terms["mean"], users)[0], low, high
