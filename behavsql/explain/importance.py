"""How much worse a published model gets on test when a group of features tells it nothing."""

from dataclasses import replace

import numpy as np
import polars as pl

from behavsql.calibration import Calibrator
from behavsql.explain.groups import Groups
from behavsql.frames import Table
from behavsql.metrics import paired_gain
from behavsql.models.base import Model
from behavsql.models.parts.explanation import EVENTS

MOST_GROUPS = 10  # the others count for less than these
MOST_ROWS = 1_500
REPLICATES = 200  # of the interval
EVENT_FEATURES = {EVENTS, "role_sequence", "days_ago_sequence"}
SCHEMA = {
    "feature_group": pl.String, "count_features": pl.Int32, "metric": pl.String,
    "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "count_questions": pl.Int64,
}  # fmt: skip


def permuted(
    model: Model, calibrator: Calibrator, test: Table, score: np.ndarray, groups: Groups,
    sizes: np.ndarray, metric: str, seed: int,
) -> pl.DataFrame:  # fmt: skip
    """What shuffling each group's columns between the rows costs in the deciding metric.

    The columns of a group are dealt out together: what they say alike is not left in one of them.
    score (n,): of the rows as they are. sizes (g,): the groups that add most are asked. With the 95%
    bootstrap interval over users. Source: L. Breiman, 2001, Random forests, section 10.
    """
    random = np.random.default_rng(seed)
    kind, rows = test.kind, []
    for group in np.argsort(-sizes, kind="stable")[:MOST_GROUPS]:
        if sizes[group] <= 0:
            break
        names = [groups.features[j] for j in np.flatnonzero(groups.member == group)]
        mixed = _dealt(test, names, random.permutation(len(test)))
        worse = calibrator.transform(model.predict(mixed))
        gain = paired_gain(
            kind, metric, test.label, score, worse, test.users, replicates=REPLICATES, seed=seed
        )
        rows.append(
            (groups.names[group], len(names), metric, gain.mean, gain.low, gain.high, len(test))
        )
    return pl.DataFrame(rows, SCHEMA, orient="row").fill_nan(None)


def _dealt(test: Table, names: list[str], order: np.ndarray) -> Table:
    """The table with some columns taken from the rows in another order; events go together."""
    columns = [test.features[name].gather(order) for name in names if name in test.features.columns]
    mixed = replace(test, features=test.features.with_columns(columns))
    if f"{test.task}_last_window" in names:
        mixed = replace(mixed, last_window=test.last_window[order])
    if test.sequences is not None and EVENT_FEATURES.intersection(names):
        mixed = replace(mixed, sequences=test.sequences.rows(order))
    return mixed
