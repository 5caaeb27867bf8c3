"""`predictions.outcomes`: what happened after the moments that scores were published for.

Those moments are the ends of whatever days the data went up to, seldom cutoffs of the grid, so no
table of labels has them. Here each label file is asked about them too: its own query, with the past
windows of `predictions.history` in the place of `cutoffs.windows`. Nothing that models learn from,
and no step before them, sees any of it. A window is judged once it has ended by the last complete
day, as every label is; until then the score is open.
"""

import duckdb

from behavsql import describe
from behavsql.catalog import Catalog
from behavsql.catalog.sql_file import SqlFile
from behavsql.live.rewriting import Rewriter, replaced
from behavsql.plan.content import WINDOWS
from behavsql.quoting import identifier, literal
from behavsql.score_history import TABLE as HISTORY
from behavsql.tasks import Task

TABLE = "outcomes"
PAST = "past windows"  # the temporary table in the place of cutoffs.windows
_COMMENT = (
    "what happened after each moment that a score was published for, once its window had closed"
)
_PAST = f"""
create or replace temp table {identifier(PAST)} as
select distinct history.task, history.user_id, history.as_of as cutoff_at,
    history.as_of + tasks.horizon as window_ends_at,
from predictions.{HISTORY} as history
inner join meta.tasks as tasks on tasks.task = history.task
cross join meta.clock as clock
where history.as_of + tasks.horizon <= clock.complete_until
order by history.user_id, cutoff_at, history.task
"""


def judge(con: duckdb.DuckDBPyConnection, catalog: Catalog, asked: list[Task]) -> int:
    """Label every past score whose window has closed; how many (task, user, moment) that are."""
    prepare(con)
    con.execute(_PAST)
    con.execute(f"delete from predictions.{TABLE}")
    due = {
        row[0] for row in con.execute(f"select distinct task from {identifier(PAST)}").fetchall()
    }
    files = {file.name: file for file in catalog.label_files()}
    with duckdb.connect() as parser:  # of its own, see Rewriter
        rewriter = Rewriter(parser, catalog, {})
        for task in asked:
            if task.name in due:
                _label(con, rewriter, files[task.name])
    con.execute(f"drop table {identifier(PAST)}")
    return con.execute(f"select count(*) from predictions.{TABLE}").fetchall()[0][0]


def _label(con: duckdb.DuckDBPyConnection, rewriter: Rewriter, file: SqlFile) -> None:
    query = rewriter.text(replaced(file.tree, {WINDOWS: PAST}))
    con.execute(
        f"insert into predictions.{TABLE} by name "
        "select past.task, past.user_id, past.cutoff_at as as_of, past.window_ends_at, "
        f"cast(labels.label as double) as label from {identifier(PAST)} as past "
        f"inner join ({query}) as labels using (user_id, cutoff_at) "
        "where past.task = ? and labels.label is not null "
        "order by past.user_id, past.cutoff_at", [file.name]
    )  # fmt: skip


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Make the table; its ids have the type that those of the history have."""
    con.execute(
        f"create or replace table predictions.{TABLE} as select task, user_id, as_of, "
        f"null::timestamp as window_ends_at, null::double as label from predictions.{HISTORY} limit 0"
    )
    con.execute(f"comment on table predictions.{TABLE} is {literal(_COMMENT)}")
    describe.comment_columns(con, "predictions", TABLE)
