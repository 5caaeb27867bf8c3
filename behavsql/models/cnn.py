"""1-D convolutional network: patterns of a few events in a row, wherever they stand."""

from collections.abc import Mapping
from typing import ClassVar

from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_network import SequenceNetwork

WIDTH = 5  # events that a filter sees at once


class CNN(SequenceNetwork):
    """`layers` causal convolutions; then the newest step, the mean and the maximum, side by side.

    Each step sees itself and what came before, as if nothing had been before the first event.
    Source: Kim, 2014, without several widths; causal and dilated: Bai, Kolter and Koltun, 2018.
    """

    name: ClassVar[str] = "cnn"
    OPTIONS: ClassVar[Mapping[str, object]] = {**SequenceNetwork.OPTIONS, "units": 48, "layers": 2}

    def _summary(self, steps: object, mask: object) -> object:
        layers = import_keras().layers
        from behavsql.models.parts import event_embedding as blocks

        for i in range(int(self.option("layers"))):
            convolution = layers.Conv1D(
                steps.shape[-1], WIDTH, padding="causal", dilation_rate=2**i, activation="relu",
                name=f"convolution_{i + 1}",
            )  # fmt: skip
            steps = blocks.Masked(name=f"masked_{i + 1}")(convolution(steps), mask)
        ways = [blocks.pooled(steps, mask, how) for how in ("last", "mean", "max")]
        return layers.Concatenate(name="pooled")(ways)
