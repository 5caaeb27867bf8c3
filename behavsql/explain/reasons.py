"""Each user's reasons: the few parts that move the score most, in words, and what they leave over."""

import duckdb
import numpy as np
import polars as pl

from behavsql.explain.groups import Groups
from behavsql.explain.phrases import phrase
from behavsql.explain.wording import BASE, OTHER, RESIDUAL
from behavsql.frames import Table
from behavsql.models.parts.encoding import is_text
from behavsql.models.parts.explanation import Explanation

NEGLIGIBLE = 1e-12  # a part that small, beside all of a row's, is no reason


def frame(
    keys: pl.DataFrame, table: Table, told: Explanation, groups: Groups, most: int
) -> pl.DataFrame:
    """(user_id, rank, feature, v, t, usual, contribution, count_features) of n explained rows.

    Rank 0 is the base, then come `most` groups of features at most, by the size of what they add,
    then what all others add, then the residual. A group is told by the feature that says most of it.
    """
    together = groups.of(told.parts)
    spoken = groups.spokesmen(told.parts, together)
    order = np.argsort(-np.abs(together), axis=1, kind="stable")[:, :most]
    chosen = np.take_along_axis(together, order, axis=1)
    size = np.abs(together).sum(axis=1, keepdims=True)
    is_told = np.abs(chosen) > NEGLIGIBLE * np.maximum(size, 1e-300)
    row, rank = np.nonzero(is_told)
    feature = np.take_along_axis(spoken, order, axis=1)[row, rank]
    counts = np.bincount(groups.member, minlength=len(groups.names))
    n, last = len(keys), np.arange(len(keys))
    rest = together.sum(axis=1) - np.where(is_told, chosen, 0.0).sum(axis=1)
    others = len(groups.features) - (counts[order] * is_told).sum(axis=1)
    names = np.array([*groups.features, BASE, OTHER, RESIDUAL], dtype=object)
    f = len(groups.features)
    listed = pl.DataFrame({
        "row": np.concatenate([row, last, last, last]),
        "rank": np.concatenate([rank + 1, 0 * last, 0 * last + most + 1, 0 * last + most + 2]),
        "place": np.concatenate([feature, 0 * last + f, 0 * last + f + 1, 0 * last + f + 2]),
        "contribution": np.concatenate([
            chosen[row, rank], np.full(n, told.base), rest, told.residual
        ]),
        "count_features": np.concatenate([
            counts[groups.member[feature]] if len(feature) else feature, 0 * last, others, 0 * last
        ]),
    })  # fmt: skip
    listed = listed.with_columns(pl.Series("feature", names[listed["place"].to_numpy()], pl.String))
    return keys.select("user_id").with_row_index("row").with_columns(
        pl.col("row").cast(pl.Int64)
    ).join(_valued(listed, table), on="row").drop("row", "place").sort("user_id", "rank")  # fmt: skip


def _valued(listed: pl.DataFrame, table: Table) -> pl.DataFrame:
    """With the value of each feature: its number v, its text t, and what is usual for the user."""
    parts = []
    nothing = {"v": pl.lit(None, pl.Float64), "t": pl.lit(None, pl.String), "usual": pl.lit(None, pl.Float64)}  # fmt: skip
    for (name,), rows in listed.group_by("feature", maintain_order=True):
        values = dict(nothing)
        if name in table.features.columns:
            column, at = table.features[name], rows["row"]
            key = "t" if is_text(column.dtype) else "v"
            values[key] = pl.Series(column.gather(at).cast(pl.String if key == "t" else pl.Float64))
            rhythm = phrase(name).rhythm if key == "v" else None
            if rhythm in table.features.columns:
                values["usual"] = pl.Series(table.features[rhythm].gather(at).cast(pl.Float64))
        parts.append(rows.with_columns(**values))
    return pl.concat(parts) if parts else listed.with_columns(**nothing)


def store(con: duckdb.DuckDBPyConnection, task: str, rows: pl.DataFrame, sentence: str) -> int:
    """Add reasons to `predictions.reasons`; how many there are."""
    con.register("reasons", rows.to_arrow())
    con.execute(
        f"""insert into predictions.reasons by name
            select user_id, ? as task, rank::integer as rank, feature,
                coalesce(t, case when v = trunc(v) and abs(v) < 1e15 then v::bigint::varchar
                    else format('{{:.6g}}', v) end) as value,
                contribution, count_features::integer as count_features, {sentence} as sentence
            from reasons order by user_id, rank""",
        [task],
    )  # fmt: skip
    con.unregister("reasons")
    return len(rows)
