"""A GRU in SQL, by `list_reduce` over the steps: exact, and meant for single rows.

One row of 50 steps takes DuckDB 13 ms with 16 units, 18 with 32, 23 with 48 and 40 with 64, its
planning included. A batch takes 0.4, 0.9, 1.4 and 2.5 ms a row, 10 to 20 times what numpy takes:
its scores belong in a table that Python fills. Writing every unit out instead is not worth a second
form: a batch is up to twice as fast in DuckDB 2.0, slower in 1.4 from 32 units on, and one row
takes three times as long. `tests/benchmarks/gru_sql.py` measures it.

Sigmoids are written with tanh, which cannot overflow and, unlike a division, never evaluates what
stands in it twice; and a state moves by (c - s) * (1 - z), which names every product once.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from behavsql.compile import literals, network
from behavsql.compile.form import Form
from behavsql.models.parts.dense_layers import Dense
from behavsql.models.parts.gru_layers import GRU


def answer(steps: str, layer: GRU, dense: Sequence[Dense], form: Form) -> str:
    """The single output of the dense layers over the last state."""
    return network.dense(last_state(steps, layer), range(layer.units), dense, form)


def last_state(steps: str, layer: GRU) -> str:
    """The state after the last step, as a list of DOUBLE.

    steps: SQL of type DOUBLE[][], oldest first, each with `layer.inputs` numbers, none of them
    NULL. A step that is NULL is passed over; no steps, or NULL for all of them, come to zeros.
    """
    known = f"coalesce(list_filter({steps}, lambda _e: _e IS NOT NULL), [])"
    # The weights of a unit are an element of the list `_m`: as constants they would be built anew
    # at every step of the reduction.
    start = literals.numbers([0.0] * layer.units)
    return (
        f"list_transform([{_unit_weights(layer)}], lambda _m: "
        f"list_reduce({_projected(known, layer)}, lambda _s, _p: {_step(layer)}, {start}))[1]"
    )


def _projected(steps: str, layer: GRU) -> str:
    """What every step adds to the z, the r and the c of all units, one list after the other."""
    by_step = np.vstack([layer.kernel, _step_bias(layer)]).T
    return (
        f"list_transform({steps}, lambda _e: "
        f"list_transform([list_append(_e, 1e0)::DOUBLE[{layer.inputs + 1}]], lambda _v: "
        f"list_transform({literals.matrix(by_step)}, lambda _w: array_inner_product(_w, _v)))[1])"
    )


def _step(layer: GRU) -> str:
    """The state after a step `_p` from the state `_s` before it, one lambda for all units."""
    units = layer.units
    z, r, c = (f"array_inner_product(_w.{gate}, _v)" for gate in "zrc")
    reset = f"(0.5e0 + 0.5e0 * tanh(0.5e0 * (_p[_w.i + {units}] + {r})))"
    moved = (
        f"_s[_w.i] + (tanh(_p[_w.i + {2 * units}] + {reset} * {c}) - _s[_w.i]) "
        f"* (0.5e0 - 0.5e0 * tanh(0.5e0 * (_p[_w.i] + {z})))"
    )
    return (
        f"list_transform([list_append(_s, 1e0)::DOUBLE[{units + 1}]], lambda _v: "
        f"list_transform(_m, lambda _w: {moved}))[1]"
    )


def _unit_weights(layer: GRU) -> str:
    """A struct per unit: its position and its recurrent weights, of which the last is a bias."""
    by_state = np.vstack([layer.recurrent, _state_bias(layer)]).T
    units = layer.units
    structs = (
        f"{{i:{i + 1},z:{_text(by_state[i])},r:{_text(by_state[units + i])},"
        f"c:{_text(by_state[2 * units + i])}}}"
        for i in range(units)
    )
    array = f"DOUBLE[{units + 1}]"
    type_ = f"STRUCT(i INTEGER, z {array}, r {array}, c {array})[]"
    return f"('[{','.join(structs)}]'::{type_})"


def _step_bias(layer: GRU) -> np.ndarray:
    """Of z and r both biases, which are only ever added up; of c that of the step alone."""
    bias = layer.bias.astype(np.float64)
    return np.concatenate([bias.sum(axis=0)[: 2 * layer.units], bias[0, 2 * layer.units :]])


def _state_bias(layer: GRU) -> np.ndarray:
    return np.where(np.arange(3 * layer.units) < 2 * layer.units, 0.0, layer.bias[1])


def _text(values: Iterable[float]) -> str:
    return "[" + ",".join(repr(float(value)) for value in values) + "]"
