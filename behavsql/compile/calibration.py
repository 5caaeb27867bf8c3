"""Calibration maps in SQL, see behavsql/calibration.py."""

import numpy as np

from behavsql.compile import literals
from behavsql.compile.form import BatchForm, Form
from behavsql.quoting import literal


def clipped(value: str, low: float, high: float) -> str:
    """The value kept between two numbers."""
    return f"greatest(least({value}, {literal(high)}), {literal(low)})"


def sigmoid(score: str, slope: float, intercept: float, floor: float, form: Form) -> str:
    """1 / (1 + exp(-(slope logit(score) + intercept)))."""

    def line(s: str) -> str:
        logit = f"ln({s}) - ln(1e0 - {s})"
        return clipped(f"{literal(slope)} * ({logit}) + {literal(intercept)}", -20.0, 20.0)

    return form.bind(
        clipped(score, floor, 1 - floor),
        lambda s: form.bind(line(s), lambda v: f"1e0 / (1e0 + exp(-{v}))"),
    )


def isotonic(score: str, x: np.ndarray, y: np.ndarray, form: Form) -> str:
    """Straight lines between the knots, flat beyond them; the arithmetic is that of numpy.interp."""
    if len(x) == 1:
        return literal(float(y[0]))
    slopes = np.append(np.diff(y) / np.diff(x), 0.0)  # flat after the last knot
    if isinstance(form, BatchForm):
        return form.bind(score, lambda s: _search(s, x, y, slopes))
    knots, values, steps = map(literals.numbers, (x, y, slopes))

    def line(s: str) -> str:
        below = f"greatest(len(list_filter({knots}, lambda _k: _k <= {s})), 1)"
        return form.bind(below, lambda i: (
            f"{steps}[{i}] * (greatest({s}, {knots}[1]) - {knots}[{i}]) + {values}[{i}]"
        ))  # fmt: skip

    return form.bind(score, line)


def _search(s: str, x: np.ndarray, y: np.ndarray, slopes: np.ndarray) -> str:
    """The line of each stretch, found by halving."""

    def between(low: int, high: int) -> str:
        if high - low == 1:
            start = f"{literal(float(slopes[low]))} * ({s} - {literal(float(x[low]))})"
            return f"{start} + {literal(float(y[low]))}"
        middle = (low + high) // 2
        left, right = between(low, middle), between(middle, high)
        return f"CASE WHEN {s} < {literal(float(x[middle]))} THEN {left} ELSE {right} END"

    inside = between(0, len(x))
    return f"CASE WHEN {s} < {literal(float(x[0]))} THEN {literal(float(y[0]))} ELSE {inside} END"
