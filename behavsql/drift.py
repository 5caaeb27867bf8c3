"""How features lay in train, in bins frozen there, and how those of who is asked now lie in them."""

import itertools
from collections.abc import Iterable

import duckdb
import numpy as np
import polars as pl

from behavsql import frames
from behavsql.config import Settings
from behavsql.quoting import identifier, literal
from behavsql.tasks import Task

TENTHS = np.arange(1, 10) / 10
MOST_CATEGORIES = 20  # of a text; all others share a bin
MOST_USERS = 50_000  # that are counted, drawn by hash: more would not move an index by .001
MISSING, OTHER, KNOWN = "missing", "other", "known"
SCHEMA = {"feature": pl.String, "bin": pl.Int32, "kind": pl.String, "low": pl.Float64,
          "high": pl.Float64, "category": pl.String, "count_rows": pl.Int64}  # fmt: skip
TABLES = """
create table if not exists models.feature_bins (
    task varchar, feature varchar, bin integer, kind varchar, low double, high double,
    category varchar, count_rows bigint
);
create table if not exists models.latest_bins (
    task varchar, feature varchar, bin integer, count_rows bigint, as_of timestamp
);
create table if not exists models.label_rates (
    task varchar, split varchar, cutoff_at timestamp, count_questions bigint, label_mean double,
    label_deviation double
);
"""
_RATES = """
insert into models.label_rates by name
select
    {task} as task, asked.split, asked.cutoff_at, count(*) as count_questions,
    cast(sum(exact(cast(label as double))) as double) / count(*) as label_mean,
    sqrt(greatest(
        cast(sum(exact(cast(label as double) * cast(label as double))) as double) / count(*)
        - label_mean * label_mean, 0) * count(*) / greatest(count(*) - 1, 1)) as label_deviation,
from cutoffs.populations as asked
inner join {labels} as labels using (user_id, cutoff_at)
where asked.task = {task} and asked.split <> 'latest' and label is not null
group by asked.split, asked.cutoff_at
order by asked.cutoff_at
"""


def freeze(features: pl.DataFrame, cutoffs: pl.Series) -> pl.DataFrame:
    """The bins of train rows, asked at `cutoffs` (n,): a row per feature and bin, with its rows.

    What is the same for all who are asked at a cutoff (its weekday) has none: who is asked now are
    asked at one moment, and a calendar is no drift.
    Bin 0 is missing. Numbers have up to ten more, (low, high], which end at tenths of the known
    values, so that a value half of the rows share is one bin. Texts have one for each of the
    commonest categories and bin 1 for all others, which later is those that train did not know too.
    """
    of_users = features.drop(_calendar(features, cutoffs))
    return pl.DataFrame(
        [row for series in of_users for row in _frozen(series)], SCHEMA, orient="row"
    )


def _calendar(features: pl.DataFrame, cutoffs: pl.Series) -> list[str]:
    """The features that differ from cutoff to cutoff, but not among the users of any."""
    if cutoffs.n_unique() == len(cutoffs):  # one user at each: it cannot be told
        return []
    at_one = features.group_by(cutoffs).agg(pl.all().n_unique()).max()
    return [
        series.name for series in features
        if at_one[series.name].item() == 1 and series.n_unique() > 1
    ]  # fmt: skip


def _frozen(series: pl.Series) -> Iterable[tuple]:
    name, missing = series.name, series.null_count()
    yield name, 0, MISSING, None, None, None, missing
    known = series.drop_nulls()
    if series.dtype != pl.Float64:
        counts = known.cast(pl.String).rename("value").value_counts(name="rows")
        common = counts.sort(["rows", "value"], descending=[True, False]).head(MOST_CATEGORIES)
        yield name, 1, OTHER, None, None, None, len(known) - int(common["rows"].sum())
        for position, (category, rows) in enumerate(common.iter_rows(), 2):
            yield name, position, KNOWN, None, None, category, rows
        return
    values = known.to_numpy()
    edges = np.unique(np.quantile(values, TENTHS, method="inverted_cdf")) if len(values) else []
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    ends = [None, *map(float, edges), None]
    for position, rows in enumerate(counts):
        yield name, position + 1, KNOWN, ends[position], ends[position + 1], None, int(rows)


def counted(features: pl.DataFrame, bins: pl.DataFrame) -> pl.DataFrame:
    """How many rows are in each frozen bin: (feature, bin, count_rows). Features not there are left out."""
    found = []
    frozen = bins.sort("feature", "bin").select("feature", "kind", "high", "category").iter_rows()
    for name, own in itertools.groupby(frozen, key=lambda row: row[0]):
        if name not in features.columns:
            continue
        series = features[name]
        _, kinds, highs, categories = zip(*own, strict=True)
        if OTHER in kinds:
            known = [category for category in categories if category is not None]
            rows = _in_categories(series.cast(pl.String), known)
        else:
            edges = [high for high in highs if high is not None]
            values = series.cast(pl.Float64).drop_nulls().to_numpy()
            inside = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
            rows = [series.null_count(), *map(int, inside)]
        found += [(name, position, count) for position, count in enumerate(rows)]
    schema = {name: SCHEMA[name] for name in ("feature", "bin", "count_rows")}
    return pl.DataFrame(found, schema, orient="row")


def _in_categories(series: pl.Series, known: list[str]) -> list[int]:
    counts = dict(series.drop_nulls().rename("value").value_counts(name="rows").iter_rows())
    inside = [counts.get(category, 0) for category in known]
    missing = series.null_count()
    return [missing, len(series) - missing - sum(inside), *inside]


def store(con: duckdb.DuckDBPyConnection, task: str, bins: pl.DataFrame) -> None:
    """Replace what `models.feature_bins` says of a task."""
    con.execute("delete from models.feature_bins where task = ?", [task])
    con.register("frozen", bins.to_arrow())
    con.execute("insert into models.feature_bins by name select ? as task, * from frozen", [task])
    con.unregister("frozen")


def watch(con: duckdb.DuckDBPyConnection, asked: Iterable[Task], settings: Settings) -> int:
    """Count who is asked now in the frozen bins, and the labels of each cutoff; how many bins.

    Of very many users some are drawn, by hash.
    """
    con.execute("delete from models.latest_bins; delete from models.label_rates")
    for task in asked:
        con.execute(_RATES.format(task=literal(task.name), labels=identifier("labels", task.name)))
        bins = con.sql(
            "select feature, bin, kind, high, category from models.feature_bins "
            f"where task = {literal(task.name)} order by feature, bin"
        ).pl()
        if not len(bins):  # trained by an earlier behavsql
            continue
        latest = frames.load(
            con, task.name, task.kind, settings.max_train_rows, settings.seed, _drawn(con, task)
        )
        con.register("counted", counted(latest.table.features, bins).to_arrow())
        con.execute(
            "insert into models.latest_bins by name "
            "select ? as task, *, (select as_of from meta.clock) as as_of from counted", [task.name]
        )  # fmt: skip
        con.unregister("counted")
    return con.execute("select count(*) from models.latest_bins").fetchall()[0][0]


def _drawn(con: duckdb.DuckDBPyConnection, task: Task) -> str:
    rows = con.execute(
        "select count(*) from cutoffs.populations where task = ? and split = 'latest'", [task.name]
    ).fetchall()[0][0]
    share = min(1.0, MOST_USERS / max(rows, 1))
    drawn = f"hash(asked.user_id, 2) / 18446744073709551616.0 < {literal(share)}"
    return f"{frames.LATEST} and {drawn}"
