"""Every model on the tasks of one or more warehouses, and what each model is worth over all of them.

    behavsql train -t churn -m lightgbm,gru,hmm          # or behavsql build --models all
    python tests/benchmarks/leaderboard.py WAREHOUSE [WAREHOUSE ...]

Skill is the share of the best reference's loss that a model saves on test, or of what it lacks of 1; a
rank of 1 is the best of a task. Times are those of the machine and the hour that trained them: compare within one run.
"""

import argparse
from pathlib import Path

import polars as pl

from behavsql.metrics import DIRECTION
from behavsql.warehouse import connect

BOARD = """
    select board.task, board.model, board.family, board.is_published, board.metric, board.value,
        board.low, board.high, other.value as ranking, board.train_seconds,
        models.score_microseconds, models.count_bytes / 1e3 as kb
    from report.leaderboard as board
    inner join models.models as models on models.task = board.task and models.model = board.model
    left join report.leaderboard as other on other.task = board.task
        and other.model = board.model and other.metric in ('roc_auc', 'spearman')
    where board.is_deciding_metric
"""


def read(path: Path) -> pl.DataFrame:
    """A warehouse's models, best first, each with its skill and rank."""
    with connect(path, udfs=False) as con:
        board = con.sql(BOARD).pl().with_columns(pl.lit(path.parent.name).alias("data"))
    sign = pl.col("metric").replace_strict(
        DIRECTION, default=1, return_dtype=pl.Int64
    )  # lists: 1 is best
    best = (pl.col("value") * sign).filter(pl.col("family") == "reference").max().over("task")
    rank = (pl.col("value") * sign).rank("min", descending=True).over("task")
    skill = (
        pl.when(sign < 0)
        .then(1 - pl.col("value") / -best)
        .otherwise((pl.col("value") - best) / (1 - best))
    )
    return board.with_columns(skill.alias("skill"), rank.alias("rank")).sort(
        "task", "rank", "model"
    )


def _number(value: float | None, digits: int = 1) -> str:
    """Recommenders are not timed row by row, nor stored one by one."""
    return "" if value is None else f"{value:.{digits}f}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def show(board: pl.DataFrame) -> None:
    """The models of each task."""
    for (data, task), rows in board.group_by(["data", "task"], maintain_order=True):
        print(f"\n{data}: {task}, {rows['metric'][0]}\n")
        print(_row("model", "on test", "ranking", "skill", "trained s", "us/row", "kB"))
        print(_row(*["---"] * 7))
        for one in rows.iter_rows(named=True):
            mark = " (published)" if one["is_published"] else ""
            interval = "" if one["low"] is None else f" [{one['low']:.4g}, {one['high']:.4g}]"
            ranking = "" if one["ranking"] is None else f"{one['ranking']:.3f}"
            skill = "" if one["skill"] is None else f"{one['skill']:.1%}"
            print(_row(
                one["model"] + mark, f"{one['value']:.4g}{interval}", ranking, skill,
                _number(one["train_seconds"]), _number(one["score_microseconds"]),
                _number(one["kb"], 0),
            ))  # fmt: skip


def sum_up(board: pl.DataFrame) -> None:
    """Each model over all tasks that it answers."""
    worth = board.group_by("model").agg(
        pl.len().alias("tasks"), pl.col("rank").mean(), pl.col("skill").median(),
        pl.col("is_published").sum().alias("published"), pl.col("train_seconds").median(),
        pl.col("score_microseconds").median(), pl.col("kb").median(),
    ).sort("rank")  # fmt: skip
    print("\nover all tasks\n")
    print(
        _row(
            "model", "tasks", "mean rank", "median skill", "published", "trained s", "us/row", "kB"
        )
    )
    print(_row(*["---"] * 8))
    for one in worth.iter_rows(named=True):
        print(_row(
            one["model"], one["tasks"], f"{one['rank']:.1f}", f"{one['skill'] or 0:.1%}",
            one["published"], _number(one["train_seconds"]), _number(one["score_microseconds"]),
            _number(one["kb"], 0),
        ))  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouses", nargs="+", type=Path)
    found = pl.concat(read(path) for path in parser.parse_args().warehouses)
    show(found)
    sum_up(found)
