"""Logged decisions whose truth is known: a decision process that policies are learned from."""

from dataclasses import dataclass

import numpy as np

from behavsql.acting.decisions import GONE, Decisions

ACTIONS = ("none", "mail")


@dataclass(frozen=True)
class Process:
    """A Markov decision process of s states and k actions; some users leave at each step."""

    reward: np.ndarray  # (s, k) mean reward
    moves: np.ndarray  # (s, k, s) where a user is next, adding up to below 1: the rest is gone
    noise: float = 1.0

    def best(self, discount: float) -> np.ndarray:
        """(s, k) the value of each action if the best follows, by value iteration."""
        value = np.zeros(self.reward.shape)
        for _ in range(2_000):
            value = self.reward + discount * self.moves @ value.max(axis=1)
        return value

    def worth(self, action: np.ndarray, discount: float) -> np.ndarray:
        """(s,) the true value of doing `action` (s,) in each state for ever."""
        rows = np.arange(len(action))
        moves, reward = self.moves[rows, action], self.reward[rows, action]
        return np.linalg.solve(np.eye(len(action)) - discount * moves, reward)

    def log(
        self, users: int, moments: int, propensity: float = 0.5, seed: int = 1
    ) -> tuple[Decisions, np.ndarray]:
        """(decisions, the state of each) of users who are acted upon at random."""
        random = np.random.default_rng(seed)
        s = len(self.reward)
        rows = {name: [] for name in ("state", "action", "reward", "after", "moment", "user")}
        state = random.integers(s, size=users)
        for moment in range(moments):
            here = np.flatnonzero(state != GONE)
            action = (random.random(len(here)) < propensity).astype(int)
            now = state[here]
            reward = self.reward[now, action] + self.noise * random.normal(size=len(here))
            chance = np.cumsum(self.moves[now, action], axis=1)
            after = (random.random((len(here), 1)) > chance).sum(axis=1)
            state[here] = np.where(after == s, GONE, after)
            told = (now, action, reward, state[here], np.full(len(here), moment), here)
            for name, values in zip(rows, told, strict=True):
                rows[name].append(values)
        found = {name: np.concatenate(values) for name, values in rows.items()}
        return decisions(propensity=propensity, states=s, moments=moments, **found), found["state"]


def decisions(
    state: np.ndarray, action: np.ndarray, reward: np.ndarray, after: np.ndarray,
    moment: np.ndarray, user: np.ndarray, propensity: float, states: int, moments: int,
    matrix: np.ndarray | None = None,
) -> Decisions:  # fmt: skip
    """The log as the package loads it; the matrix says the state, unless another is given."""
    codes = np.eye(states + 1)[:, :states]  # GONE is the last row: nothing is known
    chances = np.tile([1 - propensity, propensity], (len(action), 1))
    matrix = codes[state] if matrix is None else matrix
    return Decisions(
        columns=tuple(f"x{i}" for i in range(matrix.shape[1])), actions=ACTIONS,
        states=tuple(f"state {i}" for i in range(states)), matrix=matrix, state=state,
        action=action, reward=reward, next_matrix=codes[after] if matrix.shape[1] == states else matrix,
        next_state=after, is_next_known=moment < moments - 1, moment=moment,
        users=user.astype(np.uint64), logged=chances[np.arange(len(action)), action],
        is_capped=np.zeros(len(action), dtype=bool), is_seen_later=np.ones(len(action), dtype=bool),
        propensity=chances, reach=np.ones(chances.shape), unsure=(0.0, 0.0),
        is_estimated=np.zeros(len(action), dtype=bool),
    )  # fmt: skip


# A mail costs something at once. To who is warm (1) it pays later, by keeping them warm; to who
# is cold (0) it does nothing, and who is hot (2) is driven away by it.
SHOP = Process(
    reward=np.array([[0.0, -0.2], [1.0, 0.7], [2.0, 1.9]]),
    moves=np.array([
        [[0.85, 0.05, 0.0], [0.85, 0.05, 0.0]],
        [[0.5, 0.35, 0.1], [0.1, 0.45, 0.4]],
        [[0.05, 0.25, 0.65], [0.3, 0.2, 0.3]],
    ]),
)  # fmt: skip
# The same where mails do nothing at all.
DEAF = Process(reward=SHOP.reward[:, [0, 0]], moves=SHOP.moves[:, [0, 0]])
