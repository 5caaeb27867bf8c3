"""A deep Q-network, fitted on logged decisions alone: no user is experimented on."""

import json
from typing import ClassVar, Self

import numpy as np

from behavsql.acting.decisions import GONE, Decisions
from behavsql.models.parts.dense_layers import DenseLayers
from behavsql.policies.base import Policy, as_json

UNITS = 32
HIDDEN_LAYERS = 2
SYNCS = 25  # times the target network becomes what was learned
MOST_ROWS = 60_000
BATCH = 1_024
LEAST_STEPS = 40  # of descent between two syncs, however few the rows
LEARNING_RATE = 5e-3


class DQN(Policy):
    """Q(s, a) as one network of the state with an output for each action.

    Its squared error is taken to r + discount * max_b Q'(s', b), where Q' is a target network: the
    weights as they were at the last sync. Inputs are log-scaled and standardised, beside a flag for
    each that is missing; rewards are divided by their deviation.
    Source: Mnih et al. 2015, Human-level control through deep reinforcement learning; Riedmiller
    2005, Neural fitted Q iteration, for fitting a log that is complete.
    """

    name: ClassVar[str] = "dqn"
    looks_ahead: ClassVar[bool] = True

    def fit(self, train: Decisions) -> Self:
        from behavsql.models.parts.quiet_keras import import_keras

        keras = import_keras(self.threads)
        keras.utils.set_random_seed(self.seed)
        self._measure(train)
        rows = np.flatnonzero(train.is_next_known)
        rows = np.random.default_rng(self.seed).permutation(rows)[:MOST_ROWS]
        few = train.rows(np.isin(np.arange(len(train)), rows))
        inputs, after = self._inputs(few.matrix), self._inputs(few.next_matrix)
        reward = ((few.reward - self._mean) / self._unit).astype(np.float32)
        is_gone = few.next_state == GONE
        onehot = np.eye(len(train.actions), dtype=np.float32)[few.action]
        network, taken = _networks(keras, inputs.shape[1], len(train.actions))
        epochs = max(1, -(-LEAST_STEPS * BATCH // max(len(few), 1)))
        for _ in range(SYNCS):
            target = DenseLayers.of(_dense(network)).predict(after).max(axis=1)
            # Rewards are counted from their mean: who is gone misses the mean for good.
            lost = -self._mean / self._unit / (1 - self.discount)
            future = self.discount * np.where(is_gone, lost, target)
            taken.fit(
                [inputs, onehot], (reward + future).astype(np.float32)[:, None],
                epochs=epochs, batch_size=BATCH, verbose=0,
            )  # fmt: skip
        self._layers = DenseLayers.of(_dense(network))
        return self

    def gains(self, decisions: Decisions) -> np.ndarray:
        values = self._layers.predict(self._inputs(decisions.matrix)) * self._unit
        return values - values[:, :1]

    def _measure(self, train: Decisions) -> None:
        logged = _logged(train.matrix)
        is_known = ~np.isnan(logged)
        count = np.maximum(is_known.sum(axis=0), 1)
        self._center = np.where(is_known, logged, 0).sum(axis=0) / count
        squares = np.square(np.where(is_known, logged - self._center, 0)).sum(axis=0) / count
        self._spread = np.where(squares > 0, np.sqrt(squares), 1.0)
        self._mean = float(train.reward.mean())
        self._unit = float(train.reward.std()) or 1.0

    def _inputs(self, matrix: np.ndarray) -> np.ndarray:
        """(n, 2 f) float32."""
        scaled = (_logged(matrix) - self._center) / self._spread
        missing = np.isnan(scaled)
        return np.concatenate([np.where(missing, 0, scaled), missing], axis=1).astype(np.float32)

    def save(self) -> dict[str, bytes]:
        scale = {"center": self._center.tolist(), "spread": self._spread.tolist(),
                 "mean": self._mean, "unit": self._unit}  # fmt: skip
        return {"scale.json": as_json(scale), "network.npz": self._layers.to_bytes()}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        policy, scale = cls(), json.loads(files["scale.json"])
        policy._center, policy._spread = np.array(scale["center"]), np.array(scale["spread"])
        policy._mean, policy._unit = scale["mean"], scale["unit"]
        policy._layers = DenseLayers.from_bytes(files["network.npz"])
        return policy


def _logged(matrix: np.ndarray) -> np.ndarray:
    return np.sign(matrix) * np.log1p(np.abs(matrix))


def _networks(keras, inputs: int, actions: int) -> tuple:
    """(the values of all actions, the value of the one that was taken), with the same weights."""
    state, onehot = keras.Input((inputs,)), keras.Input((actions,))
    hidden = state
    for _ in range(HIDDEN_LAYERS):
        hidden = keras.layers.Dense(UNITS, activation="relu")(hidden)
    values = keras.layers.Dense(actions, name="values")(hidden)
    network = keras.Model(state, values)
    taken = keras.Model([state, onehot], keras.layers.Dot(1)([values, onehot]))
    taken.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE), loss="mean_squared_error", jit_compile=False
    )
    return network, taken


def _dense(network) -> list:
    return [layer for layer in network.layers if layer.get_weights()]
