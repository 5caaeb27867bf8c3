"""Other views of the same sequences, drawn anew each epoch, so that a network learns what they share.

All four ways, measured with a GRU by tests/benchmarks/options.py: the churn of MovieLens' users (2,357
questions of train, two seeds) got better by .0009 [-.0021, .0040] of log loss, the engagement of
Wikipedia's editors (8,234, one seed) worse by .034 [.019, .047] of Poisson deviance. So none is the default.
"""

from collections.abc import Callable, Sequence

import numpy as np

from behavsql.errors import ModelError
from behavsql.models.parts.sequence_encoder import MISSING, NUMBERS, PADDING, TEXTS

Inputs = dict[str, np.ndarray]  # of EncodedEvents.batch

KEPT_AT_LEAST = 0.5  # share of the events that a crop keeps
MASKED = 0.2  # share of the events that are masked
REORDERED = 0.3  # share of the events that change places
NOISE = 0.1  # standard deviations added to gaps, times and values
UNTOUCHED = 0.5  # share of the rows that stay as they are
_VALUE = [NUMBERS.index("value"), NUMBERS.index("is_known")]
_MEASURED = [NUMBERS.index(name) for name in ("gap", "ago", "value")]


def crop(inputs: Inputs, rows: np.ndarray, random: np.random.Generator) -> None:
    """Forget the oldest events of these rows: a random share of them, at most half.

    The newest stay, unlike in the source: what is asked comes right after them.
    """
    mask = inputs["mask"][rows]
    counts = mask.sum(axis=1)
    kept = np.ceil(random.uniform(KEPT_AT_LEAST, 1, len(counts)) * counts)
    places = np.arange(mask.shape[1], 0, -1)  # 1 = the newest
    stays = mask & (places <= kept[:, np.newaxis])
    for name in TEXTS:
        inputs[name][rows] = np.where(stays, inputs[name][rows], PADDING)
    numbers = np.where(stays[..., np.newaxis], inputs["numbers"][rows], 0)
    oldest = stays & (places == kept[:, np.newaxis])
    numbers[..., NUMBERS.index("gap")][oldest] = 0  # what came before is not known any more
    inputs["numbers"][rows] = numbers
    inputs["mask"][rows] = stays


def mask(inputs: Inputs, rows: np.ndarray, random: np.random.Generator) -> None:
    """Hide what a random share of the events was about; that and when there was one stays."""
    known = inputs["mask"][rows]
    hidden = known & (random.random(known.shape) < MASKED)
    for name in TEXTS:
        inputs[name][rows] = np.where(hidden, MISSING, inputs[name][rows])
    numbers = inputs["numbers"][rows]
    numbers[..., _VALUE] = np.where(hidden[..., np.newaxis], 0, numbers[..., _VALUE])
    inputs["numbers"][rows] = numbers


def reorder(inputs: Inputs, rows: np.ndarray, random: np.random.Generator) -> None:
    """Shuffle what a random stretch of the events was about; the times stay where they are."""
    known = inputs["mask"][rows]
    t = known.shape[1]
    counts = known.sum(axis=1)
    width = np.floor(REORDERED * counts)
    first = t - counts + np.floor(random.random(len(counts)) * (counts - width + 1))
    places = np.broadcast_to(np.arange(t), known.shape)
    moves = (places >= first[:, np.newaxis]) & (places < (first + width)[:, np.newaxis])
    # Where nothing moves the place itself is the key; within a stretch the keys are in any order.
    keys = np.where(moves, first[:, np.newaxis] + random.random(known.shape), places)
    order = np.argsort(keys, axis=1, kind="stable")
    for name in TEXTS:
        inputs[name][rows] = np.take_along_axis(inputs[name][rows], order, axis=1)
    numbers = inputs["numbers"][rows]
    for column in _VALUE:
        numbers[..., column] = np.take_along_axis(numbers[..., column], order, axis=1)
    inputs["numbers"][rows] = numbers


def noise(inputs: Inputs, rows: np.ndarray, random: np.random.Generator) -> None:
    """Add a little to the scaled gaps, times and known values."""
    known = inputs["mask"][rows][..., np.newaxis]
    numbers = inputs["numbers"][rows]
    added = random.normal(0, NOISE, (*known.shape[:2], len(_MEASURED))) * known
    added[..., -1] *= numbers[..., NUMBERS.index("is_known")]
    numbers[..., _MEASURED] += added.astype(np.float32)
    inputs["numbers"][rows] = numbers


WAYS: dict[str, Callable[[Inputs, np.ndarray, np.random.Generator], None]] = {
    "crop": crop, "mask": mask, "reorder": reorder, "noise": noise,
}  # fmt: skip


def checked(ways: Sequence[str] | str) -> tuple[str, ...]:
    """The names of WAYS in `ways`, where "none" and "all" may stand for them; or ModelError."""
    given = (ways,) if isinstance(ways, str) else tuple(ways)
    for way in given:
        if way not in (*WAYS, "none", "all"):
            raise ModelError(
                f"option augment: it is {way!r}; allowed are none, all, {', '.join(WAYS)}. "
                "Choose some of these."
            )
    return tuple(way for way in WAYS if "all" in given or way in given)


def augment(inputs: Inputs, ways: Sequence[str], random: np.random.Generator) -> Inputs:
    """Another view of a batch: half of its rows changed, each in one of the ways at random.

    Source: Xie et al., 2022, "Contrastive learning for sequential recommendation", section 3.2, for
    crop, mask and reorder; here the label of a view is that of its row.
    """
    inputs = {name: values.copy() for name, values in inputs.items()}
    rows = len(inputs["mask"])
    drawn = random.integers(0, len(ways), rows)
    drawn[random.random(rows) < UNTOUCHED] = -1
    for i, way in enumerate(ways):
        WAYS[way](inputs, np.flatnonzero(drawn == i), random)
    return inputs
