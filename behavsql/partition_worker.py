"""The process that works on one partition of the users: SQL in on stdin, what came of it on stdout.

Started by `behavsql.partitions` as `python -m behavsql.partition_worker`. A line in is a JSON object
with the database file and the statements to run in it; a line out says whether they ran. The file
is open only meanwhile, so that in between the build itself can reach it.
"""

import json
import signal
import sys

import duckdb

from behavsql.database_file import open_file
from behavsql.errors import BehavsqlError


def main() -> None:
    """Answer line by line until stdin ends."""
    # Ctrl-C reaches the whole group of processes; the build answers for all and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        print(json.dumps(_answer(**json.loads(line))), flush=True)


def _answer(path: str, statements: list[str]) -> dict[str, str | None]:
    try:
        with open_file(path) as con:
            for statement in statements:
                con.execute(statement)
    except (duckdb.Error, BehavsqlError) as error:
        return {"error": str(error).strip()}
    return {"error": None}


if __name__ == "__main__":
    main()
