"""How likely decisions were, and of whom: users who left in silence, logs that are wrong."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from actions_data import decisions

from behavsql.acting import choosing
from behavsql.acting.balance import Balance, calibration
from behavsql.acting.decisions import Decisions, Logged
from behavsql.acting.learning import Learner
from behavsql.acting.propensities import reached_share, shifted, with_propensities
from behavsql.action_settings import Actions

LIFT, BASE, CHANCE = 0.7, 1.0, 0.2
MOMENTS = 10


def silent(
    users: int = 3_000, leaving: float = 0.12, seed: int = 1, is_logged: bool = False
) -> tuple[Logged, float]:
    """(a log, the mean effect on test) of users who leave, a share at each moment, and say nothing.

    Who is there gets a mail by chance, brings BASE, and LIFT more for the mail; who has left brings
    nothing, gets nothing, and may still be acted upon for as long as they were active two moments
    ago. How long ago that was is all that is known.
    """
    random = np.random.default_rng(seed)
    left_at = random.geometric(leaving, users) if leaving else np.full(users, MOMENTS + 9)
    is_active = random.random((users, MOMENTS + 3)) < 0.5
    is_active &= np.arange(MOMENTS + 3) < left_at[:, None]
    is_active[:, 0] = True
    user, moment = (part.ravel() for part in np.mgrid[:users, 2 : MOMENTS + 2])
    ago = np.where(is_active[user, moment - 1], 1, np.where(is_active[user, moment - 2], 2, 3))
    is_here = moment < left_at[user]
    action = (is_here & (random.random(len(user)) < CHANCE)).astype(int)
    reward = is_here * (random.poisson(BASE, len(user)) + random.poisson(LIFT, len(user)) * action)
    later = np.maximum(left_at[user], 0) > moment + 1
    asked = ago < 3
    log = decisions(
        state=ago[asked] - 1, action=action[asked], reward=reward[asked].astype(float),
        after=ago[asked] - 1, moment=moment[asked] - 2, user=user[asked], propensity=CHANCE,
        states=2, moments=MOMENTS,
    )  # fmt: skip
    log = replace(
        log, is_seen_later=later[asked],
        logged=np.where(is_logged & (log.action == 1), CHANCE, np.nan),
    )  # fmt: skip
    split = np.where(log.moment < 6, "train", np.where(log.moment < 8, "valid", "test"))
    keys = pl.DataFrame({"user_id": log.users, "cutoff_at": log.moment})
    truth = LIFT * is_here[asked][split == "test"].mean()
    return Logged(log, split, log.users % 2 == 0, keys, {}), float(truth)


def learned(logged: Logged, budget: float = 1.0, **settings: object) -> Learner:
    names = ("nobody", "everybody", "t_learner")
    return Learner(logged, Actions(budget=budget, **settings), names, seed=1, threads=1)


@pytest.mark.parametrize("is_logged", [False, True])
def test_who_left_in_silence_does_not_make_actions_look_good(is_logged):
    """Those left alone are many of them gone: compared with them, a mail seems to bring 30% more."""
    logged, truth = silent(is_logged=is_logged)
    learner = learned(logged)
    (row,) = learner.action_effects().rows(named=True)
    assert row["low"] < truth < row["high"]
    assert row["high"] - row["low"] < 0.4
    assert row["is_propensity_estimated"] == (not is_logged)
    test = logged.of("test")
    naive = test.reward[test.action == 1].mean() - test.reward[test.action == 0].mean()
    assert naive > row["high"]
    share = truth / LIFT  # of those on test, as there were about in train
    assert row["reached_share"] == pytest.approx(share, abs=0.05)


def test_intervals_hold_the_truth_with_estimated_propensities():
    """Of twenty logs; the estimate leans to neither side."""
    held, off = 0, []
    for seed in range(20):
        logged, truth = silent(users=1_500, seed=seed)
        (row,) = learned(logged).action_effects().rows(named=True)
        held += row["low"] < truth < row["high"]
        off.append(row["effect"] - truth)
    assert held >= 17
    assert abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(20)


def test_where_nobody_leaves_everybody_is_reached():
    known = with_propensities(silent(leaving=0)[0])
    assert (known.decisions.reach == 1).all()
    assert reached_share(known.of("train", "valid")) == 1
    np.testing.assert_allclose(known.decisions.propensity.sum(axis=1), 1)
    assert known.decisions.propensity[:, 1].mean() == pytest.approx(CHANCE, abs=0.02)


def test_what_is_unsure_of_propensities_widens_intervals():
    known = with_propensities(silent()[0])
    (other,) = shifted(known.decisions)
    np.testing.assert_allclose(other.propensity.sum(axis=1), 1)
    more = np.log(other.propensity[:, 1] / known.decisions.propensity[:, 1])
    counted = (known.decisions.is_seen_later & known.mask("train", "valid")
               & (known.decisions.action == 1)).sum()  # fmt: skip
    np.testing.assert_allclose(more, 1 / np.sqrt(counted))
    assert shifted(with_propensities(silent(leaving=0, is_logged=True)[0]).decisions) == []


def test_a_moment_at_which_more_were_acted_upon_has_higher_propensities():
    logged, _ = silent(leaving=0)
    done = logged.decisions
    more = np.random.default_rng(5).random(len(done)) < 0.4
    action = np.where((done.moment == 9) & more, 1, done.action)
    known = with_propensities(replace(logged, decisions=replace(done, action=action))).decisions
    for moment in (8, 9):
        here = known.moment == moment
        assert known.propensity[here, 1].mean() == pytest.approx(action[here].mean(), rel=0.01)


def wrongly_logged() -> Logged:
    """The log says that all had one chance; those lately active had four times the others'."""
    logged, _ = silent(leaving=0)
    done, random = logged.decisions, np.random.default_rng(2)
    action = (random.random(len(done)) < np.where(done.state == 0, 0.4, 0.1)).astype(int)
    reward = 1.0 + action * 3 + random.normal(size=len(done))
    said = np.where(action == 1, action.mean(), np.nan)
    return replace(logged, decisions=replace(done, action=action, reward=reward, logged=said))


