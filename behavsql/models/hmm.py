"""A hidden Markov model of what users do: states learned without labels, then a mean label of each."""

from io import BytesIO
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from behavsql.frames import Table
from behavsql.models.base import at_most, loss
from behavsql.models.parts.baum_welch import HiddenStates, Observed, learn
from behavsql.models.parts.event_model import EventModel, one_each
from behavsql.models.parts.event_symbols import EventSymbols
from behavsql.models.parts.state_names import state_names, top_symbols

if TYPE_CHECKING:
    from behavsql.compile import Form

STATES = (2, 4, 6, 9)  # tried
MOST_SEQUENCES = 10_000  # the states are learned from, one question of each user
MOST_ROWS = 200_000  # their mean labels are learned from
MEAN_PASSES = 50


class HMM(EventModel):
    """Mean label = sum over the states of P(state | events, silence) times the state's mean.

    The states are those of baum_welch.py, the silence since the last event being what a user shows
    last; their number is the one valid prefers. States are in the order of their means.
    """

    name: ClassVar[str] = "hmm"
    OPTIONS: ClassVar[dict[str, object]] = {"states": None, "sequences": MOST_SEQUENCES}

    def fit(self, train: Table, valid: Table) -> Self:
        self._learned(train, valid)
        random = np.random.default_rng(self.seed)
        chosen = one_each(train, random.permutation(len(train)))
        chosen = np.sort(random.permutation(chosen)[: int(self.option("sequences"))])
        observed = Observed.of(*self._codes(train, chosen))
        few = at_most(train, MOST_ROWS, self.seed)
        given = self.option("states")
        scored: dict[int, tuple] = {}
        for count in STATES if given is None else (int(given),):
            self._hidden, likelihood = learn(self._symbols, observed, count, self.seed)
            beliefs = self.beliefs(few)
            self._means = _means(beliefs, few.label, self.kind)
            value = loss(self.kind, valid.label, self.predict(valid))
            scored[count] = (value, likelihood, self._hidden, self._means, beliefs)
        best = min(scored, key=lambda count: scored[count][0])
        value, likelihood, hidden, means, beliefs = scored[best]
        self._adopt(hidden, means, beliefs, few)
        self._params = {
            "states": best,
            "sequences": len(chosen),
            "log_likelihood_per_symbol": likelihood,
            "roles": self._symbols.roles,
            "valid_loss": value,
            "valid_losses": {f"{count} states": one[0] for count, one in scored.items()},
        }
        self._measure(valid)
        return self

    def _adopt(
        self, hidden: HiddenStates, means: np.ndarray, beliefs: np.ndarray, table: Table
    ) -> None:
        """Put the states in order and describe them by the questions (n,) that are likeliest in each."""
        order = np.argsort(means, kind="stable")
        self._hidden, self._means = hidden.ordered(order), means[order]
        state = np.argmax(beliefs[:, order], axis=1)
        rows = np.bincount(state, minlength=len(order))
        self._share = rows / max(rows.sum(), 1)
        sums = np.bincount(state, table.label, len(order))
        self._mean_label = np.where(rows > 0, sums / np.maximum(rows, 1), self._means)
        self._names = state_names(
            self._symbols, self._hidden, self._mean_label, table.task, self.kind
        )

    def _answer(self, codes: np.ndarray, silence: np.ndarray) -> np.ndarray:
        return _mixed(self._hidden.filtered(codes, silence), self._means)

    def beliefs(self, table: Table) -> np.ndarray:
        """(n, K) the probability of each state at the cutoff, given the events before it."""
        none = np.empty((0, len(self._hidden.start)))
        return self._by_blocks(table, self._hidden.filtered, none)

    def per_user(self, table: Table) -> pl.DataFrame:
        """(n, 3): the likeliest state, from 1 as in `tables`, its name and its probability."""
        beliefs = self.beliefs(table)
        state = np.argmax(beliefs, axis=1)
        names = np.array(self._names)[state]
        return pl.DataFrame({"state": state + 1, "name": names, "probability": beliefs.max(axis=1)})

    def tables(self) -> dict[str, pl.DataFrame]:
        number = np.arange(1, len(self._means) + 1)
        states = {
            "state": number, "name": self._names, "share": self._share,
            "mean_label": self._mean_label, "start_probability": self._hidden.start,
            "top_symbols": top_symbols(self._symbols, self._hidden),
        }  # fmt: skip
        before, after = (part.ravel() for part in np.meshgrid(number, number, indexing="ij"))
        names = np.array(self._names)
        moves = {
            "from_state": before, "to_state": after, "from_name": names[before - 1],
            "to_name": names[after - 1], "probability": self._hidden.moves.ravel(),
        }  # fmt: skip
        return {"hmm_states": pl.DataFrame(states), "hmm_transitions": pl.DataFrame(moves)}

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import event_symbols

        return event_symbols.mixed(self._symbols, self._hidden, self._means, form)

    def save(self) -> dict[str, bytes]:
        card = self._card(symbols=self._symbols.to_dict(), names=self._names)
        arrays = {**vars(self._hidden), "means": self._means, "share": self._share,
                  "mean_label": self._mean_label}  # fmt: skip
        buffer = BytesIO()
        np.savez(buffer, **arrays)
        return {**card, "states.npz": buffer.getvalue()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model._symbols, model._names = EventSymbols(**card["symbols"]), card["names"]
        with np.load(BytesIO(files["states.npz"]), allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in arrays.files}
        model._means, model._share = parts.pop("means"), parts.pop("share")
        model._mean_label = parts.pop("mean_label")
        model._hidden = HiddenStates(**parts)
        return model


def _mixed(beliefs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(n,) the means (K,) weighted by the beliefs (n, K), summed state by state."""
    total = np.zeros(len(beliefs))
    for belief, mean in zip(beliefs.T, means, strict=True):
        total += belief * mean
    return total


def _means(beliefs: np.ndarray, label: np.ndarray, kind: str) -> np.ndarray:
    """(K,) the means that explain the labels (n,) best if each row is in one of the states.

    Maximum likelihood by expectation and maximisation, of Bernoulli labels for binary and of
    Poisson ones, which any amount may pass for, else; one more row has the mean of all.
    """
    overall = float(label.mean())
    means = (label @ beliefs + overall) / (beliefs.sum(axis=0) + 1)
    for _ in range(MEAN_PASSES):
        mixed = beliefs @ means
        positive = means * ((label / np.maximum(mixed, 1e-300)) @ beliefs)
        weight = beliefs.sum(axis=0)
        if kind == "binary":
            weight = positive + (1 - means) * (
                ((1 - label) / np.maximum(1 - mixed, 1e-300)) @ beliefs
            )
        means = (positive + overall) / (weight + 1)
    return means
