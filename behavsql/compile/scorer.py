"""A model and its calibration as the two SQL forms of one score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from behavsql.compile.form import BatchForm, Form, RowForm

if TYPE_CHECKING:
    from behavsql.calibration import Calibrator
    from behavsql.models.base import Model


@dataclass(frozen=True)
class Scorer:
    """What a model says, calibrated, in SQL.

    row     for single rows: `row.over_row(row_score, "f")`
    batch   for tables: `batch.query(batch_score, table)`
    """

    row: RowForm
    row_score: str
    batch: BatchForm
    batch_score: str

    @classmethod
    def of(
        cls, model: "Model", calibrator: "Calibrator", types: Mapping[str, str], task: str
    ) -> Self:
        """CompileError for a model that has no exact SQL. types: of the feature table's columns."""

        def written(form: Form) -> str:
            return form.bind(model.to_sql(form), lambda raw: calibrator.to_sql(raw, form))

        row, batch = RowForm(types, task), BatchForm(types, task)
        return cls(row, written(row), batch, written(batch))

    @property
    def features(self) -> list[str]:
        """The features the score depends on."""
        return self.row.features

    @property
    def lists(self) -> list[str]:
        """The list columns of features.sequences the score depends on."""
        return self.row.lists

    @property
    def ties(self) -> dict[str, list[float]]:
        """Feature -> where a comparison of it turns, in order."""
        found: dict[str, set[float]] = {}
        for position, feature in self.row.sources().items():
            found.setdefault(feature, set()).update(self.row.ties.get(position, ()))
        return {feature: sorted(values) for feature, values in found.items()}