def test_a_log_that_is_wrong_recommends_nothing():
    learner = learned(wrongly_logged())
    best = learner.policies().filter("is_champion", "is_deciding").row(0, named=True)
    assert not best["is_recommended"]
    assert "propensities do not explain who got mail" in best["reason"]
    table = learner.balance.table()
    assert table["difference"].abs().max() > 0.3
    bins = calibration(learner.test)
    assert bins["count_decisions"].sum() == len(learner.test)


def test_estimated_propensities_balance_what_is_known():
    logged = wrongly_logged()
    done = replace(logged.decisions, logged=np.full(len(logged.decisions), np.nan))
    learner = learned(replace(logged, decisions=done))
    assert learner.balance.worst() == ""
    table = learner.balance.table()
    assert table["difference_before"].abs().max() > 0.3
    assert table["difference"].abs().max() < 0.1
    best = learner.policies().filter("is_champion", "is_deciding").row(0, named=True)
    assert best["is_recommended"]


def test_balance_without_anybody_acted_upon_finds_nothing():
    known = with_propensities(silent(users=300, leaving=0)[0]).decisions
    nobody = known.rows(known.action == 0)
    assert Balance.of(nobody, 0.01).worst() == ""
    assert len(calibration(nobody)) > 0


def test_only_what_valid_chose_is_recommended():
    rows = learned(silent()[0]).policies()
    recommended = rows.filter("is_recommended")
    assert recommended["is_champion"].all()
    assert len(recommended) == 1
    others = rows.filter(~pl.col("is_champion"))["reason"].to_list()
    assert all(reason.startswith("valid chose ") for reason in others)


def test_whom_the_budget_reaches_is_drawn_among_those_it_may_reach():
    """Half may be acted upon once capped ones are left out, and the budget is 30% of all: 0.6 each."""
    asked = drawn_from(is_capped=np.arange(20) % 2 == 0)
    scores = np.tile([0.0, 1.0], (20, 1))
    found = choosing.drawn(asked, scores, 0.3)
    np.testing.assert_allclose(found[:, 1], np.where(asked.is_capped, 0, 0.6))
    np.testing.assert_allclose(choosing.drawn(asked, scores, 0.8)[:, 1], ~asked.is_capped)
    assert not choosing.drawn(asked, -scores, 1.0)[:, 1].any()


def drawn_from(is_capped: np.ndarray) -> Decisions:
    zero = np.zeros(len(is_capped), dtype=int)
    asked = decisions(
        zero, zero, zero * 1.0, zero, zero, np.arange(len(zero)), 0.5, states=1, moments=1
    )
    return replace(asked, is_capped=is_capped)
