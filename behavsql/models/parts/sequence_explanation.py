"""What the events as a whole, and each feature, add to the answer of a network over events."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from behavsql.frames import Table
from behavsql.models.parts.dense_layers import Dense, DenseLayers
from behavsql.models.parts.explanation import EVENTS, Explanation, together
from behavsql.models.parts.integrated_gradients import attributed
from behavsql.models.parts.quiet_keras import import_keras

if TYPE_CHECKING:
    from behavsql.models.parts.sequence_network import SequenceNetwork

BLOCK_ROWS = 256  # read together, always as many: the network is traced once


def explained(model: "SequenceNetwork", table: Table) -> Explanation:
    """Integrated gradients over what the network makes of the events, which counts as one, and the features.

    The base is a question before which nothing happened, with the average features of train. The
    sequence reader itself is not taken apart: its summary is the input of the dense layers behind it.
    """
    nothing = replace(
        table, features=table.features.clear(1), label=None, users=np.zeros(1, np.int64),
        last_window=np.full(1, np.nan), sequences=model._of(table).none(),
    )  # fmt: skip
    encoder = model._encoder
    head, count = _head(model, len(encoder.columns) if encoder else 0)
    none = _summaries(model, nothing)
    centre = encoder.centre if encoder else np.empty(0)
    baseline = np.append(none[0], centre)
    matrix = _summaries(model, table)
    if encoder:
        matrix = np.hstack([matrix, encoder.transform(table.features)])
    base, parts, output = attributed(head, matrix, baseline)
    sources = [column.source for column in encoder.columns] if encoder else []
    names, parts = together([EVENTS] * count + sources, parts)
    residual = output - base - parts.sum(axis=1)
    start = float(head.predict(baseline[np.newaxis])[0, 0]) * model._unit
    return Explanation(
        "integrated gradients", names, base, parts, residual, start, model.predict(table)
    )


def _summaries(model: "SequenceNetwork", table: Table) -> np.ndarray:
    """(n, s) what the network makes of the events of each question."""
    reader = _reader(model)
    encoded, features = model._inputs(table)
    width = len(model._encoder.columns) if model._encoder else 0
    units = reader.output_shape[-1] - (_features_units(model) if width else 0)
    parts = [np.empty((0, units))]
    for start in range(0, len(table), BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, len(table)))
        inputs = encoded.batch(rows)
        if features is not None:
            inputs["features"] = features[rows]
        full = {
            name: np.pad(values, [(0, BLOCK_ROWS - len(rows)), *[(0, 0)] * (values.ndim - 1)])
            for name, values in inputs.items()
        }
        said = reader.predict_on_batch(full)[: len(rows), :units]
        parts.append(said.astype(np.float64))
    return np.concatenate(parts)


def _reader(model: "SequenceNetwork") -> object:
    """The network up to where the events' summary stands beside the features."""
    network = model._network
    return import_keras(model.threads).Model(network.inputs, network.get_layer("drop").input)


def _features_units(model: "SequenceNetwork") -> int:
    return model._network.get_layer("features_dense").units


def _head(model: "SequenceNetwork", columns: int) -> tuple[DenseLayers, int]:
    """The layers behind the summary, of (summary, features), and how long the summary is.

    The summary passes the first layer as its positive and its negative part, which relu leaves be.
    """
    layer = model._network.get_layer
    hidden, bias = layer("hidden").get_weights()
    answer = Dense(*layer("answer").get_weights(), layer("answer").activation.__name__)
    own = _features_units(model) if columns else 0
    units = len(hidden) - own
    first = np.zeros((units + columns, 2 * units + own), np.float32)
    shift = np.zeros(2 * units + own, np.float32)
    first[:units, :units], first[:units, units : 2 * units] = np.eye(units), -np.eye(units)
    if columns:
        first[units:, 2 * units :], shift[2 * units :] = layer("features_dense").get_weights()
    second = np.vstack([hidden[:units], -hidden[:units], hidden[units:]])
    return DenseLayers((Dense(first, shift, "relu"), Dense(second, bias, "relu"), answer)), units
