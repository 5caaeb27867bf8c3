"""CSV -> feature matrix: behavsql beside the same work written by hand in Polars, in one run.

    python clickstream.py DATA --users 5000 --seed 7 --format csv
    python tests/benchmarks/polars_pipeline.py DATA/events.csv

The generator is not part of this repository; any CSV does that has the columns user_id, item_id,
event_type, ts, price, device, user_agent and campaign.

Ours is `behavsql build -s features.matrix` into an empty folder, which besides the matrix also makes
the labels, `_last_window` and the last 50 events of `features.sequences`, and writes it all to disk.
Theirs is `polars_matrix.py`: it cleans, drops duplicates and bots, cuts sessions, finds who is asked
at the same cutoffs, and makes every other column of the matrix, in memory.

What of our seconds went into those is told after the ratios.

Each side runs in a process of its own. Printed are the seconds from its start to its end, its peak
memory, the seconds of all its threads together (which others on the machine disturb less), and the
ratios ours / theirs. Then both matrices are compared column by column: exit 1 if any value differs
by more than one part in a million. Options: --memory-limit for ours, --threads for both, --runs for
the best of several, --no-check for data whose matrices do not fit into memory twice.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Nothing large is imported here: a child's peak memory counts what its parent held when it began.

CONFIG = """
[settings]
{settings}
[[source]]
name = "clicks"
path = {path}
[source.columns]
user_id = "user_id"
item_id = "item_id"
event_type = "event_type"
event_at = "ts"
price = "price"
user_agent = "user_agent"
"""
MOMENTS = """
    select cast(epoch_us(splits.cutoff_at) // 86400000000 as integer) as day,
        cast(max(epoch(active_within)) / 86400 as integer) as active_within,
    from cutoffs.splits
    inner join meta.tasks using (task)
    group by splits.cutoff_at
    order by splits.cutoff_at
"""
TOLERANCE = 1e-6


def main() -> int:
    given = _arguments()
    if given.polars_only:
        return _polars_side(given)
    with tempfile.TemporaryDirectory(dir=given.work) as name:
        folder = Path(name)
        _write_config(folder, given)
        _read_through(given.csv)
        ours = min(_run_ours(folder) for _ in range(given.runs))
        _write_moments(folder)
        theirs = min(_run_theirs(folder, given) for _ in range(given.runs))
        ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
        print(f"{'':10}{'seconds':>10}{'peak GB':>10}{'cpu':>10}")
        for side, took in (("behavsql", ours), ("polars", theirs), ("ratio", ratios)):
            print(f"{side:10}" + "".join(f"{value:10.2f}" for value in took))
        _tell_beyond(folder)
        return 0 if given.no_check else _compare(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path)
    parser.add_argument("--memory-limit", help="of behavsql, for example 4GB")
    parser.add_argument("--threads", type=int, help="of both sides")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--work", type=Path, help="where to make the temporary folder")
    parser.add_argument("--polars-only", action="store_true", help="be the second process")
    parser.add_argument("--moments", type=Path, help="parquet of day and active_within")
    parser.add_argument("--out", type=Path, help="where the second process leaves its matrix")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.polars_only and not given.moments:
        parser.error("--polars-only needs --moments")
    return given


def _write_config(folder: Path, given: argparse.Namespace) -> None:
    settings = f"memory_limit = {json.dumps(given.memory_limit)}\n" if given.memory_limit else ""
    settings += f"threads = {given.threads}\n" if given.threads else ""
    path = json.dumps(str(given.csv.resolve()))
    (folder / "behavsql.toml").write_text(CONFIG.format(settings=settings, path=path))


def _read_through(path: Path) -> None:
    """Leave the file in the system's cache, so that neither side waits for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _run_ours(folder: Path) -> tuple[float, float, float]:
    """(seconds, peak GB, CPU seconds) of a build from nothing to the matrix."""
    shutil.rmtree(folder / "warehouse", ignore_errors=True)
    command = ["build", "-c", str(folder / "behavsql.toml"), "-s", "features.matrix", "--quiet"]
    started = time.time()
    child = subprocess.Popen([sys.executable, "-m", "behavsql.cli.main", *command], cwd=folder)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"polars_pipeline.py: behavsql {' '.join(command)} failed; see above.")
    return time.time() - started, usage.ru_maxrss * 1024 / 1e9, usage.ru_utime + usage.ru_stime


