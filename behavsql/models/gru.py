"""Recurrent network: gated recurrent units read the events one after the other."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from behavsql.models.parts.dense_layers import Dense
from behavsql.models.parts.gru_network import RECURRENT, GRUNetwork
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents
from behavsql.models.parts.sequence_network import SequenceNetwork
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form


class GRU(SequenceNetwork):
    """The last state of `layers` layers; padding leaves a state as it is.

    Keras trains it; predicting needs no Keras, see gru_network.py.
    Source: Cho et al., 2014.
    """

    name: ClassVar[str] = "gru"
    block_rows: ClassVar[int] = 4096  # whose lengths are sorted together

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import gru

        answer = gru.answer(self._network, self._events, self._encoder, form)
        return f"{answer} * {literal(self._unit)}"

    def _summary(self, steps: object, mask: object) -> object:
        layers, count = import_keras().layers, int(self.option("layers"))
        for i in range(count):
            more = i < count - 1
            # Without cuDNN, which cannot take padding on the left.
            name = RECURRENT.format(i + 1)
            layer = layers.GRU(steps.shape[-1], return_sequences=more, use_cudnn=False, name=name)
            steps = layer(steps, mask=mask)
        return steps

    def _train(self, sets: list[tuple], rows: int) -> None:
        super()._train(sets, rows)
        self._network = GRUNetwork.of(self._network)

    def _packed(self) -> bytes:
        return self._network.to_bytes()

    def _unpack(self, stored: bytes) -> None:
        self._network = GRUNetwork.from_bytes(stored)

    def _batch(
        self, encoded: EncodedEvents, features: np.ndarray | None, rows: slice
    ) -> dict[str, np.ndarray]:
        """In double precision."""
        inputs = encoded.exact(rows)
        if features is not None:
            inputs["features"] = features[rows]
        return inputs

    def _layer(self, name: str) -> Dense:
        return self._network.dense[name]

    def _event_reader(self) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        return self._network.summary

    def _answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._network.predict(inputs)
