"""What sources say of items and users: not events, but what holds from a moment on, or from the start.

A fact is a cell: a list of one value where a row says something, [NULL] where it says that nothing
is known (any more), NULL where it is silent. So rows of several sources complete each other, and a
later version of a user or an item takes back what it does not repeat.

unread_id is an id that no event can have, where those of the events are whole numbers.
"""

import duckdb

from behavsql import fact_settings
from behavsql.errors import SourceError
from behavsql.fact_settings import PRICE
from behavsql.input import fact_times, refused_lines, sources, unread_lines
from behavsql.input.amounts import amount
from behavsql.input.mapping import text, user_id
from behavsql.input.sources import Scan, listed
from behavsql.quoting import identifier, literal
from behavsql.source import Source

NO_FIELD = "_none"  # of a struct without fields, which DuckDB does not know
MOST_QUESTIONS = 200  # of a survey that does not name them: each becomes a column

_COLUMNS = """
    source varchar, user_id varchar, item_id varchar, unread_id varchar,
    is_dated boolean, valid_from timestamp, valid_to timestamp, ends_at timestamp, unread_at varchar,
    question varchar, unused_for varchar, price decimal(18, 4), unread_value varchar,
    category varchar, title varchar, description varchar, vectors map(varchar, double[])
"""


def load(con: duckdb.DuckDBPyConnection, table: str, scans: list[tuple[Source, Scan]]) -> None:
    """Fill `raw.users` or `raw.items`; only what the config names, or a survey asks, becomes a column."""
    attributes = sorted({name for source, _ in scans for name in source.attributes}) or [NO_FIELD]
    told = {source.name: _features(con, source, scan) for source, scan in scans}
    _check_shared(told)
    features = sorted({name for names in told.values() for name in names}) or [NO_FIELD]
    prices = [PRICE] if any(_tells_price(source) for source, _ in scans) else [NO_FIELD]
    con.execute(
        f"create or replace table raw.{table} ({_COLUMNS}, attributes struct({_fields(attributes)}), "
        f"features struct({_fields(features, cells=True)}), "
        f"prices struct({_fields(prices, cells=True)}))"
    )
    for source, scan in scans:
        _insert(con, table, source, scan, _columns(source, scan) | {
            "attributes": _packed({name: text(name if name in scan.types else None, scan.types)
                                   for name in attributes}),
            "features": _packed({name: _cell(name, told[source.name], source, scan)
                                 for name in features}) if told[source.name] else "null",
        })  # fmt: skip
    if features != [NO_FIELD]:
        _type_cells(con, table, "features", features)
    if prices != [NO_FIELD]:
        _price_cells(con, table)


def _insert(
    con: duckdb.DuckDBPyConnection, table: str, source: Source, scan: Scan, columns: dict[str, str]
) -> None:
    listing = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    try:
        con.execute(f"insert into raw.{table} by name select {listing} from {scan.relation}")
    except duckdb.Error as error:
        raise SourceError(sources.unreadable(scan.files, error, source)) from None
    unread_lines.keep(con, source, scan.files, table)
    con.execute(
        f"insert into raw.sources select ?, ?, ?, null, count(*), true, ?, 'none', null, null "
        f"from raw.{table} where source = ?",
        [source.name, source.kind, listed(scan.files), source.has_dates, source.name],
    )


def _columns(source: Source, scan: Scan) -> dict[str, str]:
    """Name in the raw table -> SQL over the source's own columns."""
    columns, types = source.columns, scan.types
    user = user_id(source, types) if columns.user_parts else "null"
    price, unread = "null", "null"
    if _tells_price(source):
        price, unread = amount(columns.price, types[columns.price], source.decimal)
    question = "null"
    if columns.question:
        question = f"trim({text(columns.question, types)})"
    return {
        "source": literal(source.name),
        "user_id": user,
        "item_id": text(columns.item_id, types),
        **fact_times.columns(source, types),
        "question": question,
        "unused_for": _unused_for(source, scan),
        "price": price,
        "unread_value": unread,
        "category": text(columns.category, types),
        "title": text(columns.title, types),
        "description": _description(source, scan),
        "vectors": _vectors(source, scan),
    }


def _tells_price(source: Source) -> bool:
    return PRICE in fact_settings.told_by(source) and bool(source.columns.price)


