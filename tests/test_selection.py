"""Which features are kept: signal with reasons, no noise, and nothing learned from what decides."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import Heard, project
from models_data import questions
from test_tuning import questions_of

from behavsql import models, selection
from behavsql.config import Settings
from behavsql.frames import Asked
from behavsql.models.base import loss
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.selection import JUDGES, RANKERS, Candidate, choose, row_losses

SETTINGS = Settings(threads=1)
MORE_NOISE = tuple(f"more_{i:02d}" for i in range(20))


def noisy(poison: bool = False) -> Asked:
    """Questions with twenty more columns that tell nothing, and the task's own last window."""
    asked = questions_of("binary", poison)
    rng = np.random.default_rng(8)
    more = [pl.Series(name, rng.normal(size=len(asked.table))) for name in MORE_NOISE]
    own = pl.Series("purchase_last_window", rng.normal(size=len(asked.table)))
    features = asked.table.features.with_columns(*more, own)
    return replace(asked, table=replace(asked.table, features=features))


def select(asked: Asked) -> selection.Selection:
    return selection.select(asked, SETTINGS, Progress(quiet=True))


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer lengths, and one judge but where all are asked for."""
    monkeypatch.setattr(selection, "LENGTHS", (3, 13))
    monkeypatch.setattr(selection, "JUDGES", {"lightgbm": JUDGES["lightgbm"]})


def test_signal_is_kept_and_noise_dropped_with_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "JUDGES", JUDGES)
    asked = noisy()
    found = select(asked)
    assert {"signal", "plan"} <= {*found.kept}
    assert len({*found.kept} & {*MORE_NOISE}) <= 1
    assert list(found.reasons) == asked.table.features.columns
    assert found.reasons["signal"].startswith("1 of 27 by ")
    assert found.reasons["always"] == "the same in all rows of train"
    dropped = next(name for name in MORE_NOISE if name not in found.kept)
    assert "; the first " in found.reasons[dropped]
    assert "no more than a standard error" in found.reasons[dropped]
    assert found.reasons["purchase_last_window"] == "what persistence reads"
    fewer = found.applied(asked)
    assert fewer.table.features.columns == list(found.kept)
    assert len(fewer.table) == len(asked.table)


def test_neither_the_pick_half_nor_test_is_read() -> None:
    assert select(noisy(poison=True)) == select(noisy())


@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("name", RANKERS)
def test_each_ranking_puts_signal_first_and_a_category_counts_once(name: str, kind: str) -> None:
    train, valid = questions(kind, 1500, 1), questions(kind, 800, 2)
    names = tuple(column for column in train.features.columns if column != "always")
    worth = RANKERS[name](train, valid, names, SETTINGS)
    order = sorted(worth, key=lambda column: -worth[column])
    assert set(worth) == set(names)
    assert order[0] == "signal"
    assert {"twin", "plan"} <= {*order[:4]}
    assert min(worth.values()) >= 0


def test_information_is_that_of_the_bins() -> None:
    """A fair coin, known: ln 2; missing values tell as much as others."""
    label = np.tile([0.0, 1.0], 500)
    told, text = pl.Series([5.0, None] * 500), pl.Series([None, "a"] * 500)
    rng = np.random.default_rng(1)
    features = pl.DataFrame({"told": told, "text": text, "noise": rng.normal(size=1000)})
    train = replace(questions("binary", 1000, 1), features=features, label=label)
    worth = selection.mutual_information(train, train, ("told", "text", "noise"), SETTINGS)
    assert worth["told"] == worth["text"] == pytest.approx(np.log(2), abs=1e-3)
    assert worth["noise"] < 0.01


@pytest.mark.parametrize("kind", ["binary", "count", "amount"])
def test_the_losses_of_rows_are_the_models_loss(kind: str) -> None:
    rng = np.random.default_rng(2)
    label = questions(kind, 500, 1).label
    answer = rng.random(500) if kind == "binary" else rng.random(500) * 3
    rows = row_losses(kind, label, answer)
    assert rows.shape == (500,)
    assert rows.mean() == pytest.approx(loss(kind, label, answer), rel=1e-12)


def test_the_shortest_within_a_standard_error_wins() -> None:
    rng = np.random.default_rng(3)
    hard = rng.exponential(size=400)  # what all find hard says nothing
    users = np.arange(400) // 2
    noise = np.repeat(rng.normal(size=200), 2)
    noise -= noise.mean()

    def candidate(size: int, worse: float) -> Candidate:
        return Candidate("r", tuple("abcdefgh"[:size]), hard + worse + noise * (worse > 0))

    error = np.sqrt(np.sum((2 * noise[::2]) ** 2)) / 400
    best, near, far = candidate(8, 0.0), candidate(5, 0.9 * error), candidate(2, 1.1 * error)
    chosen, found, told = choose([far, best, near], users)
    assert (chosen, found) == (near, best)
    assert told == pytest.approx(error, rel=1e-9)
    assert choose([best], users)[0] is best
    # Rows of one user are not independent: as if all were, the same distance would be too far.
    assert choose([far, best, near], np.arange(400))[0] is best


def test_where_all_are_needed_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = questions_of()
    only = replace(plain.table, features=plain.table.features.select("signal", "plan", "always"))
    monkeypatch.setattr(selection, "LENGTHS", (1,))
    found = select(replace(plain, table=only))
    if found.kept == ("signal", "plan"):
        assert found.reasons["signal"].startswith("no choice of fewer is as good")
    assert found.kept[0] == "signal"


def test_a_build_that_selects_and_tunes(tmp_path, monkeypatch, rows) -> None:
    """Models, functions and counts speak of the kept features alone; all are told of, with reasons."""
    pytest.importorskip("optuna", reason="tuning needs optuna: pip install behavsql[tuning]")
    quick = ("prevalence", "persistence", "decision_tree")
    monkeypatch.setitem(models.MODEL_SETS, "fast", quick)
    settings = {"select_features": True, "tune": True, "trials": 2}
    made = project(tmp_path, clickstream(), only=("churn",), settings=settings)
    heard = Heard()
    path = build(made, progress=heard).path
    kept = {name for (name,) in rows(path, "select feature from models.features where is_kept")}
    dropped = rows(path, "select feature, reason from models.features where not is_kept")
    assert "churn_last_window" in kept and len(kept) < 16 and len(dropped) > 50
    assert all(reason for _, reason in dropped)
    assert rows(path, "select distinct count_features from models.models") == [(len(kept),)]
    given = rows(path, "select unnest(parameters) from duckdb_functions() "
                 "where function_name = 'whatif_churn'")  # fmt: skip
    assert {name for (name,) in given} == kept
    assert rows(path, "select whatif_churn() between 0 and 1") == [(True,)]
    trials = rows(path, "select model, trial, state from models.trials order by all")
    assert trials == [("decision_tree", 0, "complete"), ("decision_tree", 1, "complete")]
    assert any(line.startswith("  select features churn") for line in heard.lines)
    assert build(made, progress=Heard()).steps == ()  # all of it is up to date
