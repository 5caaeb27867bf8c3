"""What a published model relies on over all test questions, measured once for each training."""

import numpy as np
import polars as pl

from behavsql import parity
from behavsql.explain import dependence, importance, tables
from behavsql.explain.explainer import BATCH_ROWS, Explainer
from behavsql.explain.groups import Groups, find
from behavsql.frames import Table
from behavsql.models.parts.explanation import Explanation

TEST_ROWS = importance.MOST_ROWS


class Sums:
    """Sums over explained rows."""

    def __init__(self) -> None:
        self.rows, self.size, self.residual = 0, np.zeros(0), 0.0
        self.largest_residual = self.gap = self.base = 0.0
        self.features: tuple[str, ...] = ()
        self.method = ""

    def add(self, told: Explanation, said: np.ndarray) -> None:
        """said (n,): what the explained model answers, calibrated; its difference is a gap too."""
        self.features, self.method, self.base = told.features, told.method, told.base
        self.rows += len(said)
        self.size = (self.size if len(self.size) else 0.0) + np.abs(told.parts).sum(axis=0)
        self.residual += float(np.abs(told.residual).sum())
        self.largest_residual = max(self.largest_residual, float(np.abs(told.residual).max()))
        total = told.base + told.parts.sum(axis=1) + told.residual
        gaps = np.maximum(np.abs(total - told.answer), np.abs(said - told.answer))
        self.gap = max(self.gap, float(gaps.max()))


def on_the_whole(explainer: Explainer, train: Table) -> tuple[Groups, str]:
    """The groups of the model's features, and what to say of it; the tables are filled if they are not."""
    if known := tables.groups(explainer.con, explainer.one):
        return known, ""
    sums = Sums()
    for piece in parity.batches(explainer.con, explainer.one.task, "test", BATCH_ROWS):
        _, table, score = explainer.rows(piece)
        if len(table):
            sums.add(*_told(explainer, table, score))
    if (
        not sums.rows
    ):  # nothing to measure on: who is asked now says at least which features there are
        for piece in parity.batches(explainer.con, explainer.one.task, "latest", BATCH_ROWS)[:1]:
            _, table, score = explainer.rows(piece)
            sums.features = explainer.explain(table, score).features
            sums.size = np.zeros(len(sums.features))
    mean = sums.size / max(sums.rows, 1)
    groups = find(train.features, sums.features, mean)
    _store(explainer, sums, mean, groups)
    _measure(explainer, groups, groups.of(mean[np.newaxis])[0], mean)
    return groups, (
        f"{sums.method}; parts and residual add up to {sums.gap:.1g}, the residual is "
        f"{sums.residual / max(sums.rows, 1):.2g} on average"
    )


def _told(explainer: Explainer, table: Table, score: np.ndarray) -> tuple[Explanation, np.ndarray]:
    told = explainer.explain(table, score)
    return told, explainer.calibrator.transform(explainer.model.predict(table))


def _store(explainer: Explainer, sums: Sums, mean: np.ndarray, groups: Groups) -> None:
    con, one = explainer.con, explainer.one
    tables.replace(con, "contributions", one, pl.DataFrame({
        "feature": pl.Series(groups.features, dtype=pl.String),
        "feature_group": pl.Series([groups.names[g] for g in groups.member], dtype=pl.String),
        "correlation": groups.correlation, "mean_size": mean,
        "count_questions": np.full(len(mean), sums.rows),
    }))  # fmt: skip
    tables.replace(con, "explanations", one, pl.DataFrame({
        "model": [one.model], "version": [one.version], "method": [sums.method],
        "base": [sums.base], "count_questions": [sums.rows], "largest_gap": [sums.gap],
        "mean_residual": [sums.residual / max(sums.rows, 1)],
        "largest_residual": [sums.largest_residual],
    }))  # fmt: skip
    con.execute(
        "update models.explanations set explained_at = now()::timestamp, trained_at = "
        "(select trained_at from models.models where model_id = $id) where model_id = $id",
        {"id": one.model_id},
    )


def _measure(explainer: Explainer, groups: Groups, sizes: np.ndarray, mean: np.ndarray) -> None:
    """Permutation importance and partial dependence, on some of the test questions."""
    con, one, seed = explainer.con, explainer.one, explainer.settings.seed
    _, table, score = explainer.rows(
        parity.batches(con, one.task, "test", TEST_ROWS)[0]
    )  # fmt: skip
    metric = con.execute("select metric from meta.tasks where task = ?", [one.task]).fetchall()[0][
        0
    ]
    model, calibrator = explainer.model, explainer.calibrator
    asked = (model, calibrator, table)
    found = importance.permuted(*asked, score, groups, sizes, metric, seed)
    tables.replace(con, "permutation_importance", one, found)
    first = [groups.names[g] for g in np.argsort(-sizes, kind="stable") if sizes[g] > 0]
    shown = [name for name in first if name in table.features.columns]
    curves = dependence.curves(*asked, shown[: dependence.MOST_FEATURES], seed)
    tables.replace(con, "dependence", one, curves)
