"""The textbook network: two hidden layers of 64, one output, Adam, early stopping."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import Model, labels
from behavsql.models.dense_layers import DenseLayers
from behavsql.models.encoding import Encoder
from behavsql.models.quiet_keras import import_keras
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form

UNITS = (64, 64)
MOST_EPOCHS = 30
PATIENCE = 4  # epochs without a better valid loss before stopping
STEPS = 150  # batches in an epoch, roughly: the batch grows with the number of rows
IMPORTANCE_ROWS = 2_000


class MLP(Model):
    """Dense 64 relu, dense 64 relu, dense 1.

    binary         sigmoid output, binary cross-entropy
    count, amount  softplus output on label / mean label, Poisson loss: right for any non-negative
                   label whose mean is asked for, and calmer than squared error on long tails
    Importance is the mean |gradient| of the output before its activation, times the standard
    deviation of the column, over rows of train. Fitting seeds Python's and numpy's global
    generators too, for that is how Keras is made repeatable. Predicting needs no Keras, see
    dense_layers.py.
    """

    name: ClassVar[str] = "mlp"
    family: ClassVar[str] = "neural"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})

    def fit(self, train: Table, valid: Table) -> Self:
        label = labels(self, train, classes=2)
        valid_label = labels(self, valid)
        self._unit = 1.0 if self.kind == "binary" else float(label.mean())
        self._encoder = Encoder(log=True).fit(train.features)
        matrix = self._matrix(train)
        keras = import_keras(self.threads)
        keras.utils.set_random_seed(self.seed)
        network = _network(matrix.shape[1], self.kind)
        batch = _batch_size(len(train))
        history = network.fit(
            matrix,
            _column(label / self._unit),
            validation_data=(self._matrix(valid), _column(valid_label / self._unit)),
            epochs=MOST_EPOCHS,
            batch_size=batch,
            callbacks=[keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)],
            verbose=0,
        ).history
        self._layers = DenseLayers.of(network.layers)
        self._params = {"units": list(UNITS), "batch_size": batch, **_summary(history)}
        rows = np.random.default_rng(self.seed).permutation(len(matrix))[:IMPORTANCE_ROWS]
        gradients = _gradients(matrix[rows], network.get_weights())
        self._importance = self._encoder.shares(gradients * self._encoder.spread)
        return self

    def predict(self, table: Table) -> np.ndarray:
        return self._layers.predict(self._encoder.transform(table.features))[:, 0] * self._unit

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import encoder, network

        inputs, order = encoder.scaled_list(self._encoder, form)
        answer = network.dense(inputs, order, self._layers.layers, form)
        return f"{answer} * {literal(self._unit)}"

    def save(self) -> dict[str, bytes]:
        card = self._card(encoder=self._encoder.to_dict(), unit=self._unit)
        return {**card, "network.npz": self._layers.to_bytes()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model._encoder, model._unit = Encoder.from_dict(card["encoder"]), card["unit"]
        model._layers = DenseLayers.from_bytes(files["network.npz"])
        return model

    def _matrix(self, table: Table) -> np.ndarray:
        return self._encoder.transform(table.features).astype(np.float32)


def _network(columns: int, kind: str):
    keras = import_keras()
    binary = kind == "binary"
    hidden = [keras.layers.Dense(units, activation="relu") for units in UNITS]
    output = keras.layers.Dense(1, activation="sigmoid" if binary else "softplus")
    network = keras.Sequential([keras.Input((columns,)), *hidden, output])
    network.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.BinaryCrossentropy() if binary else keras.losses.Poisson(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")] if binary else [],
        jit_compile=False,  # compiling takes longer than these few layers save
    )
    return network


def _batch_size(rows: int) -> int:
    """The power of two nearest to rows / STEPS, between 32 and 8192."""
    return int(2 ** np.clip(np.round(np.log2(rows / STEPS)), 5, 13))


def _column(label: np.ndarray) -> np.ndarray:
    return label.astype(np.float32)[:, np.newaxis]


def _summary(history: dict[str, list[float]]) -> dict[str, object]:
    """Epochs run, the epoch kept, its losses and accuracies, and all epochs' values."""
    best = int(np.argmin(history["val_loss"]))
    renamed = {
        name.replace("val_", "valid_") if name.startswith("val_") else f"train_{name}": values
        for name, values in history.items()
    }
    kept = {name: float(values[best]) for name, values in renamed.items()}
    curves = {name: [float(value) for value in values] for name, values in renamed.items()}
    return {"epochs": len(history["val_loss"]), "best_epoch": best + 1, **kept, "history": curves}


def _gradients(matrix: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """(m,) mean |d output / d column| over the rows (n, m), back through the two relu layers."""
    first, first_bias, second, second_bias, last, _ = weights
    one = matrix @ first + first_bias  # (n, 64)
    two = np.maximum(one, 0) @ second + second_bias  # (n, 64)
    back = (two > 0) * last[:, 0]  # (n, 64)
    back = (back @ second.T) * (one > 0)  # (n, 64)
    return np.abs(back @ first.T).mean(axis=0)
