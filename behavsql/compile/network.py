"""Dense layers in SQL, of any width and depth: weights as literals, one inner product per unit."""

from collections.abc import Sequence

import numpy as np

from behavsql.compile import literals
from behavsql.models.parts.dense_layers import Dense

ACTIVATIONS = {
    "linear": "{}",
    "relu": "greatest({}, 0e0)",
    "tanh": "tanh({})",
    "sigmoid": "1e0 / (1e0 + exp(-greatest(least({}, 500e0), -500e0)))",
    "softplus": "greatest({0}, 0e0) + ln(1e0 + exp(-abs({0})))",
}


def dense(inputs: str, order: Sequence[int], layers: Sequence[Dense]) -> str:
    """The single output of the last layer.

    inputs: a list of numbers; order: which input of the network each of them is. Each layer is what
    the next one names once: lambdas within lambdas take DuckDB twice as long to plan with each level.
    """
    first, *rest = layers
    found = units(inputs, order, first)
    return dense(found, range(len(first.bias)), rest) if rest else f"{found}[1]"


def units(inputs: str, order: Sequence[int], layer: Dense) -> str:
    """The outputs of a layer as a list; inputs and order as for `dense`."""
    # The bias is the weight of one more input that is always 1.
    weights = literals.lists(np.vstack([layer.kernel[list(order)], layer.bias]).T)
    # Lists, for lambdas copy the arrays that they are given, for each unit.
    products = (
        f"list_transform([list_append({inputs}, 1e0)], lambda _h: "
        f"list_transform({weights}, lambda _w: list_inner_product(_w, _h)))[1]"
    )
    return f"list_transform({products}, lambda _u: {ACTIVATIONS[layer.activation].format('_u')})"
