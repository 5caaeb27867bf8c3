"""How the lines of text files are written: encoding, delimiter and quoting, for the config."""

import codecs
import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path

from behavsql.input.csv_dialect import delimiter_of, dialect, start_of
from behavsql.input.file_kind import is_utf16
from behavsql.input.sources import kind_of
from behavsql.source import Source

CHUNK = 1 << 20
LOOKED_AT = 64  # chunks


@dataclass
class Reading:
    """raw: keys of the source's table that are not the default. why, doubts: as in `Sniffed`."""

    raw: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """A source that reads so; no more of it is known yet."""
        return Source.model_construct(format="auto", **self.raw)


def reading_of(files: list[Path]) -> Reading:
    """How to read these files; nothing to say of Parquet and JSON."""
    from behavsql.sniffing.known import format_of

    reading = Reading()
    if format_ := format_of(files[0]):
        reading.raw = {"kind": "weblog", "log_format": format_}
        reading.why = dict.fromkeys(reading.raw, "by its lines")
        return reading
    if kind_of(reading.source, files[0]) != "csv":
        return reading
    _encoding(files, reading)
    start = start_of(files[0], reading.raw.get("encoding", "utf-8"))
    delimiter = delimiter_of(start)
    if delimiter != "," and delimiter in start:
        reading.raw["delimiter"] = delimiter
        reading.why["delimiter"] = "by the first line"
    if "quote = ''" in dialect(reading.source, files):
        reading.raw["quote"] = ""
        reading.why["quote"] = "quotes do not come in pairs"
        reading.doubts.append("quote: quotes do not come in pairs; they are read as letters.")
    return reading


def _encoding(files: list[Path], reading: Reading) -> None:
    for path in files:
        with path.open("rb") as file:
            head = file.read(4096)
        if is_utf16(head):
            reading.raw["encoding"] = "utf-16"
            reading.why["encoding"] = "by its first bytes"
            return
        if head[:2] == b"\xfe\xff":
            return  # big-endian: refused when the file is read
        valid, invalid, is_windows = _letters(path)
        if valid > invalid or not invalid:
            continue  # what is no UTF-8 among it is counted as refused lines
        if is_windows:
            reading.doubts.append(
                f"encoding: {path.name} looks like Windows-1252, which cannot be read as it is. "
                f"Convert it: iconv -f windows-1252 -t utf-8 {path.name} > utf8_{path.name}."
            )
            return
        reading.raw["encoding"] = "latin-1"
        reading.why["encoding"] = f"a guess: {invalid:,} letters are not UTF-8"
        return


def _letters(path: Path) -> tuple[int, int, bool]:
    """(letters beyond ASCII that are UTF-8, bytes that are not, whether Latin-1 lacks some)."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    valid = invalid = 0
    is_windows = False
    try:
        with opener(path, "rb") as file:
            for _ in range(LOOKED_AT):
                chunk = file.read(CHUNK)
                text = decoder.decode(chunk, final=not chunk)
                if not text.isascii():
                    wrong = text.count("\ufffd")
                    valid += len(re.findall(r"[^\x00-\x7f]", text)) - wrong
                    invalid += wrong
                    is_windows |= bool(re.search(rb"[\x80-\x9f]", chunk))
                if not chunk:
                    break
    except (EOFError, OSError, gzip.zlib.error):  # the reader will say so
        pass
    return valid, invalid, is_windows
