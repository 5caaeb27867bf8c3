"""A trained GRU layer as plain arrays: answers in double precision, without Keras."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.models.parts.dense_layers import ACTIVATIONS, BLOCK_ROWS

# What the layer has to be set to: the defaults of Keras.
SETTINGS = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True,
            "use_bias": True, "go_backwards": False, "return_sequences": False,
            "return_state": False, "stateful": False}  # fmt: skip


@dataclass(frozen=True)
class GRU:
    """One layer of gated recurrent units; the gates stand in the order z, r, h, as in Keras.

    z, r = sigmoid(x K + b0 + s R + b1), c = tanh(x K + b0 + r * (s R + b1)), s' = z s + (1 - z) c.
    Source: Cho et al., 2014, with the reset gate after the product (Keras: reset_after=True).
    """

    kernel: np.ndarray  # K (inputs, 3 units) float32
    recurrent: np.ndarray  # R (units, 3 units) float32
    bias: np.ndarray  # b0, b1 (2, 3 units) float32

    @classmethod
    def of(cls, layer: object) -> Self:
        """From a built Keras layer; ModelError for a setting that is not known here."""
        config = layer.get_config()
        for name, known in SETTINGS.items():
            if config[name] != known:
                raise ModelError(
                    f"GRU layer: {name} is {config[name]!r}; only {known!r} is known here. "
                    f"Build the layer with {name}={known!r}."
                )
        return cls(*layer.get_weights())

    @property
    def inputs(self) -> int:
        """How many numbers a step has."""
        return len(self.kernel)

    @property
    def units(self) -> int:
        """How many numbers the state has."""
        return len(self.recurrent)

    def predict(self, steps: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The last state (n, units) float64, the same whatever rows stand beside.

        steps (n, t, inputs) and known (n, t): a step that is not known leaves the state as it is,
        and a row without any step comes to zeros.
        """
        parts = [np.empty((0, self.units))]
        for start in range(0, len(steps), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            # As in dense_layers: products of fewer rows are added up in another order.
            missing = BLOCK_ROWS - len(steps[rows])
            block = np.pad(steps[rows].astype(np.float64), ((0, missing), (0, 0), (0, 0)))
            last = self._last_state(block, np.pad(known[rows], ((0, missing), (0, 0))))
            parts.append(last[: len(steps[rows])])
        return np.concatenate(parts)

    def _last_state(self, steps: np.ndarray, known: np.ndarray) -> np.ndarray:
        kernel, recurrent, bias = (
            part.astype(np.float64) for part in (self.kernel, self.recurrent, self.bias)
        )
        state = np.zeros((len(steps), self.units))
        for t in range(steps.shape[1]):
            from_step = np.split(steps[:, t] @ kernel + bias[0], 3, axis=1)
            from_state = np.split(state @ recurrent + bias[1], 3, axis=1)
            keep = ACTIVATIONS["sigmoid"](from_step[0] + from_state[0])
            reset = ACTIVATIONS["sigmoid"](from_step[1] + from_state[1])
            new = np.tanh(from_step[2] + reset * from_state[2])
            moved = keep * state + (1 - keep) * new
            state = np.where(known[:, t, np.newaxis], moved, state)
        return state
