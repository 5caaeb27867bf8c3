"""`behavsql diff`: what two published versions of a warehouse, or any two, have different.

Tables are told by rows and columns, models by task, predictions by how far they moved; no user is
named unless that is asked for. Nothing is written, and nothing but the two files is read.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.database_file import explained
from behavsql.errors import ConfigError, WarehouseError
from behavsql.quoting import identifier, literal
from behavsql.rollback import versions
from behavsql.warehouse import FILE_NAME, LOCKDOWN, Warehouse

OLD, NEW = "old", "new"  # the names the files are attached under
# The published model of each task on the metric that decides it.
_PUBLISHED = """
select models.task, models.model, models.version, metrics.metric, metrics.value
from {side}.models.models as models
inner join {side}.meta.tasks as tasks on tasks.task = models.task
left join {side}.models.metrics as metrics
    on metrics.model_id = models.model_id and metrics.metric = tasks.metric
    and metrics.split = 'test'
where models.is_published
"""
_MOVED = """
with both_sides as (
    select
        coalesce(was.task, is_now.task) as task,
        coalesce(was.user_id::varchar, is_now.user_id::varchar) as user_id,
        was.score as old_score, is_now.score as new_score,
        was.decile as old_decile, is_now.decile as new_decile,
    from old.predictions.scored as was
    full join new.predictions.scored as is_now
        on is_now.task = was.task and is_now.user_id::varchar = was.user_id::varchar
)
"""
_MOVES = (
    _MOVED
    + """
select
    task,
    count(*) filter (where old_score is not null and new_score is not null) as count_both,
    count(*) filter (where old_score is null) as count_new,
    count(*) filter (where new_score is null) as count_gone,
    count(*) filter (where old_score <> new_score) as count_moved,
    avg(abs(new_score - old_score)) as mean_move,
    max(abs(new_score - old_score)) as largest_move,
    count(*) filter (where abs(new_decile - old_decile) >= 2) as count_deciles_apart,
    avg(old_score) as old_mean, avg(new_score) as new_mean,
from both_sides group by task order by task
"""
)
_TOP = (
    _MOVED
    + """
