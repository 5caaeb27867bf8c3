"""Feature columns -> a matrix of floats, learned from train alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError

MOST_CATEGORIES = 40  # per column, the most frequent first
FEWEST_ROWS = 5  # a category seen less often in train is not learned from
BLOCK_ROWS = 4096  # transformed together, few enough that they stay in the processor's cache


@dataclass(frozen=True)
class Encoded:
    """One column of the matrix, a function of one feature column.

    number    the value, NaN = missing; scaled: (log1p(value or fill) - mean) / std
    missing   1 where the number is missing
    category  1 where the text equals `value`; unseen, rare and missing are 0 everywhere
    """

    source: str
    role: str
    value: str | None = None
    fill: float = 0.0  # median in train, on the log scale if there is one
    mean: float = 0.0
    std: float = 1.0  # also of the 0/1 columns, which are not divided by it

    @property
    def name(self) -> str:
        suffix = {"number": "", "missing": " is missing", "category": f" = {self.value}"}
        return self.source + suffix[self.role]


class Encoder:
    """Learns the columns of the matrix on train, then maps any frame to it.

    scale=True   for linear models and networks: missing numbers become the median with a 0/1
                 column beside them, numbers are standardised (`log`: after sign(x) log1p|x|)
    scale=False  for trees: numbers as they are, missing = NaN

    Columns that are constant in train are dropped.
    """

    def __init__(self, scale: bool = True, log: bool = False) -> None:
        self.scale = scale
        self.log = log
        self.columns: list[Encoded] = []

    @property
    def names(self) -> list[str]:
        """The m columns of the matrix, in order."""
        return [column.name for column in self.columns]

    @property
    def sources(self) -> tuple[str, ...]:
        """The feature columns the matrix is made of."""
        return tuple(dict.fromkeys(column.source for column in self.columns))

    def fit(self, frame: pl.DataFrame) -> Self:
        """Learn categories, medians and scales; ModelError if no column varies."""
        self.columns = []
        for source, dtype in frame.schema.items():
            if is_text(dtype):
                self.columns += _categories(source, frame[source])
            else:
                self.columns += self._numbers(source, frame)
        if not self.columns:
            raise ModelError(
                f"features: none of the {frame.width} columns varies over the {frame.height} rows "
                "of train; at least one must. Add features or a longer period."
            )
        return self

    def transform(self, frame: pl.DataFrame) -> np.ndarray:
        """(n, m) float64; ModelError naming a column that is absent or of another type.

        A row becomes the same, to the last bit, whatever rows stand beside it.
        """
        matrix = np.empty((frame.height, len(self.columns)))
        frame = frame.select(self._sources(frame))
        numbers = self._columns("number")
        fill, mean, std = (
            np.array([getattr(column, name) for column in numbers.values()])
            for name in ("fill", "mean", "std")
        )
        for start in range(0, frame.height, BLOCK_ROWS):
            block = matrix[start : start + BLOCK_ROWS]
            rows = frame.slice(start, BLOCK_ROWS)
            self._fill_missing(block, rows)
            self._fill_categories(block, rows)
            values = as_numbers(rows, [column.source for column in numbers.values()])
            if self.scale:
                values = self._logged(values)
                values = (np.where(np.isnan(values), fill, values) - mean) / std
            block[:, list(numbers)] = values
        return matrix

    def only(self, columns: np.ndarray) -> Self:
        """The encoder of these columns (k,) of the matrix alone."""
        encoder = type(self)(self.scale, self.log)
        encoder.columns = [self.columns[j] for j in columns]
        return encoder

    def shares(self, weights: np.ndarray) -> dict[str, float]:
        """Weights (m,) >= 0 of the matrix's columns, summed per feature and made to sum to 1."""
        total = float(np.sum(weights))
        if total <= 0:
            return {}
        sums: dict[str, float] = {}
        for column, weight in zip(self.columns, weights, strict=True):
            sums[column.source] = sums.get(column.source, 0.0) + float(weight) / total
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))

    @property
    def spread(self) -> np.ndarray:
        """(m,) standard deviation of the matrix's columns in train, for comparing coefficients."""
        scaled = [self.scale and column.role == "number" for column in self.columns]
        return np.where(scaled, 1.0, [column.std for column in self.columns])

    @property
    def centre(self) -> np.ndarray:
        """(m,) mean of the matrix's columns in train, of a scaled encoder."""
        return np.array([0.0 if one.role == "number" else one.mean for one in self.columns])

    def to_dict(self) -> dict:
        """Ready for JSON; floats survive the round trip exactly."""
        columns = [asdict(column) for column in self.columns]
        return {"scale": self.scale, "log": self.log, "columns": columns}

    @classmethod
    def from_dict(cls, stored: dict) -> Self:
        """The inverse of `to_dict`."""
        encoder = cls(stored["scale"], stored["log"])
        encoder.columns = [Encoded(**column) for column in stored["columns"]]
        return encoder

    def _numbers(self, source: str, frame: pl.DataFrame) -> list[Encoded]:
        values = self._logged(as_numbers(frame, [source])[:, 0])
        missing = np.isnan(values)
        share = float(missing.mean()) if len(values) else 1.0
        if share == 1:
            return []
        known = values[~missing]
        varies = known.min() < known.max()
        if not self.scale:
            return [Encoded(source, "number")] if varies or share > 0 else []
        columns = []
        if varies:
            fill = float(np.median(known))
            filled = np.where(missing, fill, values)
            mean, std = float(filled.mean()), float(filled.std())
            # 1.0 for a range so tiny that its square underflows: nothing to divide by
            columns.append(Encoded(source, "number", None, fill, mean, std or 1.0))
        if share > 0:
            columns.append(_flag(source, "missing", share))
        return columns

    def _columns(self, role: str) -> dict[int, Encoded]:
        """Place in the matrix -> column, of those with this role."""
        return {j: column for j, column in enumerate(self.columns) if column.role == role}

    def _sources(self, frame: pl.DataFrame) -> list[str]:
        """The features that the matrix is made of; ModelError if the frame has not all of them."""
        kinds = {column.source: column.role == "category" for column in self.columns}
        check_columns(frame, kinds)
        return list(kinds)

    def _fill_missing(self, block: np.ndarray, rows: pl.DataFrame) -> None:
        columns = self._columns("missing")
        values = as_numbers(rows, [column.source for column in columns.values()])
        block[:, list(columns)] = np.isnan(values)

    def _fill_categories(self, block: np.ndarray, rows: pl.DataFrame) -> None:
        """1 where the text is the column's category; each text is looked up once."""
        places: dict[str, dict[str, int]] = {}
        for j, column in self._columns("category").items():
            places.setdefault(column.source, {})[column.value] = j
        for source, of in places.items():
            known = rows[source].cast(pl.String).cast(pl.Enum(list(of)), strict=False)
            code = known.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
            block[:, list(of.values())] = code[:, np.newaxis] == np.arange(len(of))

    def _logged(self, values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.log1p(np.abs(values)) if self.log else values


def check_columns(frame: pl.DataFrame, texts: Mapping[str, bool]) -> None:
    """ModelError naming a feature that the frame lacks, or has as text instead of numbers, or the reverse."""
    schema = frame.schema
    for source, text in texts.items():
        if source not in schema:
            raise ModelError(
                f"features: column {source!r} is missing; the model was fitted with "
                "it. Build the features again, or train without it."
            )
        if schema[source] != pl.Null and is_text(schema[source]) != text:
            raise ModelError(
                f"features: column {source!r} is of type {schema[source]}; the model was fitted "
                f"with {'text' if text else 'numbers'}. Ask with features.matrix's own, or train again."
            )


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column holds categories."""
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _flag(source: str, role: str, share: float, value: str | None = None) -> Encoded:
    """A 0/1 column that is 1 in `share` of the rows of train."""
    return Encoded(source, role, value, 0.0, share, float(np.sqrt(share * (1 - share))))


def as_numbers(frame: pl.DataFrame, sources: list[str]) -> np.ndarray:
    """(n, k) float64 of numeric columns; null, NaN and infinities are NaN.

    All at once: a call per column takes longer than its work on a few thousand rows.
    """
    if not sources:
        return np.empty((frame.height, 0))
    values = frame.select(pl.col(sources).cast(pl.Float64)).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _categories(source: str, series: pl.Series) -> list[Encoded]:
    """One column per category frequent enough to learn from, unless all rows have it."""
    counts = (
        series.cast(pl.String)
        .rename("value")
        .drop_nulls()
        .value_counts(name="rows")
        .filter(pl.col("rows") >= FEWEST_ROWS, pl.col("rows") < len(series))
        .sort(["rows", "value"], descending=[True, False])
        .head(MOST_CATEGORIES)
    )
    return [
        _flag(source, "category", rows / len(series), value) for value, rows in counts.iter_rows()
    ]
