"""What ten thousand new events cost `behavsql update`, against `score`, which makes all anew.

    python tests/benchmarks/updates.py events.parquet [--new 10000] [--next-day] [--build]

The file has the columns user_id, item_id, event_type, ts, price. Its newest events are held back,
two tasks are trained on the rest, and both commands then take them in, each in a process and a copy
of the project of its own. --next-day moves the new events into the day after, so that the moment
that is asked about moves too. --build measures `behavsql build --full` as well, which trains. What
comes out of update and score is compared row for row. Seconds of CPU are what to compare where
other work is going on.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from behavsql.quoting import literal

CONFIG = """
[settings]
models = "fast"
memory_limit = "6GB"

[[source]]
name = "clicks"
path = "clicks*.parquet"

[source.columns]
user_id = "user_id"
item_id = "item_id"
event_type = "event_type"
event_at = "ts"
price = "price"

[tasks]
click.enabled = false
engagement.enabled = false
next_visit.enabled = false
spend.enabled = false
"""
TRAINED = ("train", "-t", "purchase", "-t", "churn", "-m", "decision_tree")
COMPARED = ("staging.events", "features.matrix", "features.latest", "predictions.purchase")
MOST = 12  # steps that are shown


def split(events: Path, folder: Path, new: int, next_day: bool) -> Path:
    """Write all but the newest events; the file with those, which is not in its place yet."""
    held_back = folder / "new.parquet"
    moved = "* replace (ts + interval '1 day' as ts)" if next_day else "*"
    with duckdb.connect() as con:
        con.execute(
            f"create table events as from {literal(str(events))} where ts < timestamp '2090-01-01' "
            f"order by ts"
        )
        count = con.execute("select count(*) from events").fetchall()[0][0]
        for path, rows in (
            (folder / "clicks1.parquet", f"from events where rowid < {count - new}"),
            (held_back, f"select {moved} from events where rowid >= {count - new}"),
        ):
            con.execute(f"copy ({rows}) to {literal(str(path))} (format parquet)")
    print(f"{count - new:,} events and {new:,} new ones")
    return held_back


def timed(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds that a command took: on the clock, and of CPU; they are printed."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "behavsql.cli.main", *arguments, "-q"]
    subprocess.run(command, cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.perf_counter() - started
    print(f"{' '.join(arguments)}: {wall:.1f} s, of CPU {cpu:.1f} s", flush=True)
    return wall, cpu


def steps(folder: Path) -> dict[str, float]:
    """Step -> its seconds in the last run."""
    with duckdb.connect(str(folder / "warehouse/.work/build.duckdb"), read_only=True) as con:
        return dict(con.execute(
            "select step, seconds from meta.builds "
            "where run_id = (select max(run_id) from meta.runs) order by seconds desc"
        ).fetchall())  # fmt: skip


def compare(one: Path, other: Path) -> list[str]:
    """The tables that are not the same in both."""
    with duckdb.connect() as con:
        for name, folder in (("one", one), ("other", other)):
            path = literal(str(folder / "warehouse/behaviour.duckdb"))
            con.execute(f"attach {path} as {name} (read_only)")
        columns = {
            table: "* exclude (scored_at)" if table.startswith("predictions.") else "*"
            for table in COMPARED
        }
        return [
            table for table, listed in columns.items()
            if any(con.execute(
                f"select {listed} from {here}.{table} except all select {listed} from {there}.{table} "
                "limit 1"
            ).fetchall() for here, there in (("one", "other"), ("other", "one")))
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--next-day", action="store_true")
    parser.add_argument("--build", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        updated, scored = Path(place, "updated"), Path(place, "scored")
        updated.mkdir()
        held_back = split(chosen.events, updated, chosen.new, chosen.next_day)
        (updated / "behavsql.toml").write_text(CONFIG)
        timed(updated, *TRAINED)
        shutil.move(held_back, updated / "clicks2.parquet")
        shutil.copytree(updated, scored, copy_function=shutil.copy2)
        update = timed(updated, "update")
        for command in (["score"], *([["build", "--full"]] if chosen.build else [])):
            folder = scored
            if command[0] == "build":
                folder = Path(
                    shutil.copytree(scored, Path(place, "built"), copy_function=shutil.copy2)
                )
            wall, cpu = timed(folder, *command)
            print(
                f"  update takes 1/{wall / update[0]:.1f} of that, of CPU 1/{cpu / update[1]:.1f}"
            )
        whole, made = steps(scored), steps(updated)
        print(f"steps alone: update {sum(made.values()):.1f} s, score {sum(whole.values()):.1f} s")
        for name, seconds in list(made.items())[:MOST]:
            print(f"  {name:<28}{seconds:8.2f} s, score {whole.get(name, 0):8.2f} s")
        print(f"not the same: {compare(updated, scored) or 'nothing'}")


if __name__ == "__main__":
    main()
