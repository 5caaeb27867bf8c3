"""A GRU in SQL, by `list_reduce` over the steps: exact, and meant for single rows.

One row of 50 steps takes DuckDB 8 ms with 16 units, 12 with 32 and 27 with 64, its planning
included; a batch takes 0.2, 0.4 and 1.1 ms a row, 6 to 11 times what numpy takes
(`tests/benchmarks/gru_sql.py`). The whole model, with 2,000 items and 130 features, takes about 70
ms for one row, twice what an MLP takes, and 0.9 ms a row of many (DuckDB 1.4: 2 to 3), ten times
what Python takes (`tests/benchmarks/macros.py`). So scores of everybody belong in a table that
Python fills. Writing every unit out takes three times as long for one row, and is no faster in a
batch.

Sigmoids are written with tanh, which cannot overflow and, unlike a division, never evaluates what
stands in it twice; and a state moves by (c - s) * (1 - z), which names every product once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from behavsql.compile import encoder as features
from behavsql.compile import literals, network
from behavsql.compile.event_steps import embedded
from behavsql.compile.form import Form
from behavsql.models.parts.gru_layers import GRU
from behavsql.models.parts.gru_network import ANSWER, FEATURES, HIDDEN, NUMBERS, GRUNetwork

if TYPE_CHECKING:
    from behavsql.models.parts.encoding import Encoder
    from behavsql.models.parts.sequence_encoder import SequenceEncoder


def answer(
    whole: GRUNetwork, events: "SequenceEncoder", table: "Encoder | None", form: Form
) -> str:
    """The output of the network over the last events and the features."""
    steps = embedded(events, whole.embeddings, whole.dense[NUMBERS], form)
    joined, width = last_state(steps, whole.recurrent), whole.recurrent[-1].units
    if table is not None:
        inputs, order = features.scaled_list(table, form)
        beside = whole.dense[FEATURES]
        joined = f"list_concat({joined}, {network.units(inputs, order, beside)})"
        width += len(beside.bias)
    return network.dense(joined, range(width), [whole.dense[HIDDEN], whole.dense[ANSWER]])


def last_state(steps: str, layers: Sequence[GRU]) -> str:
    """The state of the last layer after the last step, as a list of DOUBLE.

    steps: SQL of type DOUBLE[][], oldest first, each with as many numbers as the first layer reads,
    none of them NULL. A step that is NULL is passed over; no steps, or NULL for all of them, come to
    zeros. Each layer reads what the one before makes of a step.
    """
    read = f"coalesce(list_filter({steps}, lambda _e: _e IS NOT NULL), [])"
    *before, last = layers
    for layer in before:
        # All states so far, those of the steps behind the first, which is before any.
        all_states = (
            f"list_append(_s, list_transform([_s[-1]], lambda _v: {_moved(layer, '_v')})[1])"
        )
        none = literals.lists(np.zeros((1, layer.units)))
        read = f"{_reduced(read, layer, all_states, none)}[2:]"
    return _reduced(read, last, _moved(last, "_s"), literals.numbers([0.0] * last.units))


def _reduced(steps: str, layer: GRU, moved: str, start: str) -> str:
    """What `moved` makes of the steps, one after the other. Weights of the state are elements of a
    list: as constants they would be built anew at every step."""
    return (
        f"list_transform([{{p: {_projected(steps, layer)}, u: {_units(layer)}}}], "
        f"lambda _l: list_reduce(_l.p, lambda _s, _p: {moved}, {start}))[1]"
    )


def _projected(steps: str, layer: GRU) -> str:
    """What every step adds to the z, the r and the c of all units, one list after the other."""
    bias = layer.bias.astype(np.float64)
    # Both biases of z and r are only ever added up.
    of_step = np.concatenate([bias.sum(axis=0)[: 2 * layer.units], bias[0, 2 * layer.units :]])
    weights = literals.lists(np.vstack([layer.kernel, of_step]).T)
    return (
        f"list_transform([{{s: {steps}, k: {weights}}}], lambda _h: list_transform(_h.s, lambda _e: "
        "list_transform([list_append(_e, 1e0)], lambda _v: "
        "list_transform(_h.k, lambda _w: list_inner_product(_w, _v)))[1]))[1]"
    )


def _moved(layer: GRU, state: str) -> str:
    """The state after a step, of which `_p` has come in."""
    units = layer.units
    z, r, c = (f"list_inner_product(_w.{gate}, {state})" for gate in "zrc")
    reset = f"(0.5e0 + 0.5e0 * tanh(0.5e0 * (_p[_i + {units}] + {r})))"
    return (
        f"list_transform(_l.u, lambda _w, _i: "
        f"{state}[_i] + (tanh(_p[_i + {2 * units}] + {reset} * ({c} + _w.b)) - {state}[_i]) "
        f"* (0.5e0 - 0.5e0 * tanh(0.5e0 * (_p[_i] + {z}))))"
    )


def _units(layer: GRU) -> str:
    """A struct for each unit: its recurrent weights, and the bias of c that r is to let in."""
    gates, bias = np.split(layer.recurrent.T, 3), layer.bias[1, 2 * layer.units :]
    structs = (
        f"{{z:{literals.text(z)},r:{literals.text(r)},c:{literals.text(c)},b:{float(b)!r}}}"
        for z, r, c, b in zip(*gates, bias, strict=True)
    )
    lists = "z DOUBLE[], r DOUBLE[], c DOUBLE[]"
    return f"('[{','.join(structs)}]'::STRUCT({lists}, b DOUBLE)[])"
