"""`threads` and `memory_limit`: obeyed by DuckDB and by every model; what spills is cleared away."""

import os
import subprocess
import sys

import pytest
from clickstream import clickstream
from conftest import project
from models_data import questions

from behavsql import data_steps
from behavsql.models import MODELS, model_class
from behavsql.models.parts.quiet_keras import POOLS
from behavsql.pipeline import build
from behavsql.progress import Progress

EVENTS = clickstream(300, 80, seed=4)
QUIET = Progress(quiet=True)


@pytest.fixture
def limited(tmp_path):
    return project(
        tmp_path, EVENTS, only=("purchase",), settings={"threads": 3, "memory_limit": "700 MB"}
    )


def test_duckdb_is_given_the_limits_and_spills_into_the_work_folder(limited, monkeypatch, quick):
    seen = {}
    work = limited.warehouse / ".work"
    (work / "spill").mkdir(parents=True)
    (work / "spill/of_a_killed_build").touch()

    def look(con, config):
        seen.update(con.execute(
            "select name, value from duckdb_settings() "
            "where name in ('threads', 'memory_limit', 'temp_directory')"
        ).fetchall())  # fmt: skip
        return ingest(con, config)

    ingest = data_steps.ingest.ingest
    monkeypatch.setattr(data_steps.ingest, "ingest", look)
    build(limited, progress=QUIET)
    assert seen == {
        "threads": "3", "memory_limit": "667.5 MiB", "temp_directory": str(work / "spill"),
    }  # fmt: skip
    assert not (work / "spill").exists()


def test_a_build_that_must_spill_leaves_nothing_where_it_was_started(tmp_path, monkeypatch, quick):
    """Less memory than a sort needs, in a folder that cannot be written to."""
    made = project(tmp_path, EVENTS, only=("purchase",), settings={"memory_limit": "100 MB"})
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    monkeypatch.chdir(shut)
    assert "publish" in build(made, progress=QUIET).steps
    assert os.listdir(shut) == []


def test_every_model_of_a_build_is_given_the_threads(limited, monkeypatch, quick):
    from behavsql import train

    given = []

    def counted(name):
        cls = model_class(name)

        class Counted(cls):
            def __init__(self, *given_, **more):
                super().__init__(*given_, **more)
                given.append(self.threads)

        return Counted

    monkeypatch.setattr(train, "model_class", counted)
    build(limited, progress=QUIET)
    assert given == [3, 3, 3]


def test_a_model_passes_its_threads_on(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    forest = model_class("random_forest")("binary", threads=2)
    assert forest._new(3, 20, 100).n_jobs == 2
    lightgbm = model_class("lightgbm")("binary", threads=2)
    assert lightgbm._settings(10**6)["num_threads"] == 2
    assert lightgbm._settings(100)["num_threads"] == 1, "waiting would take longer than working"
    assert {model_class(name)(next(iter(model_class(name).kinds))).threads for name in MODELS} == {
        64
    }


def test_predicting_keeps_to_the_threads(monkeypatch):
    table = questions("binary", 300, 1, True)
    model = model_class("lightgbm")("binary", threads=2).fit(table, table)
    asked = []
    predict = model._booster.predict
    monkeypatch.setattr(
        model._booster, "predict",
        lambda matrix, **options: asked.append(options) or predict(matrix, **options),
    )  # fmt: skip
    model.predict(table)
    assert asked == [{"num_threads": 1}]


def test_tensorflow_starts_no_more_threads_than_allowed():
    code = (
        "import os, sys\n"
        "from behavsql.models.parts.quiet_keras import import_keras\n"
        "keras = import_keras(int(sys.argv[1]))\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "keras.ops.matmul(keras.ops.ones((300, 300)), keras.ops.ones((300, 300)))\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    # A test before this one, in this process, may have imported Keras: it sets them for good.
    environment = {name: value for name, value in os.environ.items() if name not in POOLS}
    counts = [
        int(subprocess.run([sys.executable, "-c", code, str(threads)], check=True,
                           capture_output=True, text=True, env=environment).stdout)
        for threads in (1, 12)
    ]  # fmt: skip
    assert counts[1] - counts[0] >= 11, "one pool of twelve where there was one of one"
