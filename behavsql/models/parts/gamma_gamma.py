"""Gamma-Gamma: what a purchase of somebody is worth, between their own mean and everybody's.

A customer's purchases are worth Gamma(p, nu) each; over customers nu is Gamma(q, gamma), and does
not depend on how often they buy.

Source: Fader, Hardie and Lee (2005), RFM and CLV: Using Iso-Value Curves for Customer Base Analysis,
Journal of Marketing Research 42(4), 415-430; Fader and Hardie (2013), The Gamma-Gamma Model of
Monetary Value, eq. (1a) and (5).
"""

from dataclasses import astuple, dataclass

import numpy as np

STARTS = ((5.0, 3.0), (1.0, 2.0), (20.0, 1.5))  # p, q; gamma follows from the mean
LEAST, MOST = (1e-2, 1.01, 1e-9), (1e4, 1e4, 1e9)  # p, q, gamma / mean: there is a mean if q > 1


@dataclass(frozen=True)
class GammaGamma:
    """The three parameters; gamma is in the currency of the values."""

    p: float
    q: float
    gamma: float

    def log_likelihood(self, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """(n,) log likelihood of `mean` (> 0), the mean value of x (>= 1) purchases. Eq. (1a)."""
        from scipy.special import betaln

        p, q, gamma = astuple(self)
        rest = q * np.log(gamma) + (p * x - 1) * np.log(mean) + p * x * np.log(x)
        return rest - betaln(p * x, q) - (p * x + q) * np.log(gamma + x * mean)

    def expected(self, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """(n,) E[value of a purchase | the mean of x of them]; everybody's where x = 0. Eq. (5)."""
        p, q, gamma = astuple(self)
        return p * (gamma + x * mean) / (p * x + q - 1)


def fit(x: np.ndarray, mean: np.ndarray) -> GammaGamma:
    """The parameters that make these means likeliest; all x >= 1 and all means > 0."""
    from scipy.optimize import minimize

    typical = float(np.average(mean, weights=x))

    def unlikely(logs: np.ndarray) -> float:
        one = GammaGamma(*np.exp(logs).tolist())
        return -float(np.mean(one.log_likelihood(x, mean / typical)))

    found = [
        minimize(
            unlikely,
            np.log([p, q, (q - 1) / p]),
            method="L-BFGS-B",
            bounds=list(zip(np.log(LEAST), np.log(MOST), strict=True)),
            options={"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8},
        )
        for p, q in STARTS
    ]
    p, q, gamma = np.exp(min(found, key=lambda one: one.fun).x).tolist()
    return GammaGamma(p, q, gamma * typical)