def _features(con: duckdb.DuckDBPyConnection, source: Source, scan: Scan) -> list[str]:
    """The facts a source tells, prices apart; those of a survey in rows are what was asked in it."""
    if not source.columns.question:
        return source.features
    if source.features:
        return source.features
    question = f"trim({text(source.columns.question, scan.types)})"
    found = [name for (name,) in con.execute(
        f"select min({question}) from {scan.relation} where {question} <> '' "
        f"group by lower({question}) order by 1 limit {MOST_QUESTIONS + 1}"
    ).fetchall()]  # fmt: skip
    refused_lines.forget(con)  # the load will count them
    if len(found) > MOST_QUESTIONS:
        raise SourceError(
            f'{scan.files[0]}: source "{source.name}" has more than {MOST_QUESTIONS} different '
            f'questions, such as "{found[-1]}"; each becomes a column. Name those that matter as '
            f"features, or mend `question`."
        )
    if taken := [name for name in found if name.lower() in fact_settings.TAKEN]:
        raise SourceError(
            f'{scan.files[0]}: source "{source.name}" asks "{taken[0]}"; '
            f"{', '.join(fact_settings.TAKEN)} are columns of ours. Rename the question."
        )
    return found


def _check_shared(told: dict[str, list[str]]) -> None:
    """SourceError for a question that another source tells too; named features the config checks."""
    seen: dict[str, str] = {}
    for source, names in told.items():
        for name in names:
            if other := seen.get(name.lower()):
                raise SourceError(
                    f'source "{source}": the question "{name}" is told by source "{other}" too; each '
                    f"fact has one source. Rename it in one of them, or name the others as features."
                )
            seen[name.lower()] = source


def _cell(name: str, own: list[str], source: Source, scan: Scan) -> str:
    """What a row says of a fact, see above."""
    columns, types = source.columns, scan.types
    if name not in own:
        return "null"
    if columns.question:
        asked = f"lower(trim({text(columns.question, types)})) = {literal(name.lower())}"
        answer = text(columns.answer, types)
        return f"case when {asked} and {answer} is not null then [{answer}] end"
    value = text(name, types)
    # A version says all there is to say; an answer left out, or a gap in a table, says nothing.
    if source.kind != "survey" and columns.valid_from:
        return f"[{value}]"
    return f"case when {value} is not null then [{value}] end"


def _unused_for(source: Source, scan: Scan) -> str:
    """The rule that a row of a survey breaks by answering nothing, or nothing that was asked for."""
    columns, types = source.columns, scan.types
    if source.kind != "survey":
        return "cast(null as varchar)"
    if not columns.question:
        answers = ", ".join(text(name, types) for name in source.features)
        return f"case when coalesce({answers}) is null then 'missing_answer' end"
    asked, answer = f"lower(trim({text(columns.question, types)}))", text(columns.answer, types)
    told = f"when coalesce({asked}, '') = '' or {answer} is null then 'missing_answer'"
    if source.features:
        names = ", ".join(literal(name.lower()) for name in source.features)
        told += f" when {asked} not in ({names}) then 'unlisted_question'"
    return f"case {told} end"


def _fields(names: list[str], cells: bool = False) -> str:
    is_none = names == [NO_FIELD]
    type_ = "varchar[]" if cells and not is_none else "varchar"
    return ", ".join(f"{identifier(name)} {type_}" for name in names)


def _packed(fields: dict[str, str]) -> str:
    packed = ", ".join(f"{identifier(name)} := {sql}" for name, sql in fields.items())
    return f"struct_pack({packed})"


def _description(source: Source, scan: Scan) -> str:
    """The source's texts about an item, one after the other."""
    parts = ", ".join(text(name, scan.types) for name in source.texts)
    return f"nullif(concat_ws(' ', {parts}), '')" if parts else "null"


def _vectors(source: Source, scan: Scan) -> str:
    """A map of the source's vectors by name; text such as [0.1, 2] is read, what is no list is missing."""
    if not source.vectors:
        return "null"
    names = literal(source.vectors)
    lists = ", ".join(f"try_cast({identifier(name)} as double[])" for name in source.vectors)
    return f"map({names}, [{lists}])"


def _type_cells(con: duckdb.DuckDBPyConnection, table: str, column: str, names: list[str]) -> None:
    """A fact whose every text is a number becomes one; 01002 is a code, not a number."""
    told = ", ".join(
        f"bool_and(try_cast(trim({field}[1]) as double) is not null "
        f"and not regexp_matches(trim({field}[1]), '^[+-]?0[0-9]')) "
        f"filter ({field}[1] is not null) is true"
        for field in (identifier(column, name) for name in names)
    )
    is_number = con.execute(f"select {told} from raw.{table}").fetchall()[0]
    types = ["double[]" if number else "varchar[]" for number in is_number]
    struct = ", ".join(
        f"{identifier(name)} {type_}" for name, type_ in zip(names, types, strict=True)
    )
    con.execute(f"alter table raw.{table} alter {column} type struct({struct})")


def _price_cells(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Prices as cells: a version without one takes the price back, a gap in a table says nothing."""
    con.execute(
        f"alter table raw.{table} alter prices type struct(price double[]) using case "
        "when is_dated or price is not null then {'price': [cast(price as double)]} end"
    )
