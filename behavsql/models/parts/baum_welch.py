"""Hidden Markov models over the symbols of events: filtering, and learning without labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from behavsql.models.parts.event_symbols import KNOWN, EventSymbols

RESTARTS = 5  # random beginnings, of which the best after a few passes goes on
SHORT_PASSES, SHORT_ROWS = 15, 1_000
MOST_PASSES = 100
SETTLED = 1e-5  # gain of log likelihood per symbol at which learning stops
PRIOR = 1.0  # symbols, like all of train's, that every state is taken to have shown before
# A step of the chain never has less: so 50 symbols in a row leave numbers that a double can hold.
LEAST_MOVE = 1e-4


class Observed(NamedTuple):
    """Sequences as codes, see EventSymbols: longest first, so that those with a step are the first."""

    codes: np.ndarray  # (n, t) of events, right-aligned, 0 = none
    silence: np.ndarray  # (n,)
    alive: np.ndarray  # (t,) how many rows have an event at each step

    @classmethod
    def of(cls, codes: np.ndarray, silence: np.ndarray) -> Self:
        order = np.argsort(-np.count_nonzero(codes, axis=1), kind="stable")
        codes = codes[order]
        alive = np.count_nonzero(codes, axis=0)
        used = alive > 0
        return cls(codes[:, used], silence[order], alive[used])

    def rows(self, most: int) -> Self:
        """About so many of them, evenly from longest to shortest."""
        those = np.unique(
            np.linspace(0, len(self.codes) - 1, min(most, len(self.codes))).astype(int)
        )
        return type(self).of(self.codes[those], self.silence[those])


@dataclass(frozen=True)
class HiddenStates:
    """K hidden states: where users start, how they move on, what they show in each.

    A sequence is its events and then its silence: one more step, that shows how long nothing has
    been. Events that open a sequence and those that follow another are two kinds of things to
    show; the `shows` of known roles sum to 1 over each kind, the `silences` over all.
    """

    start: np.ndarray  # (K,)
    moves: np.ndarray  # (K, K) from, to
    shows: np.ndarray  # (K, C) of events with code 1 to C
    silences: np.ndarray  # (K, S)

    def emissions(self) -> tuple[np.ndarray, np.ndarray]:
        """(C + 1, K), (S, K): by code, as shares of the largest, 1 where there is no event."""
        shows = np.vstack([np.ones(len(self.start)), self.shows.T])
        return tuple(part / part.max(axis=1, keepdims=True) for part in (shows, self.silences.T))

    def filtered(self, codes: np.ndarray, silence: np.ndarray) -> np.ndarray:
        """(n, K) P(state at the cutoff | events and silence), the same whatever rows stand beside.

        codes (n, t) right-aligned, 0 pads; silence (n,).
        Source: Rabiner 1989, equations 19 and 20, with symbols scaled to 1 at most.
        """
        shows, silences = self.emissions()
        belief = np.zeros((len(codes), len(self.start)))
        begun = np.zeros(len(codes), bool)
        for code in codes.T:
            known = code > 0
            moved = self._moved(belief, begun) * shows[code]
            belief = np.where(known[:, np.newaxis], moved, belief)
            begun |= known
        belief = self._moved(belief, begun) * silences[silence]
        return belief / _row_sums(belief)

    def _moved(self, belief: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """The states one step later; summed state by state, for products of matrices are not exact."""
        moved = np.zeros_like(belief)
        for state, row in enumerate(self.moves):
            moved += belief[:, state : state + 1] * row
        return np.where(begun[:, np.newaxis], moved, self.start)

    def ordered(self, order: np.ndarray) -> Self:
        """The same with its states in another order."""
        return type(self)(
            self.start[order], self.moves[np.ix_(order, order)], self.shows[order],
            self.silences[order],
        )  # fmt: skip


def learn(
    symbols: EventSymbols, observed: Observed, states: int, seed: int
) -> tuple[HiddenStates, float]:
    """The hidden states that explain the sequences best, and their log likelihood per symbol.

    Source: Rabiner 1989, equations 40 to 40c and 110 to 111 (Baum-Welch over many sequences), from
    the best of several random beginnings (Biernacki, Celeux and Govaert 2003, "em-EM").
    """
    random, prior = np.random.default_rng(seed), _Prior.of(symbols, observed)
    few = observed.rows(SHORT_ROWS)
    begun = [
        _climb(prior.random(states, random), few, prior, SHORT_PASSES) for _ in range(RESTARTS)
    ]
    best, _ = max(begun, key=lambda one: one[1])
    hidden, likelihood = _climb(best, observed, prior, MOST_PASSES)
    return _with_unknown(hidden, symbols), likelihood


def _with_unknown(hidden: HiddenStates, symbols: EventSymbols) -> HiddenStates:
    """An event whose role is not known says what its gap says: any known role may be behind it."""
    shape = len(hidden.start), len(symbols.roles) + 1, symbols.gap_classes
    shows = hidden.shows.reshape(shape).copy()
    shows[:, 0] = shows[:, 1:].sum(axis=1)
    return replace(hidden, shows=shows.reshape(hidden.shows.shape))


def _climb(
    hidden: HiddenStates, observed: Observed, prior: "_Prior", passes: int
) -> tuple[HiddenStates, float]:
    last = -np.inf
    for _ in range(passes):
        better, likelihood = _improved(hidden, observed, prior)
        if likelihood - last < SETTLED:
            break
        hidden, last = better, likelihood
    return hidden, last


@dataclass(frozen=True)
class _Prior:
    """What all of train shows, which keeps every state from calling anything impossible."""

    shows: np.ndarray  # (C,) sums to 1 over each kind
    silences: np.ndarray  # (S,)
    kinds: np.ndarray  # (C,) bool: the event follows another

    @classmethod
    def of(cls, symbols: EventSymbols, observed: Observed) -> Self:
        follows = symbols.of_gap() >= KNOWN
        codes = observed.codes[observed.codes > 0] - 1
        shows = np.bincount(codes, minlength=symbols.count) + 1e-3
        silences = np.bincount(observed.silence, minlength=symbols.silence_count) + 1e-3
        return cls(_by_kind(shows[np.newaxis], follows)[0], silences / silences.sum(), follows)

    def random(self, states: int, random: np.random.Generator) -> HiddenStates:
        """States that lean somewhere and tend to stay."""
        lean = lambda shares: shares * random.gamma(1.0, size=(states, len(shares)))  # noqa: E731
        return self.states(
            random.gamma(2.0, size=states), random.gamma(1.0, size=(states, states)) + np.eye(states),
            lean(self.shows), lean(self.silences), 1e-6,
        )  # fmt: skip

    def states(
        self, start: np.ndarray, moves: np.ndarray, shows: np.ndarray, silences: np.ndarray,
        weight: float = PRIOR,
    ) -> HiddenStates:  # fmt: skip
        """From how often each was seen."""
        silences = silences + weight * self.silences
        return HiddenStates(
            _floored(start + weight / len(start)),
            _floored(moves + weight / len(start)),
            _by_kind(shows + weight * self.shows, self.kinds),
            silences / silences.sum(axis=1, keepdims=True),
        )


def _by_kind(shows: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """(K, C) made to sum to 1 over the codes of each kind."""
    totals = np.stack([shows[:, kinds == kind].sum(axis=1) for kind in (False, True)], axis=1)
    return shows / totals[:, kinds.astype(int)]


def _floored(weights: np.ndarray) -> np.ndarray:
    """Shares along the last axis, none below LEAST_MOVE."""
    shares = weights / weights.sum(axis=-1, keepdims=True)
    return LEAST_MOVE + (1 - LEAST_MOVE * shares.shape[-1]) * shares


def _row_sums(values: np.ndarray) -> np.ndarray:
    """(n, 1) summed column by column, so that a row's sum does not depend on the others."""
    total = values[:, 0].copy()
    for column in values.T[1:]:
        total += column
    return total[:, np.newaxis]


