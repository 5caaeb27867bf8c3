"""Policies fitted on train, calibrated and chosen on valid, judged on test."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from behavsql import off_policy
from behavsql.acting import choosing
from behavsql.acting.choosing import Calibration
from behavsql.acting.decisions import Decisions, Logged
from behavsql.acting.propensities import Propensities, reached_share
from behavsql.action_settings import Actions
from behavsql.off_policy import Estimate
from behavsql.policies import OUTCOME, policy_class
from behavsql.policies.base import Policy

LEAST_ACTED = {"train": 100, "valid": 30, "test": 30}  # decisions to act
LEAST_MOMENTS = 5  # three to learn from, one to choose on, one to judge by


@dataclass(frozen=True)
class Judged:
    """A policy, what its words mean, and its value on the half of valid that picks."""

    policy: Policy
    calibration: Calibration
    picked: float

    def scores(self, asked: Decisions) -> np.ndarray:
        """(n, k) what decides: the calibrated gain; of a policy that looks ahead, its own word.

        What comes after the horizon cannot be calibrated by what came within it.
        """
        said = self.policy.gains(asked)
        if self.policy.looks_ahead or self.policy.name == "nobody":
            return said
        return self.calibration.gains(said)[0]


class Learner:
    """Learns from one log; its parts are what is stored of it.

    The rewards that doubly robust estimates start from are a T-learner's, fitted on train, so they
    know nothing of the decisions they help to judge. Where fewer got an action than the log says
    should have, some of those left alone were out of reach. What a model expects of them is wrong
    then, whatever it is; weights alone count them as bringing nothing when acted upon, and decide.
    """

    def __init__(
        self, logged: Logged, actions: Actions, names: tuple[str, ...], seed: int, threads: int
    ) -> None:
        self.actions, self.seed, self.threads = actions, seed, threads
        self.logged = with_propensities(logged)
        self.train = self.logged.of("train")
        self.test = self.logged.of("test")
        self.reached = reached_share(self.logged.of("train", "valid"))
        self.deciding = "doubly_robust" if self.reached in (None, 1.0) else "ips"
        self.outcome = self._fitted(OUTCOME)
        self.judged = [self._judge(name) for name in names]
        # On a tie the first: references come before what is learned.
        self.champion = max(self.judged, key=lambda one: one.picked)

    def _fitted(self, name: str) -> Policy:
        policy = policy_class(name)(self.seed, self.threads, self.actions.discount)
        return policy.fit(self.train)

    def _judge(self, name: str) -> Judged:
        policy = self.outcome if name == OUTCOME else self._fitted(name)
        fit, pick = (self.logged.of("valid", is_fit_half=half) for half in (True, False))
        calibration = Calibration.of(fit, policy.gains(fit), self.effects(fit))
        judged = Judged(policy, calibration, float("nan"))
        return replace(judged, picked=self.estimates(judged, pick)[self.deciding].value)

    def _expected(self, asked: Decisions) -> np.ndarray | None:
        """(n, k) the rewards that what decides starts from; None: from none."""
        return None if self.deciding == "ips" else self.outcome.values(asked)

    def effects(self, asked: Decisions) -> np.ndarray:
        """(n, k) see choosing.effects."""
        return choosing.effects(asked, self._expected(asked), self.actions.least_propensity)

    def target(self, one: Judged, asked: Decisions) -> np.ndarray:
        """(n, k) how likely the policy does each action, by the rules."""
        k, budget, scores = len(asked.actions), self.actions.budget, one.scores(asked)
        if one.policy.name == "everybody" and budget < 1:
            # Whom the budget reaches is drawn, and may be anybody.
            anybody = choosing.as_probabilities(choosing.chosen(asked, scores, 1.0), k)
            return budget * anybody + (1 - budget) * np.eye(k)[np.zeros(len(asked), dtype=int)]
        return choosing.as_probabilities(choosing.chosen(asked, scores, budget), k)

    def estimates(self, one: Judged, asked: Decisions) -> dict[str, Estimate]:
        """Estimator -> the policy's value per decision."""
        return off_policy.estimate(
            asked.log, self.target(one, asked), self.outcome.values(asked),
            self.actions.least_propensity, self.seed,
        )  # fmt: skip

    def policies(self) -> pl.DataFrame:
        """Every policy on test by every estimator, with the verdict on each."""
        return pl.DataFrame([row for one in self.judged for row in self._rows(one)])

    def _rows(self, one: Judged) -> list[dict[str, object]]:
        test, target = self.test, self.target(one, self.test)
        gain = off_policy.gain(
            test.log, target, self._expected(test), self.actions.least_propensity, self.seed
        )
        logging = float(test.reward.mean())
        about = {
            "policy": one.policy.name, "split": "test", "logging_value": logging,
            "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high,
            "acted_share": float(1 - target[:, 0].mean()), "is_champion": one is self.champion,
        }  # fmt: skip
        rows = []
        for name, told in self.estimates(one, test).items():
            is_recommended, reason = verdict(told, logging)
            rows.append(about | {
                "estimator": name, "is_deciding": name == self.deciding, "value": told.value, "low": told.low, "high": told.high,
                "normal_low": told.normal_low, "normal_high": told.normal_high,
                "effective_sample_size": told.effective_sample_size,
                "count_decisions": told.count, "count_clipped": told.count_clipped,
                "largest_weight": told.largest_weight, "is_recommended": is_recommended,
                "reason": reason,
            })  # fmt: skip
        return rows

    def action_effects(self) -> pl.DataFrame:
        """The mean effect on test of each action on who could have got it."""
        test, effects = self.test, self.effects(self.test)
        clip, rows = self.actions.least_propensity, []
        for place, action in enumerate(test.actions[1:], 1):
            effect, low, high = off_policy.mean_effect(effects[:, place], test.users, self.seed)
            rows.append({
                "action": action, "effect": effect, "low": low, "high": high,
                "count_acted": int((test.action == place).sum()),
                "count_left_alone": int((test.action == 0).sum()),
                "mean_propensity": float(test.propensity[:, place].mean()),
                "is_propensity_estimated": bool(test.is_estimated.any()),
                "reached_share": self.reached,
                "count_clipped": int((test.propensity[:, place] < clip).sum()),
            })  # fmt: skip
        return pl.DataFrame(rows)

    def propensities(self) -> pl.DataFrame:
        """How likely what was done was, for every decision that is over."""
        over = self.logged.mask("train", "valid", "test")
        done = self.logged.decisions.rows(over)
        words = pl.Series(done.actions)[done.action.tolist()]
        return self.logged.keys.filter(pl.Series(over)).with_columns(
            words.alias("action"), pl.Series("propensity", done.log.propensity),
            pl.Series("is_estimated", done.is_estimated),
        )  # fmt: skip


