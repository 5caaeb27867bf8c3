"""What `import behavsql` offers."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, few_files

import behavsql
from behavsql import models, recommenders
from behavsql.config import Config
from behavsql.errors import ConfigError
from behavsql.progress import Progress


class Asked(Exception):
    """What a build would have read."""


class Frame:
    """Any table that speaks Arrow's stream protocol, as pandas does from version 2.2 on."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return clickstream(300, 80, seed=4)


@pytest.fixture(scope="module")
def expected(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", QUICK)
        patch.setitem(recommenders.RECOMMENDER_SETS, "fast", recommenders.REFERENCES)
        few_files(patch, "report.leaderboard")
        return behavsql.predict_user_behavior(events)


def test_events_in_predictions_and_metrics_out(events: pl.DataFrame, expected: tuple) -> None:
    predictions, metrics = expected
    assert predictions["user_id"].n_unique() == len(predictions) == events["user"].n_unique()
    assert predictions["purchase_probability"].drop_nulls().is_between(0, 1).all()
    assert {"task", "model", "metric", "value", "low", "high"} <= set(metrics.columns)
    assert "persistence" in metrics["model"].unique().to_list()


@pytest.mark.parametrize("form", ["arrow", "lazy", "stream", "path"])
def test_every_form_of_events_gives_the_same(
    form: str,
    events: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to the build, which sees the same rows whatever they came in."""

    def build(config: Config, progress: Progress) -> None:
        raise Asked(pl.read_parquet(config.folder / config.source[0].path))

    monkeypatch.setattr("behavsql.pipeline.build", build)
    events.write_parquet(tmp_path / "events.parquet")
    given = {
        "arrow": events.to_arrow,
        "lazy": events.lazy,
        "stream": lambda: Frame(events),
        "path": lambda: tmp_path / "events.parquet",
    }[form]()
    with pytest.raises(Asked) as asked:
        behavsql.predict_user_behavior(given)
    assert asked.value.args[0].equals(events)


def test_a_warehouse_stays_where_one_is_named(
    events: pl.DataFrame, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_files(monkeypatch, "report.leaderboard")
    renamed = events.head(500).rename({"user": "who"})
    behavsql.predict_user_behavior(renamed, warehouse=tmp_path / "kept", user="who")
    con = behavsql.connect(tmp_path / "kept")
    assert con.execute("select count(*) from customers").fetchall()[0][0] > 0
    con.close()


def test_build_is_a_function_also_after_its_module_was_used() -> None:
    import behavsql.pipeline

    assert callable(behavsql.build)
    with pytest.raises(ConfigError, match=r"missing\.toml: there is no such file"):
        behavsql.build("missing.toml")


def test_importing_behavsql_imports_no_library() -> None:
    check = (
        "import sys, behavsql; "
        "print([m for m in ('duckdb', 'polars', 'pydantic', 'sklearn', 'lightgbm', 'keras') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
