"""What `doctor` says of one thing it looked at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """status: "ok", "warning" (a build works all the same) or "problem"; remedy: a command, or ""."""

    name: str
    status: str
    value: str
    remedy: str = ""


def ok(name: str, value: str) -> Line:
    return Line(name, "ok", value)


def warning(name: str, value: str, remedy: str) -> Line:
    return Line(name, "warning", value, remedy)


def problem(name: str, value: str, remedy: str) -> Line:
    return Line(name, "problem", value, remedy)


def megabytes(size: float) -> str:
    """Bytes as people read them.

    >>> megabytes(1_234_567), megabytes(50_000), megabytes(12_345_678_901)
    ('1.2 MB', '0.1 MB', '12.3 GB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
