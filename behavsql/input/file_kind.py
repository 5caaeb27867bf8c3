"""What a file really is, told from its first bytes: names lie, and readers then say odd things."""

import codecs
import gzip
import zipfile
from pathlib import Path

from behavsql.errors import SourceError

HEAD = 4096
# First bytes -> what starts so. What is text or JSON is told after these.
_MAGIC = {
    b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "ZIP", b"PK\x05\x06": "ZIP",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"%PDF": "a PDF document",
    b"SQLite format 3\x00": "an SQLite database", b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz", b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive", b"ORC": "an ORC file", b"Obj\x01": "an Avro file",
    b"ARROW1": "an Arrow file", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture",
}  # fmt: skip
_UNPACK = ("ZIP", "packed with bzip2", "packed with xz", "packed with zstd", "a 7-Zip archive")


def check_content(path: Path, kind: str, encoding: str = "utf-8") -> None:
    """SourceError if a file is not what it is to be read as: "csv", "json" or "parquet".

    Says what the file is and what to do. Bytes of another encoding are no matter of this: they
    spoil lines, not the file.
    """
    head, is_packed = _head(path)
    found = _told_by(head, path)
    if is_packed and path.suffix.lower() != ".gz":
        raise SourceError(
            f"{path}: is packed with gzip and its name does not say so; allowed is a name that ends "
            f"in .gz. Rename it to {path.name}.gz."
        )
    if kind == "parquet":
        _check_parquet(path, found or _text_kind(head, encoding))
        return
    found = found or _text_kind(head, encoding)
    expected = {"json": "JSON", "log": "a web server's log"}.get(kind, "CSV")
    if found == "Parquet":
        raise SourceError(
            f'{path}: is Parquet and not {expected}; allowed is format = "parquet" or a name that '
            f"ends in .parquet. Rename it to {path.stem}.parquet, or set the format."
        )
    if found not in ("text", "JSON"):
        raise SourceError(_no_text(path, found, expected))
    if found == "JSON" and kind == "csv":
        raise SourceError(
            f'{path}: holds JSON and not CSV; allowed is format = "json" or a name that ends in '
            f".json. Rename it to {path.stem}.json, or set the format."
        )
    if kind == "csv" and encoding == "utf-8" and not _is_utf8(head):
        raise SourceError(
            f"{path}: its first line is not UTF-8; allowed is what `encoding` says. "
            f'Set encoding = "latin-1" for the source, or convert the file to UTF-8.'
        )


def _no_text(path: Path, found: str, expected: str) -> str:
    if found.startswith("UTF-16"):
        convert = f"Convert it: iconv -f utf-16 -t utf-8 {path.name} > utf8_{path.name}."
        return (
            f"{path}: is {found}; allowed are UTF-8, Latin-1 and little-endian UTF-16, as `encoding` "
            f"says. " + (convert if "big" in found else 'Set encoding = "utf-16" for the source.')
        )
    remedy = "Unpack it." if found in _UNPACK else "Export it as CSV or Parquet."
    name = "a ZIP archive" if found == "ZIP" else found
    return f"{path}: is {name} and not {expected}; allowed are CSV, JSON and Parquet. {remedy}"


def _is_utf8(head: bytes) -> bool:
    """Whether the first line is; its last letter may be cut off where it is longer than the head."""
    line, end, _ = head.partition(b"\n")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=bool(end))
    except UnicodeDecodeError:
        return False
    return True


def _head(path: Path) -> tuple[bytes, bool]:
    """The first bytes, unpacked if the file is gzip, and whether it is."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head[:2] != b"\x1f\x8b":
            if path.suffix.lower() == ".gz":
                raise SourceError(
                    f"{path}: its name ends in .gz and it is not packed with gzip; allowed is what "
                    f"the name says. Rename it to {path.stem}."
                )
            return head, False
        with gzip.open(path) as file:
            return file.read(HEAD), True
    except (EOFError, gzip.BadGzipFile, gzip.zlib.error) as error:
        raise SourceError(_broken_gzip(path, error)) from None
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); allowed is a file you may read. "
            f"Check its permissions."
        ) from None


def _broken_gzip(path: Path, error: object) -> str:
    return (
        f"{path}: the gzip stream is broken ({error}); allowed is a whole one. "
        f"Copy or download the file again."
    )


def _told_by(head: bytes, path: Path) -> str | None:
    """What the first bytes name; None for text, and for what nobody knows."""
    if head[8:12] == b"DUCK":
        return "a DuckDB database"
    found = next((name for start, name in _MAGIC.items() if head.startswith(start)), None)
    if found == "ZIP" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.startswith("xl/") for name in archive.namelist()):
                return "an Excel workbook"
    return found


def _text_kind(head: bytes, encoding: str) -> str:
    """ "text", "JSON", or what it is instead."""
    if head[:2] == b"\xfe\xff" or (encoding == "utf-16" and head[:1] == b"\x00"):
        return "UTF-16 text, big-endian"
    if encoding == "utf-16":
        return "text"
    if is_utf16(head):
        return "UTF-16 text"
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    if b"\x00" in head or control > 0.05 * len(head):
        return "binary"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    is_json = start.startswith((b'{"', b"[{", b'[\n{"')) or (
        start[:1] == b"{" and b'"' in start[:9]
    )
    return "JSON" if is_json else "text"


def is_utf16(head: bytes) -> bool:
    """Little-endian UTF-16: its mark, or every second byte of mostly Latin letters is zero."""
    even, odd = head[::2], head[1::2]
    is_latin = len(odd) > 4 and odd.count(0) > 0.7 * len(odd) and 0 not in even
    return head[:2] == b"\xff\xfe" or is_latin


def _check_parquet(path: Path, found: str) -> None:
    if found != "Parquet":
        suggestion = {"text": "csv", "JSON": "json"}.get(found)
        name = {"text": "text (CSV?)", "ZIP": "a ZIP archive"}.get(found, found)
        remedy = (
            f'Rename it to {path.stem}.{suggestion}, or set format = "{suggestion}".'
            if suggestion
            else "Export it as Parquet or CSV."
        )
        raise SourceError(
            f"{path}: is {name} and not Parquet; allowed is what its name or format says. {remedy}"
        )
    with path.open("rb") as file:
        file.seek(-4, 2)
        is_whole = file.read() == b"PAR1"
    if not is_whole:
        raise SourceError(
            f"{path}: is cut short: its Parquet footer is missing; allowed is the whole file. "
            f"Copy or download it again."
        )
