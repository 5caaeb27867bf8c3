"""Where input comes from: the files of a source, how DuckDB reads them, the columns they have."""

import glob
from collections.abc import Iterable
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.errors import ConfigError, SourceError, nearest
from behavsql.input import json_lines, landed, shapes, weblogs
from behavsql.input.csv_dialect import dialect
from behavsql.input.file_kind import check_content
from behavsql.privacy import columns
from behavsql.quoting import identifier, literal
from behavsql.source import Source

OUR_KEYS = ("user_id", "event_id")  # what every row of staging.event_attributes has of ours
FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet",
    ".pq": "parquet", ".json": "json", ".ndjson": "json", ".jsonl": "json",
}  # fmt: skip


def find_files(config: Config, source: Source) -> list[Path]:
    """The files a source's path or glob names, sorted; SourceError if there are none.

    Of a database: what was landed of it, which is nothing before the first build.
    """
    if source.url:
        return landed.files(config, source)
    pattern = config.folder / source.path
    # The folder is a place, not a pattern; so is a path that names a file as it stands.
    found = [source.path] if pattern.is_file() else glob.glob(
        source.path, root_dir=config.folder, recursive=True
    )  # fmt: skip
    paths = sorted(config.folder / path for path in found)
    if not paths:
        raise SourceError(
            f'{config.origin}: source "{source.name}": no file matches {pattern}; allowed is a path '
            f"or a glob, relative to the config file. Mend `path`."
        )
    for path in paths:
        if path.is_dir():
            raise SourceError(
                f"{path}: is a folder; allowed are files. Write for example {path}/*.csv."
            )
        if path.stat().st_size == 0:
            raise SourceError(
                f"{path}: the file is empty; allowed is a file with a header and rows. Remove it."
            )
    return paths


def listed(files: list[Path]) -> str:
    """The first few names, for people."""
    return ", ".join(path.name for path in files[:3]) + (" ..." if len(files) > 3 else "")


def kind_of(source: Source, path: Path) -> str:
    """ "log", "csv", "json" or "parquet": as the source says, else as the file is named."""
    if source.kind == "weblog":
        return "log"
    if source.format != "auto":
        return source.format
    suffix = [part for part in path.suffixes if part.lower() != ".gz"][-1:] or [".csv"]
    if kind := FORMATS.get(suffix[0].lower()):
        return kind
    raise SourceError(
        f"{path}: cannot tell the format from {suffix[0]!r}; allowed are "
        f"{', '.join(sorted(FORMATS))}. "
        + (
            "Export it as CSV."
            if suffix[0].lower() in (".xlsx", ".xls", ".ods")
            else 'Unpack it, or set format = "csv", "parquet" or "json" for the source; of a web '
            "server's log set kind = \"weblog\", and log_format as the server's configuration has it."
        )
    )


def check_files(source: Source, paths: list[Path]) -> None:
    """SourceError for the first file that is not what it is to be read as."""
    for path in paths:
        check_content(path, kind_of(source, path), source.encoding)


def read_function(source: Source, paths: list[Path]) -> str:
    """The DuckDB table function call that reads these files, text kept as text for CSV."""
    # Escaped: these are files, and to DuckDB e[1].csv would be a pattern that e1.csv fits.
    kind, files = kind_of(source, paths[0]), literal([glob.escape(str(path)) for path in paths])
    if kind == "log":
        return weblogs.relation(source, [glob.escape(str(path)) for path in paths])
    if kind == "parquet":
        return f"read_parquet({files}, union_by_name = true, file_row_number = false)"
    if kind == "json":
        return f"read_json({files}, union_by_name = true)"
    # Everything as text: the sniffer looks at the first rows only, and 00123 is not 123.
    return (
        f"read_csv({files}, all_varchar = true, header = true, "
        f"store_rejects = true, "
        f"encoding = {literal(source.encoding)}{dialect(source, paths)})"
    )


def reading(
    con: duckdb.DuckDBPyConnection, source: Source, paths: list[Path], for_types: bool = False
) -> str:
    """The FROM clause of these files; of JSON without the lines that are none.

    for_types: no row will be read, so that lines are looked at only if the first ones have such.
    """
    read = read_function(source, paths)
    if kind_of(source, paths[0]) != "json" or (for_types and _is_described(con, read)):
        return read
    return json_lines.relation(con, [str(path) for path in paths], read)


def _is_described(con: duckdb.DuckDBPyConnection, relation: str) -> bool:
    with con.cursor() as apart:  # an error ends the transaction it comes in
        try:
            return bool(apart.execute(f"describe from {relation}").fetchall())
        except duckdb.Error:  # whoever reads it will say so
            return False


class Scan:
    """How to read one source: its FROM clause and its columns with their types."""

    def __init__(self, relation: str, types: dict[str, str], files: list[Path]) -> None:
        self.relation, self.types, self.files = relation, types, files


