"""Why the published model of a task says what it says: of every user, and on the whole.

Every number is of the published score: parts of features are carried through ensembles and
calibration, and what that leaves over is told. What it says of a user's future is what the model
makes of their past, not what would come of changing it.
"""

from typing import TYPE_CHECKING

import duckdb

from behavsql import parity
from behavsql.explain import reasons, tables
from behavsql.explain.explainer import BATCH_ROWS, Explainer
from behavsql.explain.whole import on_the_whole
from behavsql.explain.wording import sentence
from behavsql.parity import Published
from behavsql.quoting import identifier

if TYPE_CHECKING:
    from behavsql.config import Config


def explain_task(
    con: duckdb.DuckDBPyConnection, one: Published, config: "Config", users: str | None = None
) -> tuple[int, str]:
    """Replace the reasons of who is asked now; where the model is new, what it relies on too.

    users: the table of those who were scored anew; None: all were. (rows of reasons, what to say).
    """
    tables.prepare(con)
    explainer = Explainer(con, one, config)
    train = explainer.train_rows()
    groups, note = on_the_whole(explainer, train)
    anew = f"user_id in (from {identifier(users)})" if users else "true"
    con.execute(
        f"delete from predictions.reasons where task = ? and ({anew} or user_id not in ("
        "select user_id from models.scores where model_id = ? and split = 'latest'))",
        [one.task, one.model_id],
    )
    most, rows = config.explain.reasons, 0
    words = sentence(groups.features, train) if most else ""
    only = f"asked.{anew}" if users else "true"
    for piece in parity.batches(con, one.task, "latest", BATCH_ROWS, only) if most else ():
        keys, table, score = explainer.rows(piece)
        if len(table):
            told = explainer.explain(table, score)
            listed = reasons.frame(keys, table, told, groups.among(told.features), most)
            rows += reasons.store(con, one.task, listed, words)
    return rows, note
