"""How exactly explanations add up, on every test question of a built warehouse, and what they take.

    python tests/benchmarks/explanations.py warehouse [--users 20]

Each published model is loaded from the work file and explained anew; beside it stand what LightGBM
itself says (where it is one), and counterfactuals of some users asked again of the published function.
"""

import argparse
import time
from pathlib import Path

import duckdb
import numpy as np

from behavsql import parity
from behavsql.config import Config, Settings
from behavsql.explain import user as of_user
from behavsql.explain.explainer import BATCH_ROWS, Explainer
from behavsql.warehouse import connect


def additivity(file: Path) -> None:
    """A line for each published model: rows, the largest gap, the residual, microseconds a row."""
    con = duckdb.connect(str(file), read_only=True)
    con.execute("set timezone = 'UTC'")
    config = Config.model_construct(settings=Settings())
    for one in parity.published_models(con):
        explainer = Explainer(con, one, config)
        rows, gap, residual, largest, seconds = 0, 0.0, 0.0, 0.0, 0.0
        for piece in parity.batches(con, one.task, "test", BATCH_ROWS):
            _, table, score = explainer.rows(piece)
            begun = time.perf_counter()
            told = explainer.explain(table, score)
            seconds += time.perf_counter() - begun
            said = explainer.calibrator.transform(explainer.model.predict(table))
            added = told.base + told.parts.sum(axis=1) + told.residual
            gap = max(gap, np.abs(added - score).max(), np.abs(said - score).max())
            residual += float(np.abs(told.residual).sum())
            largest = max(largest, float(np.abs(told.residual).max()))
            rows += len(score)
        print(
            f"{one.task:12} {one.model:14} {rows:8,} test rows  gap {gap:.1e}  residual mean "
            f"{residual / max(rows, 1):.1e} max {largest:.1e}  {seconds / max(rows, 1) * 1e6:,.0f} us a row  {told.method}"
        )
    con.close()


def counterfactuals(warehouse: Path, users: int) -> None:
    """Of users spread over all: how many have a change that crosses, and that each does so again."""
    with connect(warehouse, udfs=False) as con:
        for one in parity.published_models(con):
            asked = con.execute(
                "select user_id from predictions.scored where task = ? order by hash(user_id) limit ?",
                [one.task, users],
            ).fetchall()
            begun, found, verified = time.perf_counter(), 0, 0
            for (user,) in asked:
                told = of_user.changes(con, user, one.task, None)
                found += bool(told["changes"])
                verified += sum("predict_" in change["verified_by"] for change in told["changes"])
            each = (time.perf_counter() - begun) / max(len(asked), 1)
            print(
                f"{one.task:12} {found} of {len(asked)} users have changes; {verified} changes "
                f"asked again of predict_{one.task}, all the same; {each:.1f} s a user"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--users", type=int, default=20)
    given = parser.parse_args()
    additivity(given.warehouse / ".work/build.duckdb")
    counterfactuals(given.warehouse, given.users)