def _improved(
    hidden: HiddenStates, observed: Observed, prior: _Prior
) -> tuple[HiddenStates, float]:
    """One pass of Baum-Welch: better states, and the log likelihood per symbol of those given."""
    steps = list(_forward(hidden, observed))
    likelihood = sum(float(np.log(step.total).sum()) for step in steps)
    start, moves = np.zeros_like(hidden.start), np.zeros_like(hidden.moves)
    later = np.ones_like(steps[-1].belief)
    occupied = []
    for step, before in zip(steps[::-1], [*steps[-2::-1], None], strict=True):
        state = step.belief * later  # (m, K) P(state at this step | the whole sequence)
        occupied.append(state)
        count = 0 if before is None else len(before.belief)
        start += state[count:].sum(axis=0)
        if before is not None:
            ahead = (step.shown * later / step.total)[:count]
            moves += before.belief.T @ ahead
            later = ahead @ hidden.moves.T
    last, *events = occupied
    silences = _counted(observed.silence, last, prior.silences.size)
    codes = [observed.codes[: len(part), t] for t, part in enumerate(events[::-1])]
    shows = _counted(
        np.concatenate([*codes, []]).astype(np.int64) - 1,
        np.concatenate([*events[::-1], last[:0]]), prior.shows.size,
    )  # fmt: skip
    symbols = sum(len(part) for part in occupied)
    return prior.states(start, hidden.moves * moves, shows, silences), likelihood / symbols


class _Step(NamedTuple):
    belief: np.ndarray  # (m, K) P(state | what was shown up to here)
    shown: np.ndarray  # (m, K) P(what is shown here | state)
    total: np.ndarray  # (m, 1) P(what is shown here | what was before)


def _forward(hidden: HiddenStates, observed: Observed) -> Iterator[_Step]:
    """The steps of the m rows that have begun; the last one is the silence of all."""
    shown = [hidden.shows.T[observed.codes[:m, t] - 1] for t, m in enumerate(observed.alive)]
    belief = np.empty((0, len(hidden.start)))
    for here in [*shown, hidden.silences.T[observed.silence]]:
        prior = np.broadcast_to(hidden.start, here.shape).copy()
        prior[: len(belief)] = belief @ hidden.moves
        joint = prior * here
        total = joint.sum(axis=1, keepdims=True)
        belief = joint / total
        yield _Step(belief, here, total)


def _counted(codes: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """(K, count) the weights (n, K) summed by code."""
    return np.stack([np.bincount(codes, column, count) for column in weights.T])
