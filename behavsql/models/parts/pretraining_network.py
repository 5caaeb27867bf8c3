"""The network that is pre-trained, its heads and losses, in Keras 3 alone; import Keras quietly first.

Shapes: b rows, t steps (the events, then the question), p asked places, d units.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from behavsql.models.parts.event_embedding import (
    embed,
    event_inputs,
    keras,
    layers,
    ops,
    pooled,
    transformer_block,
)
from behavsql.models.parts.pretraining_data import GAPS, PLACES, QUESTION, SPECIAL
from behavsql.sequences import LENGTH

if TYPE_CHECKING:
    from behavsql.models.parts.pretraining import Size

OUTPUTS = ("role", "item", "gap")
FARTHEST_ODDS = 10.0


@keras.saving.register_keras_serializable("behavsql")
class Directed(layers.Layer):
    """mask (b, t), is_causal (b, 1) -> (b, t, t): which steps (last axis) a step may look at.

    In a causal row only itself and what came before, in the others every event.
    """

    def call(self, mask, is_causal):
        place = ops.arange(mask.shape[1])
        before = ops.greater_equal(place[:, None], place[None, :])[None]  # (1, t, t)
        itself = ops.equal(place[:, None], place[None, :])[None]
        is_free = ops.logical_not(ops.expand_dims(is_causal, 2))  # (b, 1, 1)
        allowed = ops.logical_and(ops.expand_dims(mask, 1), ops.logical_or(is_free, before))
        return ops.logical_or(allowed, itself)


@keras.saving.register_keras_serializable("behavsql")
class Ask(layers.Layer):
    """steps (b, t, d), asked (b, d) -> the steps, with what is asked added to the last."""

    def call(self, steps, asked):
        return ops.concatenate([steps[:, :-1], steps[:, -1:] + asked[:, None]], axis=1)


@keras.saving.register_keras_serializable("behavsql")
class Gather(layers.Layer):
    """steps (b, t, d), place (b, p) -> (b, p, d)."""

    def call(self, steps, place):
        return ops.take_along_axis(steps, ops.expand_dims(place, -1), axis=1)


@keras.saving.register_keras_serializable("behavsql")
class Choose(layers.Layer):
    """first (b, p, d) where is_first (b, p), else second."""

    def call(self, is_first, first, second):
        return ops.where(ops.expand_dims(is_first, -1), first, second)


@keras.saving.register_keras_serializable("behavsql")
class Newest(layers.Layer):
    """steps (b, t, d) -> (b, d): the last step, which is the question."""

    def call(self, steps):
        return steps[:, -1]


@keras.saving.register_keras_serializable("behavsql")
class Forecast(layers.Layer):
    """logits (b, GAPS) of the time to the next event -> (b, GAPS - 1): log odds that it is not over yet.

    One for each of GAP_EDGES; what is beyond FARTHEST_ODDS is no farther.
    """

    def call(self, logits):
        over = [ops.logsumexp(logits[:, : i + 1], axis=1) for i in range(GAPS - 1)]
        still = [ops.logsumexp(logits[:, i + 1 :], axis=1) for i in range(GAPS - 1)]
        odds = ops.stack(still, axis=1) - ops.stack(over, axis=1)
        return ops.clip(odds, -FARTHEST_ODDS, FARTHEST_ODDS)


def body(size: "Size", codes: Mapping[str, int], steps: int):
    """A Keras model: inputs of `with_question`, t = `steps` -> (b, t, d). codes: an encoder's sizes."""
    inputs = event_inputs(steps)
    inputs["is_causal"] = keras.Input((1,), dtype="bool", name="is_causal")
    inputs["question"] = keras.Input((len(QUESTION),), name="question")
    sizes = {name: count + SPECIAL for name, count in codes.items()}
    x = embed(inputs, sizes, size.units, positions=LENGTH + 1)
    asked = layers.Dense(size.units, activation="gelu", name="question_wide")(inputs["question"])
    x = Ask(name="ask")(x, layers.Dense(size.units, name="embed_question")(asked))
    looks = Directed(name="directed")(inputs["mask"], inputs["is_causal"])
    x = layers.Dropout(size.dropout, name="drop_events")(x)
    for i in range(size.blocks):
        x = transformer_block(x, looks, size.heads, size.dropout, name=f"block_{i + 1}")
    return keras.Model(inputs, layers.LayerNormalization(name="norm")(x), name="body")


def reader(size: "Size", codes: Mapping[str, int], steps: int):
    """(inputs by name, (b, 2 d + GAPS - 1)): all that is known of the question once it is pre-trained.

    What the body makes of the question, the mean of what it makes of the events, and the forecast.
    """
    inner = body(size, codes, steps)
    inputs = {tensor.name: tensor for tensor in inner.inputs}
    read = inner(inputs)
    asked = Newest(name="newest")(read)
    following = layers.Dense(size.units, activation="gelu", name="next")(asked)
    forecast = Forecast(name="forecast")(layers.Dense(GAPS, name="say_gap")(following))
    whole = pooled(read, inputs["mask"], "mean")
    return inputs, layers.Concatenate(name="summary")([asked, whole, forecast])


def network(size: "Size", codes: Mapping[str, int], steps: int):
    """(body, body with heads): what is asked at `place`, as logits (b, p, ...) by name.

    What came next and what is masked have a layer each before the heads they share.
    """
    inner = body(size, codes, steps)
    place = keras.Input((PLACES,), dtype="int32", name="place")
    is_next = keras.Input((PLACES,), dtype="bool", name="is_next")
    inputs = {tensor.name: tensor for tensor in inner.inputs}
    x = Gather(name="asked")(inner(inputs), place)
    following = layers.Dense(size.units, activation="gelu", name="next")(x)
    hidden = layers.Dense(size.units, activation="gelu", name="masked")(x)
    x = Choose(name="choose")(is_next, following, hidden)
    counts = {"role": codes["role"], "item": codes["item"], "gap": GAPS}
    heads = {name: layers.Dense(counts[name], name=f"say_{name}")(x) for name in OUTPUTS}
    whole = keras.Model({**inputs, "place": place, "is_next": is_next}, heads, name="pretraining")
    return inner, whole


def gap_loss(allowed, logits):
    """-log of the probability of the classes that are allowed, (b, p): of censored ones too."""
    inside = ops.logsumexp(ops.where(allowed > 0, logits, -1e9), axis=-1)
    return ops.logsumexp(logits, axis=-1) - inside


def compiled(whole, size: "Size", steps: int):
    """The network ready to train: AdamW, warmed up over a twentieth of the steps, then a cosine."""
    warm = max(steps // 20, 1)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(steps - warm, 1), alpha=0.05, warmup_target=size.rate, warmup_steps=warm
    )
    of_codes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0),
        loss={"role": of_codes, "item": of_codes, "gap": gap_loss},
        jit_compile=False,  # compiling takes longer than it saves on small networks
    )
    return whole


def weights_of(model) -> dict[str, np.ndarray]:
    """Path -> array of every weight, in the network's order."""
    return {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}


def set_weights(model, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a model those of the arrays that have the path of one of its weights."""
    for weight in model.weights:
        if weight.path in arrays:
            weight.assign(arrays[weight.path])
