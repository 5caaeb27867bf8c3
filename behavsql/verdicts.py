"""Which questions the data cannot answer, told from their labels."""

from collections.abc import Container

import duckdb

from behavsql.plan.changes import duration
from behavsql.quoting import identifier
from behavsql.tasks import CHOICE, Task, ready

MIN_TRAIN_CUTOFFS = 3
MIN_POSITIVES = 50
VERDICTS = "(select task, status, reason from meta.tasks)"  # what they are


def reopen(con: duckdb.DuckDBPyConnection) -> None:
    """Take back what `judge` decided, if it has decided anything."""
    known = con.execute(
        "select 1 from duckdb_columns() where database_name = current_database() "
        "and schema_name = 'meta' and table_name = 'tasks' and column_name = 'is_judged'"
    ).fetchall()
    if known:
        con.execute(
            "update meta.tasks set status = 'ready', reason = null, is_judged = false where is_judged"
        )


def judge(con: duckdb.DuckDBPyConnection, spared: Container[str] = ()) -> None:
    """Refuse the tasks whose labels are too few, skip those that repeat another's question.

    spared: tasks that stay asked whatever their labels are now, because they have a model.
    """
    for task in ready(con):
        if task.name not in spared and (reason := _refusal(con, task)):
            _close(con, task.name, "refused", reason)
    asked = ready(con)
    for position, task in enumerate(asked):
        for earlier in asked[:position]:
            if task.name in spared:
                continue
            if relation := _repeats(con, task, earlier):
                told = f"its labels are {relation} of {earlier.name} on every row"
                _close(con, task.name, "skipped", told)
                break


def _close(con: duckdb.DuckDBPyConnection, task: str, status: str, reason: str) -> None:
    con.execute(
        "update meta.tasks set status = ?, reason = ?, is_judged = true where task = ?",
        [status, reason, task],
    )


def _refusal(con: duckdb.DuckDBPyConnection, task: Task) -> str | None:
    """Why the data cannot answer, with the numbers; None if it can."""
    cutoffs = con.execute(
        "select count(*) from cutoffs.splits where task = ? and split = 'train'", [task.name]
    ).fetchall()[0][0]
    if cutoffs < MIN_TRAIN_CUTOFFS:
        return f"{cutoffs} train cutoffs, at least {MIN_TRAIN_CUTOFFS} needed: the data spans too little time"
    is_choice = task.kind == CHOICE
    counted = "len(label)" if is_choice else "cast(label as double)"
    for split in ("train", "valid", "test"):
        rows, yes, is_varied = con.execute(
            f"select count(*), count(*) filter (where {counted} > 0), "
            "coalesce(min(label) <> max(label), false) "
            "from cutoffs.populations as asked "
            f"inner join {identifier('labels', task.name)} as labels using (user_id, cutoff_at) "
            "where task = ? and split = ?", [task.name, split]
        ).fetchall()[0]  # fmt: skip
        if not rows:
            return _nobody(con, task, split)
        word = "positives" if task.kind == "binary" else "labels above zero"
        word = "users who chose an item" if is_choice else word
        if yes < MIN_POSITIVES:
            return f"{yes:,} {word} of {rows:,} in {split}, at least {MIN_POSITIVES} needed"
        if task.kind == "binary" and rows - yes < MIN_POSITIVES:
            return (
                f"{rows - yes:,} negatives of {rows:,} in {split}, at least {MIN_POSITIVES} needed"
            )
        if not is_varied:
            return f"all {rows:,} labels in {split} are equal: there is nothing to tell apart"
    return None


def _nobody(con: duckdb.DuckDBPyConnection, task: Task, split: str) -> str:
    """Why a split has no rows: its cutoffs lie where nobody does anything."""
    active_within, low, high, first, last = con.execute(
        "select any_value(tasks.active_within), min(cutoff_at), max(cutoff_at), "
        "any_value(first_event_at), any_value(last_event_at) from cutoffs.splits as splits "
        "inner join meta.tasks as tasks on tasks.task = splits.task cross join meta.clock "
        "where splits.task = ? and split = ?", [task.name, split]
    ).fetchall()[0]  # fmt: skip
    told = f"though the data goes on until {last:%Y-%m-%d}: if its last events lie"
    setting = "until"
    if split == "train":
        told = f"though the data goes from {first:%Y-%m-%d} to {last:%Y-%m-%d}: if some of it lies"
        setting = "since or until"
    return (
        f"nobody was active in the {duration(active_within)} before the {split} cutoffs "
        f"({low:%Y-%m-%d} to {high:%Y-%m-%d}), {told} apart from the rest, set {setting} for the source"
    )


def _repeats(con: duckdb.DuckDBPyConnection, task: Task, other: Task) -> str | None:
    """Whether two binary tasks are one question: equal labels, or each other's complement."""
    if task.kind != other.kind or task.kind == CHOICE:
        return None
    same, opposite, rows = con.execute(
        f"""select bool_and(a.label = b.label),
                   bool_and(cast(a.label as double) = 1 - cast(b.label as double)), count(*)
            from cutoffs.populations as mine
            inner join cutoffs.populations as theirs using (user_id, cutoff_at)
            inner join {identifier("labels", task.name)} as a using (user_id, cutoff_at)
            inner join {identifier("labels", other.name)} as b using (user_id, cutoff_at)
            where mine.task = ? and theirs.task = ? and mine.split <> 'latest'""",
        [task.name, other.name],
    ).fetchall()[0]
    alike = con.execute(
        "select count(distinct (horizon, active_within)) = 1 from meta.tasks where task in (?, ?)",
        [task.name, other.name],
    ).fetchall()[0][0]
    if not rows or not alike:
        return None
    return (
        "those"
        if same
        else "the complement of those"
        if opposite and task.kind == "binary"
        else None
    )
