"""How likely each action was when it was decided, and how likely it would have reached the user.

A propensity is about who could be reached: who has left for good gets nothing, whatever is drawn.
Nothing in their state tells them from who is merely away, so they fill up those left alone, who
then seem to bring little, and every action looks good. What was done is not enough to see that,
but what came later is: of whom anything is known after the horizon was there. So of the share that
each state saw acted upon, P(action | state) = reach * propensity, the propensity is learned from
those who were seen later, or taken from the log, and the reach is what is left.

That is right if acting does not change who is seen later; where it brings users back for longer,
actions are worth more than it says. It is only done where the two surely differ.
"""

from dataclasses import replace

import numpy as np

from behavsql.acting.decisions import Decisions, Logged
from behavsql.acting.propensity_model import PropensityModel, anchored, moment_shares

SURELY_LOGGED = 4.0  # standard errors
SURELY_ESTIMATED = 2.0
LEAST_TOLD = 10  # logged actions of one probability, to take it for everybody's
LEAST_SEEN = 100  # decisions to act of users who were seen later, to learn from
LEAST_REACH = 0.05
LEAST_SHARE = 1e-3  # of an action that no log of a moment tells of
MOST_ACTED = 0.99


def with_propensities(logged: Logged) -> Logged:
    """The same log, with how likely each action was and would have reached the user."""
    done = logged.decisions
    train, known = logged.mask("train"), logged.mask("train", "valid")
    told, is_told = _told(done)
    reach, propensity = np.ones(len(done)), told.copy()
    counts = np.zeros(len(done.actions))  # of what estimates were made from
    if not is_told.all():
        shares = moment_shares(done.moment, done.action, len(done.actions))
        raw = _predicted(done, shares, train)
        acted_share = anchored(raw, done.moment, shares)  # in each state, whoever was there
        reach, counts = _estimated_reach(done, shares, raw, acted_share, train, known)
        propensity = np.where(is_told[:, None], told, _of_reachable(acted_share, reach))
    if is_told.any():
        logged_reach, count = _logged_reach(done, told, train & is_told, known & is_told)
        reach = np.where(is_told, logged_reach, reach)
        counts = np.maximum(counts, count)
    own = ~np.isnan(done.logged)
    propensity[own, done.action[own]] = done.logged[own]
    unsure = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
    decisions = replace(
        done, propensity=propensity, is_estimated=~own & ~is_told, unsure=(0.0, *unsure[1:].tolist()),
        reach=np.column_stack([np.ones(len(done)), np.tile(reach[:, None], len(done.actions) - 1)]),
    )  # fmt: skip
    return replace(logged, decisions=decisions)


def reached_share(decisions: Decisions) -> float:
    """How many got an action, of as many as were meant to; 1 unless they are surely fewer."""
    meant = decisions.propensity[:, 1:].sum()
    if (decisions.reach[:, 1:] >= 1).all() or not meant:
        return 1.0
    return float(min(1.0, np.count_nonzero(decisions.action) / meant))


def shifted(decisions: Decisions) -> list[Decisions]:
    """The same decisions with what is estimated of each action a standard error off."""
    found = []
    for action in np.flatnonzero(decisions.unsure):
        by = np.exp(decisions.unsure[action])
        propensity, reach = decisions.propensity.copy(), decisions.reach.copy()
        rows = decisions.is_estimated
        propensity[rows, action] = np.minimum(propensity[rows, action] * by, MOST_ACTED)
        propensity[rows, 0] = np.maximum(1 - propensity[rows, 1:].sum(axis=1), 1 - MOST_ACTED)
        reach[reach[:, action] < 1, action] /= by
        found.append(replace(decisions, propensity=propensity, reach=reach))
    return found


