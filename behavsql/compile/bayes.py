"""Naive Bayes and Bayes networks in SQL: sums of logarithms, and tables looked up by state."""

from collections.abc import Sequence

import numpy as np

from behavsql.compile import literals
from behavsql.compile.calibration import clipped
from behavsql.compile.form import BatchForm, Form
from behavsql.compile.weighted_sum import balanced
from behavsql.models.naive_bayes import LARGEST, WIDEST, Gaussians
from behavsql.models.parts.encoding import Encoder
from behavsql.quoting import literal


def probability(evidence: str, prior: float, weight: float, form: Form) -> str:
    """1 / (1 + exp(-(prior + weight evidence)))."""
    total = f"{evidence} * {literal(weight)} + {literal(prior)}"
    return form.bind(clipped(total, -500.0, 500.0), lambda v: f"1e0 / (1e0 + exp(-{v}))")


def evidence(encoder: Encoder, gaussians: Gaussians, form: Form) -> str:
    """The sum of the log factors of all features; 0e0 where all are missing."""
    parts = []
    numbers = np.flatnonzero(gaussians.is_number)
    if len(numbers):
        sources = [encoder.columns[j].source for j in numbers]
        columns = [gaussians.mean[numbers], gaussians.std[numbers], *gaussians.parabola]
        write = _number_terms if isinstance(form, BatchForm) else _number_list
        parts.append(
            write([form.number_at(source) for source in sources], columns, gaussians.log, form)
        )
    flags = np.flatnonzero(~gaussians.is_number)
    if len(flags):
        columns = [encoder.columns[j] for j in flags]
        places = [form.flag_at(column.source, column.value) for column in columns]
        terms = [f"{literal(float(gaussians.ratio[j]))} * {form.reference(place)}"
                 for j, place in zip(flags, places, strict=True)]  # fmt: skip
        parts.append(balanced(terms))
    return f"({' + '.join(parts)})"


def _number_terms(
    places: list[int], columns: Sequence[np.ndarray], log: bool, form: BatchForm
) -> str:
    read = [form.reference(place) for place in places]
    written = [[literal(float(value)) for value in row] for row in zip(*columns, strict=True)]
    z = [_standardised(u, mean, std, log) for u, (mean, std, *_) in zip(read, written, strict=True)]
    known = [f"CASE WHEN {u} IS NULL THEN 0e0 ELSE {{}} END" for u in read]
    return form.bind_all(z, lambda names: balanced([
        case.format(_factor(name, *parabola))
        for case, name, (_, _, *parabola) in zip(known, names, written, strict=True)
    ]))  # fmt: skip


def _number_list(places: list[int], columns: Sequence[np.ndarray], log: bool, form: Form) -> str:
    """Without a CASE: within a lambda it takes ten times as long."""
    mean, std, *parabola = (f"{literals.numbers(column)}[_i]" for column in columns)
    read = f"list_select(_x, {literals.integers(places)})"
    z = f"list_transform({read}, lambda _u, _i: {_standardised('_u', mean, std, log)})"
    factors = f"list_transform({z}, lambda _s, _i: {_factor('_s', *parabola)})"
    known = f"list_transform({read}, lambda _u: (_u IS NOT NULL)::DOUBLE)"
    return f"list_inner_product({factors}, {known})"


def _standardised(u: str, mean: str, std: str, log: bool) -> str:
    """Any number where it is missing: `least` and `greatest` pass over NULL."""
    value = f"sign({u}) * ln(1e0 + abs({u}))" if log else u
    return clipped(f"({value} - {mean}) / {std}", -WIDEST, WIDEST)


def _factor(z: str, square: str, line: str, constant: str) -> str:
    return clipped(f"({square} * {z} + {line}) * {z} + {constant}", -LARGEST, LARGEST)
