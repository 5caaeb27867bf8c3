"""LightGBM that reads the large model's embedding of the user beside the features."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.lightgbm import LightGBM
from behavsql.models.parts.pretraining import Pretrained
from behavsql.sequences import COLUMNS

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

COLUMN = "embedding_{}"  # the j-th number of it, from 1; no feature of that name stands beside


class EmbeddingLightGBM(LightGBM):
    """The numbers of `Pretrained.embed` as more columns; the large model itself stays as it is.

    It has learned from no label, so its embedding of a train row is as honest as of any other.
    Saved with the large model. In importance the embedding is one column.
    """

    name: ClassVar[str] = "embedding_lightgbm"
    family: ClassVar[str] = "neural"
    reads: ClassVar[str] = "both"
    needs: ClassVar[tuple[str, ...]] = ("pretrained",)
    tolerance: ClassVar[float] = 1e-5  # the large model counts in single precision

    _pretrained: Pretrained | None = None

    def with_pretrained(self, artifact: bytes) -> Self:
        """Fit beside this artifact, see pretraining.py."""
        self._pretrained = Pretrained.from_bytes(artifact)
        return self

    def fit(self, train: Table, valid: Table) -> Self:
        if self._pretrained is None:
            raise ModelError(
                f"model {self.name}, task {train.task}: there is no pre-trained model to embed users "
                f"with; one is needed. Build with `--models all`."
            )
        super().fit(self._wider(train), self._wider(valid))
        own = {name: share for name, share in self._importance.items() if name not in self._columns}
        together = sum(self._importance.values()) - sum(own.values())
        shares = own | ({"embedding": together} if together > 0 else {})
        self._importance = dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))
        return self

    def predict(self, table: Table) -> np.ndarray:
        return super().predict(self._wider(table))

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """As LightGBM; the numbers of the embedding are one feature, the events."""
        from behavsql.models.parts.explanation import EVENTS, together

        one, own = super().explain(self._wider(table), usual), set(self._columns)
        names = [EVENTS if name in own else name for name in one.features]
        features, parts = together(names, one.parts)
        return replace(one, features=features, parts=parts)

    def features(self, task: str) -> tuple[str, ...]:
        return (*COLUMNS, *(name for name in super().features(task) if name not in self._columns))

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import CompileError

        raise CompileError(
            f"model {self.name}: it reads what the pre-trained Transformer makes of the events, which as "
            f"SQL would take 10 to 20 times what Python takes. It stays in Python: "
            f"py_predict_<task>__{self.name} of behavsql.connect."
        )

    def save(self) -> dict[str, bytes]:
        return {**super().save(), "pretrained.npz": self._pretrained.to_bytes()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        return super().load(kind, files).with_pretrained(files["pretrained.npz"])

    @property
    def _columns(self) -> list[str]:
        return [COLUMN.format(j) for j in range(1, self._pretrained.size.units + 1)]

    def _wider(self, table: Table) -> Table:
        if table.sequences is None:
            raise ModelError(
                f"model {self.name}, task {table.task}: the {len(table)} rows come without their "
                f"events; it reads {', '.join(COLUMNS)}. Pass rows of features.sequences."
            )
        embedded = self._pretrained.embed(table.sequences, self.threads).astype(np.float64)
        beside = pl.DataFrame(embedded, schema=self._columns, orient="row")
        return replace(table, features=table.features.hstack(beside))
