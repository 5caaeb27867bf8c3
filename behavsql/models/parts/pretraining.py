"""The large model: a Transformer that learns, without labels, what users do next.

It reads whole histories and is asked for the next event (role, item), the time until it comes, and
for events that were masked. What it has learned is carried over to tasks (pretrained_transformer.py)
and to other data, where all that is tied to ids begins anew.
Source: Radford et al., 2018 (next event, fine-tuning); Devlin et al., 2018 (masked event).
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import Self

import numpy as np

from behavsql.errors import ModelError
from behavsql.models.parts import pretraining_losses
from behavsql.models.parts.pretraining_data import (
    GAPS,
    PLACES,
    QUESTION,
    SPECIAL,
    Batches,
    Histories,
    with_question,
)
from behavsql.models.parts.pretraining_transfer import carried_over
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import NUMBERS, SequenceEncoder
from behavsql.sequences import LENGTH, Sequences

FORMAT = 2  # of the artifact
PASSES, LEAST_STEPS = 40, 200  # over all events at most; batches at least
HELD_OUT, MOST_HELD_OUT = 0.05, 2_000  # share and number of users whose losses are reported
REPORTS = 10  # how often the losses are measured and told
LEAST_USERS = 20
BLOCK_ROWS = 256  # embedded together: always as many, for a row's last bits depend on it


@dataclass(frozen=True)
class Size:
    """How large the network is and how long it learns. `cost` says what that takes."""

    units: int
    blocks: int
    heads: int
    steps: int  # batches, unless the data are so few that PASSES over them are fewer
    rows: int  # of a batch
    rate: float  # of learning, at its highest
    dropout: float = 0.1


SIZES = {
    "small": Size(64, 2, 4, 1_200, 128, 2e-3),  # minutes on 2 cores
    "base": Size(256, 6, 8, 20_000, 256, 5e-4),  # for a GPU
    "large": Size(768, 12, 12, 100_000, 512, 2e-4),  # for a large one
}


@dataclass(frozen=True)
class Cost:
    """What a size takes, counted from its shapes."""

    count_parameters: int  # embeddings and heads among them
    flops_per_token: int  # to read one event
    flops_training: float  # all steps, forwards and backwards


def cost(size: Size, codes: Mapping[str, int], steps: int = LENGTH + 1) -> Cost:
    """codes: an encoder's sizes. steps: of a row, the question among them.

    A multiplication with an addition is two operations, and going backwards takes as much again
    twice; embeddings are looked up for nothing. Source: Kaplan et al., 2020, appendix B.
    """
    d, out = size.units, codes["role"] + codes["item"] + GAPS
    block = 4 * d * (d + 1) + 4 * d * (d + 1) + d * (4 * d + 1) + 4 * d  # attention, dense, norms
    looked_up = (sum(codes.values()) + SPECIAL * len(codes) + LENGTH + 2) * d
    numbers = (len(NUMBERS) + 1) * d
    heads = 2 * d * (d + 1) + out * (d + 1)
    question = (len(QUESTION) + 1) * d + d * (d + 1)
    read = 2 * (size.blocks * 12 * d * d + len(NUMBERS) * d) + size.blocks * 4 * steps * d
    row = steps * read + 2 * (len(QUESTION) * d + d * d) + PLACES * 2 * (2 * d * d + out * d)
    return Cost(
        looked_up + numbers + question + size.blocks * block + 2 * d + heads,
        read,
        3.0 * row * size.rows * size.steps,
    )


@dataclass(frozen=True)
class Pretrained:
    """What pre-training leaves: one artifact, arrays and JSON in a .npz."""

    name: str  # of its size
    size: Size
    encoder: SequenceEncoder
    weights: Mapping[str, np.ndarray]  # path -> array, of body and heads
    center: tuple[np.ndarray, np.ndarray]  # (d,) mean and std of what is embedded
    card: Mapping[str, object] = field(default_factory=dict)  # losses, counts, seen_until ...

    def to_bytes(self) -> bytes:
        """The same artifact is the same bytes."""
        card = {
            "format": FORMAT, "name": self.name, "size": vars(self.size),
            "encoder": self.encoder.to_dict(), "card": dict(self.card),
        }  # fmt: skip
        told = np.frombuffer(json.dumps(card).encode(), np.uint8)
        file, (mean, std) = BytesIO(), self.center
        np.savez_compressed(file, card=told, mean=mean, std=std, **self.weights)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The inverse of `to_bytes`; ModelError for anything else."""
        try:
            with np.load(BytesIO(stored), allow_pickle=False) as arrays:
                card = json.loads(arrays["card"].tobytes())
                named = {
                    name: arrays[name] for name in arrays if name not in ("card", "mean", "std")
                }
                center = arrays["mean"], arrays["std"]
            if card["format"] != FORMAT:
                raise ValueError(f"its format is {card['format']}")
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise ModelError(
                f"pretrained: {len(stored):,} bytes are no pre-trained model ({error}); allowed is "
                f"format {FORMAT}. Save one with `behavsql pretrained --save FILE`."
            ) from None
        encoder = SequenceEncoder.from_dict(card["encoder"])
        return cls(card["name"], Size(**card["size"]), encoder, named, center, card["card"])

    def body(self, threads: int | None = None):
        """The body as a Keras model with its weights: inputs of `with_question` -> (b, t, d)."""
        import_keras(threads)
        from behavsql.models.parts import pretraining_network as networks

        body = networks.body(self.size, self.encoder.sizes, self.encoder.length + 1)
        networks.set_weights(body, self.weights)
        return body

    @cached_property
    def _body(self):
        return self.body()

    def embed(self, sequences: Sequences, threads: int | None = None) -> np.ndarray:
        """(n, d) float32: what the model makes of each question, centred and scaled.

        The same whatever rows stand beside. Nearby users, by the cosine, were alike up to then.
        """
        import_keras(threads)
        mean, std = self.center
        return ((_read(self._body, self.encoder, sequences) - mean) / std).astype(np.float32)