def _predicted(done: Decisions, shares: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, k) for all, learned from some rows."""
    model = PropensityModel().fit(done.matrix[rows], shares[rows], done.action[rows])
    return model.predict(done.matrix, shares)


def _estimated_reach(
    done: Decisions, shares: np.ndarray, raw: np.ndarray, acted_share: np.ndarray,
    train: np.ndarray, known: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """((n,) how likely users could be reached, (k,) how often each action was done where that was told).

    Told from who was seen later; 1 where those were not surely acted upon more than their like.
    """
    later, was_acted = done.is_seen_later, done.action > 0
    everybody = np.ones(len(done)), np.bincount(done.action[known], minlength=len(done.actions))
    if (later & train & was_acted).sum() < LEAST_SEEN or not (later & train & ~was_acted).any():
        return everybody
    rows = later & known
    chance = acted_share[rows, 1:].sum(axis=1)
    more = was_acted[rows].sum() - chance.sum()
    if more <= SURELY_ESTIMATED * np.sqrt((chance * (1 - chance)).sum()):
        return everybody
    of_later = _predicted(done, shares, later & train)
    reach = raw[:, 1:].sum(axis=1) / np.maximum(of_later[:, 1:].sum(axis=1), 1e-12)
    # Scaled to as many as were acted upon of those seen later, the last ones of train included.
    reach *= (chance / reach[rows]).sum() / was_acted[rows].sum()
    counts = np.bincount(done.action[rows], minlength=len(done.actions))
    return np.clip(reach, LEAST_REACH, 1.0), counts


def _logged_reach(
    done: Decisions, told: np.ndarray, train: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same by the log: 1 unless surely fewer were acted upon than it says."""
    k, was_acted = len(done.actions), done.action > 0
    everybody = np.ones(len(done)), np.zeros(k)
    chance = told[:, 1:].sum(axis=1)
    short = chance[known].sum() - was_acted[known].sum()
    is_sure = short > SURELY_LOGGED * np.sqrt((chance * (1 - chance))[known].sum())
    if not is_sure or was_acted[train].sum() < LEAST_SEEN or was_acted[train].all():
        return everybody
    acted = _predicted(done, np.maximum(told, LEAST_SHARE), train)[:, 1:].sum(axis=1)
    reach = acted / np.maximum(chance, 1e-12)
    reach *= was_acted[known].sum() / acted[known].sum()
    counts = np.bincount(done.action[known], minlength=k)
    return np.clip(reach, LEAST_REACH, 1.0), counts


def _of_reachable(acted_share: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """(n, k) the propensities of who can be reached."""
    found = acted_share.copy()
    acted = acted_share[:, 1:].sum(axis=1)
    meant = np.minimum(acted / reach, np.maximum(acted, MOST_ACTED))
    found[:, 1:] *= (meant / np.maximum(acted, 1e-12))[:, None]
    found[:, 0] = 1 - meant
    return found


def _told(done: Decisions) -> tuple[np.ndarray, np.ndarray]:
    """((n, k) the propensities of moments whose log tells them for all, (n,) where that is).

    Where all of a moment's actions of one kind were logged with one probability, it was
    everybody's, and doing nothing has what is left. Else a log speaks of its own decision alone.
    """
    found, is_told = np.zeros((len(done), len(done.actions))), np.zeros(len(done), dtype=bool)
    for moment in np.unique(done.moment):
        here = done.moment == moment
        told = _told_for_all(done, here)
        if told is not None:
            found[here], is_told[here] = told, True
    return found, is_told


def _told_for_all(decisions: Decisions, here: np.ndarray) -> np.ndarray | None:
    """(k,) the probabilities of a moment's actions, if its log gives one for each."""
    told = np.zeros(len(decisions.actions))
    for action in np.unique(decisions.action[here]):
        logged = decisions.logged[here & (decisions.action == action)]
        if action == 0:
            continue
        if len(logged) < LEAST_TOLD or np.isnan(logged).any() or np.ptp(logged) > 1e-9:
            return None
        told[action] = logged[0]
    told[0] = 1 - told.sum()
    return told if 0 < told[0] < 1 else None
