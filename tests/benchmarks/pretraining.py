"""What pre-training is worth: fine-tuned against from-scratch at 1%, 10% and 100% of the labels.

    python tests/benchmarks/pretraining.py WAREHOUSE churn --rows 12000 --steps 500

WAREHOUSE is a folder with a built behaviour.duckdb. Both are the same network over the events alone
(no feature table), one begun from the model pre-trained on all histories up to the earliest valid
cutoff, the other at random. Their labels are those of the same users, drawn by a hash; half of
valid stops both early, however few the labels are; both are measured on all of test, with intervals
from drawing its users with replacement. With --features they read the feature table beside.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np

from behavsql import frames, pretrained
from behavsql.calibration import Calibrator
from behavsql.metrics import evaluate, intervals, paired_gain
from behavsql.models.base import LEAST_SHARE
from behavsql.models.parts.pretraining import SIZES, cost, pretrain
from behavsql.models.pretrained_transformer import PretrainedTransformer

SHARES = {0.01: 2, 0.1: 1, 1.0: 1}  # of the users -> how often they are drawn


def artifact(con: duckdb.DuckDBPyConnection, steps: int, threads: int) -> bytes:
    """Pre-train, and say what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    size = replace(SIZES["small"], steps=steps)
    found = pretrain(
        pretrained.histories(con), threads=threads, size=size, say=lambda told: print(" ", told)
    )
    price = cost(size, found.encoder.sizes, found.encoder.length + 1)
    print(f"pre-trained in {time.perf_counter() - began:.0f} s ({time.process_time() - cpu:.0f} s of "
          f"processor): {price.count_parameters:,} parameters, {price.flops_per_token:,} FLOPs a "
          f"token, {price.flops_training:.2e} FLOPs; {found.card['count_users']:,} users, "
          f"{found.card['count_events']:,} events")  # fmt: skip
    for name, value in found.card["losses"].items():
        print(f"  {name:<14} {value:.4f}   unigram {found.card['unigram'][name]:.4f}")
    return found.to_bytes()


def answers(
    asked: frames.Asked, train: frames.Table, stored: bytes, options: dict, seed: int, threads: int
) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, calibrated scores of test, seconds) of both."""
    fit_half = asked.split("valid") & asked.is_fit_half
    valid, test = asked.table.rows(fit_half), asked.table.rows(asked.split("test"))
    for name in ("fine-tuned", "from scratch"):
        began = time.perf_counter()
        # As many epochs as the other has with the body still and with all of it learning.
        own = {"from_scratch": True, "epochs": 18} if name == "from scratch" else {}
        chosen = {**options, **own}
        model = PretrainedTransformer(train.kind, seed, threads, chosen).with_pretrained(stored)
        model.fit(train, valid)
        calibrator = Calibrator.floor(LEAST_SHARE * train.label.mean())
        if train.kind == "binary":
            calibrator = Calibrator().fit(model.predict(valid), valid.label)
        score = calibrator.transform(model.predict(test))
        yield name, score, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("task")
    parser.add_argument("--rows", type=int, default=12_000, help="of train, at most: the 100%%")
    parser.add_argument("--steps", type=int, default=SIZES["small"].steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--artifact", type=Path, help="where the pre-trained model is kept")
    given = parser.parse_args()
    con = duckdb.connect(str(given.warehouse / "behaviour.duckdb"), read_only=True)
    kind, metric = con.execute(
        "select kind, metric from meta.tasks where task = ?", [given.task]
    ).fetchall()[0]
    if given.artifact and given.artifact.exists():
        stored = given.artifact.read_bytes()
    else:
        stored = artifact(con, given.steps, given.threads)
    if given.artifact:
        given.artifact.write_bytes(stored)
    asked = frames.load(con, given.task, kind, given.rows, 7, with_sequences=True)
    train, test = asked.table.rows(asked.split("train")), asked.table.rows(asked.split("test"))
    options = {"with_features": given.features}
    metrics = {"binary": [metric, "roc_auc"]}.get(kind, [metric])
    print(f"{given.task}: {len(train):,} rows of train, {len(test):,} of test")
    for share, draws in SHARES.items():
        for seed in range(draws):
            random = np.random.default_rng([seed, 1])
            users = np.unique(train.users)
            some = random.permutation(users)[: max(round(share * len(users)), 1)]
            part = train.rows(np.isin(train.users, some))
            if len(np.unique(part.label)) < 2:
                print(f"{share:6.0%} draw {seed}: the labels are all the same")
                continue
            report(asked, part, test, stored, options, (share, seed), metrics, given.threads)


def report(
    asked: frames.Asked, part: frames.Table, test: frames.Table, stored: bytes, options: dict,
    drawn: tuple[float, int], metrics: list[str], threads: int,
) -> None:  # fmt: skip
    """Print both on test, and by how much the fine-tuned one is better."""
    share, seed = drawn
    scores = {}
    for name, score, seconds in answers(asked, part, stored, options, 7 + seed, threads):
        scores[name] = score
        found = evaluate(test.kind, test.label, score, 0.5)
        spread = intervals(test.kind, test.label, score, test.users, 0.5, seed=7)
        told = "  ".join(f"{metric} {found[metric]:.4f} [{spread[metric][0]:.4f}, "
                         f"{spread[metric][1]:.4f}]" for metric in metrics)  # fmt: skip
        print(f"{share:6.0%} draw {seed} ({len(part):,} rows) {name:<12}  {told}  {seconds:.0f} s")
    for metric in metrics:
        gain = paired_gain(
            test.kind, metric, test.label, scores["fine-tuned"], scores["from scratch"],
            test.users, seed=7,
        )  # fmt: skip
        print(f"       fine-tuned is better by {gain.mean:.4f} [{gain.low:.4f}, {gain.high:.4f}] "
              f"{metric}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
