"""The probability tables of a Bayes network: learned by counting, looked up to predict, shown."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from behavsql.models.parts import chow_liu
from behavsql.models.parts.discrete import Discrete

WAY_NODES = 32  # of the integral in `parts`
LABEL = "label"  # what the label is called among the features that are shown


@dataclass(frozen=True)
class Classes:
    """The label as one of c classes: their names, mean labels and rows in train."""

    names: list[str]
    means: np.ndarray  # (c,)
    rows: np.ndarray  # (c,)

    @classmethod
    def learn(
        cls, label: np.ndarray, edges: np.ndarray, names: list[str]
    ) -> tuple[Self, np.ndarray]:
        """The classes between the edges, and (n,) int64: the class of each label."""
        found = np.searchsorted(edges, label, side="right")
        rows = np.bincount(found, minlength=len(names))
        return cls(names, np.bincount(found, weights=label) / rows, rows), found

    @property
    def log_ratios(self) -> np.ndarray:
        """(c - 1,) log P(class) - log P(first class)."""
        return np.log(self.rows[1:]) - np.log(self.rows[0])

    def slope(self, scores: np.ndarray) -> np.ndarray:
        """(c - 1, n) how much `mean` grows with each of the scores."""
        padded = np.vstack([np.zeros(scores.shape[1]), scores])
        weights = np.exp(padded - padded.max(axis=0))
        share = weights / weights.sum(axis=0)
        return share[1:] * (self.means[1:, np.newaxis] - self.means @ share)

    def mean(self, scores: np.ndarray) -> np.ndarray:
        """(n,) expected label, of (c - 1, n) log P(class | x) - log P(first class | x)."""
        scores = np.vstack([np.zeros(scores.shape[1]), scores])
        weights = np.exp(scores - scores.max(axis=0))
        return (weights * self.means[:, np.newaxis]).sum(axis=0) / weights.sum(axis=0)


@dataclass(frozen=True)
class Node:
    """A feature of k states with P(state | state of its parent, class).

    probability and count are (c, k, parent's k + 1): of the last column, without a parent, which is
    for roots and where the parent's state is not known. count: rows of train behind each of them.
    """

    feature: Discrete
    parent: int | None  # place of the parent among the nodes
    information: float  # I(feature; label) in nats
    given_label: float | None  # I(feature; parent | label) in nats
    probability: np.ndarray
    count: np.ndarray

    @classmethod
    def learn(
        cls, feature: Discrete, parent: int | None, given_label: float | None, joint: np.ndarray,
        single: np.ndarray, smoothing: float,
    ) -> Self:  # fmt: skip
        """From counts with the parent's states (c, k, parent's k; 0 for a root) and without (c, k).

        A distribution counts with its own rows and `smoothing` more: of P(state | class) where
        there is a parent, of P(state) without, and of one row a state for that.
        """
        overall = single.sum(axis=0) + 1.0
        rows = single.sum(axis=1, keepdims=True) + smoothing
        alone = ((single + smoothing * overall / overall.sum()) / rows)[:, :, np.newaxis]
        rows = joint.sum(axis=1, keepdims=True) + smoothing
        probability = np.concatenate([(joint + smoothing * alone) / rows, alone], axis=2)
        count = np.concatenate([joint, single[:, :, np.newaxis]], axis=2)
        information = chow_liu.information(single[np.newaxis])
        return cls(feature, parent, information, given_label, probability, count)

    @property
    def log_ratios(self) -> np.ndarray:
        """(c - 1, k + 1, parent's k + 1): log P(. | class) - log P(. | first class).

        The last row is 0: a state that was not seen in train is left out of the product.
        """
        logs = np.log(self.probability)
        return np.pad(logs[1:] - logs[:1], ((0, 0), (0, 1), (0, 0)))

    def to_dict(self) -> dict:
        """Ready for JSON; floats survive the round trip exactly."""
        arrays = {"probability": self.probability.tolist(), "count": self.count.tolist()}
        return vars(self) | {"feature": self.feature.to_dict()} | arrays

    @classmethod
    def from_dict(cls, stored: dict) -> Self:
        """The inverse of `to_dict`."""
        arrays = {name: np.array(stored[name]) for name in ("probability", "count")}
        return cls(**stored | {"feature": Discrete.from_dict(stored["feature"])} | arrays)


def learn(
    features: list[Discrete], codes: np.ndarray, label: np.ndarray,
    edges: tuple[np.ndarray, np.ndarray], smoothing: float,
) -> list[Node]:  # fmt: skip
    """The nodes of the features whose states in train are `codes` (f, n); edges: see chow_liu.pairwise."""
    classes, nodes = int(label.max()) + 1, []
    nothing = np.zeros_like(label)
    for i, parent in enumerate(chow_liu.parents(*edges)):
        size = features[i].size
        single = chow_liu.joint(nothing, label, codes[i], (1, classes, size))[0]
        joint, told = np.empty((classes, size, 0), dtype=np.int64), None
        if parent is not None:
            shape = (classes, size, features[parent].size)
            joint = chow_liu.joint(label, codes[i], codes[parent], shape)
            told = float(edges[0][i, parent])
        nodes.append(Node.learn(features[i], parent, told, joint, single, smoothing))
    return nodes


def scores(nodes: list[Node], classes: Classes, codes: np.ndarray) -> np.ndarray:
    """(c - 1, n) log P(class | x) - log P(first class | x) of states (f, n)."""
    total = np.repeat(classes.log_ratios[:, np.newaxis], codes.shape[1], axis=1)
    for node, code in zip(nodes, codes, strict=True):
        above = 0 if node.parent is None else codes[node.parent]
        total += node.log_ratios[:, code, above]
    return total


def parts(
    nodes: list[Node], classes: Classes, codes: np.ndarray, in_log_odds: bool
) -> tuple[float, np.ndarray]:
    """A base and (n, f) what each node adds, of states (f, n).

    In log odds, which add up, where there are two classes, no and yes. Else on the scale of the mean label, whose slope is
    integrated along the straight way from the base scores to the row's, by Gauss-Legendre nodes.
    """
    steps = np.stack([  # (f, c - 1, n)
        node.log_ratios[:, code, 0 if node.parent is None else codes[node.parent]]
        for node, code in zip(nodes, codes, strict=True)
    ])  # fmt: skip
    first = classes.log_ratios[:, np.newaxis]
    if in_log_odds:
        return float(first[0, 0]), steps[:, 0].T
    total, slope = steps.sum(axis=0), 0.0
    at, weights = np.polynomial.legendre.leggauss(WAY_NODES)
    for share, weight in zip((at + 1) / 2, weights / 2, strict=True):
        slope = slope + weight * classes.slope(first + share * total)
    return float(classes.mean(first)[0]), np.einsum("fcn,cn->nf", steps, slope)


def shown(nodes: list[Node], classes: Classes) -> pl.DataFrame:
    """All tables as one: a row per feature, state, state of the parent and class.

    `position` is that of the state among the feature's, from 1. The label is the first feature;
    `label` is null for it, and `parent_state` in the distributions without a parent.
    """
    own = {
        "feature": LABEL, "parent": None, "mutual_information": None,
        "conditional_mutual_information": None, "position": range(1, len(classes.names) + 1),
        "state": classes.names, "parent_state": None, "label": None,
        "probability": classes.rows / classes.rows.sum(), "count_rows": classes.rows,
    }  # fmt: skip
    frames = [pl.DataFrame(own, schema=SHOWN)]
    for node in nodes:
        parent = None if node.parent is None else nodes[node.parent].feature
        names = (classes.names, node.feature.names, [*(parent.names if parent else []), None])
        label, state, above = np.indices(node.count.shape).reshape(3, -1)
        frames.append(pl.DataFrame({
            "feature": node.feature.source, "parent": parent.source if parent else None,
            "mutual_information": node.information,
            "conditional_mutual_information": node.given_label,
            "position": state + 1, "state": np.array(names[1], dtype=object)[state],
            "parent_state": np.array(names[2], dtype=object)[above],
            "label": np.array(names[0], dtype=object)[label],
            "probability": node.probability.ravel(), "count_rows": node.count.ravel(),
        }, schema=SHOWN))  # fmt: skip
    return pl.concat(frames)


SHOWN = {
    "feature": pl.String, "parent": pl.String, "mutual_information": pl.Float64,
    "conditional_mutual_information": pl.Float64, "position": pl.Int32, "state": pl.String,
    "parent_state": pl.String, "label": pl.String, "probability": pl.Float64, "count_rows": pl.Int64,
}  # fmt: skip
