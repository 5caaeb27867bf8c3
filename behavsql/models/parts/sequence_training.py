"""What training a network on sequences takes of Keras: batches made as they are needed, a time limit."""

import time
from collections.abc import Sequence

import numpy as np

from behavsql.models.parts.augmentation import augment
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents

keras = import_keras()


class Batches(keras.utils.PyDataset):
    """(inputs, label (b, 1), weight (b,)) of n questions; only one batch of windows at a time exists.

    seed: of the order and the views, another each epoch; None: the order of the rows, unchanged.
    features: (n, m) that go along, or None. ways: of augmentation.
    """

    def __init__(
        self, encoded: EncodedEvents, features: np.ndarray | None, label: np.ndarray,
        weight: np.ndarray | None, size: int, seed: int | None = None, ways: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoded, self.features, self.size = encoded, features, size
        self.label = label.astype(np.float32)[:, np.newaxis]
        self.weight = (np.ones(len(label)) if weight is None else weight).astype(np.float32)
        self.seed, self.ways, self.epoch = seed, tuple(ways), 0
        self._shuffle()

    @property
    def told(self) -> tuple[np.ndarray, np.ndarray]:
        """Label and weight (n,)."""
        return self.label[:, 0], self.weight

    def __len__(self) -> int:
        return -(-len(self.label) // self.size)

    def __getitem__(self, place: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        rows = self.order[place * self.size : (place + 1) * self.size]
        inputs = self.encoded.batch(rows)
        if self.ways and self.seed is not None:
            random = np.random.default_rng([self.seed, self.epoch, place])
            inputs = augment(inputs, self.ways, random)
        if self.features is not None:
            inputs["features"] = self.features[rows].astype(np.float32)
        return inputs, self.label[rows], self.weight[rows]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.arange(len(self.label))
        if self.seed is not None:
            self.order = np.random.default_rng([self.seed, self.epoch]).permutation(self.order)


class TimeLimit(keras.callbacks.Callback):
    """Ends training after the batch that runs past `seconds`; the epoch is still judged on valid."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.is_over = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if time.monotonic() - self.started > self.seconds:
            self.is_over = self.model.stop_training = True
