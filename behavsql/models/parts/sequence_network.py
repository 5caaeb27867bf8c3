"""What the networks over event sequences share: inputs, head, training, answers, files."""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels
from behavsql.models.parts import augmentation, class_weight, sequence_importance
from behavsql.models.parts.dense_layers import Dense
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.network_loss import network_loss
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents, SequenceEncoder
from behavsql.models.parts.space import CLASS_WEIGHTS, Between, OneOf, Range
from behavsql.sequences import COLUMNS, LENGTH

if TYPE_CHECKING:
    from behavsql.models.parts.explanation import Explanation

PATIENCE = 2  # epochs without a better valid loss before stopping
STEPS = 150  # batches in an epoch, roughly: the batch grows with the number of rows
VALID_ROWS = 10_000  # that early stopping looks at
BLOCK_ROWS = 256  # answered together, always as many: fewer are added up in another order
OPTIMIZERS = ("adam", "sgd")


class SequenceNetwork(Model):
    """Events -> their embeddings, summed -> `_summary` -> beside the features -> dense -> one number.

    binary         sigmoid output
    count, amount  softplus output on label / mean label
    A question without events has a summary of zeros, and its features. Options: `length` events at
    most, `augment` ways of augmentation.py, `loss` as in network_loss.py, `max_rows` of train, drawn
    at random, `with_features` reads the feature table.
    """

    family: ClassVar[str] = "neural"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    reads: ClassVar[str] = "both"
    block_rows: ClassVar[int] = BLOCK_ROWS
    has_places: ClassVar[bool] = False  # whether the embedding learns places; else `_summary` does
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "units": 32, "layers": 1, "dropout": 0.1, "learning_rate": 2e-3, "optimizer": "adam",
        "loss": "likelihood", "class_weight": "none", "augment": "none", "with_features": True, "length": LENGTH,
        "max_rows": 50_000, "epochs": 12,
    }  # fmt: skip
    SPACE: ClassVar[Mapping[str, Range]] = {
        "units": OneOf((16, 32, 64)), "layers": OneOf((1, 2)), "dropout": Between(0.0, 0.4),
        "learning_rate": Between(3e-4, 1e-2, log=True), "augment": OneOf(("none", "all")),
        "class_weight": CLASS_WEIGHTS,
    }  # fmt: skip

    @abstractmethod
    def _summary(self, steps: object, mask: object) -> object:
        """Keras tensors: events (b, t, units), mask (b, t) -> (b, any number)."""

    def fit(self, train: Table, valid: Table) -> Self:
        self._begun = time.monotonic()
        label, _ = labels(self, train, classes=2), labels(self, valid)
        way = class_weight.checked(self.kind, str(self.option("class_weight")))
        self._ways = augmentation.checked(self.option("augment"))
        self._unit = 1.0 if self.kind == "binary" else float(label.mean())
        self._events = self._event_encoder(train)
        self._encoder = None
        if self.option("with_features") and train.features.width:
            self._encoder = Encoder(log=True).fit(train.features)
        some = at_most(train, int(self.option("max_rows")), self.seed)
        judged = at_most(valid, VALID_ROWS, self.seed)
        sets = []
        for table, seed in ((some, self.seed), (judged, None)):
            weight = class_weight.row_weights(way, table.label, label)
            sets.append((*self._inputs(table), table.label / self._unit, weight, seed))
        self._train(sets, len(some))
        self._importance = sequence_importance.shares(self, valid)
        return self

    def predict(self, table: Table) -> np.ndarray:
        parts = [np.empty(0), *(self._answer(inputs) for inputs in self._batches(table))]
        return np.concatenate(parts) * self._unit

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """See sequence_explanation.py."""
        from behavsql.models.parts.sequence_explanation import explained

        return explained(self, table)

    def to_sql(self, form: object) -> str:
        from behavsql.compile import CompileError

        raise CompileError(
            f"model {self.name}: of the networks over events only gru is written in SQL. "
            f"It stays in Python: py_predict_<task>__{self.name} of behavsql.connect."
        )

    def features(self, task: str) -> tuple[str, ...]:
        return (*COLUMNS, *(self._encoder.sources if self._encoder else ()))

    def save(self) -> dict[str, bytes]:
        encoder = self._encoder.to_dict() if self._encoder else None
        events = json.dumps(self._events.to_dict()).encode()
        card = self._card(unit=self._unit, options=self.options, encoder=encoder)
        return {**card, "events.json": events, "network.npz": self._packed()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model.options, model._unit = card["options"], card["unit"]
        model._events = SequenceEncoder.from_dict(json.loads(files["events.json"]))
        model._encoder = Encoder.from_dict(card["encoder"]) if card["encoder"] else None
        model._unpack(files["network.npz"])
        return model

    def _packed(self) -> bytes:
        """The trained network as a .npz."""
        file, weights = BytesIO(), self._network.get_weights()
        np.savez_compressed(file, **{f"weight_{i}": array for i, array in enumerate(weights)})
        return file.getvalue()

    def _unpack(self, stored: bytes) -> None:
        """Take over what `_packed` made."""
        self._network = self._build()
        with np.load(BytesIO(stored), allow_pickle=False) as arrays:
            self._network.set_weights([arrays[f"weight_{i}"] for i in range(len(arrays.files))])

    def _event_encoder(self, train: Table) -> SequenceEncoder:
        return SequenceEncoder().fit(self._of(train), int(self.option("length")))

    def _of(self, table: Table) -> object:
        if table.sequences is None:
            raise ModelError(
                f"model {self.name}, task {table.task}: the {len(table)} rows come without their "
                f"events; the columns {', '.join(COLUMNS)} of features.sequences hold them. "
                "Join features.sequences by user_id and cutoff_at."
            )
        return table.sequences

    def _inputs(self, table: Table) -> tuple[EncodedEvents, np.ndarray | None]:
        encoded = self._events.encode(self._of(table))
        if self._encoder is None:
            return encoded, None
        return encoded, self._encoder.transform(table.features)

    def _batches(self, table: Table) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of all rows, `block_rows` together."""
        encoded, features = self._inputs(table)
        for start in range(0, len(table), self.block_rows):
            yield self._batch(encoded, features, slice(start, start + self.block_rows))

    def _batch(
        self, encoded: EncodedEvents, features: np.ndarray | None, rows: slice
    ) -> dict[str, np.ndarray]:
        """The inputs of these rows, in single precision."""
        inputs = encoded.batch(rows)
        if features is not None:
            inputs["features"] = features[rows].astype(np.float32)
        return inputs

    def _layer(self, name: str) -> Dense:
        """A dense layer of the network."""
        layer = self._network.get_layer(name)
        return Dense(*layer.get_weights(), layer.activation.__name__)

    def _event_reader(self) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """What the network makes of the events of a batch: (b, any number), as a function."""
        network = self._network
        reader = import_keras(self.threads).Model(network.inputs, network.get_layer("drop").input)
        units = reader.output_shape[-1]
        if self._encoder:
            units -= len(self._layer("features_dense").bias)
        return lambda inputs: self._keras(reader, inputs)[:, :units]

    def _answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(b,) float64 of a batch of at most `block_rows`."""
        return self._keras(self._network, inputs)[:, 0]

    def _keras(self, network: object, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(b, k) float64: what a Keras network says of a batch of at most `block_rows`."""
        rows = len(inputs["mask"])
        full = {
            name: np.pad(values, [(0, self.block_rows - rows), *[(0, 0)] * (values.ndim - 1)])
            for name, values in inputs.items()
        }
        return network.predict_on_batch(full)[:rows].astype(np.float64)

    def _build(self) -> object:
        """The network, not trained; its shapes follow from options, encoders and kind."""
        keras = import_keras(self.threads)
        layers = keras.layers
        inputs, summary = self._reader()
        parts = [summary]
        if self._encoder:
            inputs["features"] = keras.Input((len(self._encoder.columns),), name="features")
            dense = layers.Dense(64, activation="relu", name="features_dense")
            parts.append(dense(inputs["features"]))
        joined = layers.Concatenate(name="joined")(parts) if len(parts) > 1 else parts[0]
        joined = layers.Dropout(float(self.option("dropout")), name="drop")(joined)
        hidden = layers.Dense(64, activation="relu", name="hidden")(joined)
        activation = "sigmoid" if self.kind == "binary" else "softplus"
        return keras.Model(inputs, layers.Dense(1, activation=activation, name="answer")(hidden))

    def _reader(self) -> tuple[dict, object]:
        """Keras inputs by name, and what the network makes of the events: (b, any number)."""
        from behavsql.models.parts import event_embedding as blocks

        inputs = blocks.event_inputs(self._events.length)
        places = self._events.length if self.has_places else 0
        steps = blocks.embed(inputs, self._events.sizes, int(self.option("units")), places)
        return inputs, self._summary(steps, inputs["mask"])

    def _train(self, sets: list[tuple], rows: int) -> None:
        """sets: what Batches takes, of train and of valid, without the size."""
        keras = import_keras(self.threads)
        from behavsql.models.parts.sequence_training import Batches

        keras.utils.set_random_seed(self.seed)
        self._network = self._build()
        size = int(2 ** np.clip(np.round(np.log2(rows / STEPS)), 5, 9))
        train, valid = (Batches(*given, size, seed, self._ways) for *given, seed in sets)
        history, is_cut_short = self._learn(train, valid)
        best = int(np.argmin(history["val_loss"]))
        self._params = {
            **{name: self.option(name) for name in self.OPTIONS}, "augment": list(self._ways),
            "batch_size": size, "rows": rows, "parameters": int(self._network.count_params()),
            "epochs": len(history["val_loss"]), "best_epoch": best + 1,
            "is_cut_short": is_cut_short, "valid_loss": float(history["val_loss"][best]),
            "history": {
                "train_loss": [float(value) for value in history["loss"]],
                "valid_loss": [float(value) for value in history["val_loss"]],
            },
        }  # fmt: skip

    def _learn(self, train: object, valid: object) -> tuple[dict[str, list[float]], bool]:
        """Train `_network` and leave it at its best: the losses of the epochs, whether time ran out."""
        rate, epochs = float(self.option("learning_rate")), int(self.option("epochs"))
        return self._epochs(self._network, train, valid, rate, epochs, self._time_left())

    def _time_left(self) -> float | None:
        """Seconds for what is still to be learned; a fifth is kept for what comes after."""
        spent = time.monotonic() - self._begun
        return None if self.seconds is None else max(0.8 * self.seconds - spent, 0.0)

    def _epochs(
        self, network: object, train: object, valid: object, rate: float, epochs: int,
        seconds: float | None,
    ) -> tuple[dict[str, list[float]], bool]:  # fmt: skip
        keras = import_keras(self.threads)
        from behavsql.models.parts.sequence_training import TimeLimit

        network.compile(
            optimizer=self._optimizer(keras, rate),
            loss=network_loss(self.kind, str(self.option("loss"))),
            jit_compile=False,  # compiling takes longer than these few layers save
        )  # fmt: skip
        # Else the step is traced twice, first to make the optimizer's variables.
        network.optimizer.build(network.trainable_variables)
        limit = TimeLimit(seconds if seconds is not None else float("inf"))
        stopping = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
        found = network.fit(
            train, validation_data=valid, epochs=epochs, shuffle=False, callbacks=[stopping, limit],
            verbose=0,
        )  # fmt: skip
        return found.history, limit.is_over

    def _optimizer(self, keras, rate: float) -> object:
        name = self.option("optimizer")
        if name not in OPTIMIZERS:
            raise ModelError(
                f"option optimizer: it is {name!r}; allowed are {', '.join(OPTIMIZERS)}. "
                "Choose one of these."
            )
        if name == "sgd":
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, clipnorm=1.0)
        return keras.optimizers.Adam(rate, clipnorm=1.0)