def _read(body, encoder: SequenceEncoder, sequences: Sequences) -> np.ndarray:
    encoded = encoder.encode(sequences)
    parts = [np.empty((0, body.output_shape[-1]), np.float32)]
    for start in range(0, len(sequences), BLOCK_ROWS):
        rows = np.minimum(np.arange(start, start + BLOCK_ROWS), len(sequences) - 1)
        inputs = with_question(encoded.batch(rows), encoder.sizes)
        read = np.asarray(body.predict_on_batch(inputs))[:, -1]
        parts.append(read[: min(BLOCK_ROWS, len(sequences) - start)])
    return np.concatenate(parts)


def pretrain(
    histories: Histories, name: str = "small", seed: int = 7, threads: int | None = None,
    start: Pretrained | None = None, size: Size | None = None,
    say: Callable[[str], None] = lambda told: None, seconds: float | None = None,
) -> Pretrained:  # fmt: skip
    """Learn from histories; ModelError where there are too few users.

    start: goes on from another data set's model, whose weights that are tied to no item and no
    category are carried over. say: hears of the losses while it learns. seconds: after which it stops, with what
    it has learned so far; then the same seed need not give the same model.
    """
    if len(histories.first) < LEAST_USERS:
        raise ModelError(
            f"pretrained: {len(histories.first)} users have done something before the earliest valid "
            f"cutoff; pre-training needs at least {LEAST_USERS}. Leave pretrained_transformer out."
        )
    begun = time.monotonic()
    keras = import_keras(threads)
    from behavsql.models.parts import pretraining_network as networks

    everything = histories.all_events()
    size = _in_passes(size or SIZES[name], len(everything))
    encoder = SequenceEncoder().fit(everything)
    keras.utils.set_random_seed(seed)
    body, whole = networks.network(size, encoder.sizes, encoder.length + 1)
    if start:
        fresh = networks.weights_of(whole)
        networks.set_weights(whole, carried_over(start.weights, start.encoder, encoder, fresh))
    users = np.random.default_rng(seed).permutation(len(histories.first))
    held = int(np.clip(len(users) * HELD_OUT, 1, MOST_HELD_OUT))
    batches = Batches(histories, encoder, np.sort(users[held:]), size.rows, seed)
    outside = Batches(histories, encoder, np.sort(users[:held]), size.rows, seed)
    networks.compiled(whole, size, size.steps)
    if seconds is not None:  # a fifth is kept for what comes after
        seconds = max(0.8 * seconds - (time.monotonic() - begun), 0.0)
    curve, done = _learn(whole, batches, outside, size.steps, say, seconds)
    some = histories.draw(BLOCK_ROWS * 8, batches.users, np.random.default_rng(seed))
    read = _read(body, encoder, some)
    card = {
        "seen_until": int(histories.until), "count_users": len(users),
        "count_events": histories.events.height, "steps": done, "rows": size.rows,
        "is_cut_short": done < size.steps,
        "started_from": start.name if start else None,
        "losses": pretraining_losses.losses(whole, outside),
        "unigram": pretraining_losses.unigram(batches, outside), "curve": curve,
    }  # fmt: skip
    center = read.mean(axis=0), np.maximum(read.std(axis=0), 1e-6)
    size = replace(size, steps=done)
    return Pretrained(name, size, encoder, networks.weights_of(whole), center, card)


def _in_passes(size: Size, windows: int) -> Size:
    """With fewer steps where there are few events."""
    steps = np.clip(PASSES * windows / size.rows, LEAST_STEPS, size.steps)
    return replace(size, steps=int(steps))


def _learn(
    whole, batches: Batches, outside: Batches, steps: int, say: Callable[[str], None],
    seconds: float | None,
) -> tuple[list[dict], int]:  # fmt: skip
    """What was said of the losses, and how many steps there were."""
    curve, begun = [], time.monotonic()
    every = max(steps // REPORTS, 1)
    for step in range(steps):
        whole.train_on_batch(*batches.batch(step))
        if (step + 1) % every == 0 and step + 1 < steps:
            found = pretraining_losses.losses(whole, outside, batches=1)
            curve.append({"step": step + 1, **found})
            told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            say(f"step {step + 1:,} of {steps:,}: {told}")
        if seconds is not None and time.monotonic() - begun > seconds:
            say(f"stops after step {step + 1:,} of {steps:,}, for time_budget")
            return curve, step + 1
    return curve, steps