def with_propensities(logged: Logged) -> Logged:
    """The same log, knowing how likely each action was."""
    model = Propensities().fit(logged.of("train"), logged.of("valid", is_fit_half=True))
    propensity, is_estimated = model.predict(logged.decisions)
    decisions = replace(logged.decisions, propensity=propensity, is_estimated=is_estimated)
    return replace(logged, decisions=decisions)


def verdict(told: Estimate, logging: float) -> tuple[bool, str]:
    """Whether a policy surely brings more than what was done, and why in words."""
    value = f"its value {told.value:.4g} [{told.low:.4g}, {told.high:.4g}]"
    if not np.isfinite([told.low, told.high]).all():
        return False, f"{value} is not defined on these decisions"
    if told.low > logging:
        return True, f"{value} lies above what was done, {logging:.4g}"
    side = "includes" if told.includes(logging) else "lies below"
    return False, f"{value} {side} what was done, {logging:.4g}"


def refusal(logged: Logged) -> str | None:
    """Why nothing can be learned from a log, with the numbers; None if it can."""
    moments = len(np.unique(logged.decisions.moment[logged.split != "latest"]))
    if moments < LEAST_MOMENTS:
        return (
            f"{moments} moments at which users were acted upon, each a horizon after the one "
            f"before; allowed is {LEAST_MOMENTS} or more"
        )
    if len(logged.decisions.actions) == 1:
        told = " and ".join(f"{n} decisions for {word}" for word, n in logged.left_out.items())
        return f"{told or 'no decision to act'} in train; allowed is {LEAST_ACTED['train']} or more"
    for split, least in LEAST_ACTED.items():
        decisions = logged.of(split)
        acted = np.bincount(decisions.action, minlength=len(decisions.actions))
        for action, count in zip(decisions.actions[1:], acted[1:], strict=True):
            if count < least:
                return f"{count} decisions for {action} in {split}; allowed is {least} or more"
        if acted[0] < least:
            return f"{acted[0]} users left alone in {split}; allowed is {least} or more"
    return None
