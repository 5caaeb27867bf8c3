"""What long work says while it runs: one line per step, on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

NAME_SIZE = 34  # of the longest step that ships: "train engagement / random_forest"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "source"), counted(1200, "user")
    ('1 source', '1,200 users')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Progress:
    """Prints steps with their rows and seconds; `quiet` prints nothing.

    On a terminal the running step is shown before it ends; elsewhere only finished steps are
    written, so that logs stay readable.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """One line of plain text."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator["Line"]:
        """Time a step; what it did is told by setting `rows` or `note` on the line."""
        line, started = Line(), time.perf_counter()
        self.running(name)
        yield line
        line.seconds = time.perf_counter() - started
        amount = f"{line.rows:,} rows" if line.rows is not None else ""
        if self.live:
            print("\x1b[2K", end="", file=sys.stderr)
        self.say(f"  {name:<{NAME_SIZE}} {amount:>16} {line.seconds:6.1f} s  {line.note}".rstrip())

    def running(self, text: str) -> None:
        """What is being done just now, on a terminal; the next line takes its place."""
        if self.live:
            print(f"\x1b[2K  {text} ...", end="\r", file=sys.stderr, flush=True)


class Line:
    """What a finished step reports."""

    rows: int | None = None
    note: str = ""
    seconds: float = 0.0
