"""How much a pre-trained network is surprised by users it did not learn from; less is better."""

from collections.abc import Callable, Iterator

import numpy as np

from behavsql.models.parts.pretraining_data import GAPS, Batches

HELD_OUT_STEP = 1_000_000  # batches from here on are not trained on
BATCHES = 8


def losses(whole, outside: Batches, batches: int = BATCHES) -> dict[str, float]:
    """Mean -log probability of what was asked, by what it was; `outside` draws the other users."""
    return _mean(outside, batches, lambda inputs: whole.predict_on_batch(inputs))


def unigram(inside: Batches, outside: Batches) -> dict[str, float]:
    """The losses of saying, whoever is asked, how often each answer was right in train."""
    codes = {**inside.encoder.sizes, "gap": GAPS}
    counts: dict[str, np.ndarray] = {}
    for step in range(BATCHES):
        inputs, targets, weights = inside.batch(step)
        for name, target in targets.items():
            # Of a censored time the first class it may be in is counted.
            code = target.argmax(axis=-1) if target.ndim == 3 else target
            for key, those in _parts(name, inputs["is_next"], weights[name]):
                found = np.bincount(code[those], minlength=codes[name])
                counts[key] = counts.get(key, np.ones(codes[name])) + found
    shares = {key: np.log(found / found.sum()) for key, found in counts.items()}
    return _mean(outside, BATCHES, shares=shares)


def _mean(
    outside: Batches, batches: int, answer: Callable | None = None, shares: dict | None = None
) -> dict[str, float]:
    total: dict[str, np.ndarray] = {}
    for step in range(batches):
        inputs, targets, weights = outside.batch(HELD_OUT_STEP + step)
        answers = answer(inputs) if answer else {}
        for name, target in targets.items():
            for key, those in _parts(name, inputs["is_next"], weights[name]):
                logits = answers[name][those] if answer else shares[key][np.newaxis]
                loss = _surprise(np.asarray(logits, np.float64), target[those])
                total[key] = total.get(key, np.zeros(2)) + np.array([loss.sum(), those.sum()])
    return {key: float(loss / max(count, 1)) for key, (loss, count) in total.items()}


def _parts(name: str, is_next: np.ndarray, weight: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What an output is asked for, and at which places (b, p)."""
    if name == "gap":
        yield "time to next", weight > 0
        return
    yield f"next {name}", (weight > 0) & is_next
    yield f"masked {name}", (weight > 0) & ~is_next


def _surprise(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(m,) -log probability, from logits (m, k), of a code (m,) or of any allowed class (m, k)."""
    from scipy.special import logsumexp

    logits = np.broadcast_to(logits, (len(target), logits.shape[1]))
    total = logsumexp(logits, axis=1)
    if target.ndim == 2:
        return total - logsumexp(np.where(target > 0, logits, -np.inf), axis=1)
    return total - logits[np.arange(len(target)), target]
