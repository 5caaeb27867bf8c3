"""Every policy on decisions whose best answer is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from actions_data import ACTIONS, SHOP, Process, decisions

from behavsql.acting.decisions import Decisions
from behavsql.policies import POLICIES, POLICY_SETS, REFERENCES, dqn, policy_class
from behavsql.policies.base import Policy

DISCOUNT = 0.9


@cache
def shop_log() -> tuple[Decisions, np.ndarray]:
    return SHOP.log(users=6_000, moments=12)


@cache
def fitted(name: str) -> Policy:
    return policy_class(name)(seed=3, threads=1, discount=DISCOUNT).fit(shop_log()[0])


def does(policy: Policy, process: Process) -> np.ndarray:
    """(s,) what a policy does in each state."""
    states = len(process.reward)
    one_each = np.arange(states)
    asked = decisions(one_each, one_each * 0, np.zeros(states), one_each, one_each * 0, one_each,
                      propensity=0.5, states=states, moments=1)  # fmt: skip
    return policy.gains(asked).argmax(axis=1)


# ---- the contract ------------------------------------------------------------------------------


def test_the_registry_names_its_classes():
    for name in POLICIES:
        assert policy_class(name).name == name
        assert policy_class(name).is_reference == (name in REFERENCES)
    assert all(set(names) <= set(POLICIES) for names in POLICY_SETS.values())
    assert set(POLICY_SETS["all"]) == set(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_doing_nothing_gains_nothing(name):
    gains = fitted(name).gains(shop_log()[0])
    assert gains.shape == (len(shop_log()[0]), len(ACTIONS))
    assert not gains[:, 0].any()


@pytest.mark.parametrize("name", POLICIES)
def test_a_stored_policy_says_the_same(name):
    policy = fitted(name)
    again = policy_class(name).load(policy.save())
    asked = shop_log()[0].rows(np.arange(len(shop_log()[0])) < 500)
    np.testing.assert_array_equal(policy.gains(asked), again.gains(asked))


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_is_the_same_policy(name, monkeypatch):
    monkeypatch.setattr(dqn, "SYNCS", 2)  # it need not have learned all it can
    log = shop_log()[0].rows(shop_log()[0].users < 300)
    made = [policy_class(name)(seed=3, threads=1, discount=DISCOUNT).fit(log) for _ in range(2)]
    np.testing.assert_array_equal(*(policy.gains(log) for policy in made))


@pytest.mark.parametrize("name", POLICIES)
def test_nobody_is_asked(name):
    nobody = shop_log()[0].rows(np.zeros(len(shop_log()[0]), dtype=bool))
    assert fitted(name).gains(nobody).shape == (0, len(ACTIONS))


@pytest.mark.parametrize("name", POLICIES)
def test_missing_values_are_answered(name):
    log = shop_log()[0].rows(shop_log()[0].users < 400)
    blank = replace(log, matrix=np.full_like(log.matrix, np.nan))
    gains = fitted(name).gains(blank)
    assert not np.isnan(gains).any()


# ---- the future: a process whose optimum value iteration gives ----------------------------------


def test_the_process_is_worth_thinking_ahead_in():
    """What brings most at once is not the best: doing nothing anywhere is worse than the optimum."""
    best = SHOP.best(DISCOUNT).argmax(axis=1)
    np.testing.assert_array_equal(best, [0, 1, 0])
    assert (SHOP.reward.argmax(axis=1) == 0).all()
    worth = {name: SHOP.worth(np.array(action), DISCOUNT).mean()
             for name, action in {"best": best, "nothing": [0, 0, 0]}.items()}  # fmt: skip
    assert worth["best"] > 1.1 * worth["nothing"]


@pytest.mark.parametrize("name", ["q_table", "dqn"])
def test_who_looks_ahead_finds_the_better_policy(name):
    found = SHOP.worth(does(fitted(name), SHOP), DISCOUNT).mean()
    best = SHOP.worth(SHOP.best(DISCOUNT).argmax(axis=1), DISCOUNT).mean()
    assert found >= 0.99 * best


def test_the_table_holds_the_values_of_value_iteration():
    table = fitted("q_table").table()
    value = table["value"].to_numpy().reshape(3, 2)
    np.testing.assert_allclose(value, SHOP.best(DISCOUNT), rtol=0.05)
    assert table["count_decisions"].sum() == len(shop_log()[0])


def test_who_does_not_look_ahead_does_not_find_it():
    assert does(fitted("t_learner"), SHOP)[1] == 0


# ---- one step: uplift ----------------------------------------------------------------------------


def uplift_log(users: int = 20_000, propensity: float = 0.15, seed: int = 2):
    """(decisions, true effects): an action that pays only to users with a high first number."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(users, 3))
    effect = np.where(matrix[:, 0] > 0.5, 2.0, -0.5)
    action = (random.random(users) < propensity).astype(int)
    reward = 3 * matrix[:, 1] + action * effect + random.normal(size=users)
    moment = random.integers(10, size=users)
    log = decisions(np.zeros(users, int), action, reward, np.zeros(users, int), moment,
                    np.arange(users), propensity, states=1, moments=10, matrix=matrix)  # fmt: skip
    return log, effect


@pytest.mark.parametrize("name", ["t_learner", "x_learner"])
def test_uplift_is_told_apart(name):
    log, _ = uplift_log()
    other, effect = uplift_log(5_000, seed=9)
    said = policy_class(name)(seed=1, threads=1).fit(log).gains(other)[:, 1]
    assert np.corrcoef(said, effect)[0, 1] > 0.75
    assert said[effect > 0].mean() == pytest.approx(2, abs=0.4)
    assert said[effect < 0].mean() == pytest.approx(-0.5, abs=0.4)


def test_the_x_learner_is_the_better_one_where_few_were_acted_upon():
    log, _ = uplift_log(propensity=0.03)
    other, effect = uplift_log(5_000, seed=9)
    error = {
        name: np.square(policy_class(name)(1, 1).fit(log).gains(other)[:, 1] - effect).mean()
        for name in ("t_learner", "x_learner")
    }
    assert error["x_learner"] < error["t_learner"]


def test_everybody_gains_the_mean_effect_whoever_got_it():
    """Acted upon were mostly users who bring much anyway: weights undo that."""
    log, effect = uplift_log()
    random = np.random.default_rng(0)
    chance = 1 / (1 + np.exp(-log.matrix[:, 1]))
    action = (random.random(len(log)) < chance).astype(int)
    reward = 3 * log.matrix[:, 1] + action * effect
    asked = replace(log, action=action, reward=reward,
                    propensity=np.stack([1 - chance, chance], axis=1))  # fmt: skip
    found = policy_class("everybody")().fit(asked).gains(asked)[0, 1]
    assert found == pytest.approx(effect.mean(), abs=0.2)
    assert reward[action == 1].mean() - reward[action == 0].mean() > effect.mean() + 1
