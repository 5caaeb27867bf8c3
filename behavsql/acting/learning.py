"""Policies fitted on train, calibrated and chosen on valid, judged on test."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from behavsql import off_policy
from behavsql.acting import choosing
from behavsql.acting.balance import Balance
from behavsql.acting.choosing import Calibration
from behavsql.acting.decisions import Decisions, Logged
from behavsql.acting.propensities import reached_share, shifted, with_propensities
from behavsql.action_settings import Actions
from behavsql.off_policy import Estimate, Log
from behavsql.policies import OUTCOME, policy_class
from behavsql.policies.base import Policy

LEAST_ACTED = {"train": 100, "valid": 30, "test": 30}  # decisions to act
MOST_UNSUPPORTED = 0.05  # of what a policy would do, of which the log knows next to nothing
LEAST_SAMPLE = 50  # effective decisions that a recommendation may hang on
DECIDING = "doubly_robust"  # the estimator that the verdict is by
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
    know nothing of the decisions they help to judge. Test judges the one policy that valid chose: of
    several that were judged on it, the best would look better than it is.
    """

    def __init__(
        self, logged: Logged, actions: Actions, names: tuple[str, ...], seed: int, threads: int
    ) -> None:
        self.actions, self.seed, self.threads = actions, seed, threads
        self.clip = actions.least_propensity
        self.logged = with_propensities(logged)
        self.train = self.logged.of("train")
        self.test = self.logged.of("test")
        self.reached = reached_share(self.logged.of("train", "valid"))
        self.balance = Balance.of(self.test, self.clip)
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
        effects, shifts = self.effects(fit)
        calibration = Calibration.of(fit, policy.gains(fit), effects, shifts)
        judged = Judged(policy, calibration, float("nan"))
        picked = off_policy.value(
            pick.log, self.target(judged, pick), self.outcome.values(pick), self.clip
        )
        return replace(judged, picked=picked)

    def effects(self, asked: Decisions) -> tuple[np.ndarray, list[np.ndarray]]:
        """((n, k) see choosing.effects, how far the means (k,) lie elsewhere by what is unsure)."""
        expected = self.outcome.values(asked)
        found = choosing.effects(asked, expected, self.clip)
        mean = found.mean(axis=0)
        return found, [
            choosing.effects(one, expected, self.clip).mean(axis=0) - mean for one in shifted(asked)
        ]

    def target(self, one: Judged, asked: Decisions) -> np.ndarray:
        """(n, k) how likely the policy does each action, by the rules."""
        scores = one.scores(asked)
        if one.policy.name == "everybody":
            return choosing.drawn(asked, scores, self.actions.budget)
        action = choosing.chosen(asked, scores, self.actions.budget)
        return choosing.as_probabilities(action, len(asked.actions))

    def policies(self) -> pl.DataFrame:
        """Every policy on test by every estimator, with the verdict on the one that was chosen."""
        expected, others = self.outcome.values(self.test), [one.log for one in shifted(self.test)]
        return pl.DataFrame(
            [row for one in self.judged for row in self._rows(one, expected, others)]
        )

    def _rows(
        self, one: Judged, expected: np.ndarray, others: list[Log]
    ) -> list[dict[str, object]]:
        test, target = self.test, self.target(one, self.test)
        asked = (test.log, target, expected, self.clip, self.seed, others)
        gain, logging = off_policy.gain(*asked), float(test.reward.mean())
        about = {
            "policy": one.policy.name, "split": "test", "logging_value": logging,
            "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high,
            "acted_share": float(1 - target[:, 0].mean()), "is_champion": one is self.champion,
            "unsupported_share": float((target * (test.propensity < self.clip)).sum(axis=1).mean()),
        }  # fmt: skip
        doubt, rows = self.balance.worst() or unsupported(about["unsupported_share"], self.clip), []
        for name, told in off_policy.estimate(*asked).items():
            is_deciding = name == DECIDING
            is_better, reason = verdict(told, gain, logging, doubt)
            if one is not self.champion:
                reason = f"valid chose {self.champion.policy.name}; {reason}"
            rows.append(about | {
                "estimator": name, "is_deciding": is_deciding, "value": told.value, "low": told.low,
                "high": told.high, "normal_low": told.normal_low, "normal_high": told.normal_high,
                "effective_sample_size": told.effective_sample_size,
                "count_decisions": told.count, "count_clipped": told.count_clipped,
                "largest_weight": told.largest_weight, "reason": reason,
                "is_recommended": is_better and is_deciding and one is self.champion,
            })  # fmt: skip
        return rows

    def action_effects(self) -> pl.DataFrame:
        """The mean effect on test of each action on who could have got it."""
        test, rows = self.test, []
        effects, shifts = self.effects(test)
        for place, action in enumerate(test.actions[1:], 1):
            effect, low, high = off_policy.mean_effect(
                effects[:, place], test.users, self.seed, [shift[place] for shift in shifts]
            )
            rows.append({
                "action": action, "effect": effect, "low": low, "high": high,
                "count_acted": int((test.action == place).sum()),
                "count_left_alone": int((test.action == 0).sum()),
                "mean_propensity": float(test.propensity[:, place].mean()),
                "is_propensity_estimated": bool(test.is_estimated.any()),
                "reached_share": self.reached,
                "count_clipped": int((test.propensity[:, place] < self.clip).sum()),
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


def unsupported(share: float, clip: float) -> str:
    """That a policy would mostly do what was not tried, in words; empty where it was."""
    if share <= MOST_UNSUPPORTED:
        return ""
    return (
        f"{share:.0%} of what it would do was hardly ever done in such a case (propensity below "
        f"{clip:g}); allowed is {MOST_UNSUPPORTED:.0%}"
    )


def verdict(told: Estimate, gain: Estimate, logging: float, doubt: str) -> tuple[bool, str]:
    """Whether a policy surely brings more than what was done, and why in words.

    doubt: why the log cannot tell; empty where it can.
    """
    value = f"its value {told.value:.4g} [{told.low:.4g}, {told.high:.4g}]"
    if not np.isfinite([told.low, told.high]).all():
        return False, f"{value} is not defined on these decisions"
    if told.low <= logging:
        side = "includes" if told.includes(logging) else "lies below"
        return False, f"{value} {side} what was done, {logging:.4g}"
    if gain.low <= 0:
        return False, f"its gain {gain.value:.4g} [{gain.low:.4g}, {gain.high:.4g}] includes none"
    if told.effective_sample_size < LEAST_SAMPLE:
        return False, (
            f"{value} hangs on {told.effective_sample_size:.0f} effective decisions; allowed is "
            f"{LEAST_SAMPLE} or more"
        )
    if doubt:
        return False, doubt
    return True, f"{value} lies above what was done, {logging:.4g}"


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
    lacking = np.count_nonzero(~np.isfinite(logged.decisions.reward[logged.split != "latest"]))
    if lacking:
        return (
            f"{lacking} decisions have no reward in actions.rewards; allowed is a number for each"
        )
    for split, least in LEAST_ACTED.items():
        decisions = logged.of(split)
        acted = np.bincount(decisions.action, minlength=len(decisions.actions))
        for action, count in zip(decisions.actions[1:], acted[1:], strict=True):
            if count < least:
                return f"{count} decisions for {action} in {split}; allowed is {least} or more"
        if acted[0] < least:
            return f"{acted[0]} users left alone in {split}; allowed is {least} or more"
    return None
