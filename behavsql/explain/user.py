"""All that the published file says of one user: scores, reasons, and what would change them."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from behavsql.compile import registry
from behavsql.config import Config, ExplainSettings
from behavsql.errors import ConfigError, ModelError, nearest
from behavsql.explain import counterfactuals
from behavsql.explain.explainer import Explainer
from behavsql.explain.moves import moves
from behavsql.frames import unlabelled
from behavsql.parity import TOLERANCE, Published, published_models
from behavsql.quoting import identifier, literal
from behavsql.sequences import COLUMNS

Row = dict[str, Any]
CAUTION = (
    "what the model says of such a row, features that are not named staying as they are; not what "
    "would come of acting on it"
)


def told(
    con: duckdb.DuckDBPyConnection, user: str, tasks: Sequence[str] = (),
    settings: ExplainSettings | None = None, with_changes: bool = True,
) -> Row:  # fmt: skip
    """Of one user: when they were seen, and for every task the score with its reasons.

    ConfigError for a user or a task that is not there. settings: None = the defaults. A task that
    does not ask about the user says why instead. with_changes: what would change the scores too.
    """
    one = _user(con, user)
    known = _rows(
        con, "select task, purpose as question, kind, active_within_days, horizon_days, status "
        "from meta.tasks where status = 'ready' and kind <> 'choice' order by task"
    )  # fmt: skip
    _check_tasks(tasks, [task["task"] for task in known])
    found = []
    for task in known:
        if tasks and task["task"] not in tasks:
            continue
        found.append(_of_task(con, one, task))
        if with_changes and found[-1]["is_asked"]:
            found[-1] |= changes(con, one["user_id"], task["task"], settings)
    return {**one, "tasks": found}


def _user(con: duckdb.DuckDBPyConnection, user: str) -> Row:
    query = (
        "select user_id, first_seen_at, last_seen_at from staging.users where user_id::varchar = ?"
    )
    if rows := _rows(con, query, [user]):
        return rows[0]
    some = [row["user_id"] for row in _rows(
        con, "select user_id::varchar as user_id from staging.users "
        "order by levenshtein(user_id::varchar, ?), user_id limit 3", [user]
    )]  # fmt: skip
    near = f" The nearest are {', '.join(some)}." if some else ""
    raise ConfigError(
        f"explain: there is no user {user!r}; allowed are the user_id of staging.users, written as "
        f'there.{near} Look one up: behavsql query "from customers limit 10".'
    )


def _check_tasks(asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"explain: {name!r} is no task that is asked; allowed are {', '.join(known)}."
                f"{nearest(name, known)} See `behavsql tasks`."
            )


def _of_task(con: duckdb.DuckDBPyConnection, user: Row, task: Row) -> Row:
    name, measure = task["task"], "probability" if task["kind"] == "binary" else "amount"
    scored = _rows(
        con, f"select {measure} as score, decile, band, as_of, model, model_version "
        f"from {identifier('predictions', name)} where user_id = ?", [user["user_id"]]
    )  # fmt: skip
    base = {key: task[key] for key in ("task", "question", "kind")}
    if not scored:
        return {**base, "is_asked": False, "why_not": _why_not(con, user, task)}
    reasons = _rows(
        con, "select rank, feature, value, contribution, sentence from predictions.reasons "
        "where user_id = ? and task = ? order by rank", [user["user_id"], name]
    )  # fmt: skip
    return {**base, "is_asked": True, **scored[0], "reasons": reasons}


def _why_not(con: duckdb.DuckDBPyConnection, user: Row, task: Row) -> str:
    """Why a task does not ask about the user."""
    within = task["active_within_days"]
    if user["last_seen_at"] is None:
        return "nothing that the user did is known"
    (days,), = con.execute(
        "select date_diff('hour', ?::timestamp, as_of) / 24 from meta.clock", [user["last_seen_at"]]
    ).fetchall()  # fmt: skip
    if days <= within:
        return f"no activity of the user's own within {within:g} days (a return is none)"
    return f"away for {days:,.0f} days; asked are users who were active within {within:g}"


def changes(
    con: duckdb.DuckDBPyConnection, user: object, task: str, settings: ExplainSettings | None
) -> Row:
    """The smallest changes that carry a user's score over the task's threshold, each asked again.

    threshold: of a probability the one above which the model says yes, of an amount the lowest
    score of the tenth above. Each change was asked of the published function (`verified_by`).
    """
    one = next(one for one in published_models(con) if one.task == task)
    threshold = _threshold(con, one, user)
    if threshold is None:
        return {"threshold": None, "changes": [], "note": "already in the highest tenth"}
    settings = settings or ExplainSettings()
    explainer = Explainer(con, one, Config.model_construct())
    table = _latest(con, one, explainer, user)
    if not set(explainer.model.features(task)) - {*COLUMNS}:
        return {"threshold": threshold, "changes": [], "note": f"{one.model} reads events alone"}
    allowed = moves(
        [name for name in explainer.model.features(task) if name in table.features.columns],
        _facts(con), settings.locked, settings.changeable,
    )  # fmt: skip
    ask = lambda rows: explainer.calibrator.transform(explainer.model.predict(rows))  # noqa: E731
    found = counterfactuals.found(
        ask, table, explainer.train_rows().features, allowed, threshold,
        explainer.model.breakpoints(),
    )  # fmt: skip
    row = table.features.row(0, named=True)
    listed = [_listed(con, one, user, row, change, threshold) for change in found]
    note = CAUTION if listed else (
        "no usual value of one or two features that may change brings it there"
    )  # fmt: skip
    return {"threshold": threshold, "changes": listed, "note": note}


def _threshold(con: duckdb.DuckDBPyConnection, one: Published, user: object) -> float | None:
    if one.kind == "binary":
        found = con.execute(
            "select threshold from models.models where model_id = ?", [one.model_id]
        )
    else:
        shown = identifier("predictions", one.task)
        found = con.execute(
            f"select min(amount) from {shown} where decile = (select decile from {shown} "
            "where user_id = ?) - 1", [user]
        )  # fmt: skip
    return found.fetchall()[0][0]


def _latest(con: duckdb.DuckDBPyConnection, one: Published, explainer: Explainer, user: object):
    """The row of a user as the model reads it now."""
    lists = f"lists.{', lists.'.join(COLUMNS)}, " if explainer.model.reads != "table" else ""
    join = "left join features.sequences as lists using (user_id, cutoff_at)" if lists else ""
    frame = con.sql(
        f"select {lists}latest.* exclude (user_id, cutoff_at) from features.latest as latest {join} "
        "where latest.user_id = $user", params={"user": user}
    ).pl()  # fmt: skip
    return unlabelled(frame, one.task, one.kind)


def _facts(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = con.execute(
        "select column_name from duckdb_columns() where schema_name = 'features' "
        "and table_name = 'user_facts' and database_name = current_database()"
    ).fetchall()
    return frozenset(name for (name,) in rows)


def _listed(
    con: duckdb.DuckDBPyConnection, one: Published, user: object, row: Row,
    change: counterfactuals.Change, threshold: float,
) -> Row:  # fmt: skip
    """A change in plain values, with what the published function says of it."""
    function, said = _asked_again(con, one, user, change)
    score = change.score if said is None else said
    if abs(score - change.score) > TOLERANCE * max(1.0, abs(score)):
        raise ModelError(
            f"function {function}: says {score:.6g} of a change of which the model says "
            f"{change.score:.6g}; allowed is {TOLERANCE:g}. {one.compile_again}"
        )
    own = [move.feature for move in change.moves]
    loose = sorted(
        {name for move in change.moves for name in move.loose if name in row} - {*change.changed}
    )
    return {
        "changes": [
            {"feature": name, "from": row[name], "to": value, "is_tied": name not in own}
            for name, value in sorted(change.changed.items(), key=lambda item: item[0] not in own)
        ],
        "score": score, "threshold": threshold, "cost": change.cost, "stays_as_it_is": loose,
        "verified_by": function or f"{one.model} in Python",
    }  # fmt: skip


def _asked_again(
    con: duckdb.DuckDBPyConnection, one: Published, user: object, change: counterfactuals.Change
) -> tuple[str, float | None]:
    """The published function of a row, and what it says of the changed one; "" where there is none."""
    name = f"predict_{one.task}"
    form = registry.functions(con).get(name)
    if form not in (registry.ROW, registry.EVENT_ROW):
        return "", None
    types = dict(con.execute(
        "select column_name, data_type from duckdb_columns() where schema_name = 'features' "
        "and table_name = 'latest' and database_name = current_database()"
    ).fetchall())  # fmt: skip
    replaced = ", ".join(
        f"{literal(value)}::{types[feature]} as {identifier(feature)}"
        for feature, value in change.changed.items()
    )
    rows = "features.latest" if form == registry.ROW else registry.ASKED
    (said,), = con.execute(
        f"select {identifier(name)}(f) from (select * replace ({replaced}) from {rows} "
        "where user_id = ?) as f", [user]
    ).fetchall()  # fmt: skip
    return name, None if said is None else float(np.float64(said))


def _rows(con: duckdb.DuckDBPyConnection, query: str, given: Sequence[object] = ()) -> list[Row]:
    cursor = con.execute(query, list(given))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
