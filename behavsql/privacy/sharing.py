"""`behavsql publish --share FILE`: a file of sums over users, none of them about fewer than k.

What is in it is written down here, column by column: nothing else can get in. There are no rows of
users, no ids, no values as they were, no functions and no SQL.

    a cell of fewer than k users   is empty: what counts and what is measured are NULL. So is one in
                                   which fewer than k users have the answer, or lack it
    every count                    is rounded to a multiple of k, and what is measured to two digits: a
                                   total less all other cells does not tell what an empty one holds

This is no differential privacy: two files, made before and after one user came, may differ; and of a
sum of money that one of many users spent almost alone, two digits are those of that user.
"""

import os
from contextlib import closing
from pathlib import Path

import duckdb

from behavsql import __version__
from behavsql.config import Config
from behavsql.database_file import STORAGE_VERSION, reading
from behavsql.errors import ConfigError, WarehouseError
from behavsql.quoting import identifier, literal
from behavsql.warehouse import Warehouse

MODE = 0o644
# Table -> (comment, query); {k} is the smallest number of users. Counts and measures are rounded here.
_TABLES = {
    "report.activity": ("what users did, week by week, of those who agree to analytics", """
        select week_at,
            {count_users}, {count_events}, {count_purchases}, {purchase_value}
        from (
            select week_at, count_users, count_events, count_users >= {k} as is_told,
                case when count_buyers >= {k} then count_purchases end as count_purchases,
                case when count_buyers >= {k} then purchase_value end as purchase_value
            from source.report.activity
        ) order by week_at
    """),
    "report.calibration": ("what published models said of tenths of the test questions, and what came", """
        with ranked as (
            select models.task, scores.user_id, scores.score, scores.label,
                ntile(10) over (partition by models.task order by scores.score, scores.user_id,
                    scores.cutoff_at) as tenth
            from source.models.scores as scores
            inner join source.models.models as models on models.model_id = scores.model_id
            where models.is_published and scores.split = 'test' and scores.label is not null
        ),
        cells as (
            select task, tenth, count(distinct user_id) as count_users, count(*) as count_questions,
                avg(score) as mean_score, avg(label) as mean_label,
                count(distinct user_id) filter (where label <> 0) as count_with,
                count(distinct user_id) filter (where label = 0) as count_without
            from ranked group by task, tenth
        )
        select task, tenth, {count_users}, {count_questions}, {mean_score}, {mean_label}
        from (
            select *, count_users >= {k} and (count_with = 0 or count_with >= {k})
                and (count_without = 0 or count_without >= {k}) as is_told
            from cells
        ) order by task, tenth
    """),
    "report.leaderboard": ("every model of every task on the test cutoffs", """
        select task, model, family, is_published, metric, {value}, {low}, {high}
        from (select *, true as is_told from source.report.leaderboard)
        order by task, metric, model
    """),
    "meta.tasks": ("what is asked", """
        select task, purpose as question, status, metric,
            cast(epoch(horizon) / 86400 as double) as horizon_days
        from source.meta.tasks order by task
    """),
}  # fmt: skip
_COUNTS = ("count_users", "count_events", "count_purchases", "count_questions")
_MEASURES = ("mean_score", "mean_label", "value", "low", "high", "purchase_value")
_COLUMNS = {
    "count_users": "number of users, rounded to a multiple of k; NULL where there are fewer than k",
    "count_events": "number of events, rounded to a multiple of k",
    "count_purchases": "number of purchases, rounded to a multiple of k",
    "count_questions": "number of questions (a user at a cutoff), rounded to a multiple of k",
    "purchase_value": "sum of what was bought, to two digits",
    "mean_score": "what was predicted, on average, to two digits",
    "mean_label": "what came, on average, to two digits",
    "value": "value of the metric, to two digits",
    "low": "lower end of the 95% interval, to two digits",
    "high": "upper end of the 95% interval, to two digits",
    "week_at": "Monday of the week",
    "tenth": "tenth of the questions by score, 10 has the highest",
    "task": "the question that is asked of every user",
    "question": "the question in words",
    "status": "ready, refused or skipped",
    "metric": "what a model is judged by",
    "model": "name of the model",
    "family": "kind of model",
    "is_published": "whether predictions are this model's",
    "horizon_days": "days that a prediction looks ahead",
}


def share(config: Config, path: Path) -> dict[str, int]:
    """Write the file; table -> rows.

    ConfigError where it is there already, or has no folder; WarehouseError where nothing is published.
    """
    warehouse = Warehouse(config.warehouse)
    if path.exists():
        raise ConfigError(
            f"{path}: is there already; allowed is a new file. Remove it, or name another."
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"{path}: there is no folder {path.parent}; allowed is a file in one that is there. "
            f"Make it, or name another."
        )
    if not warehouse.published.exists():
        raise WarehouseError(
            f"{warehouse.published}: there is no warehouse; allowed is one that was built. "
            f"Run `behavsql build`."
        )
    part = Path(f"{path}.part")
    for left in (part, Path(f"{part}.wal")):
        left.unlink(missing_ok=True)
    try:
        found = _write(warehouse, part, config.privacy.k)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.chmod(MODE)
    os.replace(part, path)
    return found


def _write(warehouse: Warehouse, part: Path, k: int) -> dict[str, int]:
    found = {}
    with reading(warehouse.published), closing(duckdb.connect()) as con:
        con.execute(f"attach {literal(str(warehouse.published))} as source (read_only)")
        con.execute(
            f"attach {literal(str(part))} as shared (storage_version {literal(STORAGE_VERSION)})"
        )
        con.execute("create schema shared.report; create schema shared.meta")
        rounded = {name: _count(name, k) for name in _COUNTS}
        rounded |= {name: _measure(name) for name in _MEASURES}
        for table, (comment, query) in _TABLES.items():
            name = identifier("shared", *table.split("."))
            con.execute(f"create table {name} as {query.format(k=k, **rounded)}")
            con.execute(f"comment on table {name} is {literal(comment)}")
            columns = [row[0] for row in con.execute(f"describe {name}").fetchall()]
            for column in columns:
                con.execute(
                    f"comment on column {name}.{identifier(column)} is {literal(_COLUMNS[column])}"
                )
            found[table] = con.execute(f"select count(*) from {name}").fetchall()[0][0]
        con.execute(
            f"create table shared.meta.about as select {k}::bigint as k, {literal(__version__)} as behavsql_version; "
            "comment on table shared.meta.about is 'how this file was made: sums over at least k users'; "
            "comment on column shared.meta.about.k is 'the smallest number of users a cell tells of'; "
            "comment on column shared.meta.about.behavsql_version is 'what made the file'"
        )
        con.execute("checkpoint shared; detach shared")
    return found


def _count(name: str, k: int) -> str:
    return f"case when is_told then cast(round({name} / {k}.0) * {k} as bigint) end as {name}"


def _measure(name: str) -> str:
    """To two digits, whatever its size."""
    size = f"cast(1 - floor(log10(abs({name}))) as integer)"
    rounded = f"case when {name} = 0 then 0e0 else round(cast({name} as double), {size}) end"
    return f"case when is_told then {rounded} end as {name}"
