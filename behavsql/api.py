"""What `import behavsql` offers: build, connect, predict_user_behavior."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from behavsql.progress import Progress

if TYPE_CHECKING:
    import polars as pl

    from behavsql.pipeline import Built


def build(
    config: str | Path = "behavsql.toml", *, quiet: bool = False, **settings: object
) -> "Built":
    """Build and publish the warehouse a config file describes; see `behavsql.pipeline.build`.

    `settings` overrule those of the file, for example `models="fast"`.
    """
    from behavsql import config as configuration
    from behavsql.pipeline import build as run

    return run(configuration.load(Path(config), **settings), progress=Progress(quiet))


def predict_user_behavior(
    events: object, *, models: str = "fast", warehouse: str | Path | None = None, **columns: object
) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """Events in, (predictions, metrics) out.

    events: a Polars, Arrow or pandas table, or the path of a CSV, Parquet or JSON file; one row per
    event. Columns are recognised by their names; `columns` names those that are not, with the
    flags of `behavsql init` as keywords (user="member", time="seen_on", at_unit="days").
    predictions: one row per user, `<task>_probability` or `<task>_amount` and `<task>_decile` for
    every task the data can answer; NULL for a user who was not active lately. metrics: the
    leaderboard, one row per task, model and metric on the test cutoffs, with its interval.
    The warehouse is kept only if a folder is named.
    """
    import polars as pl

    from behavsql import config as configuration
    from behavsql.pipeline import build as run
    from behavsql.sniffing import sniff_config
    from behavsql.warehouse import connect

    with tempfile.TemporaryDirectory(prefix="behavsql-") as scratch:
        if isinstance(events, str | Path):
            path = Path(events).absolute()
        else:
            path = Path(scratch, "events.parquet")
            frame = events.collect() if isinstance(events, pl.LazyFrame) else pl.DataFrame(events)
            frame.write_parquet(path)
        folder = str(Path(warehouse).absolute()) if warehouse else scratch
        config = configuration.from_dict(
            sniff_config([path], **columns),
            Path(scratch),
            "events",
            warehouse=folder,
            models=models,
        )
        run(config, progress=Progress(quiet=True))
        con = connect(folder)
        try:
            return con.sql("from main.customers").pl(), con.sql("from report.leaderboard").pl()
        finally:
            con.close()
