"""A trained network of dense layers as plain arrays: answers in double precision, without Keras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Self

import numpy as np

from behavsql.errors import ModelError

BLOCK_ROWS = 64  # multiplied together: few enough that BLAS starts no threads, which only wait


def _sigmoid(u: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(u, -500, 500)))


def _softplus(u: np.ndarray) -> np.ndarray:
    return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda u: u,
    "relu": lambda u: np.maximum(u, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
}


def padded(rows: np.ndarray) -> np.ndarray:
    """BLOCK_ROWS rows, zeros behind the last: products of fewer are added up in another order."""
    if len(rows) == BLOCK_ROWS:
        return rows
    return np.pad(rows, [(0, BLOCK_ROWS - len(rows)), *[(0, 0)] * (rows.ndim - 1)])


@dataclass(frozen=True)
class Dense:
    """activation(inputs @ kernel + bias)."""

    kernel: np.ndarray  # (inputs, units) float32; float64 where components were folded in
    bias: np.ndarray  # (units,) like the kernel
    activation: str  # a key of ACTIVATIONS


@dataclass(frozen=True)
class DenseLayers:
    """Layers one after the other.

    The weights are those of training, in single precision; sums are in double, so that the same
    network in SQL differs by rounding alone, however steep the calibration behind it is.
    """

    layers: tuple[Dense, ...]

    @classmethod
    def of(cls, layers: Sequence[object]) -> Self:
        """From Keras dense layers; ModelError for an activation that is not known here."""
        found = tuple(Dense(*layer.get_weights(), layer.activation.__name__) for layer in layers)
        for layer in found:
            if layer.activation not in ACTIVATIONS:
                raise ModelError(
                    f"network: activation {layer.activation} is not known; allowed are "
                    f"{', '.join(ACTIVATIONS)}. Use one of these."
                )
        return cls(found)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, inputs) -> (n, units of the last layer) float64, the same whatever rows stand beside."""
        parts = [np.empty((0, len(self.layers[-1].bias)))]
        kernels = [layer.kernel.astype(np.float64) for layer in self.layers]
        for start in range(0, len(matrix), BLOCK_ROWS):
            rows = matrix[start : start + BLOCK_ROWS]
            block = padded(rows)
            for layer, kernel in zip(self.layers, kernels, strict=True):
                block = ACTIVATIONS[layer.activation](block @ kernel + layer.bias)
            parts.append(block[: len(rows)])
        return np.concatenate(parts)

    def to_bytes(self) -> bytes:
        """A .npz: kernel_0, bias_0, activation_0, kernel_1 ..."""
        arrays = {
            f"{part}_{i}": np.asarray(getattr(layer, part))
            for i, layer in enumerate(self.layers)
            for part in ("kernel", "bias", "activation")
        }
        file = BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The inverse of `to_bytes`; refuses pickled content."""
        with np.load(BytesIO(stored), allow_pickle=False) as arrays:
            count = sum(name.startswith("kernel_") for name in arrays)
            return cls(tuple(
                Dense(arrays[f"kernel_{i}"], arrays[f"bias_{i}"], str(arrays[f"activation_{i}"]))
                for i in range(count)
            ))  # fmt: skip
