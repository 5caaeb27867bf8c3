"""Rows on stdout: a table that fits the terminal, CSV or JSON."""

import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta

from behavsql.plan.changes import duration

LONGEST_CELL = 60
FEW_ROWS = 10  # up to so many, a table that is too wide is shown as one block per row
GAP = "  "


def terminal_width() -> int | None:
    """Columns there are to fill; None where the output is no terminal and need not be cut."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def plain(value: object) -> object:
    """A database value as JSON can hold it; NaN and infinities become null.

    >>> plain({"at": datetime(2026, 1, 2, 3, 4), "share": float("nan"), "wait": timedelta(days=7)})
    {'at': '2026-01-02 03:04:00', 'share': None, 'wait': '7 days'}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, (date, datetime, time)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    try:
        return plain(float(value))  # Decimal
    except (TypeError, ValueError):
        return str(value)


def number(value: float | None) -> str:
    """A measured value with the digits worth reading.

    >>> number(0.57617), number(40.652), number(12345.6), number(None)
    ('0.5762', '40.65', '12,346', '')
    """
    if value is None or not math.isfinite(value):
        return ""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def between(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval, as far as it is known."""
    known = low is not None and high is not None
    return number(value) + (f" [{number(low)}, {number(high)}]" if known else "")


def write_json(data: object) -> None:
    """One JSON document."""
    print(json.dumps(plain(data), indent=2, ensure_ascii=False))


def write_csv(columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """A header and rows as RFC 4180 has them, with plain line ends; NULL is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(value, exact=True) for value in row])


def write_table(columns: Sequence[str], rows: Sequence[Sequence], width: int | None = None) -> None:
    """Aligned columns; what is too wide is shown as blocks (few rows) or loses columns (many).

    width: of the terminal, if it is not said; 0: lines may be as long as they are.
    """
    width = terminal_width() if width is None else width
    cells = [[_text(value) for value in row] for row in rows]
    if width and len(rows) <= FEW_ROWS and not _fits(columns, cells, width):
        _write_blocks(columns, cells, width)
        return
    cells = [[_cut(cell, LONGEST_CELL) for cell in row] if width else row for row in cells]
    shown = _count_fitting(columns, cells, width) if width else len(columns)
    right = [_is_numeric(row[position] for row in rows) for position in range(shown)]
    sizes = _sizes(columns, cells)[:shown]
    for line in (columns, ["-" * size for size in sizes], *cells):
        padded = [_pad(cell, size, to_right) for cell, size, to_right in zip(line, sizes, right)]  # noqa: B905
        print(GAP.join(padded).rstrip())
    if shown < len(columns):
        print(
            f"{shown} of {len(columns)} columns fit; name the others, or use --csv.",
            file=sys.stderr,
        )


def _write_blocks(columns: Sequence[str], cells: list[list[str]], width: int) -> None:
    size = max(map(_length, columns), default=0)
    for position, row in enumerate(cells):
        if position:
            print()
        for column, cell in zip(columns, row, strict=True):
            print(
                f"{_pad(column, size)}{GAP}{_cut(cell, max(width - size - len(GAP), 10))}".rstrip()
            )


def _text(value: object, exact: bool = False) -> str:
    """One cell; in a table floats are short and control characters harmless, in CSV both stay."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.2f}"
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, timedelta):
        value = duration(value)
    text = value.hex() if isinstance(value, bytes) else str(value)
    if exact or text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _length(text: str) -> int:
    """Cells of a terminal; wide characters take two."""
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


def _cut(text: str, size: int) -> str:
    if _length(text) <= size:
        return text
    text = text[:size]
    while _length(text) > size - 3:
        text = text[:-1]
    return f"{text}..."


def _pad(text: str, size: int, to_right: bool = False) -> str:
    space = " " * (size - _length(text))
    return space + text if to_right else text + space


def _sizes(columns: Sequence[str], cells: list[list[str]]) -> list[int]:
    return [
        max(_length(column), *(_length(row[position]) for row in cells))
        if cells
        else _length(column)
        for position, column in enumerate(columns)
    ]


def _fits(columns: Sequence[str], cells: list[list[str]], width: int) -> bool:
    return sum(_sizes(columns, cells)) + len(GAP) * (len(columns) - 1) <= width


def _count_fitting(columns: Sequence[str], cells: list[list[str]], width: int) -> int:
    used, count = -len(GAP), 0
    for size in _sizes(columns, cells):
        used += size + len(GAP)
        if used > width:
            break
        count += 1
    return max(count, 1)


def _is_numeric(values: Iterable[object]) -> bool:
    return not any(isinstance(value, (str, date, datetime, bool, list, dict)) for value in values)
