"""What an option of a model is worth: the model with it against the model without, on test.

    python tests/benchmarks/options.py WAREHOUSE churn gru augment=all [--seeds 3] [--rows 20000]

WAREHOUSE is a folder with a built behaviour.duckdb. Values are JSON, or plain words. Both models learn
the same rows of train, half of valid stops and calibrates them; the gain on test is the mean over
seeds, with the interval of a bootstrap over users of the seeds' mean answers.
"""

import argparse
import json
import time
from pathlib import Path

import duckdb
import numpy as np

from behavsql import frames
from behavsql.calibration import Calibrator
from behavsql.metrics import evaluate, paired_gain
from behavsql.models import model_class
from behavsql.models.base import LEAST_SHARE


def option(told: str) -> tuple[str, object]:
    """`units=64` as a name and a value."""
    name, _, value = told.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def answered(
    asked: frames.Asked, train: frames.Table, name: str, options: dict, seed: int, threads: int
) -> tuple[np.ndarray, float]:
    """The calibrated answers (n,) to test, and the seconds that fitting took."""
    valid = asked.table.rows(asked.split("valid") & asked.is_fit_half)
    began = time.process_time()
    model = model_class(name)(train.kind, seed, threads, options).fit(train, valid)
    seconds = time.process_time() - began
    calibrator = Calibrator.floor(LEAST_SHARE * train.label.mean())
    if train.kind == "binary":
        calibrator = Calibrator().fit(model.predict(valid), valid.label)
    return calibrator.transform(model.predict(asked.table.rows(asked.split("test")))), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("task")
    parser.add_argument("model")
    parser.add_argument("options", nargs="+", type=option)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of train, at most")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    con = duckdb.connect(str(given.warehouse / "behaviour.duckdb"), read_only=True)
    kind, metric = con.execute(
        "select kind, metric from meta.tasks where task = ?", [given.task]
    ).fetchall()[0]
    reads = model_class(given.model).reads
    asked = frames.load(con, given.task, kind, given.rows, 7, with_sequences=reads != "table")
    train, test = asked.table.rows(asked.split("train")), asked.table.rows(asked.split("test"))
    means = []
    for options in ({}, dict(given.options)):
        values, answers, spent = [], [], 0.0
        for seed in range(7, 7 + given.seeds):
            answer, seconds = answered(asked, train, given.model, options, seed, given.threads)
            values.append(evaluate(kind, test.label, answer, 0.5)[metric])
            answers.append(answer)
            spent += seconds
        means.append(np.mean(answers, axis=0))
        print(f"{given.task} {given.model} {options or 'defaults'}: {metric} "
              f"{np.mean(values):.4f} (seeds {', '.join(f'{v:.4f}' for v in values)}), mean of seeds' "
              f"answers {evaluate(kind, test.label, means[-1], 0.5)[metric]:.4f}, "
              f"{spent / given.seeds:.0f} s of processor each", flush=True)  # fmt: skip
    gain = paired_gain(kind, metric, test.label, means[1], means[0], test.users, seed=7)
    print(f"{given.task} {given.model}: better by {gain.mean:.4f} [{gain.low:.4f}, {gain.high:.4f}] "
          f"{metric}, {len(train):,} rows of train, {len(test):,} of test")  # fmt: skip


if __name__ == "__main__":
    main()
