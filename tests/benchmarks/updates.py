"""What ten thousand new events cost `behavsql update`, against `score`, which makes all anew.

    python tests/benchmarks/updates.py events.parquet [--new 10000] [--next-day] [--build] [--base FOLDER]

The file has the columns user_id, item_id, event_type, ts, price. Its last day, which is seldom whole,
is left out and the newest events before it are held back; two tasks are trained on the rest, and
both commands then take them in, each in a process and a copy of the project of its own. --next-day
moves the new events into the day after, so that the moment that is asked about moves too. --build
measures `behavsql build --full` as well, and then all of `models = "fast"` are trained, before and
after. --base keeps what is built before the new events, and takes it up again. What comes out of
update and score is compared row for row. Seconds of CPU are what to compare where other work is
going on.
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
max_train_rows = 100_000
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
next_item.enabled = false
next_visit.enabled = false
spend.enabled = false
"""
TRAINED = ("train", "-t", "purchase", "-t", "churn", "-m", "decision_tree")
COMPARED = ("staging.events", "features.matrix", "features.latest", "predictions.purchase",
            "report.segments", "report.slices")  # fmt: skip
MOST = 12  # steps that are shown


def split(events: Path, folder: Path, new: int) -> None:
    """Write all but the newest events as clicks1.parquet, and those as new.parquet."""
    with duckdb.connect() as con:
        con.execute(
            f"create table events as from {literal(str(events))} where ts < "
            f"(select date_trunc('day', max(ts)) from {literal(str(events))} "
            "where ts < timestamp '2090-01-01') order by ts"
        )
        count = con.execute("select count(*) from events").fetchall()[0][0]
        for name, rows in (
            ("clicks1", f"rowid < {count - new}"),
            ("new", f"rowid >= {count - new}"),
        ):
            path = literal(str(folder / f"{name}.parquet"))
            con.execute(f"copy (from events where {rows}) to {path} (format parquet)")
    print(f"{count - new:,} events and {new:,} new ones", flush=True)


def begun(chosen: argparse.Namespace, folder: Path) -> Path:
    """The project with all but the newest events, built; one that is there is taken."""
    if not (folder / "behavsql.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        split(chosen.events, folder, chosen.new)
        (folder / "behavsql.toml").write_text(CONFIG)
    # Also where it is built already: another version of the code may make some of it anew.
    timed(folder, *(("build",) if chosen.build else TRAINED))
    return folder


def arrived(base: Path, folder: Path, next_day: bool) -> Path:
    """A copy of a project, without its kept versions, in which the new events have come."""
    older = shutil.ignore_patterns("1*.duckdb")
    shutil.copytree(base, folder, copy_function=shutil.copy2, ignore=older)
    moved = "* replace (ts + interval '1 day' as ts)" if next_day else "*"
    with duckdb.connect() as con:
        con.execute(
            f"copy (select {moved} from {literal(str(folder / 'new.parquet'))}) "
            f"to {literal(str(folder / 'clicks2.parquet'))} (format parquet)"
        )
    return folder


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
    """The tables that are not the same in both, told from their rows' hashes."""
    found: list[dict[str, tuple]] = []
    for folder in (one, other):
        with duckdb.connect(str(folder / "warehouse/behaviour.duckdb"), read_only=True) as con:
            found.append({
                table: con.execute(
                    "select count(*), sum(hash(*columns(lambda name: name <> 'scored_at'))) "
                    f"from {table}"
                ).fetchall()[0] for table in COMPARED
            })  # fmt: skip
    return [table for table in COMPARED if found[0][table] != found[1][table]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--next-day", action="store_true")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--base", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.base and chosen.base.parent) as place:
        base = begun(chosen, chosen.base or Path(place, "base"))
        updated, scored = (
            arrived(base, Path(place, name), chosen.next_day) for name in ("updated", "scored")
        )
        update = timed(updated, "update")
        for command in (["score"], *([["build", "--full"]] if chosen.build else [])):
            folder = scored
            if command[0] == "build":
                folder = arrived(base, Path(place, "built"), chosen.next_day)
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
