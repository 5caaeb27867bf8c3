"""Tables whose columns depend on which features and tasks there are, so no SQL file can list them."""

from collections.abc import Mapping
from types import MappingProxyType

import duckdb

from behavsql import describe, outcomes, score_history, transform
from behavsql.catalog import Catalog
from behavsql.compile.form import NUMBERS, TEXTS
from behavsql.errors import SqlFileError
from behavsql.plan import Step
from behavsql.quoting import identifier, literal
from behavsql.tasks import CHOICE, Task

SCALARS = (*NUMBERS, *TEXTS)
KEYS = ("user_id", "cutoff_at")
CLOCKS = ("habits",)  # files whose words say when, not who
ROWS_AT_ONCE = 500_000  # of the matrix, while it is joined: 1 GB with 250 columns


def build_matrix(con: duckdb.DuckDBPyConnection, catalog: Catalog, tasks: list[Task]) -> int:
    """Join all feature files into `features.matrix`, `.latest` and `.sequences`; rows of the matrix.

    Lists go to `features.sequences` only, a view: a list for every user and cutoff would be most of
    the file. Each task adds `<task>_last_window`: its own label for the window that ends at the
    cutoff, NULL where the user was not asked about that task.
    Raises SqlFileError if two files make the same column, or one is of a type no model reads.
    """
    scalars, lists = feature_columns(con, catalog)
    tasks = _with_numbers(tasks)
    _fill_matrix(con, scalars, tasks)
    comment = "every feature as of every cutoff, one row per user and cutoff"
    con.execute(f"comment on table features.matrix is {literal(comment)}")
    describe.comment_columns(con, "features", "matrix")
    build_latest(con)
    _build_sequences(con, lists)
    return con.execute("select count(*) from features.matrix").fetchall()[0][0]


def build_latest(con: duckdb.DuckDBPyConnection) -> None:
    """Cut `features.latest` out of the matrix."""
    _replace(con, "features", "latest",
             "select matrix.* from features.matrix as matrix inner join meta.clock as clock "
             "on clock.as_of = matrix.cutoff_at order by matrix.user_id",
             "every feature as of the newest event, one row per user who is asked about now")  # fmt: skip


def _fill_matrix(
    con: duckdb.DuckDBPyConnection, scalars: dict[str, list[str]], tasks: list[Task]
) -> None:
    """Join a stretch of users at a time: what is held in memory then does not grow with the data.

    The stretches follow each other by user; within one the rows are in no order, which to sort
    would take as long again.
    """
    starts = [user for (user,) in con.execute(
        "select distinct user_id from cutoffs.cutoffs where rowid % ? = 0 order by user_id",
        [ROWS_AT_ONCE],
    ).fetchall()]  # fmt: skip
    # The first stretch has no begin and the last no end: all users are in one, whatever the order
    # of the table, and without a row there is one stretch, for the sake of the columns.
    ends = [f"user_id < {literal(start)}" for start in starts[1:]] + ["true"]
    begins = ["true"] + [f"user_id >= {literal(start)}" for start in starts[1:]]
    for position, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        rows = matrix_rows(scalars, tasks, f"{begin} and {end}")
        verb = "insert into" if position else "create or replace table"
        con.execute(f"{verb} features.matrix {'' if position else 'as'} {rows}")


def matrix_rows(
    scalars: dict[str, list[str]], tasks: list[Task], those: str, those_labels: str | None = None,
    parts: Mapping[str, str] = MappingProxyType({}),
) -> str:  # fmt: skip
    """The query for some rows of the matrix. those: the condition on users and cutoffs.

    those_labels: the one on labels, whose `cutoff_at` lies `tasks.horizon` before that of the row.
    parts: by their table, smaller tables that have all these rows of it.
    """
    source = lambda table: identifier(*([parts[table]] if table in parts else table.split(".")))  # noqa: E731
    columns = [f"{identifier(file)}.{identifier(name)}" for file, names in scalars.items()
               for name in names]  # fmt: skip
    columns += [
        f"{identifier(f'{task.name} label')}.label as {identifier(f'{task.name}_last_window')}"
        for task in tasks
    ]
    joins = [f"left join (from {source(f'features.{file}')} where {those}) as {identifier(file)} "
             "using (user_id, cutoff_at)" for file in scalars]  # fmt: skip
    joins += [_last_window(task, f"where {those_labels or those}") for task in tasks]
    return (
        f"select {', '.join(['user_id', 'cutoff_at', *columns])} "
        f"from (from {source('cutoffs.cutoffs')} where {those}) as cutoffs {' '.join(joins)}"
    )


