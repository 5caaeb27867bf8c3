"""A trained GRU over events as plain arrays: answers in double precision, without Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from typing import Self

import numpy as np

from behavsql.models.parts.dense_layers import BLOCK_ROWS, Dense, DenseLayers, padded
from behavsql.models.parts.gru_layers import GRU
from behavsql.models.parts.sequence_encoder import TEXTS

EMBEDDING, RECURRENT = "embed_{}", "recurrent_{}"  # of a text; the layers count from 1
NUMBERS, FEATURES, HIDDEN, ANSWER = "embed_numbers", "features_dense", "hidden", "answer"


@dataclass(frozen=True)
class GRUNetwork:
    """Texts and numbers of each event, embedded and added up -> GRU layers -> beside the features ->
    dense layers.

    The weights are those of training, in single precision; sums are in double, see DenseLayers.
    """

    embeddings: Mapping[str, np.ndarray]  # of each of TEXTS: (codes, d) float32
    recurrent: tuple[GRU, ...]
    dense: Mapping[str, Dense]  # NUMBERS, HIDDEN, ANSWER; FEATURES if it reads any

    @classmethod
    def of(cls, network: object) -> Self:
        """From a trained network of Keras; ModelError for a layer that is not known here."""
        layers = {layer.name: layer for layer in network.layers}
        recurrent = [layers[name] for name in _numbered(layers)]
        dense = [name for name in (NUMBERS, FEATURES, HIDDEN, ANSWER) if name in layers]
        return cls(
            {name: layers[EMBEDDING.format(name)].get_weights()[0] for name in TEXTS},
            tuple(GRU.of(layer, layer is not recurrent[-1]) for layer in recurrent),
            dict(zip(dense, DenseLayers.of([layers[name] for name in dense]).layers, strict=True)),
        )

    def predict(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(b,) the answers to EncodedEvents.exact with `features` (b, m), the same whatever rows
        stand beside."""
        joined = self.summary(inputs)
        if FEATURES in self.dense:
            features = DenseLayers((self.dense[FEATURES],)).predict(inputs["features"])
            joined = np.hstack([joined, features])
        return DenseLayers((self.dense[HIDDEN], self.dense[ANSWER])).predict(joined)[:, 0]

    def summary(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(b, units) the last state of the last layer; zeros where there are no events."""
        found = np.empty((len(inputs["mask"]), self.recurrent[-1].units))
        by_length = np.argsort(inputs["mask"].sum(axis=1), kind="stable")
        for start in range(0, len(found), BLOCK_ROWS):
            rows = by_length[start : start + BLOCK_ROWS]
            block = {name: inputs[name][rows] for name in (*TEXTS, "numbers", "mask")}
            found[rows] = self._last_states(block)[: len(rows)]
        return found

    def _last_states(self, block: Mapping[str, np.ndarray]) -> np.ndarray:
        """(BLOCK_ROWS, units) of at most as many rows."""
        first = int(np.argmax(block["mask"].any(axis=0)))  # what is before is padding for all
        by_time = {
            name: np.ascontiguousarray(np.moveaxis(padded(values)[:, first:], 0, 1))
            for name, values in block.items()
        }
        numbers = self.dense[NUMBERS]
        steps = by_time["numbers"] @ numbers.kernel.astype(np.float64) + numbers.bias
        for name, table in self.embeddings.items():
            steps += table[by_time[name]]
        for layer in self.recurrent:
            steps = layer.states(steps, by_time["mask"])[1:]
        return steps[-1]

    def to_bytes(self) -> bytes:
        """A .npz: embed_role ... and, of the other layers, recurrent_1/kernel, hidden/bias ..."""
        arrays = {EMBEDDING.format(name): table for name, table in self.embeddings.items()}
        recurrent = {RECURRENT.format(i): layer for i, layer in enumerate(self.recurrent, 1)}
        for name, layer in (recurrent | self.dense).items():
            arrays |= {f"{name}/{part}": np.asarray(value) for part, value in vars(layer).items()}
        file = BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The inverse of `to_bytes`; refuses pickled content."""
        with np.load(BytesIO(stored), allow_pickle=False) as file:
            arrays = dict(file)

        def layer(kind: type, name: str) -> GRU | Dense:
            parts = (arrays[f"{name}/{field.name}"] for field in fields(kind))
            return kind(*(part if part.ndim else str(part) for part in parts))

        named = {name.partition("/")[0] for name in arrays}
        return cls(
            {name: arrays[EMBEDDING.format(name)] for name in TEXTS},
            tuple(layer(GRU, name) for name in _numbered(named)),
            {name: layer(Dense, name)
             for name in (NUMBERS, FEATURES, HIDDEN, ANSWER) if name in named},
        )  # fmt: skip


def _numbered(names: Mapping[str, object] | set[str]) -> list[str]:
    """The names of the recurrent layers among others, in order."""
    found = []
    while (name := RECURRENT.format(len(found) + 1)) in names:
        found.append(name)
    return found
