"""The pre-trained Transformer, fine-tuned for a task: first its head alone, then all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.parts.linear_probe import Seen, fitted
from behavsql.models.parts.network_loss import network_loss
from behavsql.models.parts.pretraining import SIZES, Pretrained, Size
from behavsql.models.parts.pretraining_data import GAPS, with_question
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents, SequenceEncoder
from behavsql.models.parts.sequence_network import BLOCK_ROWS, SequenceNetwork
from behavsql.models.parts.space import Range
from behavsql.sequences import Sequences

if TYPE_CHECKING:
    from behavsql.models.parts.sequence_training import Batches

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


@dataclass(frozen=True)
class Read:
    """Questions as a body that is held still has read them."""

    matrix: np.ndarray  # (n, any number) float32

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"read": self.matrix[rows]}


class PretrainedTransformer(SequenceNetwork):
    """What the body makes of question and events, and its forecast, beside the features -> dense -> one number.

    `with_pretrained` gives the body that a build has pre-trained; without, or with the option
    `from_scratch`, the same network begins at random and is trained as one. Else the body is held
    still at first: the layers behind it begin as a linear model (see linear_probe.py) and learn for
    `frozen_epochs`. Then everything does, at `body_rate` times the rate. A stage that makes valid no
    better is undone. Saved with body and head: the artifact is not needed any more.
    """

    name: ClassVar[str] = "pretrained_transformer"
    needs: ClassVar[tuple[str, ...]] = ("pretrained",)
    OPTIONS: ClassVar[Mapping[str, object]] = {
        **SequenceNetwork.OPTIONS, "units": SCRATCH.units, "layers": SCRATCH.blocks,
        "heads": SCRATCH.heads, "learning_rate": 2e-3, "epochs": 8, "frozen_epochs": 10,
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
        """Not asked: `_reader` makes all of it."""
        return steps

    def _reader(self) -> tuple[dict, object]:
        import_keras(self.threads)
        from behavsql.models.parts import pretraining_network as networks

        chosen = {name: int(self.option(name)) for name in ("units", "layers", "heads")}
        size = Size(*chosen.values(), 0, 0, 0.0, float(self.option("dropout")))
        return networks.reader(size, self._events.sizes, self._events.length + 1)

    def _train(self, sets: list[tuple], rows: int) -> None:
        """Few rows are shown several times an epoch: else the epochs are over before anything is learned."""
        times = -(-LEAST_ROWS // rows)
        encoded, features, label, weight, seed = sets[0]
        again = np.tile(np.arange(rows), times)
        shown = [None if part is None else part[again] for part in (features, label, weight)]
        super()._train([(encoded.rows(again), *shown, seed), sets[1]], rows * times)
        self._params["rows"] = rows

    def _learn(self, train: "Batches", valid: "Batches") -> tuple[dict[str, list[float]], bool]:
        if self._pretrained is None:
            return super()._learn(train, valid)
        from behavsql.models.parts.pretraining_network import set_weights

        set_weights(self._network, self._pretrained.weights)
        still = [self._still(batches) for batches in (train, valid)]
        self._begin(*still)
        head = self._head(still[0].encoded.matrix.shape[1])
        head.compile(loss=network_loss(self.kind, str(self.option("loss"))))
        losses = [float(head.evaluate(batches, verbose=0)) for batches in still]
        history, is_over = {"loss": losses[:1], "val_loss": losses[1:]}, False
        rate = float(self.option("learning_rate"))
        slow, epochs = rate * float(self.option("body_rate")), int(self.option("epochs"))
        stages = (
            (1 / 3, head, *still, rate, int(self.option("frozen_epochs"))),
            (1.0, self._network, train, valid, slow, epochs),
        )
        for share, *stage, epochs in stages:
            if not epochs:
                continue
            kept, left = self._network.get_weights(), self._time_left()
            found, is_cut = self._epochs(*stage, epochs, left and share * left)
            if min(found["val_loss"]) >= min(history["val_loss"]):
                self._network.set_weights(kept)
            history = {name: told + found[name] for name, told in history.items()}
            is_over |= is_cut
        return history, is_over

    def _still(self, batches: "Batches") -> "Batches":
        """The same questions, as the body reads them now; nothing is augmented."""
        from behavsql.models.parts.sequence_training import Batches

        keras = import_keras(self.threads)
        inputs = [tensor for tensor in self._network.inputs if tensor.name != "features"]
        reader = keras.Model(inputs, self._network.get_layer("summary").output)
        read = reader.predict(Batches(batches.encoded, None, *batches.told, BLOCK_ROWS), verbose=0)
        return Batches(Read(read), batches.features, *batches.told, batches.size, batches.seed)

    def _head(self, width: int) -> object:
        """The layers behind the summary, as a network that takes the summary: see `Read`."""
        keras, layer = import_keras(self.threads), self._network.get_layer
        inputs = {"read": keras.Input((width,), name="read")}
        joined = inputs["read"]
        if self._encoder:
            inputs["features"] = keras.Input((len(self._encoder.columns),), name="features")
            joined = layer("joined")([joined, layer("features_dense")(inputs["features"])])
        return keras.Model(inputs, layer("answer")(layer("hidden")(layer("drop")(joined))))

    def _begin(self, train: "Batches", valid: "Batches") -> None:
        """Let the layers behind the summary say what a linear model says; all else of them adds nothing.

        Two units carry its sum, one where it is positive and one where it is negative: relu lets
        both through.
        """
        seen = [
            Seen(np.hstack([part for part in (batches.encoded.matrix, batches.features)
                            if part is not None]).astype(np.float64), *batches.told)
            for batches in (train, valid)
        ]  # fmt: skip
        width, layer = train.encoded.matrix.shape[1], self._network.get_layer
        forecast = slice(width - GAPS + 1, width)
        weights, bias = fitted(self.kind, str(self.option("loss")), *seen, forecast)
        both = np.array([1, -1])
        hidden, shift = layer("hidden").get_weights()
        hidden[:, :2], shift[:2] = 0, bias * both
        hidden[:width, :2] = np.outer(weights[:width], both)
        if self._encoder:
            kernel, own = layer("features_dense").get_weights()
            kernel[:, :2], own[:2] = np.outer(weights[width:], both), 0
            layer("features_dense").set_weights([kernel, own])
            hidden[width : width + 2, :2] = np.outer(both, both)
        layer("hidden").set_weights([hidden, shift])
        answer, none = (np.zeros_like(array) for array in layer("answer").get_weights())
        answer[:2, 0] = both
        layer("answer").set_weights([answer, none])
