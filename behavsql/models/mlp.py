"""The textbook network: two hidden layers of 64, one output, Adam, early stopping."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, labels
from behavsql.models.parts import class_weight
from behavsql.models.parts.dense_layers import Dense, DenseLayers
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.network_loss import network_loss
from behavsql.models.parts.principal_components import PrincipalComponents
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.space import CLASS_WEIGHTS, PCA, Between, OneOf, Range
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

HIDDEN_LAYERS = 2
MOMENTUM = 0.9  # of stochastic gradient descent
MOST_EPOCHS = 30
PATIENCE = 4  # epochs without a better valid loss before stopping
STEPS = 150  # batches in an epoch, roughly: the batch grows with the number of rows
IMPORTANCE_ROWS = 2_000


class MLP(Model):
    """Dense 64 relu, dense 64 relu, dense 1; `units` of both hidden layers are an option.

    binary         sigmoid output
    count, amount  softplus output on label / mean label
    Its `loss` is cross-entropy or Poisson, or squared error, see network_loss.py.
    Importance is the mean |gradient| of the output before its activation, times the standard
    deviation of the column, over rows of train. Fitting seeds Python's and numpy's global
    generators too, for that is how Keras is made repeatable. Predicting needs no Keras, see
    dense_layers.py.
    """

    name: ClassVar[str] = "mlp"
    family: ClassVar[str] = "neural"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})

    OPTIONS: ClassVar[Mapping[str, object]] = {
        "units": 64,
        "dropout": 0.0,  # share of a hidden layer that is left out of each batch
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "loss": "likelihood",  # see network_loss.py
        "class_weight": "none",
        "pca": 0,
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "units": OneOf((16, 32, 64)),
        "dropout": Between(0.0, 0.5),
        "learning_rate": Between(1e-4, 1e-2, log=True),
        "class_weight": CLASS_WEIGHTS,
        "pca": PCA,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        label = labels(self, train, classes=2)
        valid_label = labels(self, valid)
        self._unit = 1.0 if self.kind == "binary" else float(label.mean())
        self._encoder = Encoder(log=True).fit(train.features)
        matrix = self._matrix(train)
        components, (inputs, valid_inputs) = self._projected(matrix, self._matrix(valid))
        way = class_weight.checked(self.kind, self.option("class_weight"))
        weight, valid_weight = (
            class_weight.row_weights(way, part, label) for part in (label, valid_label)
        )
        keras = import_keras(self.threads)
        keras.utils.set_random_seed(self.seed)
        network = self._network(inputs.shape[1])
        batch = _batch_size(len(train))
        history = network.fit(
            inputs,
            _column(label / self._unit),
            sample_weight=weight,
            validation_data=(valid_inputs, _column(valid_label / self._unit), valid_weight),
            epochs=MOST_EPOCHS,
            batch_size=batch,
            callbacks=self._callbacks(is_weighted=weight is not None),
            verbose=0,
        ).history
        self._layers = _folded(network, components)
        units = [self.option("units")] * HIDDEN_LAYERS
        self._params = {**self.options, "units": units, "batch_size": batch, **_summary(history)}
        rows = np.random.default_rng(self.seed).permutation(len(matrix))[:IMPORTANCE_ROWS]
        gradients = _gradients(matrix[rows], self._layers)
        self._importance = self._encoder.shares(gradients * self._encoder.spread)
        return self

    def predict(self, table: Table) -> np.ndarray:
        return self._layers.predict(self._encoder.transform(table.features))[:, 0] * self._unit

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Integrated gradients from the average row of train, before the last activation."""
        from behavsql.models.parts.explanation import Explanation, together
        from behavsql.models.parts.integrated_gradients import attributed

        matrix, centre = self._encoder.transform(table.features), self._encoder.centre
        base, parts, output = attributed(self._layers, matrix, centre)
        start = self._layers.predict(centre[np.newaxis])[0, 0] * self._unit
        names, parts = together([column.source for column in self._encoder.columns], parts)
        residual = output - base - parts.sum(axis=1)
        return Explanation("integrated gradients", names, base, parts, residual, float(start),
                           self._layers.predict(matrix)[:, 0] * self._unit)  # fmt: skip

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import encoder, network

        inputs, order = encoder.scaled_list(self._encoder, form)
        answer = network.dense(inputs, order, self._layers.layers)
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

    def _projected(
        self, *matrices: np.ndarray
    ) -> tuple[PrincipalComponents | None, list[np.ndarray]]:
        """What the network reads: the matrices, or their principal components if these are asked for."""
        size = self.option("pca")
        if not size:
            return None, list(matrices)
        components = PrincipalComponents.of(matrices[0].astype(np.float64), size)
        return components, [components.project(matrix).astype(np.float32) for matrix in matrices]

    def _network(self, columns: int):
        keras = import_keras()
        binary = self.kind == "binary"
        hidden = []
        for _ in range(HIDDEN_LAYERS):
            hidden.append(keras.layers.Dense(self.option("units"), activation="relu"))
            if share := self.option("dropout"):
                hidden.append(keras.layers.Dropout(share, seed=self.seed))
        output = keras.layers.Dense(1, activation="sigmoid" if binary else "softplus")
        network = keras.Sequential([keras.Input((columns,)), *hidden, output])
        network.compile(
            optimizer=self._optimizer(),
            loss=network_loss(self.kind, str(self.option("loss"))),
            metrics=[keras.metrics.BinaryAccuracy(name="accuracy")] if binary else [],
            jit_compile=False,  # compiling takes longer than these few layers save
        )
        return network

    def _optimizer(self):
        keras = import_keras()
        name, rate = self.option("optimizer"), self.option("learning_rate")
        if name == "adam":
            return keras.optimizers.Adam(rate)
        if name == "sgd":
            return keras.optimizers.SGD(rate, momentum=MOMENTUM)
        raise ModelError(
            f"model mlp: optimizer is {name!r}; allowed are adam and sgd. Choose one of these."
        )

    def _callbacks(self, is_weighted: bool) -> list:
        keras = import_keras()
        stop = keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)
        if self.watch is None or is_weighted:  # a weighted loss is no other model's
            return [stop]
        tell = lambda epoch, logs: self.watch(epoch + 1, logs["val_loss"])  # noqa: E731
        return [stop, keras.callbacks.LambdaCallback(on_epoch_end=tell)]


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


def _folded(network, components: PrincipalComponents | None) -> DenseLayers:
    """The dense layers as arrays, the first one of them over the encoded matrix."""
    layers = DenseLayers.of([layer for layer in network.layers if layer.get_weights()])
    if components is None:
        return layers
    first, *rest = layers.layers
    kernel, bias = components.fold(first.kernel, first.bias)
    return DenseLayers((Dense(kernel, bias, first.activation), *rest))


def _gradients(matrix: np.ndarray, network: DenseLayers) -> np.ndarray:
    """(m,) mean |d output / d column| over the rows (n, m), back through the two relu layers."""
    first, second, last = network.layers
    one = matrix @ first.kernel + first.bias  # (n, units)
    two = np.maximum(one, 0) @ second.kernel + second.bias  # (n, units)
    back = (two > 0) * last.kernel[:, 0]  # (n, units)
    back = (back @ second.kernel.T) * (one > 0)  # (n, units)
    return np.abs(back @ first.kernel.T).mean(axis=0)
