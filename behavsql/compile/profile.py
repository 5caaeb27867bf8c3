"""What the features looked like in train: the range, and what stands in for one that is not given."""

from typing import TYPE_CHECKING, NamedTuple

import duckdb
import polars as pl

from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.selection import Selection

# Of models.features, in the order of `Feature`.
_COLUMNS = ("feature", "data_type", "low", "median", "high", "most_frequent", "missing_share")


class Feature(NamedTuple):
    """One column of the feature table, as it was in a task's train rows.

    A number has low, high and median, a text its most frequent value; None where all were missing.
    """

    name: str
    data_type: str
    low: float | None
    median: float | None
    high: float | None
    most_frequent: str | None
    missing_share: float

    @property
    def usual(self) -> float | str | None:
        """What stands in for the feature where it is not given."""
        return self.most_frequent if self.median is None else self.median


def types(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Feature -> its type in the feature table, and that of the lists of features.sequences."""
    return dict(con.execute(
        "select column_name, data_type from duckdb_columns() where schema_name = 'features' "
        "and table_name in ('matrix', 'sequences') and database_name = current_database()"
    ).fetchall())  # fmt: skip


def measure(con: duckdb.DuckDBPyConnection, features: pl.DataFrame) -> list[Feature]:
    """Of the train rows of a task."""
    known = types(con)
    return [_measure(series, known[series.name]) for series in features]


def _measure(series: pl.Series, type_: str) -> Feature:
    missing = series.null_count() / max(len(series), 1)
    if series.dtype != pl.Float64:
        return Feature(series.name, type_, None, None, None, _most_frequent(series), missing)
    return Feature(
        series.name, type_, series.min(), series.median(), series.max(), None, missing
    )  # fmt: skip


def _most_frequent(series: pl.Series) -> str | None:
    counts = series.cast(pl.String).rename("value").drop_nulls().value_counts(name="rows")
    first = counts.sort(["rows", "value"], descending=[True, False]).head(1)
    return first["value"][0] if len(first) else None


def store(
    con: duckdb.DuckDBPyConnection, task: str, features: list[Feature],
    selection: "Selection | None" = None,
) -> None:  # fmt: skip
    """Replace what `models.features` says of a task. selection: None = all are kept, for no reason."""
    con.execute("delete from models.features where task = ?", [task])
    rows = []
    for position, feature in enumerate(features, 1):
        is_kept = selection is None or feature.name in selection.kept
        reason = selection.reasons[feature.name] if selection else None
        values = (task, position, *feature, is_kept, reason)
        rows.append(f"({', '.join(map(literal, values))})")
    columns = ", ".join(("task", "position", *_COLUMNS, "is_kept", "reason"))
    con.execute(f"insert into models.features ({columns}) values {', '.join(rows)}")


def read(con: duckdb.DuckDBPyConnection, task: str) -> list[Feature]:
    """The features a task's models learned from, in the order of the feature table."""
    rows = con.execute(
        f"select {', '.join(_COLUMNS)} from models.features "
        "where task = ? and is_kept is not false order by position", [task]
    ).fetchall()  # fmt: skip
    return [Feature(*row) for row in rows]
