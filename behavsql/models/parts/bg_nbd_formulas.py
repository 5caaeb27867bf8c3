"""BG/NBD: how often somebody comes back, and whether they still do (pure numerics, no features).

While alive, a customer makes purchases as a Poisson process with rate lambda; after each purchase
they leave for good with probability p. Over customers lambda is Gamma(r, alpha), p is Beta(a, b).

What is known of a customer, in one unit of time: x, repeat purchases (the first is not counted);
t_x, time of the last one since the first (0 where x = 0); age, time since the first (the paper's T).

Source: Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the
Pareto/NBD Model, Marketing Science 24(2), 275-284. P(alive): Fader, Hardie and Lee (2008),
Computing P(alive) Using the BG/NBD Model.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import Self

import numpy as np

# Starting points: r, alpha as a share of the mean age, a, b.
STARTS = ((0.5, 0.3, 0.8, 2.5), (1.0, 1.0, 1.0, 1.0), (3.0, 0.2, 0.3, 5.0))
FEW = 5_000  # groups on which the starting points are compared
LEAST, MOST = (1e-3, 1e-3, 1e-3, 1e-3), (1e3, 1e6, 1e3, 1e3)  # r, alpha, a, b
MOST_TERMS = 200
MOST_LOST = 1e3  # of the precision of a sum, to terms of both signs
ENOUGH = 1e-17  # a term this small, of a sum that begins with 1, changes nothing
STEP = 1e-4  # an a this near to 1 is moved off it: the expectation is the same to 4 digits


@dataclass(frozen=True)
class Histories:
    """What is known of n customers, `count` of each kind; all (n,) float64."""

    x: np.ndarray
    t_x: np.ndarray
    age: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> Self:
        return cls(x, t_x, age, np.ones(len(x)))

    def rows(self, rows: np.ndarray) -> Self:
        return type(self)(*(column[rows] for column in vars(self).values()))

    def grouped(self, grain: float = 0.0) -> Self:
        """Equal customers once, with their number; times rounded to multiples of `grain`, if any.

        >>> Histories.of(np.zeros(3), np.zeros(3), np.array([7.0, 9.0, 7.0])).grouped().count
        array([2., 1.])
        """
        known = np.column_stack([self.x, self.t_x, self.age])
        if grain:
            known[:, 1:] = np.round(known[:, 1:] / grain) * grain
        unique, place = np.unique(known, axis=0, return_inverse=True)
        count = np.bincount(place.reshape(-1), weights=self.count, minlength=len(unique))
        return type(self)(*unique.T, count)


@dataclass(frozen=True)
class Population:
    """The four parameters of one; alpha is in the unit of the times."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, known: Histories) -> np.ndarray:
        """(n,) log likelihood of each customer's history. Source: the paper's eq. (6)."""
        from scipy.special import betaln, gammaln

        r, alpha, a, b = astuple(self)
        # Most customers share few x: what depends on it alone is computed once for each.
        x, place = np.unique(known.x, return_inverse=True)
        of_x = gammaln(r + x) - gammaln(r) + betaln(a, b + x) - betaln(a, b)
        stays = -(r + known.x) * np.log(alpha + known.age)
        leaves = -(r + known.x) * np.log(alpha + known.t_x) + np.log(a / self._after(known.x))
        leaves = np.where(known.x > 0, leaves, -np.inf)
        return of_x[place.reshape(-1)] + r * np.log(alpha) + np.logaddexp(stays, leaves)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """(n,) P(alive at `age` | history); 1 where x = 0: one leaves after a repeat purchase only.

        Source: the note of 2008, its last equation.
        """
        from scipy.special import expit

        silence = np.log((self.alpha + age) / (self.alpha + t_x))
        odds = -np.log(self.a / self._after(x)) - (self.r + x) * silence
        return np.where(x > 0, expit(odds), 1.0)

    def comes(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, t: float) -> np.ndarray:
        """(n,) P(X(t) > 0 | history): at least one purchase in the next `t`.

        Alive, lambda is Gamma(r + x, alpha + age), so that P(X(t) = 0 | alive) is its Laplace
        transform at t. Source: eq. (6) at age + t over eq. (6) at age.
        """
        return self.alive(x, t_x, age) * -np.expm1(-(self.r + x) * self._ahead(age, t))

    def waits(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, t: float) -> np.ndarray:
        """(n,) E[min(time to the next purchase, t) | history], the integral of P(X(s) = 0) to t."""
        power, ahead = self.r + x - 1, self._ahead(age, t)
        nearly = np.abs(power) < 1e-6
        power = np.where(nearly, 1.0, power)
        alone = (self.alpha + age) * np.where(nearly, ahead, -np.expm1(-power * ahead) / power)
        return t - self.alive(x, t_x, age) * np.maximum(t - alone, 0.0)

    def expected(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, t: float) -> np.ndarray:
        """(n,) E[X(t) | history], purchases in the next `t`. Source: the paper's eq. (10).

        Its 2F1(r + x, b + x; a + b + x - 1; z) grows beyond all floats in x. By Euler's
        transformation it is (1 - z)^(a - 1 - r - x) 2F1(a + b - 1 - r, a - 1; a + b + x - 1; z),
        where the power cancels, and x is left in one place. That is summed as a series, unless it
        takes too many terms: then the one of the two that is bounded is looked up.
        """
        r, alpha, a, b = astuple(self.off_one())
        every, ratios = a + b + x - 1, self.ratios(t)
        if ratios is not None:
            share = 1 - np.exp(-(a - 1) * self._ahead(age, t)) * self._series(ratios, x, age, t)
        else:
            share = 1 - self._looked_up(x, age, t)
        # Nobody makes more than somebody who never leaves, nor who has for ever: what is answered
        # where the series overflows.
        most = np.fmin((r + x) * t / (alpha + age), every / (a - 1) if a > 1 else np.inf)
        alone = np.fmin(every / (a - 1) * share, most)
        return self.alive(x, t_x, age) * np.maximum(alone, 0.0)

    def ratios(self, t: float) -> list[float] | None:
        """Of the transformed series: a term over the one before is ratio z / (a + b - 1 + x + n).

        So many as are enough for every x and age >= 0. None if those are over MOST_TERMS, or if
        terms of both signs are so large that little is left of them.
        """
        one = self.off_one()
        first, second, third = one.a + one.b - 1 - one.r, one.a - 1, one.a + one.b - 1
        largest, term, ratio, ratios = t / (one.alpha + t), 1.0, 1.0, []
        total = size = 1.0
        while abs(term) > ENOUGH or abs(ratio) >= 1:
            n = len(ratios)
            if n == MOST_TERMS or third + n == 0:
                return None
            ratios.append((first + n) * (second + n) / (n + 1))
            ratio = ratios[-1] / (third + n) * largest
            term *= ratio
            total, size = total + term, size + abs(term)
        return ratios if size < MOST_LOST * abs(total) else None

    def _series(self, ratios: list[float], x: np.ndarray, age: np.ndarray, t: float) -> np.ndarray:
        """(n,) the transformed 2F1, its last term inside."""
        one = self.off_one()
        z, total = t / (one.alpha + age + t), np.ones(np.shape(x))
        for n, ratio in reversed(list(enumerate(ratios))):
            total = 1 + z * ratio / (x + (one.a + one.b - 1 + n)) * total
        return total

    def _looked_up(self, x: np.ndarray, age: np.ndarray, t: float) -> np.ndarray:
        """(n,) ((alpha + age) / (alpha + age + t))^(r + x) times the paper's 2F1."""
        from scipy.special import hyp2f1

        r, alpha, a, b = astuple(self.off_one())
        grows = r + x + 1 >= a
        first = np.where(grows, a + b - 1 - r, r + x)
        second = np.where(grows, a - 1, b + x)
        series = hyp2f1(first, second, a + b + x - 1, t / (alpha + age + t))
        return np.exp(-np.where(grows, a - 1, r + x) * self._ahead(age, t)) * series

    def off_one(self) -> Self:
        """With an `a` that is not 1, where the expectation is 0 / 0."""
        return self if abs(self.a - 1) > STEP else replace(self, a=1 + STEP)

    def _after(self, x: np.ndarray) -> np.ndarray:
        """b + x - 1, and what does not matter where x = 0."""
        return self.b + np.maximum(x, 1.0) - 1

    def _ahead(self, age: np.ndarray, t: float) -> np.ndarray:
        return np.log1p(t / (self.alpha + age))


