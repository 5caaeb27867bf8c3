"""Python code in a process of its own, and files that such a process holds open."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD = """
    import duckdb, sys

    con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "True")
    print("held", flush=True)
    for line in sys.stdin:
        print(con.execute(line).fetchall(), flush=True)
"""


def python(code: str, *arguments: str) -> subprocess.Popen:
    """Begin it, with pipes to its stdin, stdout and stderr."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def holding(path: Path, *, read_only: bool = False) -> Iterator[subprocess.Popen]:
    """A process that has a database file open, and runs what it is asked."""
    with python(_HOLD, str(path), str(read_only)) as holder:
        try:
            assert holder.stdout.readline() == "held\n", holder.stderr.read()
            yield holder
        finally:
            holder.stdin.close()
            holder.wait(timeout=60)


def ask(holder: subprocess.Popen, query: str) -> str:
    """The rows of a query, or what is asked of it, as it prints them."""
    holder.stdin.write(f"{query}\n")
    holder.stdin.flush()
    return holder.stdout.readline()
