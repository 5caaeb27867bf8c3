"""Recurrent network: gated recurrent units read the events one after the other."""

from typing import ClassVar

from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_network import SequenceNetwork


class GRU(SequenceNetwork):
    """The last state of `layers` layers; padding leaves a state as it is.

    Source: Cho et al., 2014.
    """

    name: ClassVar[str] = "gru"

    def _summary(self, steps: object, mask: object) -> object:
        layers, count = import_keras().layers, int(self.option("layers"))
        for i in range(count):
            more = i < count - 1
            # Without cuDNN, which cannot take padding on the left.
            layer = layers.GRU(
                steps.shape[-1], return_sequences=more, use_cudnn=False, name=f"recurrent_{i + 1}"
            )
            steps = layer(steps, mask=mask)
        return steps
