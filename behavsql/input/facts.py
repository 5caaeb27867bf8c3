"""What sources say of items and users: not events, but what holds from the start."""

import duckdb

from behavsql.input import refused_lines
from behavsql.input.mapping import text, user_key
from behavsql.input.sources import Scan, listed
from behavsql.quoting import identifier, literal
from behavsql.source import Source

NO_FIELD = "_none"  # of a struct without fields, which DuckDB does not know


def load(con: duckdb.DuckDBPyConnection, kind: str, scans: list[tuple[Source, Scan]]) -> None:
    """Facts about items or users that hold from the start; only named attributes become columns."""
    names = sorted({name for source, _ in scans for name in source.attributes}) or [NO_FIELD]
    features = sorted({name for source, _ in scans for name in source.features}) or [NO_FIELD]
    con.execute(
        f"create or replace table raw.{kind} (source varchar, user_id varchar, item_id varchar, "
        f"category varchar, title varchar, description varchar, vectors map(varchar, double[]), "
        f"attributes struct({_texts(names)}), "
        f"features struct({_texts(features)}))"
    )
    for source, scan in scans:
        columns = source.columns
        user = user_key(columns.user_parts, scan.types) if columns.user_parts else "null"
        con.execute(
            f"insert into raw.{kind} by name select {literal(source.name)} as source, {user} as user_id, "
            f"{text(columns.item_id, scan.types)} as item_id, {text(columns.category, scan.types)} as category, "
            f"{text(columns.title, scan.types)} as title, {_description(source, scan)} as description, "
            f"{_vectors(source, scan)} as vectors, "
            f"{_packed(names, scan)} as attributes, "
            f"{_packed([name for name in features if name in source.features], scan)} as features "
            f"from {scan.relation}"
        )
        refused_lines.keep(con, source, kind)
        con.execute(
            f"insert into raw.sources select ?, ?, ?, null, count(*), true, true, 'none', null, null "
            f"from raw.{kind} where source = ?",
            [source.name, kind, listed(scan.files), source.name],
        )
    if features != [NO_FIELD]:
        _type_features(con, kind, features)


def _texts(names: list[str]) -> str:
    return ", ".join(f"{identifier(name)} varchar" for name in names)


def _packed(names: list[str], scan: Scan) -> str:
    """A struct of these columns as texts, NULL where the source lacks them; NULL of none."""
    fields = [
        f"{identifier(name)} := {text(name if name in scan.types else None, scan.types)}"
        for name in names
    ]
    return f"struct_pack({', '.join(fields)})" if fields else "null"


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


def _type_features(con: duckdb.DuckDBPyConnection, kind: str, names: list[str]) -> None:
    """A feature whose every text is a number becomes one; 01002 is a code, not a number."""
    told = ", ".join(
        f"bool_and(try_cast(trim({field}) as double) is not null "
        f"and not regexp_matches(trim({field}), '^[+-]?0[0-9]')) is true"
        for field in (identifier("features", name) for name in names)
    )
    is_number = con.execute(f"select {told} from raw.{kind}").fetchall()[0]
    types = ["double" if number else "varchar" for number in is_number]
    struct = ", ".join(
        f"{identifier(name)} {type_}" for name, type_ in zip(names, types, strict=True)
    )
    con.execute(f"alter table raw.{kind} alter features type struct({struct})")
