"""What a GRU costs in SQL, beside Keras and numpy, on one thread and the same steps.

Usage: python tests/benchmarks/gru_sql.py [--units 16 32 64] [--rows 2048] [--clients PYTHON ...]

Rows have 50 steps of 12 random numbers. Times are CPU time, the best of a few runs. A client is a
Python with another version of duckdb, numpy not needed; it reads the same file. `plan` is the
planning of a query, `one row` that and its answer, `largest` the difference to numpy in double.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import numpy as np

STEPS, INPUTS, SEED = 50, 12, 7
COMPARED = 64  # rows whose answers are compared


def cpu_seconds(run: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def measure(path: str, names: list[str]) -> None:
    """Print as JSON what this Python's duckdb takes for each function in the file."""
    import duckdb

    found: dict[str, object] = {"duckdb": duckdb.__version__}
    with duckdb.connect(path, read_only=True) as con:
        con.execute("set threads = 1")
        rows = con.execute("select count(*) from seen").fetchall()[0][0]
        for name in names:
            query = f"select {name}(steps) from seen"
            answers = con.execute(f"{query} order by i limit {COMPARED}").fetchall()
            one = f"select {name}(steps) from single"  # a row of `seen` is found by reading all
            total = f"select sum({name}(steps)[1]) from seen"
            found[name] = {
                "plan": cpu_seconds(lambda q=query: con.execute(f"prepare p as {q}"), 5),
                "one": cpu_seconds(lambda q=one: con.execute(q).fetchall(), 5),
                "batch": cpu_seconds(lambda q=total: con.execute(q).fetchall(), 1) / rows,
                "answers": [answer for (answer,) in answers],
            }
    print(json.dumps(found))


def compare(units: int, steps: "np.ndarray", con: "duckdb.DuckDBPyConnection") -> "np.ndarray":
    """Print what Keras and numpy take, store the function; numpy's answers."""
    import numpy as np

    from behavsql.compile import gru
    from behavsql.models.parts.gru_layers import GRU
    from behavsql.models.parts.quiet_keras import import_keras

    keras = import_keras(1)
    keras.utils.set_random_seed(SEED)
    network = keras.Sequential([keras.Input((STEPS, INPUTS)), keras.layers.GRU(units)])
    network.compile(jit_compile=False)
    layer = GRU.of(network.layers[0])
    runs = {
        "keras": lambda rows: network.predict(rows, batch_size=512, verbose=0),
        "numpy": lambda rows: layer.predict(rows, np.ones(rows.shape[:2], bool)),
    }
    wanted = runs["numpy"](steps)
    for name, run in runs.items():
        largest = np.abs(run(steps) - wanted).max()
        one = cpu_seconds(lambda run=run: run(steps[:1]), 3) * 1e3
        batch = cpu_seconds(lambda run=run: run(steps), 3) / len(steps) * 1e6
        print(
            f"{name}, {units} units: one row {one:.1f} ms, {batch:.1f} us a row, largest {largest:.1e}"
        )
    expression = gru.last_state("steps", [layer])
    con.execute(f"create macro state_{units}(steps) as ({expression})")
    print(f"SQL, {units} units: {len(expression) / 1e3:.0f} kB")
    return wanted


def main(all_units: list[int], rows: int, clients: list[str]) -> None:
    import duckdb
    import numpy as np

    steps = np.random.default_rng(SEED).normal(0, 1, (rows, STEPS, INPUTS)).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "gru.duckdb"))
        with duckdb.connect() as con:
            con.execute(f"attach '{path}' as file (storage_version 'v1.4.0'); use file")
            con.execute("create table seen (i integer, steps double[][])")
            con.executemany("insert into seen values (?, ?)", list(enumerate(steps.tolist())))
            con.execute("create table single as from seen where i = 5")
            wanted = {units: compare(units, steps, con) for units in all_units}
        names = [f"state_{units}" for units in all_units]
        for client in [sys.executable, *clients]:
            command = [client, __file__, "--measure", path, *names]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            for name in names:
                one, units = found[name], int(name.split("_")[1])
                largest = np.abs(np.array(one["answers"]) - wanted[units][:COMPARED]).max()
                print(
                    f"duckdb {found['duckdb']}, {name}: plan {one['plan'] * 1e3:.1f} ms, one row "
                    f"{one['one'] * 1e3:.1f} ms, {one['batch'] * 1e6:.0f} us a row, "
                    f"largest {largest:.1e}"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--units", type=int, nargs="+", default=[16, 32, 64])
        parser.add_argument("--rows", type=int, default=2048)
        parser.add_argument("--clients", nargs="+", default=[])
        arguments = parser.parse_args()
        main(arguments.units, arguments.rows, arguments.clients)