select task, user_id, old_score, new_score, old_decile, new_decile
from both_sides where old_score is not null and new_score is not null and old_score <> new_score
qualify row_number() over (
    partition by task order by abs(new_score - old_score) desc, user_id
) <= {most}
order by task, abs(new_score - old_score) desc, user_id
"""
)


def places(config: Config, old: str | None, new: str | None) -> tuple[Path, Path]:
    """The two files that are meant: a path of a file or folder, or a number of `rollback --list`.

    Without `new` it is what is published, without both the version before that is the old one.
    Raises ConfigError for what is neither, WarehouseError where no version is kept.
    """
    published = Warehouse(config.warehouse).published
    return _place(config, old or "1"), _place(config, new) if new else published


def _place(config: Config, told: str) -> Path:
    path = Path(told)
    if path.exists() or not told.isdigit():
        return path / FILE_NAME if path.is_dir() else path
    kept = versions(config)
    if not kept:
        raise WarehouseError(
            f"{Warehouse(config.warehouse).versions}: no version is kept to compare with; one is for "
            "every published file that a later build replaced. Name two files, or build again later."
        )
    number = int(told)
    if not 1 <= number <= len(kept):
        raise ConfigError(
            f"diff: there is no version {number}; allowed are 1 to {len(kept)}, or a file. "
            f"See `behavsql rollback --list`."
        )
    return kept[number - 1].path


def diff(old: Path, new: Path, most: int = 0) -> dict:
    """What differs: {"tables", "columns", "models", "scores", "users"}, each a list of rows.

    tables: those with another number of rows (None: it is not there). columns: those that came,
    went or have another type. models: tasks whose published model or its value on test is another.
    scores: of every task, how far predictions moved. users: up to `most` of each task that moved
    furthest. LockedError where somebody writes to a file, WarehouseError where one is no warehouse.
    """
    for path in (old, new):
        if not path.is_file():
            raise WarehouseError(
                f"{path}: there is no such warehouse; allowed are files that `behavsql build` wrote, "
                "or numbers of `behavsql rollback --list`. Name another."
            )
    with duckdb.connect() as con:
        for path, name in ((old, OLD), (new, NEW)):
            with explained(path):
                con.execute(f"attach {literal(str(path.resolve()))} as {name} (read_only)")
        con.execute(f"set timezone = 'UTC'; {LOCKDOWN}")
        there = {name: _columns(con, name) for name in (OLD, NEW)}
        for path, name in ((old, OLD), (new, NEW)):
            if not {("models.models", "model"), ("predictions.scored", "score")} <= {*there[name]}:
                raise WarehouseError(
                    f"{path}: holds no predictions; allowed are warehouses that `behavsql build` "
                    "published. Name another."
                )
        return {
            "tables": _tables(con), "columns": _changed_columns(there[OLD], there[NEW]),
            "models": _models(con), "scores": _rows(con, _MOVES),
            "users": _rows(con, _TOP.format(most=int(most))) if most else [],
        }  # fmt: skip


def _tables(con: duckdb.DuckDBPyConnection) -> list[dict]:
    """Tables whose number of rows changed; a view has none of its own."""
    counts = {}
    for side in (OLD, NEW):
        names = con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ?", [side]
        ).fetchall()
        for schema, table in names:
            rows = con.execute(f"select count(*) from {identifier(side, schema, table)}").fetchall()
            counts.setdefault(f"{schema}.{table}", {})[side] = rows[0][0]
    found = [
        {"table": table, "old_rows": rows.get(OLD), "new_rows": rows.get(NEW)}
        for table, rows in sorted(counts.items())
    ]
    return [row for row in found if row["old_rows"] != row["new_rows"]]


def _columns(con: duckdb.DuckDBPyConnection, side: str) -> dict[tuple[str, str], str]:
    """(schema.table, column) -> type, of tables and views."""
    return {
        (table, column): type_ for table, column, type_ in con.execute(
            "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() "
            "where database_name = ? and not internal", [side]
        ).fetchall()
    }  # fmt: skip


def _changed_columns(old: dict, new: dict) -> list[dict]:
    """Of tables that both have: what came, went or changed its type; whole tables are in `tables`."""
    both = {table for table, _ in old} & {table for table, _ in new}
    return [
        {"table": table, "column": column, "old_type": old.get((table, column)),
         "new_type": new.get((table, column))}
        for table, column in sorted({*old} | {*new})
        if table in both and old.get((table, column)) != new.get((table, column))
    ]  # fmt: skip


def _models(con: duckdb.DuckDBPyConnection) -> list[dict]:
    """Tasks with another published model, another version of it, or another value on test."""
    sides = [
        {row["task"]: row for row in _rows(con, _PUBLISHED.format(side=side))}
        for side in (OLD, NEW)
    ]
    found = []
    for task in sorted({*sides[0]} | {*sides[1]}):
        old, new = (side.get(task, {}) for side in sides)
        if old != new:
            found.append({"task": task} | {
                f"{side}_{name}": row.get(name) for name in ("model", "version", "metric", "value")
                for side, row in ((OLD, old), (NEW, new))
            })  # fmt: skip
    return found


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    cursor = con.execute(query)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def is_same(found: dict) -> bool:
    """Whether nothing that is compared differs, other than when it was built."""
    tables = [row for row in found["tables"] if not row["table"].startswith("meta.")]
    moved = any(
        row["count_moved"] or row["count_new"] or row["count_gone"] for row in found["scores"]
    )
    return not (tables or found["columns"] or found["models"] or moved)


def told(found: dict) -> Iterable[tuple[str, list[tuple[str, ...]], tuple[str, ...]]]:
    """(heading, rows, columns) of each part that has something to say, for reading."""
    yield "models", [
        (row["task"], _model(row, OLD), _model(row, NEW)) for row in found["models"]
    ], ("task", "old", "new")  # fmt: skip
    yield "predictions", [
        (row["task"], f"{row['count_both']:,}", f"{row['count_new']:,}", f"{row['count_gone']:,}",
         f"{row['count_moved']:,}", _number(row["mean_move"]), _number(row["largest_move"]),
         f"{row['count_deciles_apart']:,}", f"{_number(row['old_mean'])} -> {_number(row['new_mean'])}")
        for row in found["scores"]
    ], ("task", "in both", "new", "gone", "moved", "mean move", "largest", "2+ deciles", "mean score")  # fmt: skip
    yield "users that moved most", [
        (row["task"], row["user_id"], f"{_number(row['old_score'])} -> {_number(row['new_score'])}",
         f"{row['old_decile']} -> {row['new_decile']}") for row in found["users"]
    ], ("task", "user", "score", "decile")  # fmt: skip
    yield "rows", [
        (row["table"], _count(row["old_rows"]), _count(row["new_rows"]), _more(row))
        for row in found["tables"]
    ], ("table", "old", "new", "difference")  # fmt: skip
    yield "columns", [
        (row["table"], row["column"], row["old_type"] or "not there", row["new_type"] or "not there")
        for row in found["columns"]
    ], ("table", "column", "old", "new")  # fmt: skip


def _model(row: dict, side: str) -> str:
    if row[f"{side}_model"] is None:
        return "not asked"
    value = row[f"{side}_value"]
    measured = "" if value is None else f", {row[f'{side}_metric']} {value:.4g}"
    return f"{row[f'{side}_model']} (version {row[f'{side}_version']}{measured})"


def _count(rows: int | None) -> str:
    return "not there" if rows is None else f"{rows:,}"


def _more(row: dict) -> str:
    if None in (row["old_rows"], row["new_rows"]):
        return ""
    return f"{row['new_rows'] - row['old_rows']:+,}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
