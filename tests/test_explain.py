"""Reasons, what models rely on, and what happens to them when data and models move."""

from datetime import timedelta

import duckdb
import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import prebuilt, project

from behavsql import parity
from behavsql.explain import checking
from behavsql.pipeline import build, dry_run, score, train
from behavsql.progress import Progress

EVENTS = clickstream(300, 80, seed=4)
LAST = EVENTS["at"].max() - timedelta(days=2)
QUIET = Progress(quiet=True)
pytestmark = pytest.mark.usefixtures("quick")
# Parts and the score they must add up to.
ADDED = """
    select count(*), max(abs(parts - score)), count(*) filter (parts is null or score is null)
    from (select task, user_id, sum(contribution) as parts from predictions.reasons group by all)
    full outer join predictions.scored using (task, user_id)
"""


@pytest.fixture
def made(tmp_path):
    """A project of two tasks, built without its last two days."""
    made = project(tmp_path, EVENTS.filter(pl.col("at") < LAST), only=("purchase", "churn"))
    prebuilt(made)
    return made


@pytest.fixture
def ask(made):
    """Ask the published file."""

    def asked(query: str) -> list[tuple]:
        with duckdb.connect(str(made.warehouse / "behaviour.duckdb"), read_only=True) as con:
            return con.execute(query).fetchall()

    return asked


def test_reasons_add_up_to_the_score_of_every_user(ask):
    ((count, gap, lost),) = ask(ADDED)
    assert count > 100 and gap < 1e-9 and lost == 0


def test_reasons_are_in_words_and_in_order(ask):
    rows = ask(
        "select user_id, rank, feature, contribution, sentence, count_features "
        "from predictions.reasons where task = 'purchase' order by user_id, rank"
    )
    assert all(sentence and "{" not in sentence for *_, sentence, _ in rows)
    by_user: dict = {}
    for user, rank, feature, contribution, *_ in rows:
        by_user.setdefault(user, []).append((rank, feature, contribution))
    for reasons in by_user.values():
        names = [feature for _, feature, _ in reasons]
        assert (names[0], names[-2], names[-1]) == ("(base)", "(other)", "(residual)")
        sizes = [abs(part) for _, _, part in reasons[1:-2]]
        assert len(sizes) <= 5 and sizes == sorted(sizes, reverse=True)
        assert len({feature for feature in names}) == len(names)


def test_missing_values_are_said_as_what_they_mean(ask):
    ((wrong,),) = ask(
        "select count(*) from predictions.reasons where value is null and feature not like '(%' "
        "and not regexp_matches(sentence, '^no |not |nothing ')"
    )
    assert wrong == 0


def test_values_are_those_of_the_features(ask):
    rows = ask(
        "select reasons.value, latest.days_since_last_activity from predictions.reasons as reasons "
        "inner join features.latest as latest using (user_id) "
        "where feature = 'days_since_last_activity'"
    )
    for told, value in rows:
        assert float(told) == pytest.approx(value, rel=1e-5)


def test_what_the_model_relies_on_is_measured(ask):
    told = ask("select task, count_questions, largest_gap from models.explanations order by task")
    tested = ask(
        "select task, count(*) from models.scores as scores inner join models.models as models "
        "using (model_id, task) where is_published and split = 'test' group by task order by task"
    )
    assert [row[:2] for row in told] == tested
    assert all(gap < 1e-9 for *_, gap in told)
    assert ask("select count(*) from report.importance where mean_contribution_size > 0")[0][0] > 0
    wrong = ask(
        "select count(*) from models.permutation_importance where not (low <= value and value <= high)"
    )
    assert wrong == [(0,)]


def test_curves_cover_every_test_question(ask):
    rows = ask(
        "select task, feature, sum(count_questions), sum(density), min(mean_prediction), "
        "max(mean_prediction) from report.dependence group by all"
    )
    tested = dict(ask("select task, count_questions from models.explanations"))
    assert rows
    for task, _, count, density, low, high in rows:
        assert count == tested[task] and density == pytest.approx(1) and 0 <= low <= high <= 1


def test_a_second_build_explains_nothing_anew(made):
    assert build(made, progress=QUIET).steps == ()
    assert not [step for step in dry_run(made) if step.reason]


def test_new_scores_have_new_reasons_and_old_measures_stay(made, ask):
    before = ask("select task, explained_at from models.explanations order by task")
    EVENTS.write_parquet(made.folder / "events.parquet")
    steps = score(made, progress=QUIET).steps
    assert {"explain purchase", "explain churn"} <= set(steps)
    ((_, gap, lost),) = ask(ADDED)
    assert gap < 1e-9 and lost == 0
    assert ask("select task, explained_at from models.explanations order by task") == before


def test_a_new_training_is_explained_and_the_other_task_stays(made, ask):
    before = dict(ask("select task, explained_at from models.explanations"))
    steps = train(made, tasks=["churn"], models=["logistic"], progress=QUIET).steps
    assert "explain churn" in steps and "explain purchase" not in steps
    after = dict(ask("select task, explained_at from models.explanations"))
    assert after["churn"] > before["churn"] and after["purchase"] == before["purchase"]
    assert ask(ADDED)[0][1] < 1e-9


def test_reasons_that_were_changed_are_found(made):
    with duckdb.connect(str(made.warehouse / ".work/build.duckdb")) as con:
        one = next(one for one in parity.published_models(con) if one.task == "purchase")
        assert [*checking.compare(con, one)] == []
        con.execute(
            "update predictions.reasons set contribution = 2 where rank = 0 and task = 'purchase'"
        )
        (found,) = checking.compare(con, one)
        con.execute("drop table predictions.reasons")
        assert [*checking.compare(con, one)] == []
    assert found.startswith(
        "predictions.reasons: those of purchase do not add up to the score for "
    )


def test_no_reasons_are_written_where_none_are_asked_for(tmp_path, few):
    made = project(tmp_path, EVENTS, only=("churn",), explain={"reasons": 0})
    with duckdb.connect(str(prebuilt(made).path), read_only=True) as con:
        assert con.execute("select count(*) from predictions.reasons").fetchall() == [(0,)]
        assert con.execute("select count(*) from models.explanations").fetchall() == [(1,)]


def test_how_many_reasons_there_are_is_a_setting(tmp_path, few):
    made = project(tmp_path, EVENTS, only=("churn",), explain={"reasons": 2})
    with duckdb.connect(str(prebuilt(made).path), read_only=True) as con:
        most = con.execute("select max(rank) from predictions.reasons").fetchall()
        (_, gap, _), = con.execute(ADDED).fetchall()  # fmt: skip
    assert most == [(4,)] and gap < 1e-9
    assert np.isfinite(gap)
