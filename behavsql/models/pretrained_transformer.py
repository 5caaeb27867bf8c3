"""The pre-trained Transformer, fine-tuned for a task: first its head alone, then all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.parts.pretraining import SIZES, Pretrained, Size
from behavsql.models.parts.pretraining_data import with_question
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents, SequenceEncoder
from behavsql.models.parts.sequence_network import SequenceNetwork
from behavsql.models.parts.space import Range
from behavsql.sequences import Sequences

LEAST_ROWS = 1_000  # of an epoch
SCRATCH = SIZES["small"]  # what is trained where there is nothing pre-trained


@dataclass(frozen=True)
class Asked(EncodedEvents):
    """Questions as the pre-trained body reads them: the events, then the question."""

    sizes: Mapping[str, int]  # of the encoder

    def batch(self, rows: np.ndarray | slice, length: int | None = None) -> dict[str, np.ndarray]:
        return with_question(super().batch(rows, length), self.sizes)


class AskedEncoder(SequenceEncoder):
    """A SequenceEncoder whose events are Asked."""

    @classmethod
    def of(cls, encoder: SequenceEncoder) -> Self:
        return cls.from_dict(encoder.to_dict())

    def encode(self, sequences: Sequences) -> Asked:
        return Asked(**vars(super().encode(sequences)), sizes=self.sizes)


class PretrainedTransformer(SequenceNetwork):
    """What the body makes of the question, beside the features -> dense -> one number.

    `with_pretrained` gives the body that a build has pre-trained; without, or with the option
    `from_scratch`, the same network begins at random and is trained as one. Else the body is held
    still for `frozen_epochs`, then everything learns at `body_rate` times the rate; what was best on
    valid is kept. Saved with body and head: the artifact is not needed any more.
    """

    name: ClassVar[str] = "pretrained_transformer"
    needs: ClassVar[tuple[str, ...]] = ("pretrained",)
    OPTIONS: ClassVar[Mapping[str, object]] = {
        **SequenceNetwork.OPTIONS, "units": SCRATCH.units, "layers": SCRATCH.blocks,
        "heads": SCRATCH.heads, "learning_rate": 2e-3, "epochs": 8, "frozen_epochs": 3,
        "body_rate": 0.25, "from_scratch": False,
    }  # fmt: skip
    SPACE: ClassVar[Mapping[str, Range]] = {}

    _pretrained: Pretrained | None = None

    def with_pretrained(self, artifact: bytes) -> Self:
        """Fit from this artifact, see pretraining.py."""
        self._pretrained = Pretrained.from_bytes(artifact)
        return self

    def fit(self, train: Table, valid: Table) -> Self:
        if self.option("from_scratch"):
            self._pretrained = None
        if self._pretrained:
            size = self._pretrained.size
            self.options |= {"units": size.units, "layers": size.blocks, "heads": size.heads}
        super().fit(train, valid)
        begun = self._pretrained.name if self._pretrained else None
        self._params = {**self._params, "pretrained": begun}
        return self

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = super().load(kind, files)
        model._events = AskedEncoder.of(model._events)
        return model

    def _event_encoder(self, train: Table) -> AskedEncoder:
        if self._pretrained:
            return AskedEncoder.of(self._pretrained.encoder)
        return AskedEncoder.of(super()._event_encoder(train))

    def _summary(self, steps: object, mask: object) -> object:
        """Not asked: the body is read at the question."""
        return steps

    def _reader(self) -> tuple[dict, object]:
        import_keras(self.threads)
        from behavsql.models.parts import pretraining_network as networks

        chosen = {name: int(self.option(name)) for name in ("units", "layers", "heads")}
        size = Size(*chosen.values(), 0, 0, 0.0, float(self.option("dropout")))
        body = networks.body(size, self._events.sizes, self._events.length + 1)
        inputs = {tensor.name: tensor for tensor in body.inputs}
        return inputs, networks.Newest(name="newest")(body(inputs))

    def _train(self, sets: list[tuple], rows: int) -> None:
        """Few rows are shown several times an epoch: else the epochs are over before anything is learned."""
        times = -(-LEAST_ROWS // rows)
        encoded, features, label, weight, seed = sets[0]
        again = np.tile(np.arange(rows), times)
        shown = [None if part is None else part[again] for part in (features, label, weight)]
        super()._train([(encoded.rows(again), *shown, seed), sets[1]], rows * times)
        self._params["rows"] = rows

    def _learn(self, train: object, valid: object) -> tuple[dict[str, list[float]], bool]:
        if self._pretrained is None:
            return super()._learn(train, valid)
        from behavsql.models.parts.pretraining_network import set_weights

        body = self._network.get_layer("body")
        set_weights(body, self._pretrained.weights)
        body.trainable = False
        rate, frozen = float(self.option("learning_rate")), int(self.option("frozen_epochs"))
        left = self._time_left()
        limit = None if left is None else left / 3
        first, is_over = self._epochs(train, valid, rate, frozen, limit)
        best, kept = min(first["val_loss"]), self._network.get_weights()
        body.trainable = True
        limit = self._time_left()
        rate, epochs = rate * float(self.option("body_rate")), int(self.option("epochs"))
        second, is_cut = self._epochs(train, valid, rate, epochs, limit)
        if min(second["val_loss"]) > best:
            self._network.set_weights(kept)
        return {name: first[name] + second[name] for name in first}, is_over or is_cut
