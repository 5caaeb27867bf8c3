"""Which features depend on each other given the label: the tree that says most about it.

Source: C. K. Chow and C. N. Liu, 1968, Approximating discrete probability distributions with
dependence trees; N. Friedman, D. Geiger and M. Goldszmidt, 1997, Bayesian network classifiers
(the procedure Construct-TAN: the tree of conditional mutual information given the class).
"""

import numpy as np


def information(counts: np.ndarray) -> float:
    """I(A; B | C) >= 0 in nats, of counts (c, a, b); with c = 1 the plain mutual information."""
    given = counts.sum(axis=(1, 2), keepdims=True)
    one, other = counts.sum(axis=2, keepdims=True), counts.sum(axis=1, keepdims=True)
    seen = counts > 0
    ratio = (counts * given)[seen] / (one * other)[seen]
    return (
        max(0.0, float((counts[seen] * np.log(ratio)).sum() / counts.sum())) if seen.any() else 0.0
    )


def chance(counts: np.ndarray) -> float:
    """What `information` comes to on average if A and B are independent given C.

    Source: G. A. Miller, 1955, Note on the bias of information estimates.
    """
    one, other = (np.count_nonzero(counts.sum(axis=axis), axis=1) for axis in (2, 1))
    degrees = np.maximum(one - 1, 0) * np.maximum(other - 1, 0)
    return float(degrees.sum()) / (2 * max(counts.sum(), 1))


def joint(label: np.ndarray, one: np.ndarray, other: np.ndarray, shape: tuple) -> np.ndarray:
    """Counts of shape (labels, states, states) of three columns of codes (n,).

    Codes past the last state (what was not seen in train) are not counted.
    """
    labels, first, second = shape
    code = (label * (first + 1) + one) * (second + 1) + other
    counts = np.bincount(code, minlength=labels * (first + 1) * (second + 1))
    return counts.reshape(labels, first + 1, second + 1)[:, :first, :second]


def most_informative(
    label: np.ndarray, codes: np.ndarray, sizes: list[int], most: int
) -> list[int]:
    """At most `most` of the features (f, n), each the one that adds most about the label (n,).

    What a feature adds is the least it says once any one of those before it is known; the first is
    taken in any case, the others as long as they add twice what chance does.
    Source: F. Fleuret, 2004, Fast binary feature selection with conditional mutual information.
    """
    labels = int(label.max()) + 1
    adds, chosen = np.full(len(codes), np.inf), []
    given, states = np.zeros_like(label), 1
    while len(chosen) < min(most, len(codes)):
        for j in np.flatnonzero(adds > 0):
            counts = joint(given, label, codes[j], (states, labels, sizes[j]))
            adds[j] = min(adds[j], information(counts) - 2 * chance(counts))
        best = int(np.argmax(adds))
        if chosen and adds[best] <= 0:
            break
        chosen.append(best)
        adds[best] = -np.inf
        given, states = codes[best], sizes[best]
    return chosen


def pairwise(
    label: np.ndarray, codes: np.ndarray, sizes: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Between the features (f, n) given the label (n,): information and its chance level, (f, f) each."""
    labels, count = int(label.max()) + 1, len(codes)
    found, expected = np.zeros((count, count)), np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            counts = joint(label, codes[i], codes[j], (labels, sizes[i], sizes[j]))
            found[i, j] = found[j, i] = information(counts)
            expected[i, j] = expected[j, i] = chance(counts)
    return found, expected


def parents(found: np.ndarray, expected: np.ndarray) -> list[int | None]:
    """The parent of every node, None where no edge is at least twice as strong as chance.

    found, expected: information between the nodes and its chance level, (f, f) each. The edges are
    those of the tree with the largest sum of what is found above chance.
    """
    above = found - expected
    return [
        parent if parent is not None and above[i, parent] > expected[i, parent] else None
        for i, parent in enumerate(spanning_tree(above))
    ]


def spanning_tree(weight: np.ndarray) -> list[int | None]:
    """The parent of every node in the spanning tree of the largest total weight (f, f).

    Node 0 is the root, without a parent; of equal weights the earlier node's is taken.
    """
    count = len(weight)
    parents: list[int | None] = [None] * count
    best, nearest = weight[0].astype(np.float64), np.zeros(count, dtype=np.int64)
    best[0] = -np.inf
    for _ in range(count - 1):
        node = int(np.argmax(best))
        parents[node] = int(nearest[node])
        closer = (weight[node] > best) & (best > -np.inf)
        best[closer], nearest[closer] = weight[node][closer], node
        best[node] = -np.inf
    return parents
