"""How likely each action was when it was decided: as logged, else estimated from the state."""

from typing import Self

import numpy as np

from behavsql.acting.decisions import Decisions

BINS = 8  # of each number that is known of a user
MOST_ROWS = 200_000  # it is fitted on
STRENGTH = 0.3  # of the penalty, inverse
SURELY = 4.0  # standard errors


class Propensities:
    """Multinomial logistic regression on binned states and on what share each moment acted upon.

    How many are acted upon at a moment is decided before whom, so the moment's own shares are
    known. Odds are then scaled, one factor an action, to what valid users saw.
    """

    def fit(self, train: Decisions, valid: Decisions) -> Self:
        """Learn from train, and the factors from valid."""
        from sklearn.linear_model import LogisticRegression

        self._edges = [_edges(column) for column in train.matrix.T]
        some = np.random.default_rng(0).permutation(len(train))[:MOST_ROWS]
        rows = np.zeros(len(train), dtype=bool)
        rows[some] = True
        few = train.rows(rows)
        self._model = LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-4)
        self._model.fit(self._inputs(few), few.action)
        self._factors = np.ones(len(train.actions))
        expected = self._raw(valid).sum(axis=0)
        seen = np.bincount(valid.action, minlength=len(train.actions))
        self._factors = (seen + 1) / (expected + 1)
        return self

    def predict(self, decisions: Decisions) -> tuple[np.ndarray, np.ndarray]:
        """((n, k) how likely each action was, (n,) whether that is estimated)."""
        odds = self._raw(decisions) * self._factors
        found = odds / odds.sum(axis=1, keepdims=True)
        return _as_logged(decisions, found)

    def _raw(self, decisions: Decisions) -> np.ndarray:
        found = np.zeros((len(decisions), len(decisions.actions)))
        found[:, self._model.classes_] = self._model.predict_proba(self._inputs(decisions))
        return found

    def _inputs(self, decisions: Decisions) -> np.ndarray:
        """(n, b) one column for each bin of each number, and the moment's log odds of each action."""
        parts = []
        for column, edges in zip(decisions.matrix.T, self._edges, strict=True):
            bins = np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column))
            parts.append(np.eye(len(edges) + 2, dtype=np.float32)[bins])
        shares = moment_shares(decisions)
        odds = np.log(shares[:, 1:] / shares[:, :1])
        return np.concatenate([*parts, odds.astype(np.float32)], axis=1)


def reached_share(decisions: Decisions) -> float | None:
    """How many got an action, of as many as the log says should have; None where it does not say.

    1 unless they are surely fewer (four standard errors): then some could not be reached.
    """
    if decisions.is_estimated.any():
        return None
    chance = decisions.propensity[:, 1:].sum(axis=1)
    short = chance.sum() - np.count_nonzero(decisions.action)
    if short <= SURELY * np.sqrt((chance * (1 - chance)).sum()):
        return 1.0
    return float(1 - short / chance.sum())


def moment_shares(decisions: Decisions) -> np.ndarray:
    """(n, k) which share of a decision's moment got each action, smoothed."""
    k = len(decisions.actions)
    counts = np.bincount(decisions.moment * k + decisions.action, minlength=0)
    counts = np.pad(counts, (0, -len(counts) % k)).reshape(-1, k) + 1 / k
    shares = counts / counts.sum(axis=1, keepdims=True)
    return shares[decisions.moment]


def _edges(column: np.ndarray) -> np.ndarray:
    known = column[~np.isnan(column)]
    if not len(known):
        return np.empty(0)
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))


def _as_logged(decisions: Decisions, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, with what the log says in its place.

    Where all of a moment's actions of one kind were logged with one probability, it was
    everybody's, and doing nothing has what is left. Else a log speaks of its own decision alone.
    """
    found, is_estimated = found.copy(), np.isnan(decisions.logged)
    rows = np.arange(len(decisions))
    for moment in np.unique(decisions.moment):
        here = decisions.moment == moment
        told = _told_for_all(decisions, here)
        if told is not None:
            found[here], is_estimated[here] = told, False
    own = ~np.isnan(decisions.logged)
    found[rows[own], decisions.action[own]] = decisions.logged[own]
    return found, is_estimated


def _told_for_all(decisions: Decisions, here: np.ndarray) -> np.ndarray | None:
    """(k,) the probabilities of a moment's actions, if its log gives one for each."""
    told = np.zeros(len(decisions.actions))
    for action in np.unique(decisions.action[here]):
        logged = decisions.logged[here & (decisions.action == action)]
        if action == 0:
            continue
        if np.isnan(logged).any() or np.ptp(logged) > 1e-9:
            return None
        told[action] = logged[0]
    told[0] = 1 - told.sum()
    return told if 0 < told[0] < 1 else None
