"""A build that failed, or was killed, goes on where it was."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, prebuilt, project
from test_incremental import FEATURE

from behavsql import pipeline, run
from behavsql.compile import certificate
from behavsql.errors import SqlFileError
from behavsql.pipeline import build, dry_run
from behavsql.progress import Progress
from behavsql.warehouse import Warehouse, open_file

EVENTS = clickstream(300, 80, seed=4)
QUIET = Progress(quiet=True)
STOPPED = "failed or was stopped last time"
HERE = str(Path(__file__).parent)
# Trains as usual, but the task's last model waits for ever once it has said so.
WAITING = f"""
import datetime, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import pytest
from conftest import few_files
from behavsql import config, models
from behavsql.models.decision_tree import DecisionTree
from behavsql.pipeline import build
from behavsql.progress import Progress

def wait(self, train, valid):
    if train.task == "purchase":
        print("waiting", flush=True)
        time.sleep(600)
    return fit(self, train, valid)

fit, DecisionTree.fit = DecisionTree.fit, wait
models.MODEL_SETS["fast"] = {QUICK!r}
few_files(pytest.MonkeyPatch())
data = eval(Path(sys.argv[2]).read_text())
build(config.from_dict(data, Path(sys.argv[1]), "behavsql.toml"), progress=Progress(quiet=True))
"""

pytestmark = pytest.mark.usefixtures("quick", "few")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _due(made) -> dict[str, str]:
    return {step.name: step.reason for step in dry_run(made) if step.reason and step.is_certain}


def test_a_failed_build_goes_on_at_the_step_that_failed(tmp_path):
    made = project(tmp_path, EVENTS, only=("purchase",))
    path = tmp_path / "sql/4_features/kinds.sql"
    path.parent.mkdir(parents=True)
    path.write_text(FEATURE.replace("-- version", "-- check:   count_kinds < 0\n-- version"))
    with pytest.raises(SqlFileError, match="check `count_kinds < 0` fails"):
        build(made, progress=QUIET)
    assert not (made.warehouse / "behaviour.duckdb").exists()
    due = _due(made)
    assert due["features.kinds"] == STOPPED
    assert not {"raw.events", "staging.events", "sessions.sessions", "cutoffs.windows"} & set(due)

    path.write_text(FEATURE)
    steps = build(made, progress=QUIET).steps
    assert not [step for step in steps if re.match(r"raw|staging|sessions|cutoffs|meta", step)]
    assert {"features.kinds", "features.matrix", "train purchase", "publish"} <= set(steps)
    assert _due(made) == {}


def test_a_killed_training_starts_again_and_nothing_before_it_does(tmp_path, rows):
    made = project(tmp_path, EVENTS, only=("churn", "purchase"))
    (tmp_path / "config.txt").write_text(repr(made.model_dump(exclude_unset=True)))
    script = tmp_path / "waiting.py"
    script.write_text(textwrap.dedent(WAITING))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(tmp_path / "config.txt"), HERE],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "waiting\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        process.stdout.close()

    due = _due(made)
    assert due["train purchase"] == STOPPED
    assert "train churn" not in due and "features.matrix" not in due
    built = build(made, progress=QUIET)
    assert built.steps[0] == "train purchase"
    assert not [step for step in built.steps if re.match(r"raw|staging|features|train churn", step)]
    assert rows(built.path, "select status, step from meta.runs order by run_id") == [
        ("stopped", "train purchase"), ("done", None),
    ]  # fmt: skip
    assert rows(built.path, "select task, count(*) from models.models group by 1 order by 1") == [
        ("churn", 3), ("purchase", 3),
    ]  # fmt: skip


def test_a_compilation_that_was_cut_short_is_done_again(tmp_path, rows, monkeypatch):
    """Even if nothing it is made from has changed: the functions are gone."""
    made = project(tmp_path, EVENTS, only=("purchase",))
    path = prebuilt(made).path
    functions = "select distinct function_name from duckdb_functions() where function_name like '%purchase%' order by 1"
    before = rows(path, functions)

    with monkeypatch.context() as patched:
        patched.setattr(certificate, "certify", _stop)
        with pytest.raises(KeyboardInterrupt):
            build(made, select=["compile purchase"], progress=QUIET)
    assert _due(made) == {"compile purchase": STOPPED}
    assert "compile purchase" in build(made, progress=QUIET).steps
    assert rows(path, functions) == before
    assert _due(made) == {}


def test_what_a_killed_reading_left_is_not_taken_for_what_was_read_before(tmp_path, monkeypatch):
    made = project(tmp_path, EVENTS, only=("purchase",))
    build(made, select=["staging"], progress=QUIET)
    EVENTS.head(len(EVENTS) // 2).write_parquet(tmp_path / "events.parquet")
    record = run.Run._record

    def killed(self, step, *told):
        if step.name == "raw.events":  # all is read, and it is not written down
            raise KeyboardInterrupt
        record(self, step, *told)

    with monkeypatch.context() as patched:
        patched.setattr(run.Run, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            build(made, select=["staging"], progress=QUIET)
    build(made, select=["sessions.sessions"], progress=QUIET)  # and what is out of date above it
    with open_file(Warehouse(made.warehouse).build) as con:
        found = con.execute("select count_rows from staging.sources").fetchall()
    assert found == [(len(EVENTS) // 2,)]


def test_verdicts_on_tasks_survive_a_build_that_fails_before_them(tmp_path, rows, monkeypatch):
    """A refused task is asked again up to the verdicts; those come whatever happened in between."""
    few = EVENTS.filter((pl.col("type") != "purchase") | (pl.col("user") < 5))
    made = project(tmp_path, few, only=("purchase", "engagement"))
    path = prebuilt(made).path
    verdicts = "select task, status from meta.tasks where status = 'refused'"
    refused = rows(path, verdicts)
    assert refused
    wider = made.model_copy(
        update={"settings": made.settings.model_copy(update={"max_train_cutoffs": 5})}
    )
    with monkeypatch.context() as patched:
        patched.setattr(run.verdicts, "judge", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(wider, progress=QUIET)
    # Back to the old setting: every table may be as it was, the verdicts are not there.
    assert "judge tasks" in build(made, progress=QUIET).steps
    assert rows(path, verdicts) == refused
    assert pipeline.dry_run(made) and _due(made) == {}
