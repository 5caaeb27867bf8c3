"""Pre-trained weights for another data set: what is tied to ids begins anew, the rest goes on."""

from collections.abc import Mapping

import numpy as np

from behavsql.models.parts.sequence_encoder import FIRST_BUCKET, SequenceEncoder


def carried_over(
    weights: Mapping[str, np.ndarray], theirs: SequenceEncoder,
    ours: SequenceEncoder, fresh: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:  # fmt: skip
    """The weights for another data set: what was learned, but `fresh` ones for items and categories.

    weights, theirs: of the model that is carried over, with its encoder; ours: the new data's.

    Roles mean the same everywhere and are carried over by their names. Of items and categories only
    what is said of none (padding, missing, masked) is.
    """
    found = {}
    for path, array in fresh.items():
        old = weights.get(path)
        head, _, part = path.rpartition("/")
        name = head.removeprefix("embed_").removeprefix("say_")
        if old is None:
            found[path] = array
        elif name not in ours.sizes:
            found[path] = old if old.shape == array.shape else array
        else:
            axis = 0 if part == "embeddings" else array.ndim - 1
            found[path] = _mapped(old, array, axis, *_places(theirs, ours, name))
    return found


def _mapped(
    old: np.ndarray, fresh: np.ndarray, axis: int, theirs: list[int], ours: list[int]
) -> np.ndarray:
    """`fresh` with the slices `ours` along an axis replaced by the slices `theirs` of `old`."""
    found, old = np.moveaxis(fresh.copy(), axis, 0), np.moveaxis(old, axis, 0)
    known = [(t, o) for t, o in zip(theirs, ours, strict=True) if t < len(old) and o < len(found)]
    for their, our in known:
        found[our] = old[their]
    return np.moveaxis(found, 0, axis)


def _places(start: SequenceEncoder, encoder: SequenceEncoder, name: str) -> tuple[list, list]:
    """Codes that mean the same in both vocabularies: theirs, ours."""
    old, new = start.vocabularies[name], encoder.vocabularies[name]
    theirs = [*range(FIRST_BUCKET), old.size, old.size + 1]
    ours = [*range(FIRST_BUCKET), new.size, new.size + 1]
    if name == "role":
        theirs += range(FIRST_BUCKET, FIRST_BUCKET + old.buckets)
        ours += range(FIRST_BUCKET, FIRST_BUCKET + new.buckets)
        shared = [value for value in new.values if value in old.values]
        theirs += [FIRST_BUCKET + old.buckets + old.values.index(value) for value in shared]
        ours += [FIRST_BUCKET + new.buckets + new.values.index(value) for value in shared]
    return theirs, ours
