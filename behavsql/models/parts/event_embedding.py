"""Blocks of the networks over event sequences, in Keras 3 alone; import Keras quietly first.

Shapes: b rows, t events of a row (the newest last, padding first), d units.
"""

from collections.abc import Mapping

from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import NUMBERS, TEXTS

keras = import_keras()
layers, ops = keras.layers, keras.ops


@keras.saving.register_keras_serializable("behavsql")
class PlaceFromNewest(layers.Layer):
    """mask (b, t) bool -> (b, t) int32: 1 = the newest event, 2 = the one before; 0 = padding."""

    def call(self, mask):
        counts = ops.cast(mask, "int32")
        return ops.flip(ops.cumsum(ops.flip(counts, axis=1), axis=1), axis=1) * counts


@keras.saving.register_keras_serializable("behavsql")
class AttentionMask(layers.Layer):
    """mask (b, t) bool -> (b, t, t) bool: which events (last axis) an event may look at.

    Every event, and also padding, may look at itself: a softmax over nothing is not a number.
    """

    def __init__(self, causal: bool = False, **settings) -> None:
        super().__init__(**settings)
        self.causal = causal

    def call(self, mask):
        place = ops.arange(ops.shape(mask)[1])
        itself = ops.equal(place[:, None], place[None, :])  # (t, t)
        allowed = ops.expand_dims(mask, 1)  # (b, 1, t)
        if self.causal:
            allowed = ops.logical_and(allowed, ops.greater_equal(place[:, None], place[None, :]))
        return ops.logical_or(allowed, itself)

    def get_config(self) -> dict:
        return {**super().get_config(), "causal": self.causal}


@keras.saving.register_keras_serializable("behavsql")
class Masked(layers.Layer):
    """steps (b, t, d), mask (b, t) -> the steps, zeros where padding."""

    def call(self, steps, mask):
        return steps * ops.cast(ops.expand_dims(mask, -1), steps.dtype)


@keras.saving.register_keras_serializable("behavsql")
class Pool(layers.Layer):
    """steps (b, t, d), mask (b, t), scores (b, t, 1) or None -> (b, d), zeros for a row of padding.

    how: "attention" the mean weighted by softmax(scores), "mean", "max", or "last" the newest event.
    """

    def __init__(self, how: str = "attention", **settings) -> None:
        super().__init__(**settings)
        self.how = how

    def call(self, steps, mask, scores=None):
        known = ops.cast(ops.expand_dims(mask, -1), steps.dtype)  # (b, t, 1)
        if self.how == "last":
            return steps[:, -1] * known[:, -1]
        if self.how == "max":
            highest = ops.max(ops.where(known > 0, steps, -1e9), axis=1)
            return highest * ops.max(known, axis=1)
        if self.how == "mean":
            return ops.sum(steps * known, axis=1) / ops.maximum(ops.sum(known, axis=1), 1.0)
        weights = ops.softmax(ops.where(known > 0, scores, -1e9), axis=1) * known
        return ops.sum(steps * weights, axis=1)

    def get_config(self) -> dict:
        return {**super().get_config(), "how": self.how}


def event_inputs(length: int) -> dict:
    """The Keras inputs of a batch of EncodedEvents, by name."""
    inputs = {name: keras.Input((length,), dtype="int32", name=name) for name in TEXTS}
    inputs["numbers"] = keras.Input((length, len(NUMBERS)), dtype="float32", name="numbers")
    inputs["mask"] = keras.Input((length,), dtype="bool", name="mask")
    return inputs


def embed(inputs: Mapping, sizes: Mapping[str, int], d: int, positions: int = 0):
    """(b, t, d): the sum of the embeddings of role, category, item and numbers, 0 where padding.

    sizes: SequenceEncoder.sizes. positions: the learned places counted from the newest event (a
    row may not know more events); 0 = none are learned.
    """
    parts = [layers.Embedding(sizes[name], d, name=f"embed_{name}")(inputs[name]) for name in TEXTS]
    parts.append(layers.Dense(d, name="embed_numbers")(inputs["numbers"]))
    if positions:
        place = PlaceFromNewest(name="place")(inputs["mask"])
        parts.append(layers.Embedding(positions + 1, d, name="embed_place")(place))
    return Masked(name="events")(layers.Add(name="sum")(parts), inputs["mask"])


def transformer_block(
    steps, attention_mask, heads: int, dropout: float = 0.0, inner: int = 4, name: str = "block"
):  # fmt: skip
    """(b, t, d) -> (b, t, d): attention, then a dense layer of inner * d, each normed before.

    attention_mask: of AttentionMask. d must be a multiple of heads.
    Source: Vaswani et al., 2017; the norm before, not after: Xiong et al., 2020.
    """
    d = steps.shape[-1]
    normed = layers.LayerNormalization(name=f"{name}_norm_1")(steps)
    seen = layers.MultiHeadAttention(heads, d // heads, dropout=dropout, name=f"{name}_attention")(
        normed, normed, attention_mask=attention_mask
    )
    steps = layers.Add(name=f"{name}_add_1")([steps, _dropped(seen, dropout, f"{name}_drop_1")])
    normed = layers.LayerNormalization(name=f"{name}_norm_2")(steps)
    wide = layers.Dense(inner * d, activation="gelu", name=f"{name}_wide")(normed)
    narrow = layers.Dense(d, name=f"{name}_narrow")(wide)
    return layers.Add(name=f"{name}_add_2")([steps, _dropped(narrow, dropout, f"{name}_drop_2")])


def transformer_stack(
    steps, mask, blocks: int, heads: int, dropout: float = 0.0, causal: bool = False
):  # fmt: skip
    """(b, t, d) -> (b, t, d): `blocks` Transformer blocks and a last norm; padding stays in."""
    attention_mask = AttentionMask(causal, name="attention_mask")(mask)
    steps = _dropped(steps, dropout, "drop_events")
    for i in range(blocks):
        steps = transformer_block(steps, attention_mask, heads, dropout, name=f"block_{i + 1}")
    return layers.LayerNormalization(name="norm")(steps)


def pooled(steps, mask, how: str = "attention"):
    """(b, t, d) -> (b, d), over the events alone; see Pool."""
    if how != "attention":
        return Pool(how, name=f"pool_{how}")(steps, mask)
    scores = layers.Dense(1, use_bias=False, name="pool_scores")(steps)
    return Pool(how, name="pool")(steps, mask, scores)


def _dropped(steps, share: float, name: str):
    return layers.Dropout(share, name=name)(steps) if share else steps
