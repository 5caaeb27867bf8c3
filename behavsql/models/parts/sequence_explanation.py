"""What the events as a whole, and each feature, add to the answer of a network over events."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from behavsql.frames import Table
from behavsql.models.parts.dense_layers import Dense, DenseLayers
from behavsql.models.parts.explanation import EVENTS, Explanation, together
from behavsql.models.parts.integrated_gradients import attributed

if TYPE_CHECKING:
    from behavsql.models.parts.sequence_network import SequenceNetwork


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
    none = np.concatenate(_summaries(model, nothing))
    centre = encoder.centre if encoder else np.empty(0)
    baseline = np.append(none[0], centre)
    matrix = np.concatenate([none[:0], *_summaries(model, table)])
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


def _summaries(model: "SequenceNetwork", table: Table) -> list[np.ndarray]:
    """What the network makes of the events of each question, (b, s) of each batch."""
    read = model._event_reader()
    return [read(inputs) for inputs in model._batches(table)]


def _head(model: "SequenceNetwork", columns: int) -> tuple[DenseLayers, int]:
    """The layers behind the summary, of (summary, features), and how long the summary is.

    The summary passes the first layer as its positive and its negative part, which relu leaves be.
    """
    layer = model._layer
    hidden, bias = layer("hidden").kernel, layer("hidden").bias
    own = len(layer("features_dense").bias) if columns else 0
    units = len(hidden) - own
    first = np.zeros((units + columns, 2 * units + own), np.float32)
    shift = np.zeros(2 * units + own, np.float32)
    first[:units, :units], first[:units, units : 2 * units] = np.eye(units), -np.eye(units)
    if columns:
        features = layer("features_dense")
        first[units:, 2 * units :], shift[2 * units :] = features.kernel, features.bias
    second = np.vstack([hidden[:units], -hidden[:units], hidden[units:]])
    layers = Dense(first, shift, "relu"), Dense(second, bias, "relu"), layer("answer")
    return DenseLayers(layers), units
