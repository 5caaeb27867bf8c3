"""Multimodal fusion: what users did, what the items are, what is known of the users, in one network."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.metrics import paired_gain
from behavsql.models.base import at_most, labels
from behavsql.models.parts.item_vectors import TEXT, ItemVectors
from behavsql.models.parts.quiet_keras import import_keras
from behavsql.models.parts.sequence_encoder import EncodedEvents
from behavsql.models.parts.sequence_network import SequenceNetwork

EVENTS, FEATURES = "events", "features"  # modalities beside those of items, and of features
ABLATION_ROWS = 10_000  # of train, for each of the networks that are compared
ABLATION_EPOCHS = 5
LOSS = {"binary": "log_loss", "count": "poisson_deviance", "amount": "tweedie_deviance"}


class Fusion(SequenceNetwork):
    """Events and vectors of their items, added up per event, through a GRU and pooled by attention,
    beside the feature table.

    Modalities: `events` (role, category, item, gaps, values), `item_text`, each vector that a source
    of items names, `features` (the feature table) but for `survey` (answers of the users), `user_facts`
    (what else sources say of them) and `locations` (what their places tell).
    `tables` has what each is worth: how much the valid loss of a small network grows when it is
    trained without it, with the interval of a bootstrap over users. Options: `without` leaves
    modalities out, `ablation` measures their worth.
    """

    name: ClassVar[str] = "fusion"
    family: ClassVar[str] = "multimodal"
    OPTIONS: ClassVar[Mapping[str, object]] = {
        **SequenceNetwork.OPTIONS, "without": (), "ablation": True,
    }  # fmt: skip

    def fit(self, train: Table, valid: Table) -> Self:
        started = time.monotonic()
        labels(self, train, classes=2)
        without = self._without
        self._check_names(train)
        met = train.sequences.events.filter(pl.Series(train.sequences.seen(), dtype=pl.Boolean))
        self._items = ItemVectors.fit(
            train.sequences.items, set(met["item"].cast(pl.String).drop_nulls()), self.seed, without
        )
        super().fit(self._known(train), self._known(valid))
        self._worth = None
        if self.option("ablation"):
            self._worth = self._ablation(train, valid, started)
        return self

    def tables(self) -> dict[str, pl.DataFrame]:
        return {} if self._worth is None else {"modalities": self._worth}

    def save(self) -> dict[str, bytes]:
        self._extra = {"items": self._items.items, "columns": self._items.columns,
                       "worth": None if self._worth is None else self._worth.to_dicts()}  # fmt: skip
        return super().save()

    def _check_names(self, train: Table) -> None:
        """ModelError for a modality to be left out that there never is."""
        vectors = train.sequences.items.vectors["name"].unique() if train.sequences.items else ()
        known = {EVENTS, FEATURES, TEXT, "survey", "user_facts", "locations", *vectors}
        if unknown := sorted({*self._without} - known):
            raise ModelError(
                f"model {self.name}, task {train.task}: option without names {unknown[0]!r}; allowed are "
                f"{', '.join(sorted(known))}. Mend the name."
            )

    @property
    def _without(self) -> tuple[str, ...]:
        return tuple(self.option("without"))

    def _card(self, **more: object) -> dict[str, bytes]:
        return super()._card(**more, **self._extra)

    def _read_card(self, files: Mapping[str, bytes]) -> dict:
        card = super()._read_card(files)
        columns = {name: tuple(place) for name, place in card["columns"].items()}
        width = max((end for _, end in columns.values()), default=0)
        shape = (len(card["items"]) + 1, width)
        # What they hold stands among the network's weights.
        self._items = ItemVectors(card["items"], columns, np.zeros(shape, np.float32))
        self._worth = pl.DataFrame(card["worth"], WORTH) if card["worth"] is not None else None
        return card

    def _known(self, table: Table) -> Table:
        """The table without the features of modalities that are left out."""
        gone = [
            name for name in table.features.columns if self._modality(name, table) in self._without
        ]
        return replace(table, features=table.features.drop(gone))

    @staticmethod
    def _modality(feature: str, table: Table) -> str:
        return table.modality_of.get(feature, FEATURES)

    def _inputs(self, table: Table) -> tuple[EncodedEvents, np.ndarray | None]:
        encoded, features = super()._inputs(table)
        codes = self._items.codes(table.sequences.events["item"])
        return replace(encoded, texts={**encoded.texts, "described": codes}), features

    def _reader(self) -> tuple[dict, object]:
        keras = import_keras(self.threads)
        from behavsql.models.parts import event_embedding as blocks

        layers, units = keras.layers, int(self.option("units"))
        inputs = blocks.event_inputs(self._events.length)
        inputs["described"] = keras.Input((self._events.length,), dtype="int32", name="described")
        parts = []
        if EVENTS not in self._without:
            parts.append(blocks.embed(inputs, self._events.sizes, units))
        rows, width = self._items.matrix.shape
        if width:
            table = layers.Embedding(rows, width, trainable=False, name="vectors")
            parts.append(layers.Dense(units, name="described_dense")(table(inputs["described"])))
        if not parts:  # how many events there are, and nothing of them
            parts.append(layers.Embedding(2, units, name="any")(
                keras.ops.cast(inputs["mask"], "int32")
            ))  # fmt: skip
        steps = layers.Add(name="fused")(parts) if len(parts) > 1 else parts[0]
        steps = blocks.Masked(name="fused_events")(steps, inputs["mask"])
        read = layers.GRU(units, use_cudnn=False, name="gru")
        last = read(steps, mask=inputs["mask"])
        pooled = blocks.pooled(steps, inputs["mask"])
        return inputs, layers.Concatenate(name="summary")([last, pooled])

    def _summary(self, steps: object, mask: object) -> object:
        return steps  # `_reader` makes all of it

    def _build(self) -> object:
        network = super()._build()
        if self._items.matrix.shape[1]:
            network.get_layer("vectors").set_weights([self._items.matrix])
        return network

    def _ablation(self, train: Table, valid: Table, started: float) -> pl.DataFrame:
        """What each modality is worth, of small networks that are trained alike but for it."""
        sources = self._encoder.sources if self._encoder else ()
        named = {self._modality(name, train) for name in sources}
        modalities = [EVENTS, *self._items.columns, *sorted(named)]
        modalities = [name for name in modalities if name not in self._without]
        train, valid = (at_most(part, ABLATION_ROWS, self.seed) for part in (train, valid))
        whole = self._small(()).fit(train, valid).predict(valid)
        rows = []
        for name in modalities if len(modalities) > 1 else ():
            if self.seconds is not None and time.monotonic() - started > self.seconds:
                break
            answer = self._small((name,)).fit(train, valid).predict(valid)
            gain = paired_gain(
                self.kind, LOSS[self.kind], valid.label, whole, answer, valid.users, seed=self.seed
            )
            rows.append((name, len(valid), LOSS[self.kind], gain.mean, gain.low, gain.high))
        return pl.DataFrame(rows, WORTH, orient="row")

    def _small(self, without: tuple[str, ...]) -> Self:
        options = {**self.options, "without": (*self._without, *without), "ablation": False,
                   "epochs": ABLATION_EPOCHS}  # fmt: skip
        return type(self)(self.kind, self.seed, self.threads, options)


WORTH = {"modality": pl.String, "count_questions": pl.Int64, "metric": pl.String,
         "worth": pl.Float64, "low": pl.Float64, "high": pl.Float64}  # fmt: skip