Unlikely = Callable[[Population], float]


def fit(known: Histories) -> Population:
    """The parameters that make these histories likeliest; of at least one customer.

    Right where customers were not chosen by what they did: of the lately active alone, it finds
    that hardly anybody leaves.
    """

    def of(rows: np.ndarray) -> Unlikely:
        some = known.rows(rows)
        return lambda one: -float(np.average(one.log_likelihood(some), weights=some.count))

    return _search(of, known)


def fit_returns(known: Histories, came: np.ndarray, t: float) -> Population:
    """The parameters that make what followed likeliest: who came (n,) within `t` and who did not.

    It is conditional on the history, and so does not mind that only the lately active are asked.
    """

    def of(rows: np.ndarray) -> Unlikely:
        some, has_come = known.rows(rows), came[rows]

        def unlikely(one: Population) -> float:
            p = np.clip(one.comes(some.x, some.t_x, some.age, t), 1e-9, 1 - 1e-9)
            said = np.where(has_come, np.log(p), np.log1p(-p))
            return -float(np.average(said, weights=some.count))

        return unlikely

    return _search(of, known)


def _search(of: Callable[[np.ndarray], Unlikely], known: Histories) -> Population:
    """The best of several starting points on a few rows, then from there on all of them."""
    n = len(known.x)
    few = np.random.default_rng(0).choice(n, min(n, FEW), replace=False)
    age = max(float(np.average(known.age, weights=known.count)), 1e-3)
    starts = [Population(r, alpha * age, a, b) for r, alpha, a, b in STARTS]
    found = min((_descend(of(few), start) for start in starts), key=lambda one: one[1])[0]
    return found if n <= FEW else _descend(of(np.arange(n)), found)[0]


def _descend(
    unlikely: Callable[[Population], float], start: Population
) -> tuple[Population, float]:
    """The nearest minimum, in the logarithms of the parameters."""
    from scipy.optimize import minimize

    bounds = list(zip(np.log(LEAST), np.log(MOST), strict=True))
    first = np.clip(np.log(astuple(start)), np.log(LEAST), np.log(MOST))
    found = minimize(
        lambda logs: unlikely(Population(*np.exp(logs).tolist())),
        first,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8},
    )
    return Population(*np.exp(found.x).tolist()), float(found.fun)
