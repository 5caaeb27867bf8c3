"""Past scores against what then happened: build, let time pass, score again, and count by hand."""

import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, few_files, prebuilt, project
from sklearn.metrics import log_loss, roc_auc_score

from behavsql.pipeline import build, score
from behavsql.progress import Progress

QUIET = Progress(quiet=True)
EVENTS = clickstream()
DONE = {"purchase": ["purchase"], "churn": ["view", "click", "cart", "purchase"]}  # what counts
TASKS = ("churn", "purchase")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """(project, rows of the scoreboard after each of three days): built, scored twice more."""
    from behavsql import models

    folder = tmp_path_factory.mktemp("story")
    last = EVENTS["at"].max()
    first = EVENTS.filter(pl.col("at") <= last - pl.duration(days=20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", QUICK)
        few_files(patch)
        made = project(folder, first, only=TASKS)
        prebuilt(made)
        for days in (10, 0):
            EVENTS.filter(pl.col("at") <= last - pl.duration(days=days)).write_parquet(
                folder / "events.parquet"
            )
            score(made, progress=QUIET)
        yield made


def told(made, rows, query: str) -> list[tuple]:
    return rows(made.warehouse / "behaviour.duckdb", query)


def test_matured_scores_are_judged_as_counted_by_hand(story, rows):
    board = told(story, rows, (
        "select task, as_of, count_scores, count_matured, count_open, predicted_mean, "
        "observed_mean, value, roc_auc from report.scoreboard order by as_of, task"
    ))  # fmt: skip
    horizons = dict(told(story, rows, "select task, horizon from meta.tasks"))
    (complete,) = told(story, rows, "select complete_until from meta.clock")[0]
    assert len(board) == 6 and len({row[1] for row in board}) == 3
    matured = 0
    for task, as_of, scores, judged, still_open, predicted, observed, value, auc in board:
        assert scores == judged + still_open
        ends = as_of + horizons[task]
        if ends > complete:
            assert (judged, predicted, observed, value, auc) == (0, None, None, None, None)
            continue
        matured += 1
        window = EVENTS.filter((pl.col("at") > as_of) & (pl.col("at") <= ends))
        users = set(window.filter(pl.col("type").is_in(DONE[task]))["user"].to_list())
        said = told(story, rows, (
            "select user_id, score from predictions.history "
            f"where task = '{task}' and as_of = timestamp '{as_of}'"
        ))  # fmt: skip
        label = [(user in users) == (task == "purchase") for user, _ in said]
        score_ = [one for _, one in said]
        assert (scores, judged) == (len(said), len(said))
        assert predicted == pytest.approx(sum(score_) / len(said), abs=1e-8)
        assert observed == pytest.approx(sum(label) / len(said))
        assert value == pytest.approx(log_loss(label, score_), abs=1e-8)
        assert auc == pytest.approx(roc_auc_score(label, score_))
    assert matured >= 3


def test_nothing_is_told_that_the_labels_do_not_tell_too(story, rows):
    """Where a past moment is a cutoff as well, its outcomes are the labels of the table."""
    for task in TASKS:
        same = told(story, rows, (
            "select count(*), bool_and(outcomes.label = labels.label::double) "
            "from predictions.outcomes as outcomes "
            f"inner join labels.{task} as labels on labels.user_id = outcomes.user_id "
            f"and labels.cutoff_at = outcomes.as_of where outcomes.task = '{task}'"
        ))  # fmt: skip
        assert same[0][1] in (True, None)


def test_advice_counts_what_matured(story, rows):
    counts = told(
        story, rows, "select task, advice, count_matured from report.advice order by task"
    )
    assert [row[0] for row in counts] == list(TASKS)
    assert all(row[2] > 0 for row in counts)


def test_what_is_looked_back_at_is_no_reason_to_build_again(story):
    assert score(story, progress=QUIET).steps == ()
    steps = build(story, progress=QUIET).steps
    assert not [step for step in steps if step.startswith(("labels.", "features.", "cutoffs."))]
