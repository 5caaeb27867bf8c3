"""The networks that read items in order, in Keras 3 alone; import Keras quietly first.

Shapes: b rows, t choices of a row (the newest last, padding first), d units, r rivals.
"""

from behavsql.models.parts.event_embedding import (
    AttentionMask,
    Masked,
    PlaceFromNewest,
    transformer_block,
)
from behavsql.models.parts.quiet_keras import import_keras

keras = import_keras()
layers, ops = keras.layers, keras.ops
NEVER = -1e9  # as a logit


class NextItem(keras.Model):
    """codes (b, t), 0 = padding -> steps (b, t, d), whose product with an item's vector is its logit.

    Called with codes, targets (b, t), rivals (r,) and the logs of how often an item is drawn among
    them (items + 1,), it says -log of the probability of the targets (b, t); r = 0: all are rivals.
    Source: Hidasi et al. 2016 (GRU4Rec); Kang and McAuley 2018 (SASRec: vectors that are read
    answer); Jean et al. 2015 (rivals, corrected for how they are drawn).
    """

    def __init__(self, items: int, units: int, body: "keras.Model", dropout: float) -> None:
        super().__init__()
        spread = keras.initializers.RandomNormal(stddev=0.05)
        self.vectors = layers.Embedding(items + 1, units, embeddings_initializer=spread)
        self.bias = layers.Embedding(items + 1, 1, embeddings_initializer="zeros")
        self.body, self.drop, self.masked = body, layers.Dropout(dropout), Masked()
        self.vectors.build()
        self.bias.build()

    def read(self, codes, training=False):
        """(b, t, d): what is known after each choice."""
        mask = ops.not_equal(codes, 0)
        steps = self.masked(self.drop(self.vectors(codes), training=training), mask)
        return self.body([steps, mask], training=training)

    def call(self, inputs, training=False):
        codes, targets, rivals, drawn = inputs
        steps = self.read(codes, training)
        wanted = ops.sum(steps * self.vectors(targets), axis=-1) + self.bias(targets)[..., 0]
        if rivals.shape[0] == 0:
            logits = ops.matmul(steps, ops.transpose(self.vectors.embeddings))
            logits = logits + self.bias.embeddings[:, 0]
            logits = ops.concatenate([NEVER * ops.ones_like(logits[..., :1]), logits[..., 1:]], -1)
            return ops.logsumexp(logits, axis=-1) - wanted
        wanted = wanted - ops.take(drawn, targets)
        logits = ops.matmul(steps, ops.transpose(self.vectors(rivals)))
        logits = logits + self.bias(rivals)[:, 0] - ops.take(drawn, rivals)
        is_target = ops.equal(ops.expand_dims(targets, -1), rivals)
        logits = ops.where(is_target, NEVER, logits)
        logits = ops.concatenate([ops.expand_dims(wanted, -1), logits], axis=-1)
        return ops.logsumexp(logits, axis=-1) - wanted


def weighted_mean(weight, loss):
    """What training lowers: the mean of (b, t) losses by weights."""
    return ops.sum(weight * loss) / ops.maximum(ops.sum(weight), 1.0)


def gru_body(units: int, dropout: float) -> "keras.Model":
    """[steps (b, t, d), mask (b, t)] -> the states of gated recurrent units, (b, t, d)."""
    steps, mask = keras.Input((None, units)), keras.Input((None,), dtype="bool")
    # Without cuDNN, which cannot take padding on the left.
    states = layers.GRU(units, return_sequences=True, use_cudnn=False)(steps, mask=mask)
    states = layers.Dropout(dropout)(layers.Dense(units)(states))
    return keras.Model([steps, mask], states)


def transformer_body(units: int, dropout: float, blocks: int, heads: int, length: int):
    """[steps (b, t, d), mask (b, t)] -> after blocks of attention to what came before, (b, t, d)."""
    steps, mask = keras.Input((None, units)), keras.Input((None,), dtype="bool")
    place = layers.Embedding(length + 1, units)(PlaceFromNewest()(mask))
    x, looks = Masked()(steps + place, mask), AttentionMask(causal=True)(mask)
    for i in range(blocks):
        x = transformer_block(x, looks, heads, dropout, inner=2, name=f"block_{i + 1}")
    return keras.Model([steps, mask], layers.LayerNormalization()(x))


def reader(network: NextItem) -> "keras.Model":
    """codes (b, t) -> what is known after the newest choice, (b, d)."""
    codes = keras.Input((None,), dtype="int32")
    return keras.Model(codes, network.read(codes)[:, -1])
