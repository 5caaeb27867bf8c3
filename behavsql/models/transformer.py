"""Transformer: every event looks at all the others."""

from collections.abc import Mapping
from typing import ClassVar

from behavsql.models.parts.sequence_network import SequenceNetwork

UNITS_PER_HEAD = 16


class Transformer(SequenceNetwork):
    """`layers` blocks of attention over the events, then their mean, weighted by attention.

    See event_embedding.transformer_block; a row's places are learned, counted from the newest event.
    """

    name: ClassVar[str] = "transformer"
    has_places: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, object]] = {
        **SequenceNetwork.OPTIONS, "layers": 2, "learning_rate": 1e-3, "max_rows": 30_000,
    }  # fmt: skip

    def _summary(self, steps: object, mask: object) -> object:
        from behavsql.models.parts import event_embedding as blocks

        heads = max(steps.shape[-1] // UNITS_PER_HEAD, 1)
        steps = blocks.transformer_stack(
            steps, mask, int(self.option("layers")), heads, float(self.option("dropout"))
        )
        return blocks.pooled(steps, mask)
