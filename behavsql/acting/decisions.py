"""What was decided about whom, in which state, and what it brought: the log policies learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import duckdb
import numpy as np
import polars as pl

from behavsql.action_settings import NONE
from behavsql.compile.form import NUMBERS
from behavsql.off_policy import Log
from behavsql.quoting import identifier

KEYS = ("user_id", "cutoff_at", "state")
GONE = -1  # the state after of who is not active any more


@dataclass(frozen=True)
class Decisions:
    """n decisions between k actions, of which the first is to do nothing.

    Rewards are worth what the config says a unit is worth, less the cost of what was done.
    """

    columns: tuple[str, ...]  # (f,) what is known of a user: the numbers of actions.states
    actions: tuple[str, ...]  # (k,) "none", then the others
    states: tuple[str, ...]  # (s,) the few states in words
    matrix: np.ndarray  # (n, f) float64, NaN = missing
    state: np.ndarray  # (n,) int
    action: np.ndarray  # (n,) int
    reward: np.ndarray  # (n,) float64
    next_matrix: np.ndarray  # (n, f): at the next decision
    next_state: np.ndarray  # (n,) int; GONE
    is_next_known: np.ndarray  # (n,) bool: whether the next moment has come
    moment: np.ndarray  # (n,) int: numbers of the moments, in the order of time
    users: np.ndarray  # (n,) uint64 code of the user
    logged: np.ndarray  # (n,) float64: the propensity in the log, NaN = none
    is_capped: np.ndarray  # (n,) bool: has got as many actions as they may
    is_seen_later: np.ndarray  # (n,) bool: whether anything is known of them after the horizon
    propensity: np.ndarray | None = None  # (n, k) how likely each action was
    reach: np.ndarray | None = None  # (n, k) how likely each would have reached the user
    is_estimated: np.ndarray | None = None  # (n,) bool: whether no log said so
    unsure: tuple[float, ...] = ()  # (k,) standard error of the log of each estimated propensity

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, mask: np.ndarray) -> Self:
        """Only the decisions where the boolean `mask` (n,) is true."""
        parts = {
            name: value[mask] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, **parts)

    @property
    def log(self) -> Log:
        """What off-policy estimates are made from."""
        taken = self.propensity[np.arange(len(self)), self.action]
        return Log(self.action, self.reward, taken, self.users, self.reach)


@dataclass(frozen=True)
class Logged:
    """All decisions beside what each is for."""

    decisions: Decisions
    split: np.ndarray  # (n,) "train", "valid", "test" or "latest"
    is_fit_half: np.ndarray  # (n,) bool: the half of the users whose valid rows calibrate
    keys: pl.DataFrame  # (n, 2): user_id, cutoff_at
    left_out: Mapping[str, int]  # actions that were taken too seldom -> decisions

    def of(self, *splits: str, is_fit_half: bool | None = None) -> Decisions:
        return self.decisions.rows(self.mask(*splits, is_fit_half=is_fit_half))

    def mask(self, *splits: str, is_fit_half: bool | None = None) -> np.ndarray:
        mask = np.isin(self.split, splits)
        return mask if is_fit_half is None else mask & (self.is_fit_half == is_fit_half)


def state_columns(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns of actions.states that are numbers."""
    described = con.execute("describe actions.states").fetchall()
    return [
        name for name, type_, *_ in described
        if name not in KEYS and type_.partition("(")[0] in NUMBERS
    ]  # fmt: skip


def load(
    con: duckdb.DuckDBPyConnection, value: float, costs: Mapping[str, float], cap: int, seed: int,
    least: int, columns: list[str] | None = None, actions: tuple[str, ...] | None = None,
    only: str = "true",
) -> Logged:  # fmt: skip
    """Pull the decisions through Arrow, ordered by user and moment; of the past those agreed to alone.

    least: actions taken less often in train are left out, with their decisions; `actions`, if they
    are known already, are taken as they are. only: a SQL condition on `decisions`.
    """
    columns = columns or state_columns(con)
    frame = con.sql(_query(columns, seed, only)).pl()
    counts = dict(frame.filter(pl.col("split") == "train")["action"].value_counts().iter_rows())
    if actions is None:
        enough = sorted(word for word, n in counts.items() if word != NONE and n >= least)
        actions = (NONE, *enough)
    seldom = {word: n for word, n in sorted(counts.items()) if word not in actions}
    frame = frame.filter(pl.col("action").is_null() | pl.col("action").is_in(list(actions)))
    states = tuple(sorted(set(frame["state"].drop_nulls()) | set(frame["next_state"].drop_nulls())))
    states = tuple(state for state in states if state != "gone")
    action = _codes(frame["action"].fill_null(NONE), actions)
    cost = np.array([costs.get(word, 0.0) for word in actions])
    decisions = Decisions(
        columns=tuple(columns), actions=actions, states=states,
        matrix=frame.select(columns).to_numpy().astype(np.float64),
        state=_codes(frame["state"], states), action=action,
        reward=frame["reward"].fill_null(float("nan")).to_numpy() * value - cost[action],
        next_matrix=frame.select([f"next {name}" for name in columns]).to_numpy(),
        next_state=_codes(frame["next_state"], states),
        is_next_known=frame["is_next_known"].fill_null(False).to_numpy(),
        moment=frame["moment"].to_numpy(), users=frame["user_code"].to_numpy(),
        logged=frame["logged_propensity"].fill_null(float("nan")).to_numpy(),
        is_capped=frame["received"].fill_null(0).to_numpy() >= cap,
        is_seen_later=frame["is_seen_later"].fill_null(False).to_numpy(),
    )  # fmt: skip
    return Logged(
        decisions, frame["split"].to_numpy(), frame["is_fit_half"].to_numpy(),
        frame.select("user_id", "cutoff_at"), seldom,
    )  # fmt: skip


def _query(columns: list[str], seed: int, only: str) -> str:
    now = ", ".join(f"cast(states.{identifier(name)} as double) as {identifier(name)}"
                    for name in columns)  # fmt: skip
    after = ", ".join(
        f"cast(after.{identifier(name)} as double) as {identifier(f'next {name}')}"
        for name in columns
    )
    return f"""select decisions.user_id, decisions.cutoff_at, decisions.split,
            hash(decisions.user_id) as user_code,
            hash(decisions.user_id, {int(seed)}) % 2 = 0 as is_fit_half,
            dense_rank() over (order by decisions.cutoff_at) - 1 as moment,
            decisions.action, decisions.logged_propensity, states.state, steps.next_state,
            steps.next_cutoff_at is not null as is_next_known, steps.is_seen_later, cast(steps.reward as double) as reward,
            cast(states.count_actions_in_window as double) as received, {now}, {after}
        from actions.decisions as decisions
        inner join actions.states as states using (user_id, cutoff_at)
        left join actions.transitions as steps using (user_id, cutoff_at)
        left join actions.states as after
            on after.user_id = decisions.user_id and after.cutoff_at = steps.next_cutoff_at
        where (decisions.is_agreed_to or decisions.split = 'latest') and {only}
        order by decisions.user_id, decisions.cutoff_at"""


def _codes(words: pl.Series, known: tuple[str, ...]) -> np.ndarray:
    """(n,) place of each word among the known ones; GONE for others."""
    places = {word: place for place, word in enumerate(known)}
    return words.replace_strict(places, default=GONE, return_dtype=pl.Int64).to_numpy()
