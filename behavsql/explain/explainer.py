"""The published model of one task, ready to be asked why it says what it says."""

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql import frames, parity
from behavsql.compile import profile
from behavsql.compile.form import TEXTS
from behavsql.frames import Table
from behavsql.models.parts.explanation import Explanation, most_of
from behavsql.parity import Published

if TYPE_CHECKING:
    from behavsql.config import Config

BATCH_ROWS = 50_000  # explained together: some hundred MB with two hundred features
TRAIN_ROWS = 20_000  # that values are compared with, in words


class Explainer:
    """The published model of one task, ready to be asked why."""

    def __init__(self, con: duckdb.DuckDBPyConnection, one: Published, config: "Config") -> None:
        self.con, self.one, self.settings = con, one, config.settings
        self.model, self.calibrator = parity.load(con, one)
        self.model.threads = self.settings.threads or self.model.threads
        known = profile.types(con)
        usual = {
            feature.name: pl.Series(
                [feature.usual], dtype=pl.String if known[feature.name].partition("(")[0] in TEXTS else pl.Float64
            )
            for feature in profile.read(con, one.task) if feature.name in known
        }  # fmt: skip
        self.usual = frames.unlabelled(pl.DataFrame(usual), one.task, one.kind)

    def rows(self, only: str) -> tuple[pl.DataFrame, Table, np.ndarray]:
        """Questions that meet a condition on `asked` and were scored: keys, rows, scores (n,)."""
        asked = frames.load(
            self.con, self.one.task, self.one.kind, self.settings.max_train_rows,
            self.settings.seed, only, self.model.reads != "table",
        )  # fmt: skip
        self.con.register("asked_keys", asked.keys.to_arrow())
        score = self.con.execute(
            "select scores.score from asked_keys left join models.scores as scores "
            "on scores.model_id = ? and scores.user_id = asked_keys.user_id "
            "and scores.cutoff_at = asked_keys.cutoff_at "
            "order by asked_keys.user_id, asked_keys.cutoff_at", [self.one.model_id]
        ).fetchnumpy()["score"]  # fmt: skip
        self.con.unregister("asked_keys")
        score = np.ma.filled(score.astype(np.float64), np.nan)
        known = np.isfinite(score)
        return asked.keys.filter(pl.Series(known)), asked.table.rows(known), score[known]

    def train_rows(self) -> Table:
        """Some thousand rows of train, drawn by user."""
        known = self.con.execute(
            "select count(*) from cutoffs.populations where task = ? and split = 'train'",
            [self.one.task],
        ).fetchall()[0][0]
        parts = -(-known // TRAIN_ROWS)
        only = f"asked.split = 'train' and hash(asked.user_id, 5) % {max(parts, 1)} = 0"
        return frames.load(
            self.con, self.one.task, self.one.kind, self.settings.max_train_rows,
            self.settings.seed, only,
        ).table  # fmt: skip

    def explain(self, table: Table, score: np.ndarray) -> Explanation:
        """The parts of the published scores (n,); base + parts + residual are the score."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):  # as in training: matrices are small
            told = self.model.explain(table, self.usual)
        start = float(self.calibrator.transform(np.array([told.start]))[0])
        return told.rescaled(start, score, most_of(self.one.kind, start, score))
