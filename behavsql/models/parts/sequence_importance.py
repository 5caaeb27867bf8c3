"""What a network over events relies on: by how much its loss grows when a column is shuffled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import at_most, loss
from behavsql.models.parts.sequence_encoder import NUMBERS, TEXTS

if TYPE_CHECKING:
    from behavsql.models.parts.sequence_network import SequenceNetwork

ROWS = 2_000
# What is taken apart: column of the question -> text or places in "numbers".
CHANNELS: Mapping[str, str | tuple[int, ...]] = {
    **{f"{name}_sequence": name for name in TEXTS},
    "value_sequence": (NUMBERS.index("value"), NUMBERS.index("is_known")),
    "days_ago_sequence": (NUMBERS.index("gap"), NUMBERS.index("ago")),
}


def shares(model: "SequenceNetwork", valid: Table) -> dict[str, float]:
    """Column -> its share of what shuffling all of them, one at a time, costs on valid.

    A column of the events is shuffled between all events. The features are shuffled together, and
    their share is divided by the weights of the first layer.
    """
    table, random = at_most(valid, ROWS, model.seed), np.random.default_rng(model.seed)
    encoded, features = model._inputs(table)
    inputs = model._batch(encoded, features, slice(None))
    base = _loss(model, inputs, table.label)
    costs = {}
    for column, channel in CHANNELS.items():
        mixed = _shuffled(inputs, channel, random)
        costs[column] = _loss(model, mixed, table.label) - base
    if features is not None:
        order = random.permutation(len(features))
        mixed = {**inputs, "features": inputs["features"][order]}
        cost = max(_loss(model, mixed, table.label) - base, 0)
        kernel = model._layer("features_dense").kernel  # (m, 64)
        weights = np.linalg.norm(kernel, axis=1) * model._encoder.spread
        for name, share in model._encoder.shares(weights).items():
            costs[name] = cost * share
    total = sum(max(cost, 0) for cost in costs.values())
    found = {name: cost / total for name, cost in costs.items() if cost > 0}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _loss(model: "SequenceNetwork", inputs: dict[str, np.ndarray], label: np.ndarray) -> float:
    size = model.block_rows
    answers = [
        model._answer({name: values[i : i + size] for name, values in inputs.items()})
        for i in range(0, len(label), size)
    ]
    return loss(model.kind, label, np.concatenate(answers) * model._unit)


def _shuffled(
    inputs: dict[str, np.ndarray], channel: str | tuple[int, ...], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """The inputs with one channel's entries dealt anew between all events of all rows."""
    mask = inputs["mask"]
    order = random.permutation(int(mask.sum()))
    name = channel if isinstance(channel, str) else "numbers"
    values = inputs[name].copy()
    if isinstance(channel, str):
        values[mask] = values[mask][order]
    else:
        known = values[mask]
        known[:, list(channel)] = known[order][:, list(channel)]
        values[mask] = known
    found = {**inputs, name: values}
    if "question" in inputs and channel == CHANNELS["days_ago_sequence"]:  # it tells of the times
        found["question"] = inputs["question"][random.permutation(len(mask))]
    return found
