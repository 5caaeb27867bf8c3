"""From a mean on the log scale back to a mean on the label's own scale.

Source: N. Duan, 1983, Smearing estimate: a nonparametric retransformation method, section 2.
"""

import numpy as np

from behavsql.quoting import literal

LARGEST_LOG = 50.0  # beyond it exp is no amount anybody spends, and later overflows


def smearing_factor(logged: np.ndarray, fitted: np.ndarray) -> float:
    """Mean of exp(residual) in train, for labels log(1 + y) (n,) and what was fitted to them."""
    return float(np.mean(np.exp(np.minimum(logged - fitted, LARGEST_LOG))))


def unlogged(fitted: np.ndarray, factor: float) -> np.ndarray:
    """(n,) expected y = exp(fitted) factor - 1."""
    return np.exp(np.minimum(fitted, LARGEST_LOG)) * factor - 1


def unlogged_sql(fitted: str, factor: float) -> str:
    """`unlogged` in SQL."""
    return f"exp(least({fitted}, {literal(LARGEST_LOG)})) * {literal(factor)} - 1e0"
