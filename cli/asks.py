"""What the reading commands ask of a published warehouse."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from behavsql.cli import show

from behavsql.errors import BehavsqlError, ConfigError, nearest
from behavsql.interrupts import interruptible
from behavsql.warehouse import connect

SHOWN_ROWS = 100
CHUNK = 10_000

TASKS = """
select task, status, purpose as question, horizon, active_within, metric, reason
from meta.tasks order by status <> 'ready', task
"""

# The second opinion: what the order of the scores is worth, whatever their scale.
MODELS = """
select board.task, board.model, board.family, board.is_champion, board.is_published, board.metric,
    board.value, board.low, board.high, other.metric as ranking_metric, other.value as ranking,
    other.low as ranking_low, other.high as ranking_high, board.train_seconds, board.reason,
    models.score_microseconds, models.count_bytes,
    coalesce(models.is_worse_on_test, false) as is_worse_on_test,
from report.leaderboard as board
left join models.models as models on models.task = board.task and models.model = board.model
left join report.leaderboard as other
    on other.task = board.task and other.model = board.model
    and other.metric in ('roc_auc', 'spearman')
where board.is_deciding_metric
order by board.task, board.value
"""

LEFT_OUT = "select task, model, reason from models.left_out order by all"


def query(place: Path, sql: str, limit: int | None, as_csv: bool, as_json: bool) -> None:
    """Run SQL on the published warehouse and print its rows; `-` reads the SQL from stdin.

    A table shows 100 rows unless `limit` says otherwise, CSV and JSON hold all; 0 means all.
    """
    shown = output("query", limit, as_csv, as_json)
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise ConfigError(
            'query: the SQL is empty; allowed is a statement. Write for example "from customers".'
        )
    # Functions for all models take longer to add than most queries run.
    with connect(place, udfs="py_predict_" in text.lower()) as con, interruptible(con):
        try:
            statements = con.extract_statements(text)
            if len(statements) > 1 and (as_csv or as_json):
                raise ConfigError(
                    f"query: {len(statements)} statements and --{'csv' if as_csv else 'json'}; "
                    f"allowed is one, whose rows it writes. Ask one by one."
                )
            for number, statement in enumerate(statements):
                print(end="\n" if number else "")
                print_rows(con.execute(statement), shown)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise BehavsqlError(f"query: {str(error).strip()}") from None


@dataclass(frozen=True)
class Output:
    """How rows are printed, and how many; most = None: all."""

    most: int | None
    as_csv: bool
    as_json: bool


def output(command: str, limit: int | None, as_csv: bool, as_json: bool) -> Output:
    """What the options of a command say; ConfigError if they contradict each other."""
    if as_csv and as_json:
        raise ConfigError(
            f"{command}: both --csv and --json are set; allowed is one of them. Leave one out."
        )
    most = SHOWN_ROWS if limit is None and not (as_csv or as_json) else limit or None
    return Output(most, as_csv, as_json)


def print_rows(cursor: Any, shown: Output) -> bool:
    """Print what a statement answers; whether it answers anything."""
    if cursor is None or not cursor.description:  # nothing but comments; a statement without rows
        return False
    columns = [column[0] for column in cursor.description]
    rows = _rows(cursor)
    first = itertools.islice(rows, shown.most)
    if shown.as_csv:
        show.write_csv(columns, first)
    elif shown.as_json:
        show.write_json([dict(zip(columns, row, strict=True)) for row in first])
    else:
        listed = list(first)
        show.write_table(columns, listed)
        total = len(listed) + sum(1 for _ in rows)
        if total > len(listed):
            print(f"{len(listed):,} of {total:,} rows; --limit 0 shows all.", file=sys.stderr)
        elif total == 0:
            print("no rows", file=sys.stderr)
    return True


def _rows(cursor: Any) -> Iterator[tuple]:
    while chunk := cursor.fetchmany(CHUNK):
        yield from chunk


def tasks(place: Path, as_json: bool) -> None:
    """Print which questions are asked of the data, and why others are not."""
    columns, rows = _fetch(place, TASKS)
    if as_json:
        show.write_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    show.write_table([column.replace("_", " ") for column in columns], rows)


def models(place: Path, task: str | None, as_json: bool) -> None:
    """Print every model of every task (or of one), best first, references among them."""
    columns, rows = _fetch(place, MODELS)
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    known = sorted({model["task"] for model in found})
    if task is not None and task not in known:
        raise ConfigError(
            f'models: no model answers the task "{task}"; allowed are {", ".join(known) or "none"}.'
            f"{nearest(task, known)} See `behavsql tasks`."
        )
    found = [model for model in _best_first(found) if task in (None, model["task"])]
    if as_json:
        show.write_json(found)
        return
    if not found:
        print("no models yet", file=sys.stderr)
        return
    show.write_table(
        ("task", "model", "", "metric", "on test", "ranking", "trained in", "a row in", "size"),
        [_line(m) for m in found],
    )
    for gone, model, reason in _fetch(place, LEFT_OUT)[1]:
        if task in (None, gone):
            print(f"{gone}: {model} is left out: {reason}", file=sys.stderr)


def model_options(as_json: bool) -> None:
    """Print the options of all models: what each is unless it is set, and where tuning looks."""
    from behavsql import model_options
    from behavsql.models import MODELS

    found = [row for name in MODELS for row in model_options.described(name)]
    if as_json:
        show.write_json(found)
        return
    show.write_table(
        ("model", "option", "default", "searched by --tune"),
        [
            (row["model"], row["option"], _default(row["default"]), row["searched"] or "")
            for row in found
        ],
    )
    print(
        "(by valid): the model tries some, and takes the best. Set options under [models.NAME].",
        file=sys.stderr,
    )


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "(by valid)"
    return "none" if value == () else str(value)


def _best_first(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from behavsql.metrics import DIRECTION

    def place(model: dict[str, Any]) -> tuple:
        unknown = model["value"] is None
        better = 0 if unknown else -DIRECTION.get(model["metric"], 1) * model["value"]
        return model["task"], unknown, better, model["model"]

    return sorted(found, key=place)


def _line(model: dict[str, Any]) -> tuple[str, ...]:
    mark = "published" if model["is_published"] else "champion" if model["is_champion"] else ""
    if model["is_worse_on_test"]:
        mark += ", WORSE on test"
    if model["family"] == "reference":
        mark = f"reference, {mark}" if mark else "reference"
    ranking = show.between(model["ranking"], model["ranking_low"], model["ranking_high"])
    return (
        model["task"],
        model["model"],
        mark,
        model["metric"],
        show.between(model["value"], model["low"], model["high"]),
        f"{model['ranking_metric']} {ranking}" if ranking else "",
        f"{model['train_seconds']:.1f} s",
        "" if model["score_microseconds"] is None else f"{model['score_microseconds']:.1f} us",
        "" if model["count_bytes"] is None else f"{model['count_bytes'] / 1e3:,.0f} kB",
    )


def _fetch(place: Path, sql: str) -> tuple[list[str], list[tuple]]:
    with connect(place, udfs=False) as con:
        cursor = con.execute(sql)
        return [column[0] for column in cursor.description], cursor.fetchall()