def _build_sequences(con: duckdb.DuckDBPyConnection, lists: dict[str, list[str]]) -> None:
    columns = [f"{identifier(file)}.{identifier(name)}" for file, names in lists.items()
               for name in names]  # fmt: skip
    joins = [f"left join features.{identifier(file)} as {identifier(file)} "
             "using (user_id, cutoff_at)" for file in lists]  # fmt: skip
    transform.make_room(con, "features", "sequences", "view")
    con.execute(
        f"create or replace view features.sequences as select "
        f"{', '.join(['user_id', 'cutoff_at', *columns])} from cutoffs.cutoffs {' '.join(joins)}"
    )
    comment = "the last events as lists, oldest first, one row per user and cutoff"
    con.execute(f"comment on view features.sequences is {literal(comment)}")
    describe.comment_columns(con, "features", "sequences")


def build_categories(con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
    """The view `features.categories`: the matrix's texts, a row for each, but for clock readings."""
    scalars, _ = feature_columns(con, catalog)
    types = dict(_columns(con, "features", "matrix"))
    names = [
        name for file, columns in scalars.items() for name in columns
        if file not in CLOCKS and types[name].partition("(")[0] in TEXTS
    ]  # fmt: skip
    values = ", ".join(f"cast({identifier(name)} as varchar)" for name in names)
    listed = (
        f"unnest({literal(names)}) as feature, unnest([{values}]) as category"
        if names
        else "null::varchar as feature, null::varchar as category"
    )
    con.execute(
        f"create or replace view features.categories as select user_id, cutoff_at, {listed} "
        f"from features.matrix{'' if names else ' limit 0'}"
    )
    comment = "the features that are words, one row per user, cutoff and feature"
    con.execute(f"comment on view features.categories is {literal(comment)}")
    describe.comment_columns(con, "features", "categories")


def feature_columns(
    con: duckdb.DuckDBPyConnection, catalog: Catalog
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Feature file -> its numbers and categories, and feature file -> its lists."""
    owners: dict[str, str] = {}
    scalars: dict[str, list[str]] = {}
    lists: dict[str, list[str]] = {}
    for file in catalog.feature_files():
        for column, type_ in _columns(con, file.schema, file.name):
            if column in KEYS:
                continue
            if column in owners:
                raise SqlFileError(
                    f"{file.where}: column {column} is also made by {owners[column]}; "
                    f"each feature has one file. Rename one of them."
                )
            owners[column] = file.where
            if not type_.endswith("[]") and type_.partition("(")[0] not in SCALARS:
                raise SqlFileError(
                    f"{file.where}: column {column} is of type {type_}; a feature is a number, a "
                    f"boolean, a text or a list. Say a time as one before the cutoff: "
                    f"datediff('day', {column}, cutoffs.cutoff_at)."
                )
            kind = lists if type_.endswith("[]") else scalars
            kind.setdefault(file.name, []).append(column)
    return scalars, lists


def _with_numbers(tasks: list[Task]) -> list[Task]:
    """The tasks whose labels are numbers: a choice among items is no feature and no score."""
    return [task for task in tasks if task.kind != CHOICE]


def _last_window(task: Task, those: str) -> str:
    """The join that brings a task's label of the window before each cutoff."""
    return (
        "left join (select labels.user_id, labels.cutoff_at + tasks.horizon as cutoff_at, "
        f"cast(labels.label as double) as label from {identifier('labels', task.name)} as labels "
        f"cross join meta.tasks as tasks {those} and tasks.task = {literal(task.name)}) "
        f"as {identifier(f'{task.name} label')} using (user_id, cutoff_at)"
    )


def build_predictions(con: duckdb.DuckDBPyConnection, catalog: Catalog, tasks: list[Task]) -> None:
    """Cut `predictions.scored` into one table per task, and drop those of tasks no longer asked."""
    from behavsql.explain.tables import REASONS

    tasks = _with_numbers(tasks)
    wanted = (
        {task.name for task in tasks}
        | {score_history.TABLE, outcomes.TABLE, REASONS}
        | {file.name for file in catalog.files.values() if file.schema == "predictions"}
    )
    for (name,) in con.execute(
        "select table_name from duckdb_tables() where schema_name = 'predictions' "
        "and database_name = current_database()"
    ).fetchall():
        if name not in wanted:
            con.execute(f"drop table {identifier('predictions', name)}")
    for task in tasks:
        amount = "score as probability" if task.kind == "binary" else "score as amount"
        purpose = con.execute(
            "select purpose from meta.tasks where task = ?", [task.name]
        ).fetchall()[0][0]
        _replace(
            con, "predictions", task.name,
            f"select user_id, {amount}, decile, band, as_of, horizon_days, model, model_version, scored_at "
            f"from predictions.scored where task = {literal(task.name)} order by user_id",
            f"{purpose} One row per user active within the task's window.",
        )  # fmt: skip


def build_customers(con: duckdb.DuckDBPyConnection, tasks: list[Task]) -> None:
    """The view people open first: one row per user, every task's score and decile beside it."""
    columns, joins = [], []
    for task in _with_numbers(tasks):
        measure = "probability" if task.kind == "binary" else "amount"
        alias = identifier(task.name)
        columns += [
            f"{alias}.{measure} as {identifier(f'{task.name}_{measure}')}",
            f"{alias}.decile as {identifier(f'{task.name}_decile')}",
        ]
        joins.append(
            f"left join {identifier('predictions', task.name)} as {alias} on {alias}.user_id = users.user_id"
        )
    listed = ", ".join(["users.user_id", "users.first_seen_at", "users.last_seen_at", *columns])
    con.execute(
        f"create or replace view main.customers as select {listed} from staging.users as users {' '.join(joins)}"
    )
    con.execute(
        "comment on view main.customers is 'one row per user with every score; "
        "NULL where the user was not active lately enough to be asked about'"
    )
    describe.comment_columns(con, "main", "customers")


def build_lineage(con: duckdb.DuckDBPyConnection, steps: list[Step]) -> None:
    """Write `meta.lineage`: which step reads which."""
    pairs = [(step.name, parent) for step in steps for parent in step.parents]
    con.execute(
        "create or replace table meta.lineage as "
        "select unnest(cast(? as varchar[])) as step, unnest(cast(? as varchar[])) as reads",
        [list(side) for side in zip(*pairs, strict=True)],
    )


def build_columns(con: duckdb.DuckDBPyConnection) -> None:
    """Write `meta.columns`: every published column with its type and its comment."""
    _replace(
        con, "meta", "columns",
        "select schema_name, table_name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = current_database() and not internal "
        "order by schema_name, table_name, column_index",
        "every column of this file and what it holds, one row per column",
    )  # fmt: skip


def _columns(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[tuple[str, str]]:
    # duckdb_columns() would look at every table and view there is.
    return [row[:2] for row in con.execute(f"describe {identifier(schema, table)}").fetchall()]


def _replace(
    con: duckdb.DuckDBPyConnection, schema: str, table: str, query: str, comment: str
) -> None:
    name = identifier(schema, table)
    con.execute(f"create or replace table {name} as {query}")
    con.execute(f"comment on table {name} is {literal(comment)}")
    describe.comment_columns(con, schema, table)
