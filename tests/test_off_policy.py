"""Estimates of what another policy would have brought, against closed forms and many simulated logs."""

import numpy as np
import pytest

from behavsql import off_policy
from behavsql.errors import ModelError
from behavsql.off_policy import Log, effective_sample_size, estimate

# Two arms in two contexts: what they truly bring, how often the log took them, what is judged.
TRUTH = np.array([[0.2, 0.8], [0.6, 0.3]])  # (context, arm)
LOGGING = np.array([[0.8, 0.2], [0.4, 0.6]])
TARGET = np.array([[0.1, 0.9], [0.9, 0.1]])
VALUE = float((TARGET * TRUTH).sum(axis=1).mean())  # contexts are equally likely
WRONG_MODEL = np.array([[0.5, 0.1], [0.0, 0.9]])
WRONG_LOGGING = np.array([[0.5, 0.5], [0.7, 0.3]])


def simulated(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(contexts, arms, rewards of 0 and 1) of one log."""
    random = np.random.default_rng(seed)
    context = random.integers(2, size=n)
    arm = (random.random(n) < LOGGING[context, 1]).astype(int)
    return context, arm, (random.random(n) < TRUTH[context, arm]).astype(float)


def judged(seed: int, logging=LOGGING, model=TRUTH, n: int = 300):
    context, arm, reward = simulated(seed, n)
    log = Log(arm, reward, logging[context, arm], np.arange(n))
    return estimate(log, TARGET[context], model[context])


def test_a_log_of_four_decisions_by_hand():
    log = Log(
        action=np.array([0, 1, 1, 0]), reward=np.array([1.0, 2.0, 0.0, 4.0]),
        propensity=np.array([0.5, 0.25, 0.5, 1.0]), users=np.arange(4),
    )  # fmt: skip
    target = np.array([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0], [0.25, 0.75]])
    model = np.array([[1.0, 1.0], [0.0, 1.0], [2.0, 5.0], [2.0, 2.0]])
    # Weights 1, 4, 0, 0.25.
    found = estimate(log, target, model)
    assert found["ips"].value == (1 * 1 + 4 * 2 + 0 + 0.25 * 4) / 4
    assert found["self_normalised_ips"].value == pytest.approx(10 / 5.25)
    # Of the model 1, 1, 2, 2; mended by 0, 4 * (2 - 1), 0, 0.25 * (4 - 2).
    assert found["doubly_robust"].value == (1 + 5 + 2 + 2.5) / 4
    assert found["ips"].effective_sample_size == pytest.approx(5.25**2 / (1 + 16 + 0.0625))
    assert (found["ips"].count, found["ips"].largest_weight) == (4, 4.0)


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Fewer draws of users: what is tested does not hang on the last digit of an interval."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(off_policy, "REPLICATES", 200)
        yield


@pytest.fixture(scope="module")
def many(quick) -> dict[str, list]:
    """Estimates from 300 logs, with everything right, the model wrong, the propensities wrong."""
    ways = {"right": {}, "wrong model": {"model": WRONG_MODEL},
            "wrong propensities": {"logging": WRONG_LOGGING}}  # fmt: skip
    return {name: [judged(seed, **way) for seed in range(300)] for name, way in ways.items()}


def bias(found: list, estimator: str) -> float:
    """How far the mean lies from the truth, in its own standard errors."""
    values = np.array([one[estimator].value for one in found])
    return (values.mean() - VALUE) / (values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("way", "estimator"),
    [
        ("right", "ips"), ("right", "doubly_robust"),
        ("wrong model", "doubly_robust"), ("wrong propensities", "doubly_robust"),
    ],
)  # fmt: skip
def test_unbiased_where_it_should_be(many, way, estimator):
    assert abs(bias(many[way], estimator)) < 4


def test_biased_where_the_propensities_are_wrong_and_no_model_mends_it(many):
    assert abs(bias(many["wrong propensities"], "ips")) > 10
    both = [judged(seed, WRONG_LOGGING, WRONG_MODEL) for seed in range(100)]
    assert abs(bias(both, "doubly_robust")) > 10


def test_the_self_normalised_one_closes_in_on_the_truth():
    assert judged(1, n=200_000)["self_normalised_ips"].value == pytest.approx(VALUE, abs=0.01)


def test_a_good_model_narrows_the_interval(many):
    width = {
        name: np.mean([one[name].high - one[name].low for one in many["right"]])
        for name in ("ips", "doubly_robust")
    }
    assert width["doubly_robust"] < 0.7 * width["ips"]


@pytest.mark.parametrize("estimator", off_policy.ESTIMATORS)
@pytest.mark.parametrize("ends", [("low", "high"), ("normal_low", "normal_high")])
def test_intervals_hold_the_truth_as_often_as_they_say(many, estimator, ends):
    low, high = ([getattr(one[estimator], end) for one in many["right"]] for end in ends)
    covered = np.mean((np.array(low) <= VALUE) & (np.array(high) >= VALUE))
    assert 0.91 < covered < 0.985


def test_the_normal_interval_is_that_of_the_closed_form():
    """Of a bandit without contexts: Var(w r) = sum_a target^2 / logging * E[r^2] - value^2."""
    n, logging, target, truth = 400_000, np.array([0.7, 0.3]), np.array([0.2, 0.8]), 0.5
    random = np.random.default_rng(3)
    arm = (random.random(n) < logging[1]).astype(int)
    reward = (random.random(n) < truth).astype(float)
    log = Log(arm, reward, logging[arm], np.arange(n))
    found = estimate(log, np.tile(target, (n, 1)))["ips"]
    variance = (target**2 / logging).sum() * truth - truth**2
    width = 2 * off_policy.NORMAL_95 * np.sqrt(variance / n)
    assert found.normal_high - found.normal_low == pytest.approx(width, rel=0.01)


def test_decisions_about_one_user_count_as_one():
    context, arm, reward = simulated(5)
    twice = np.repeat(np.arange(300), 5)
    log = Log(arm[twice], reward[twice], LOGGING[context, arm][twice], twice)
    once = judged(5)["ips"]
    again = estimate(log, TARGET[context][twice])["ips"]
    assert again.value == pytest.approx(once.value)
    assert again.normal_high == pytest.approx(once.normal_high)
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.1)


def test_what_is_added_to_all_rewards_is_added_to_the_self_normalised_value():
    context, arm, reward = simulated(6)
    more = Log(arm, reward + 7, LOGGING[context, arm], np.arange(300))
    found = estimate(more, TARGET[context])
    assert found["self_normalised_ips"].value == pytest.approx(
        judged(6)["self_normalised_ips"].value + 7
    )


def test_the_logging_policy_is_worth_its_own_mean():
    context, arm, reward = simulated(7)
    log = Log(arm, reward, LOGGING[context, arm], np.arange(300))
    own = np.eye(2)[arm] * LOGGING[context]
    gain = off_policy.gain(log, own, np.zeros((300, 2)))
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_effective_sample_sizes():
    assert effective_sample_size(np.full(50, 3.0)) == 50
    assert effective_sample_size(np.array([0.0, 0.0, 9.0])) == 1
    assert effective_sample_size(np.array([1.0, 2.0])) == 9 / 5
    assert effective_sample_size(np.zeros(3)) == 0


def test_small_propensities_are_clipped_and_counted():
    log = Log(np.zeros(4, int), np.ones(4), np.array([0.001, 0.01, 0.5, 1.0]), np.arange(4))
    found = estimate(log, np.ones((4, 1)), clip=0.1)["ips"]
    assert (found.count_clipped, found.largest_weight) == (2, 10.0)
    assert found.value == (10 + 10 + 2 + 1) / 4


def test_nothing_to_tell_from():
    empty = Log(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0, int))
    found = estimate(empty, np.zeros((0, 2)), np.zeros((0, 2)))
    assert all(np.isnan(one.value) and np.isnan(one.low) for one in found.values())
    never = Log(np.zeros(3, int), np.ones(3), np.ones(3), np.arange(3))
    found = estimate(never, np.tile([0.0, 1.0], (3, 1)))
    assert found["ips"].value == 0
    assert np.isnan(found["self_normalised_ips"].value)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ModelError, match="1 of 2 propensities"):
        Log(np.zeros(2, int), np.zeros(2), np.array([0.5, wrong]), np.arange(2))


def test_columns_of_several_lengths_are_refused():
    with pytest.raises(ModelError, match="one length for all"):
        Log(np.zeros(2, int), np.zeros(3), np.ones(2), np.arange(2))


def test_the_same_seed_gives_the_same_interval():
    assert judged(8) == judged(8)


def test_a_bandits_clicks_told_from_random_logs():
    """As with the Open Bandit data: few clicks, many arms, a policy that prefers the good ones."""
    random = np.random.default_rng(11)
    arms, n = 20, 10_000
    rate = random.beta(1.5, 300, arms)
    policy = rate**1.5 / (rate**1.5).sum()
    arm = random.integers(arms, size=n)
    click = (random.random(n) < rate[arm]).astype(float)
    log = Log(arm, click, np.full(n, 1 / arms), np.arange(n))
    truth = float(policy @ rate)
    for one in estimate(log, np.tile(policy, (n, 1))).values():
        assert one.includes(truth)
        assert one.high - one.low > 0.2 * truth  # some forty clicks do not tell more
