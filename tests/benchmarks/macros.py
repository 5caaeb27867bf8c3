"""Every stored model as SQL: exact or not, how large, one row, and a batch against Python.

    python tests/benchmarks/macros.py WAREHOUSE [--rows 1000000] [--task purchase] [--threads 2]

WAREHOUSE is a published file. The models are compiled anew into a scratch file. One row: a SELECT of
predict(f) for one user of features.latest, planned and run, the median of nine. Batch: rows of
features.matrix, repeated; SQL writes score(table) into a table; Python fetches the features the model
reads through Polars, predicts, calibrates and writes back.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from behavsql import frames, parity
from behavsql.compile import CompileError, profile
from behavsql.compile.scorer import Scorer
from behavsql.quoting import identifier, literal
from behavsql.sequences import COLUMNS

# With the events before each, which Markov chains and HMMs read.
QUESTIONS = "(from features.matrix left join features.sequences using (user_id, cutoff_at))"
HEADER = (f"{'task':11s} {'model':14s} {'rows':>7s} {'differs':>8s} {'splits':>6s} {'row KB':>6s} "
          f"{'batch KB':>8s} {'one row':>8s} {'row form':>9s} {'batch':>8s} {'Python':>8s} {'ratio':>6s}")  # fmt: skip
UNITS = (f"{'':11s} {'':14s} {'':7s} {'':8s} {'':6s} {'':6s} {'':8s} {'ms':>8s} {'us/row':>9s} "
         f"{'us/row':>8s} {'us/row':>8s} {'':6s}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--task", action="append")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute(f"attach {literal(str(given.warehouse))} as shop (read_only)")
        con.execute(f"attach {literal(f'{folder}/scratch.duckdb')} as scratch")
        con.execute(f"use shop; set timezone = 'UTC'; set threads = {given.threads}")
        con.execute(
            f"create table scratch.big as select m.* from {QUESTIONS} as m cross join "
            f"generate_series(1, 1 + {given.rows} // (select count(*) from features.matrix)) "
            f"limit {given.rows}"
        )
        print(HEADER + "\n" + UNITS)
        for one in models(con, given.task):
            report(con, one, given)


def models(con: duckdb.DuckDBPyConnection, tasks: list[str] | None) -> list[parity.Published]:
    rows = con.execute(
        "select models.model_id, tasks.task, tasks.kind, models.model, models.family, "
        "models.version from models.models as models inner join meta.tasks as tasks "
        "on tasks.task = models.task where models.family <> 'reference' "
        "and tasks.kind <> 'choice' order by 2, 4"
    ).fetchall()
    return [parity.Published(*row) for row in rows if not tasks or row[1] in tasks]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(
    con: duckdb.DuckDBPyConnection, one: parity.Published, given: argparse.Namespace
) -> None:
    model, calibrator = parity.load(con, one)
    model.threads = given.threads
    try:
        scorer = Scorer.of(model, calibrator, profile.types(con), one.task)
    except CompileError as error:
        print(f"{one.task:11s} {one.model:14s} {error}")
        return
    row = scorer.row.over_row(scorer.row_score, "f")
    con.execute(f"create or replace macro scratch.predict(f) as ({row})")
    batch = scorer.batch.query(scorer.batch_score, "query_table(_table)")
    con.execute(f"create or replace macro scratch.score(_table) as table {batch}")
    rows, gap = difference(con, one, model, calibrator)
    user = con.execute("select max(user_id) from features.latest").fetchall()[0][0]
    latest = QUESTIONS.replace("matrix", "latest")
    ask = f"select scratch.predict(f) from {latest} as f where user_id = {literal(user)}"
    one_row = statistics.median(timed(lambda: con.execute(ask).fetchall()) for _ in range(9))
    some = min(given.rows, 100_000)
    by_row = timed(lambda: write(con, f"select user_id, scratch.predict(f) as score "
                                      f"from (from scratch.big limit {some}) as f"))  # fmt: skip
    by_batch = timed(lambda: write(con, "from scratch.score('scratch.big')"))
    python = timed(lambda: roundtrip(con, one, model, calibrator, scorer))
    micro = 1e6 / given.rows
    splits = sum(len(values) for values in scorer.row.ties.values())
    print(
        f"{one.task:11s} {one.model:14s} {rows:7,d} {gap:8.1e} {splits:6d} {len(row) / 1e3:6.0f} "
        f"{len(batch) / 1e3:8.0f} {one_row * 1e3:8.1f} {by_row / some * 1e6:9.2f} "
        f"{by_batch * micro:8.2f} {python * micro:8.2f} {by_batch / python:6.2f}", flush=True
    )  # fmt: skip


def write(con: duckdb.DuckDBPyConnection, query: str) -> None:
    con.execute(f"create or replace table scratch.answers as {query}")


def difference(con, one: parity.Published, model, calibrator) -> tuple[int, float]:
    """Test rows, and the largest difference of the row form from Python, relative above 1."""
    only = "asked.split = 'test'"
    asked = frames.load(con, one.task, one.kind, 1, 7, only, with_sequences=model.reads != "table")
    score = calibrator.transform(model.predict(asked.table))
    con.register("said", asked.keys.with_columns(pl.Series("score", score)).to_arrow())
    answers = con.sql(
        f"select score, scratch.predict(f) as sql from {QUESTIONS} as f "
        "inner join said using (user_id, cutoff_at)"
    ).pl()
    con.unregister("said")
    gap = np.abs(answers["score"] - answers["sql"]) / np.maximum(1, np.abs(answers["score"]))
    return len(answers), float(gap.max())


def roundtrip(con, one: parity.Published, model, calibrator, scorer: Scorer) -> None:
    read = (*scorer.features, *(COLUMNS if model.reads != "table" else ()))
    columns = ", ".join(map(identifier, read))
    frame = con.sql(f"select user_id, {columns} from scratch.big").pl()
    table = frames.unlabelled(frame.drop("user_id"), one.task, one.kind)
    table = replace(table, features=whole(con, table.features))
    answers = frame.select(
        "user_id", pl.Series("score", calibrator.transform(model.predict(table)))
    )
    con.register("answers_now", answers.to_arrow())
    write(con, "from answers_now")
    con.unregister("answers_now")


def whole(con, features: pl.DataFrame) -> pl.DataFrame:
    """All columns of the matrix: those that the model never uses are empty."""
    known = con.sql("from scratch.big limit 0").pl().schema
    missing = {
        name: pl.lit(None, kind if kind == pl.String else pl.Float64)
        for name, kind in known.items()
        if name not in features.columns and not isinstance(kind, pl.List)
    }  # fmt: skip
    return features.with_columns(**missing)


if __name__ == "__main__":
    main()
