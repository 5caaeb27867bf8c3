"""How a CSV file quotes its values: DuckDB's sniffer leaves quoting off where it sees no need yet.

It does so where the first rows have no quotes, and then loses later rows that do; and where one
quote among them never closes, and then keeps the quotes of all others as letters.
"""

import csv
import gzip
import re
from pathlib import Path
from typing import IO

from behavsql.quoting import literal
from behavsql.source import Source

MISSING = ["", "NULL", "null", "NaN", "nan", "NA", "None", "none", "\\N"]
LOOKED_AT = 1_000_000  # characters
MOST_LINES = 50  # of one quoted value; what goes on for longer is a quote that does not close


def dialect(source: Source, paths: list[Path]) -> str:
    """The arguments of `read_csv` for delimiter, quoting and words for missing values.

    What is not known is left to DuckDB's sniffer.
    """
    start = start_of(paths[0], source.encoding)
    # The one word with a backslash is refused where a backslash escapes quotes.
    escapes = '\\"' in start or "\\'" in start
    missing = [word for word in MISSING if not escapes or "\\" not in word]
    return f", nullstr = {literal(missing)}" + _quoting_arguments(source, paths, start)


def _quoting_arguments(source: Source, paths: list[Path], start: str) -> str:
    delimiter = f", delim = {literal(source.delimiter)}" if source.delimiter else ""
    if source.quote is not None:
        return delimiter + (f", quote = {literal(source.quote)}" + _escape(source.quote))
    if '"' not in start:
        return delimiter + ("" if "'" in start else ", quote = '\"'" + _escape('"'))
    sign = source.delimiter or delimiter_of(start)
    quoted, open_ = _quoting(start, sign)
    if '\\"' in start:  # not escaped by doubling: DuckDB's sniffer knows that one
        return delimiter
    if not open_:
        return delimiter + ", quote = '\"'" + (_escape('"') if '""' in start else "")
    if not quoted:
        return delimiter + ", quote = ''"
    names = next(csv.reader([start.splitlines()[0]], delimiter=sign), [])
    if len(set(names)) < len(names) or "" in names or not _same_header(paths, source.encoding):
        return delimiter
    # The sniffer finds no dialect for such a file at all: so it gets all it would look for.
    columns = ", ".join(f"{literal(name)}: 'varchar'" for name in names)
    return (
        f", auto_detect = false, delim = {literal(sign)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}"
    )


def _escape(quote: str) -> str:
    return f", escape = {literal(quote)}" if quote else ""


def opened(path: Path, encoding: str) -> IO[str]:
    """The text of a file, unpacked if need be; what is not of the encoding is replaced."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return opener(path, "rt", encoding=encoding, errors="replace")


def start_of(path: Path, encoding: str) -> str:
    """The first characters of a file; nothing if it cannot be read."""
    try:
        with opened(path, encoding) as file:
            return file.read(LOOKED_AT)
    except (EOFError, OSError, UnicodeError, gzip.zlib.error):  # the reader will say so
        return ""


def _same_header(paths: list[Path], encoding: str) -> bool:
    headers = set()
    for path in paths:
        with opened(path, encoding) as file:
            headers.add(file.readline())
    return len(headers) == 1


def delimiter_of(start: str) -> str:
    """The sign that the header has most of."""
    header = (start.splitlines() or [""])[0]
    return max(",;\t|", key=header.count)


def _quoting(start: str, delimiter: str) -> tuple[int, int]:
    """(whole quoted values, values that open a quote which does not close)."""
    edge = re.escape(delimiter)
    whole = re.compile(rf'(?:^|(?<={edge}))"(?:[^"]|"")*"(?={edge}|\r?$)', re.MULTILINE)
    rest, quoted, last = [], 0, 0
    for found in whole.finditer(start):
        if found[0].count("\n") <= MOST_LINES:
            quoted += 1
            rest.append(start[last : found.start()])
            last = found.end()
    rest.append(start[last:])
    opens = re.compile(rf'(?:^|{edge})"', re.MULTILINE)
    return quoted, len(opens.findall("".join(rest)))