def _tell_beyond(folder: Path) -> None:
    """Print the seconds of the steps whose results Polars does not make."""
    with _warehouse(folder) as con:
        beyond, named = con.execute(
            "select coalesce(sum(seconds), 0), string_agg(step, ', ' order by seconds desc) "
            "from meta.builds where step like 'labels.%' or step in ('cutoffs.windows', "
            "'sessions.user_events', 'features.last_events', 'judge tasks')"
        ).fetchall()[0]
    print(
        f"of behavsql's seconds {beyond:.1f} (of the last run) went into what Polars does not make: {named}"
    )


def _write_moments(folder: Path) -> None:
    """When is asked, and for how long activity counts: a setting of both sides, not part of the work."""
    with _warehouse(folder) as con:
        con.sql(MOMENTS).write_parquet(str(folder / "moments.parquet"))


def _warehouse(folder: Path):  # a DuckDB connection, not imported here
    from behavsql.warehouse import Warehouse, open_file

    return open_file(Warehouse(folder / "warehouse").build, read_only=True)


def _run_theirs(folder: Path, given: argparse.Namespace) -> tuple[float, float, float]:
    """(seconds, peak GB, CPU seconds) of the same in Polars, as the process tells them itself."""
    command = [sys.executable, __file__, str(given.csv.resolve()), "--polars-only"]
    command += ["--moments", str(folder / "moments.parquet"), "--started", str(time.time())]
    command += [] if given.no_check else ["--out", str(folder / "polars.parquet")]
    threads = {"POLARS_MAX_THREADS": str(given.threads)} if given.threads else {}
    done = subprocess.run(
        command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True
    )
    told = json.loads(done.stdout)
    return told["seconds"], told["peak_gb"], told["cpu"]


def _polars_side(given: argparse.Namespace) -> int:
    """Make the matrix and print what it took; writing it down is for the check and does not count."""
    import polars as pl
    from polars_matrix import build

    matrix = build(given.csv, pl.read_parquet(given.moments))
    seconds = time.time() - given.started
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    told = {"seconds": seconds, "peak_gb": peak, "cpu": cpu, "rows": matrix.height}
    print(json.dumps(told))
    if given.out:
        matrix.write_parquet(given.out)
    return 0


def _compare(folder: Path) -> int:
    """Print how far the matrices are apart; 1 if they differ in rows, columns or any value."""
    import polars as pl

    with _warehouse(folder) as con:
        ours = con.sql(
            "select * exclude (cutoff_at), "
            "cast(epoch_us(cutoff_at) // 86400000000 as integer) as cutoff from features.matrix"
        ).pl()
    ours = ours.drop(name for name in ours.columns if name.endswith("_last_window"))
    ours = ours.sort("user_id", "cutoff")
    theirs = pl.read_parquet(folder / "polars.parquet").sort("user_id", "cutoff")
    if odd := sorted(set(ours.columns) ^ set(theirs.columns)):
        print(f"columns of one side only: {', '.join(odd)}")
        return 1
    keys = ["user_id", "cutoff"]
    if not ours.select(keys).cast(pl.Int64).equals(theirs.select(keys).cast(pl.Int64)):
        print(f"other rows: {ours.height:,} of ours, {theirs.height:,} of theirs")
        return 1
    names = [name for name in ours.columns if name not in keys]
    apart = {name: _difference(ours[name], theirs[name]) for name in names}
    worst = max(apart, key=apart.get)
    print(f"{ours.height:,} rows, {len(names)} columns; largest relative difference "
          f"{apart[worst]:.1e} ({worst})")  # fmt: skip
    wrong = [name for name in names if not apart[name] <= TOLERANCE]
    if wrong:
        print(f"differ by more than {TOLERANCE:g}: {', '.join(wrong)}")
    return 1 if wrong else 0


def _difference(ours, theirs) -> float:  # two Polars series, not imported here
    """The largest difference, relative where values are above 1; NULL on one side alone is infinity."""
    import polars as pl

    if not ours.dtype.is_numeric():
        same = ours.cast(pl.String).eq_missing(theirs.cast(pl.String)).all()
        return 0.0 if same else float("inf")
    if (ours.is_null() != theirs.is_null()).any():
        return float("inf")
    scale = pl.select(pl.max_horizontal(ours.abs(), pl.lit(1.0))).to_series()
    return ((ours - theirs).abs() / scale).max() or 0.0


if __name__ == "__main__":
    sys.exit(main())
