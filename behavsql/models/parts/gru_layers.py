"""A trained GRU layer as plain arrays: answers in double precision, without Keras."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.models.parts.dense_layers import ACTIVATIONS, BLOCK_ROWS, padded

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
    def of(cls, layer: object, returns_all: bool = False) -> Self:
        """From a built Keras layer; ModelError for a setting that is not known here.

        returns_all: it is read by another layer, step by step.
        """
        config = layer.get_config()
        for name, known in (SETTINGS | {"return_sequences": returns_all}).items():
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
            block, is_known = (padded(part[rows]) for part in (steps, known))
            states = self.states(np.moveaxis(block, 0, 1), is_known.T)
            parts.append(states[-1, : len(steps[rows])])
        return np.concatenate(parts)

    def states(self, steps: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The states (t + 1, BLOCK_ROWS, units) before the first and after each of the steps.

        steps (t, BLOCK_ROWS, inputs), known (t, BLOCK_ROWS): by time, that each product has as many
        rows; of fewer, or more, they would be added up in another order.
        """
        units, gates = self.units, 2 * self.units
        kernel, recurrent, bias = (
            part.astype(np.float64) for part in (self.kernel, self.recurrent, self.bias)
        )
        states = np.zeros((len(steps) + 1, BLOCK_ROWS, units))
        for t, (step, is_known) in enumerate(zip(steps, known, strict=True)):
            state = states[t]
            from_step, from_state = step @ kernel + bias[0], state @ recurrent + bias[1]
            gate = ACTIVATIONS["sigmoid"](from_step[:, :gates] + from_state[:, :gates])
            keep, reset = gate[:, :units], gate[:, units:]
            new = np.tanh(from_step[:, gates:] + reset * from_state[:, gates:])
            moved = keep * state + (1 - keep) * new
            states[t + 1] = np.where(is_known[:, np.newaxis], moved, state)
        return states
