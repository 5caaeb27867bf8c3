"""Weights that let the rarer of two classes count as much as the other."""

import numpy as np

from behavsql.errors import ModelError

WAYS = ("none", "balanced")


def checked(kind: str, way: str) -> str:
    """The way itself; ModelError where it is not known, or the label has no two classes."""
    if way not in WAYS:
        raise ModelError(
            f"option class_weight: it is {way!r}; allowed are {', '.join(WAYS)}. Choose one of these."
        )
    if way != "none" and kind != "binary":
        raise ModelError(
            f"option class_weight: it is {way!r} for a label of kind {kind!r}; allowed is none, for "
            "only a binary label has classes. Leave it out."
        )
    return way


def row_weights(way: str, label: np.ndarray, train_label: np.ndarray) -> np.ndarray | None:
    """(n,) weight of each row by its label, from the shares in train; None: all rows weigh the same.

    balanced: rows / (2 rows of the class), as scikit-learn has it; it shifts the odds that a model
    gives by the factor negatives / positives, which calibration takes back.
    """
    if way == "none":
        return None
    share = float(train_label.mean())
    return np.where(label == 1, 0.5 / share, 0.5 / (1 - share))