def scan(
    con: duckdb.DuckDBPyConnection, config: Config, source: Source, only: list[Path] | None = None,
    for_types: bool = False,
) -> Scan:  # fmt: skip
    """Find a source's files and columns; SourceError for what cannot be read or is not mapped right.

    only: some of its files instead of all. for_types: only the columns are asked for.
    """
    files = find_files(config, source) if only is None else only
    if not files:
        raise SourceError(
            f'{config.origin}: source "{source.name}": nothing was landed of it yet; allowed is a '
            f"database that a build has asked. Run `behavsql build`."
        )
    check_files(source, files)
    place = f'{config.origin}: source "{source.name}"'
    is_log = source.kind == "weblog"
    if is_log:
        weblogs.check_private(f"{place}: {files[0].name}", source)
    try:
        relation, types = described(con, reading(con, source, files, for_types))
        if source.shape:
            shaped = shapes.relation(
                f"{files[0]}:", source.shape, relation, types, source.columns.used()
            )
            relation, types = described(con, shaped)
    except duckdb.Error as error:
        raise SourceError(unreadable(files, error, source)) from None
    check_columns(files, types)
    check_mapped(place, source, files[0].name, types)
    types.pop(weblogs.SIGNS, None)  # no attribute
    # A database is landed so, and a log parsed.
    if (source.drop or source.coarsen) and not source.url and not is_log:
        columns.check(f"{place}: {files[0].name}", source, types)
        relation = f"(select {columns.selected(source, types)} from {relation})"
        relation, types = described(con, relation)
    _check_format(con, config, source)
    return Scan(*_apart(source, relation, types), files)


def _apart(source: Source, relation: str, types: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Unmapped columns that are called as our own keys become `source_<name>`."""
    named: dict[str, str] = {}
    for name in types:
        if name.lower() in OUR_KEYS and name not in source.columns.taken():
            other = f"source_{name}"
            while other.lower() in {column.lower() for column in types}:
                other = f"source_{other}"
            named[name] = other
    if not named or not source.is_events:
        return relation, types
    listed = ", ".join(f"{identifier(old)} as {identifier(new)}" for old, new in named.items())
    return (
        f"(select * rename ({listed}) from {relation})",
        {named.get(name, name): type_ for name, type_ in types.items()},
    )


def check_mapped(where: str, source: Source, place: str, types: Iterable[str]) -> None:
    """SourceError for a column that the source lacks."""
    types = list(types)
    is_unsplit = len(types) == 1 and any(sign in types[0] for sign in ",;\t|")
    remedy = "Mend `delimiter`." if is_unsplit else "Mend the mapping."
    # Of a survey in rows they are values of a column.
    features = [] if source.columns.question else source.features
    for column in sorted(
        source.columns.used() | {*source.attributes, *features, *source.texts, *source.vectors}
    ):
        if column not in types:
            raise SourceError(
                f'{where}: {place} has no column "{column}"; '
                f"its columns are {', '.join(types)}. {remedy}{nearest(column, types)}"
            )


def described(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[str, dict[str, str]]:
    """(FROM clause, column -> type): a column of several JSON types, or of NULL alone, is read as text."""
    types = {row[0]: row[1] for row in con.execute(f"describe from {relation}").fetchall()}
    as_text = {"JSON": "{} ->> '$' as {}", '"NULL"': "cast({} as varchar) as {}"}
    mixed = {name: as_text[type_] for name, type_ in types.items() if type_ in as_text}
    if mixed:
        texts = ", ".join(sql.format(*[identifier(name)] * 2) for name, sql in mixed.items())
        relation = f"(select * replace ({texts}) from {relation})"
        types |= dict.fromkeys(mixed, "VARCHAR")
    return relation, types


def check_columns(files: list[Path], types: dict[str, str]) -> None:
    """SourceError for files without columns, which DuckDB reads as one that it names itself."""
    if list(types) == ["json"]:
        raise SourceError(
            f"{files[0]}: holds no JSON objects; allowed is one object a line, or a list of them. "
            f"Check the file."
        )
    if list(types) == ["column0"]:
        raise SourceError(
            f"{files[0]}: has no header; allowed is text whose first line names the columns. "
            f"Check the file."
        )


def _check_format(con: duckdb.DuckDBPyConnection, config: Config, source: Source) -> None:
    if not source.at_format:
        return
    try:
        con.execute(f"select try_strptime('', {literal(source.at_format)})")
    except duckdb.Error as error:
        raise ConfigError(
            f'{config.origin}: source "{source.name}": at_format = "{source.at_format}" is no format '
            f"({first_line(error).rpartition(': ')[2]}); allowed is one such as %d/%m/%Y %H:%M. Mend it."
        ) from None


def first_line(error: Exception) -> str:
    """The first line of an error without its full stop, for a sentence to go on after it."""
    return str(error).strip().splitlines()[0].rstrip(" .")


def unreadable(files: list[Path], error: Exception, source: Source | None = None) -> str:
    """One message for what DuckDB says of files it cannot read."""
    said = str(error)
    named = next((path for path in files if str(path) in said or path.name in said), files[0])
    where = f'{named}: source "{source.name}"' if source else f"{named}:"
    for sign, told in _KNOWN.items():
        if sign in said:
            return f"{where} cannot be read: {told.format(name=named.name)}"
    return f"{where} cannot be read: {first_line(error)}. Check the file and `format`."


# What DuckDB says -> what it means here.
_KNOWN = {
    "end of GZIP": "its gzip stream ends too early; allowed is a whole one. "
    "Copy or download the file again.",
    "GZIP": "its gzip stream is broken; allowed is a whole one. Copy or download the file again.",
    "not latin-1 encoded": "it has bytes that Latin-1 does not; it may be Windows-1252. "
    "Convert it: iconv -f windows-1252 -t utf-8 {name} > utf8_{name}.",
    "not utf-16 encoded": "it is not UTF-16 throughout; allowed is what `encoding` says. "
    "Mend the file, or set another encoding.",
    "Error when sniffing file": "no delimiter and quoting fits its lines; allowed is text with the "
    "same columns in every line. Check the file, or set `delimiter` and `quote`.",
    "unicode": "its header is not UTF-8; allowed is what `encoding` says. "
    'Set encoding = "latin-1" for the source, or convert the file.',
}
