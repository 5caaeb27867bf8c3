"""What the command `report` prints: where the page is, and how large."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from behavsql.cli import places, show

from behavsql import report
from behavsql.reporting import numbers


def run(
    place: Path, output: Path, tasks: Sequence[str], users: Sequence[str], as_json: bool,
    k: int | None = None,
) -> None:  # fmt: skip
    """Write the page and say so."""
    begun = time.perf_counter()
    size = report.write(place, output, tasks=tasks, users=users, k=k)
    seconds = round(time.perf_counter() - begun, 2)
    if as_json:
        show.write_json({"file": str(output), "count_bytes": size, "seconds": seconds})
        return
    named = (
        f", with {numbers.plural(len(set(users)), 'named user')}: for those who may see them"
        if users
        else ""
    )
    print(
        f"{places.shown(output)}: {size / 1e3:,.0f} kB in {seconds:.1f} s{named}. Open it in a browser.",
        file=sys.stderr,
    )
