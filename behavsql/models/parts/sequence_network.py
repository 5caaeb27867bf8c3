"""What the networks over event sequences share: inputs, head, training, answers, files."""

import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels, loss
from behavsql.models.parts import augmentation, class_weight
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.network_loss import network_loss
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import NUMBERS, TEXTS, EncodedEvents, SequenceEncoder
from behavsql.models.parts.space import CLASS_WEIGHTS, Between, OneOf, Range
from behavsql.sequences import COLUMNS, LENGTH

if TYPE_CHECKING:
    from behavsql.models.parts.explanation import Explanation

PATIENCE = 2  # epochs without a better valid loss before stopping
STEPS = 150  # batches in an epoch, roughly: the batch grows with the number of rows
VALID_ROWS = 10_000  # that early stopping looks at
IMPORTANCE_ROWS = 2_000
BLOCK_ROWS = 256  # answered together, always as many: fewer are added up in another order
OPTIMIZERS = ("adam", "sgd")
# What importance takes apart: column of the question -> text or places in "numbers".
CHANNELS: Mapping[str, str | tuple[int, ...]] = {
    **{f"{name}_sequence": name for name in TEXTS},
    "value_sequence": (NUMBERS.index("value"), NUMBERS.index("is_known")),
    "days_ago_sequence": (NUMBERS.index("gap"), NUMBERS.index("ago")),
}


class SequenceNetwork(Model):
    """Events -> their embeddings, summed -> `_summary` -> beside the features -> dense -> one number.

    binary         sigmoid output
    count, amount  softplus output on label / mean label
    A question without events has a summary of zeros, and its features. Importance is by how much the
    loss on valid grows when a column is shuffled between events; that of the features is divided
    by the weights of the first layer. Options: `length` events at most, `augment` ways of
    augmentation.py, `loss` as in network_loss.py, `max_rows` of train, drawn at random, `with_features` reads the feature table.
    """

    family: ClassVar[str] = "neural"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    reads: ClassVar[str] = "both"
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
        self._importance = self._shares(at_most(valid, IMPORTANCE_ROWS, self.seed))
        return self

    def predict(self, table: Table) -> np.ndarray:
        encoded, features = self._inputs(table)
        parts = [np.empty(0)]
        for start in range(0, len(table), BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, len(table)))
            inputs = encoded.batch(rows)
            if features is not None:
                inputs["features"] = features[rows]
            parts.append(self._answer(inputs))
        return np.concatenate(parts) * self._unit

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """See sequence_explanation.py."""
        from behavsql.models.parts.sequence_explanation import explained

        return explained(self, table)

    def to_sql(self, form: object) -> str:
        from behavsql.compile import CompileError

        raise CompileError(
            f"model {self.name}: as SQL a network over events takes 10 to 20 times what Python takes. "
            f"It stays in Python: py_predict_<task>__{self.name} of behavsql.connect."
        )

    def features(self, task: str) -> tuple[str, ...]:
        return (*COLUMNS, *(self._encoder.sources if self._encoder else ()))

    def save(self) -> dict[str, bytes]:
        file = BytesIO()
        weights = self._network.get_weights()
        np.savez_compressed(file, **{f"weight_{i}": array for i, array in enumerate(weights)})
        encoder = self._encoder.to_dict() if self._encoder else None
        events = json.dumps(self._events.to_dict()).encode()
        card = self._card(unit=self._unit, options=self.options, encoder=encoder)
        return {**card, "events.json": events, "network.npz": file.getvalue()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model.options, model._unit = card["options"], card["unit"]
        model._events = SequenceEncoder.from_dict(json.loads(files["events.json"]))
        model._encoder = Encoder.from_dict(card["encoder"]) if card["encoder"] else None
        model._network = model._build()
        with np.load(BytesIO(files["network.npz"]), allow_pickle=False) as arrays:
            model._network.set_weights([arrays[f"weight_{i}"] for i in range(len(arrays.files))])
        return model

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
        return encoded, self._encoder.transform(table.features).astype(np.float32)

    def _answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(b,) float64 of a batch of at most BLOCK_ROWS."""
        rows = len(inputs["mask"])
        full = {
            name: np.pad(values, [(0, BLOCK_ROWS - rows), *[(0, 0)] * (values.ndim - 1)])
            for name, values in inputs.items()
        }
        return self._network.predict_on_batch(full)[:rows, 0].astype(np.float64)

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

    def _shares(self, table: Table) -> dict[str, float]:
        """Column -> its share of what shuffling all of them, one at a time, costs."""
        encoded, features = self._inputs(table)
        inputs = encoded.batch(slice(None))
        if features is not None:
            inputs["features"] = features
        random = np.random.default_rng(self.seed)
        base = self._loss(inputs, table.label)
        costs = {}
        for column, channel in CHANNELS.items():
            costs[column] = self._loss(_shuffled(inputs, channel, random), table.label) - base
        if features is not None:
            mixed = {**inputs, "features": features[random.permutation(len(features))]}
            cost = max(self._loss(mixed, table.label) - base, 0)
            kernel = self._network.get_layer("features_dense").get_weights()[0]  # (m, 64)
            weights = np.linalg.norm(kernel, axis=1) * self._encoder.spread
            for name, share in self._encoder.shares(weights).items():
                costs[name] = cost * share
        total = sum(max(cost, 0) for cost in costs.values())
        found = {name: cost / total for name, cost in costs.items() if cost > 0}
        return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))

    def _loss(self, inputs: dict[str, np.ndarray], label: np.ndarray) -> float:
        blocks = range(0, len(label), BLOCK_ROWS)
        answers = [
            self._answer({name: values[i : i + BLOCK_ROWS] for name, values in inputs.items()})
            for i in blocks
        ]
        return loss(self.kind, label, np.concatenate(answers) * self._unit)


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
