"""Dense layers in SQL, of any width and depth: weights as literals, one inner product per unit."""

from collections.abc import Sequence

import numpy as np

from behavsql.compile import literals
from behavsql.compile.form import Form
from behavsql.models.parts.dense_layers import Dense

ACTIVATIONS = {
    "linear": "{}",
    "relu": "greatest({}, 0e0)",
    "tanh": "tanh({})",
    "sigmoid": "1e0 / (1e0 + exp(-greatest(least({}, 500e0), -500e0)))",
    "softplus": "greatest({0}, 0e0) + ln(1e0 + exp(-abs({0})))",
}


def dense(inputs: str, order: Sequence[int], layers: Sequence[Dense], form: Form) -> str:
    """The single output of the last layer.

    inputs: a list of numbers; order: which input of the network each of them is.
    """
    first, *rest = layers
    units = _units(inputs, first.kernel[list(order)], first.bias, first.activation, form)
    if not rest:
        return form.bind(units, lambda v: f"{v}[1]")
    following = range(len(first.bias))
    return form.bind(units, lambda v: dense(v, following, rest, form))


def _units(inputs: str, kernel: np.ndarray, bias: np.ndarray, activation: str, form: Form) -> str:
    # The bias is the weight of one more input that is always 1.
    weights = np.vstack([kernel, bias]).T  # (units, inputs + 1)
    extended = f"list_append({inputs}, 1e0)::DOUBLE[{weights.shape[1]}]"
    products = _products_in_columns if form.is_batch else _products_in_lambdas
    activated = f"lambda _u: {ACTIVATIONS[activation].format('_u')}"
    return f"list_transform({products(extended, weights, form)}, {activated})"


def _products_in_lambdas(extended: str, weights: np.ndarray, form: Form) -> str:
    return (
        f"list_transform([{extended}], lambda _h: list_transform({literals.matrix(weights)}, "
        f"lambda _w: array_inner_product(_w, _h)))[1]"
    )


def _products_in_columns(extended: str, weights: np.ndarray, form: Form) -> str:
    """Longer to plan and a third of the time per row: a lambda copies its inputs for every unit."""
    return form.bind(
        extended,
        lambda h: (
            f"[{', '.join(f'array_inner_product({h}, {literals.array(unit)})' for unit in weights)}]"
        ),
    )
