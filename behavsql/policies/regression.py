"""The regression that uplift learners are made of: small LightGBM trees, stopped early."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import lightgbm

MOST_ROUNDS = 120
PATIENCE = 15  # rounds without a better loss before stopping
LEAST_ROWS = 40  # to learn more than the mean from
ONE_THREAD_ROWS = 400_000  # up to here threads on a busy machine wait more than they work
PARAMS = {
    "objective": "regression", "learning_rate": 0.1, "max_bin": 63, "num_leaves": 8,
    "max_depth": 4, "lambda_l2": 10.0, "feature_fraction": 0.8, "bagging_fraction": 0.8,
    "bagging_freq": 1, "deterministic": True, "force_row_wise": True,
    "verbosity": -1,
}  # fmt: skip


def fitted(
    matrix: np.ndarray, target: np.ndarray, is_held_out: np.ndarray, seed: int, threads: int
) -> "lightgbm.Booster":
    """Trees for the mean of `target` (n,); `is_held_out` rows say when to stop.

    Few rows, or none held out, get the mean alone.
    """
    import lightgbm

    fit, stop = ~is_held_out, is_held_out
    rounds = MOST_ROUNDS if min(fit.sum(), stop.sum()) >= LEAST_ROWS else 1
    if rounds == 1:
        fit = np.ones(len(target), dtype=bool)
    leaf = max(20, int(fit.sum()) // 200) if rounds > 1 else len(target) + 1
    threads = threads if len(target) > ONE_THREAD_ROWS else 1
    params = PARAMS | {"min_data_in_leaf": leaf, "seed": seed, "num_threads": threads}
    data = lightgbm.Dataset(matrix[fit], target[fit], params=params)
    if rounds == 1:
        return lightgbm.train(params, data, 1)
    against = lightgbm.Dataset(matrix[stop], target[stop], reference=data, params=params)
    stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(params, data, rounds, valid_sets=[against], callbacks=[stopping])


def text(booster: "lightgbm.Booster") -> bytes:
    return booster.model_to_string(num_iteration=booster.best_iteration or -1).encode()


def from_text(content: bytes) -> "lightgbm.Booster":
    import lightgbm

    return lightgbm.Booster(model_str=content.decode())


def predicted(booster: "lightgbm.Booster", matrix: np.ndarray, threads: int) -> np.ndarray:
    """(n,) float64."""
    if not len(matrix):
        return np.empty(0)
    return booster.predict(matrix, num_threads=threads if len(matrix) > ONE_THREAD_ROWS else 1)
