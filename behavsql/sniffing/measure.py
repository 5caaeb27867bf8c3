"""A source read as a build will: three rows, how much there is, and what will be rejected."""

import duckdb
from pydantic import ValidationError

from behavsql.config import Settings
from behavsql.errors import ConfigError
from behavsql.input import refused_lines
from behavsql.input.mapping import event_columns
from behavsql.quoting import identifier
from behavsql.sniffing import Sniffed
from behavsql.source import Source

SHOWN_ROWS = 3
PARTS = (
    "user_id", "event_at", "event_type", "item_id", "value", "quantity", "category", "title",
    "user_agent",
)  # fmt: skip


def measure(
    con: duckdb.DuckDBPyConnection, relation: str, types: dict[str, str], found: Sniffed
) -> None:
    """Fill `shown`, `rows`, `facts`, `unknown_users` and `rejected`, and add what is wrong with the rows.

    Reads the table `sample` and, once, the whole relation. Raises ConfigError for a mapping that
    contradicts itself.
    """
    source, columns = _source(found), found.raw["columns"]
    sql = event_columns(source, types)
    mapped = {*columns, "event_type", *(["value"] if "price" in columns else [])}
    found.shown = [part for part in PARTS if part in mapped]
    # Without dates the numbers as they are: the day they are counted from is arbitrary.
    told = sql if source.has_dates else sql | {"event_at": identifier(columns["event_at"])}
    listed = ", ".join(f"{told[part]} as {part}" for part in found.shown)
    found.rows = con.execute(f"select {listed} from sample limit {SHOWN_ROWS}").fetchall()
    user, at = sql["user_id"], sql["event_at"]
    latest = "now()::timestamp + interval 1 day"
    is_possible = f"{at} between timestamp '{Settings().min_date}' and {latest}"
    possible = f"filter ({is_possible})"
    is_usable = is_possible if source.has_dates else f"{at} is not null"
    refused_lines.forget(con)
    rows, known, users, first, last, timed, dated, usable, unread = con.execute(
        f"select count(*), count({user}), count(distinct {user}), min({at}) {possible}, "
        f"max({at}) {possible}, count({at}), count(*) {possible}, "
        f"count(*) filter ({user} is not null and {sql['unread_value']} is null and {is_usable}), "
        f"count({sql['unread_value']}) "
        f"from {relation}"
    ).fetchall()[0]
    found.unknown_users, found.rejected = 1 - known / rows, 1 - usable / rows
    found.facts = f"{rows:,} rows, {users:,} users"
    if first and source.has_dates:
        found.facts += f", {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    _doubt(found, "user_id", rows - known, "have none")
    _doubt(found, "event_at", rows - timed, "hold no readable time")
    _doubt(found, "event_at", timed - dated if source.has_dates else 0, "lie in no possible year")
    if not source.has_dates:
        found.doubts.append("event_at: no dates; a build counts from an arbitrary day, 2000-01-01.")
    amounts = " or ".join(part for part in ("value", "price", "quantity") if part in columns)
    _doubt(found, amounts, unread, "hold no readable number")
    if users == rows > 1:
        found.doubts.append(
            "user_id: every row has another user; predictions need users who come back (--user)."
        )


def note_refused(con: duckdb.DuckDBPyConnection, found: Sniffed) -> None:
    """Say how many lines of the last read have no place; SourceError if they cannot be counted."""
    refused_lines.check_quotes(con)
    counts = refused_lines.count_refused(con)
    if misread := counts.pop("INVALID ENCODING", 0):
        is_told = any(doubt.startswith("encoding:") for doubt in found.doubts)
        remedy = "" if is_told else '; if they are Latin-1, set encoding = "latin-1"'
        found.doubts.append(
            f"encoding: {misread:,} lines are not UTF-8 and will be rejected{remedy}."
        )
    if misshapen := sum(counts.values()):
        found.doubts.append(
            f"lines: {misshapen:,} have another shape than the rest and will be rejected."
        )


def _source(found: Sniffed) -> Source:
    try:
        return Source(**found.raw)
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        told = problem["msg"].removeprefix("Value error, ")
        path = found.raw["path"]
        raise ConfigError(f"{path}: {where}{told}. Change the options.") from None


def _doubt(found: Sniffed, part: str, count: int, why: str) -> None:
    if count:
        found.doubts.append(f"{part}: {count:,} rows {why} and will be rejected.")
