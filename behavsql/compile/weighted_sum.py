"""intercept + matrix @ coefficients in SQL."""

import numpy as np

from behavsql.compile import encoder, literals
from behavsql.compile.form import BatchForm, Form
from behavsql.models.parts.encoding import Encoder
from behavsql.quoting import literal


def weighted_sum(fitted: Encoder, coefficients: np.ndarray, intercept: float, form: Form) -> str:
    """The sum of the columns whose coefficient is not 0."""
    used = np.flatnonzero(coefficients)
    if len(used) == 0:
        return literal(float(intercept))
    kept = fitted.only(used)
    if isinstance(form, BatchForm):
        columns = encoder.scaled(kept, form)
        terms = [f"{literal(float(weight))} * {column}" for weight, column in
                 zip(coefficients[used], columns, strict=True)]  # fmt: skip
        return f"({literal(float(intercept))} + {balanced(terms)})"
    columns, order = encoder.scaled_list(kept, form)
    weights = literals.numbers(coefficients[used][order])
    return f"({literal(float(intercept))} + list_inner_product({columns}, {weights}))"


def balanced(terms: list[str]) -> str:
    """A sum in pairs of pairs: DuckDB refuses expressions a thousand levels deep."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({balanced(terms[:half])} + {balanced(terms[half:])})"
