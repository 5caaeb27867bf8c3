"""The transactions of a run: SQL files that follow each other share one while they are quick.

To commit takes longer than to make a small table, and most tables are small. What a run that is
killed loses of its finished steps is what the open transaction holds: LONGEST at most, and whatever
is under way. Of one that fails nothing is lost: what shared the transaction is made once more.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import duckdb

LONGEST = 1.0  # seconds
MANY_ROWS = 50_000  # DuckDB plans well with a table of that many only once it is committed


class Transactions:
    """At most one is open at a time; nothing else may begin one while it is."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.began: float | None = None  # when the open one did
        self.members: list[Callable[[], object]] = []  # each does once more what was done in it

    @property
    def is_open(self) -> bool:
        return self.began is not None

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step, in the transaction that is open or one that begins here.

        Where it fails, those before it that are in `members` are done again.
        """
        if not self.is_open:
            self.con.execute("begin")
            self.began, self.members = time.perf_counter(), []
        try:
            yield
        except BaseException as error:
            self.undo()
            if self.members and isinstance(
                error, Exception
            ):  # who interrupts does not want to wait
                self._do_again()
            raise

    def pause(self, rows: int | None = None) -> None:
        """Commit after a step of so many rows, if it is time to."""
        if self.is_open and (
            (rows or 0) >= MANY_ROWS or time.perf_counter() - self.began > LONGEST
        ):
            self.end()

    def end(self) -> None:
        """Commit what is open."""
        if self.is_open:
            self.began, self.members = None, []
            self.con.execute("commit")

    def undo(self) -> None:
        """Roll back what is open."""
        if self.is_open:
            self.began = None
            with suppress(duckdb.Error):  # what failed first is what is told
                self.con.execute("rollback")

    def _do_again(self) -> None:
        try:
            self.con.execute("begin")
            for again in self.members:
                again()
            self.con.execute("commit")
        except Exception:  # as in undo; then the next run does them
            with suppress(duckdb.Error):
                self.con.execute("rollback")
