"""What is known as a whole: web servers' logs by their lines, well-known exports by their columns."""

import gzip
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavsql.config import FILE_NAME
from behavsql.errors import ConfigError
from behavsql.input import log_format, shapes, weblogs
from behavsql.input.sources import FORMATS
from behavsql.sniffing import Sniffed
from behavsql.sniffing.column_looks import HALF
from behavsql.sniffing.measure import measure, note_refused

if TYPE_CHECKING:
    from behavsql.sniffing.source import SourceSniffer

LINES, LETTERS = 200, 8192  # looked at: so many lines, of each so many letters
# What stands in a server's log, however its lines are written: a request, or when it was.
_REQUEST = re.compile(
    r"\b(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /\S* HTTP/\d|\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d "
)
PARTS = {"user": "user_id", "time": "event_at", "item": "item_id", "type": "event_type"}


def format_of(path: Path) -> str | None:
    """The named format that at least half of the first lines are of; None of other files.

    ConfigError for the log of a web server that is of none of them.
    """
    lines = _first_lines(path)
    for name in log_format.NAMED:
        pattern = re.compile(log_format.pattern(name))
        if lines and sum(pattern.match(line) is not None for line in lines) >= HALF * len(lines):
            return name
    is_data = {suffix.lower() for suffix in path.suffixes} & (FORMATS.keys() - {".txt"})
    if not is_data and sum(map(bool, map(_REQUEST.search, lines))) > HALF * len(lines):
        raise ConfigError(_of_no_name(path))
    return None


def _of_no_name(path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.name.split(".")[0]).strip("_") or "web"
    return (
        f"{path}: is the log of a web server, and its lines are of none of the formats "
        f"{', '.join(log_format.NAMED)}; allowed is the server's own log_format. Copy it from the "
        f"server's configuration (nginx: log_format, Apache: LogFormat) into {FILE_NAME}, for example\n"
        f'[[source]]\nname = "{name}"\nkind = "weblog"\npath = "{path.name}"\n'
        f"log_format = '{log_format.NAMED['combined']} $request_time'"
    )


def _first_lines(path: Path) -> list[str]:
    """Those that are not blank; none of what cannot be read."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="latin-1", newline="\n") as file:
            read = iter(lambda: file.readline(LETTERS), "")
            return [line for line in islice(read, LINES) if line.strip()]
    except (EOFError, OSError, gzip.zlib.error):  # the reader will say so
        return []


def as_log(sniffer: "SourceSniffer", files: list[Path]) -> Sniffed:
    """Map a log's columns; options of the user overrule what such lines are."""
    told = log_format.mapping(sniffer.found.raw["log_format"])
    given = {PARTS[key]: names for key, names in sniffer.given.items() if key in PARTS}
    for part, names in given.items():
        sniffer.assign(part, names[0] if len(names) == 1 else names, "given")
    found = _as_told(sniffer, told, "of a web log")
    found.unused = [name for name in found.unused if name not in weblogs.IDS]  # nobody's attributes
    if unread := weblogs.count_unread(sniffer.con, sniffer.reading.source, files):
        found.doubts.append(f"lines: {unread:,} do not fit the format and will be rejected.")
    return found


def as_shape(sniffer: "SourceSniffer", shape: str) -> Sniffed:
    """Map the columns of an export whose shape is known."""
    found = sniffer.found
    found.raw["shape"] = shape
    found.why["shape"] = "by its columns"
    known = shapes.SHAPES[shape].words
    sniffer.find_words(f"{shape}_event", known)
    found.words = {word: told for word, told in found.words.items() if told[1]}
    return _as_told(sniffer, shapes.mapping(shape), f"of the shape {shape}")


def _as_told(sniffer: "SourceSniffer", told: dict[str, Any], why: str) -> Sniffed:
    """Take the parts that were not given as told, and measure the source."""
    found = sniffer.found
    for part, column in told["columns"].items():
        if part not in sniffer.columns:
            sniffer.assign(part, column, why)
    found.raw |= {**told, "columns": sniffer.columns}
    found.unused = [name for name in sniffer.types if name not in sniffer.columns.values()]
    measure(sniffer.con, sniffer.relation, sniffer.types, found)
    note_refused(sniffer.con, found)
    return found
