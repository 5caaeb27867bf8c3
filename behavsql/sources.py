"""Where input comes from: the files of a source, how DuckDB reads them, the columns they have."""

import glob
import hashlib
import os
from pathlib import Path

import duckdb

from behavsql.config import Config, Source
from behavsql.errors import SourceError
from behavsql.quoting import literal

MISSING = ["", "NULL", "null", "NaN", "nan", "NA", "None", "none", "\\N"]
FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet",
    ".pq": "parquet", ".json": "json", ".ndjson": "json", ".jsonl": "json",
}  # fmt: skip


def fingerprint(config: Config) -> str:
    """A digest of what ingest would read: the mapping, and each file's path, size and time."""
    seen = hashlib.sha256()
    for source in config.source:
        seen.update(source.model_dump_json().encode())
        for path in find_files(config, source):
            stat = path.stat()
            # By its name in the project: a project that moves is still the same.
            name = os.path.relpath(path, config.folder)
            seen.update(f"{name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    seen.update(repr(sorted(config.roles().items())).encode())
    return seen.hexdigest()[:16]


def find_files(config: Config, source: Source) -> list[Path]:
    """The files a source's path or glob names, sorted; SourceError if there are none."""
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


def read_function(source: Source, paths: list[Path]) -> str:
    """The DuckDB table function call that reads these files, text kept as text for CSV."""
    suffix = [part for part in paths[0].suffixes if part != ".gz"][-1:] or [".csv"]
    kind = source.format if source.format != "auto" else FORMATS.get(suffix[0].lower())
    files = literal([str(path) for path in paths])
    if kind == "parquet":
        return f"read_parquet({files}, union_by_name = true, file_row_number = false)"
    if kind == "json":
        return f"read_json({files}, union_by_name = true)"
    if kind == "csv":
        delimiter = f", delim = {literal(source.delimiter)}" if source.delimiter else ""
        # Everything as text: the sniffer looks at the first rows only, and 00123 is not 123.
        return (
            f"read_csv({files}, all_varchar = true, header = true, "
            f"store_rejects = true, nullstr = {literal(MISSING)}{delimiter})"
        )
    raise SourceError(
        f"{paths[0]}: cannot tell the format from {suffix[0]!r}; allowed are "
        f'{", ".join(sorted(FORMATS))}. Set format = "csv", "parquet" or "json" for the source.'
    )


class Scan:
    """How to read one source: its FROM clause and its columns with their types."""

    def __init__(self, relation: str, types: dict[str, str], files: list[Path]) -> None:
        self.relation, self.types, self.files = relation, types, files


def scan(con: duckdb.DuckDBPyConnection, config: Config, source: Source) -> Scan:
    """Find a source's files and columns; SourceError for what cannot be read or is not mapped right."""
    files = find_files(config, source)
    relation = read_function(source, files)
    try:
        described = con.execute(f"describe select * from {relation}").fetchall()
    except duckdb.Error as error:
        raise SourceError(unreadable(source, files, error)) from None
    types = {row[0]: row[1] for row in described}
    for column in sorted(source.columns.used() | set(source.attributes)):
        if column not in types:
            raise SourceError(
                f'{config.origin}: source "{source.name}": {files[0].name} has no column "{column}"; '
                f"its columns are {', '.join(types)}. Mend the mapping."
            )
    return Scan(relation, types, files)


def unreadable(source: Source, files: list[Path], error: Exception) -> str:
    first = str(error).strip().splitlines()[0]
    return (
        f'{files[0]}: source "{source.name}" cannot be read: {first}. Check the file and `format`.'
    )
