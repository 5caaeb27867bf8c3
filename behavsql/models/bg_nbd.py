"""BG/NBD with Gamma-Gamma: who is still a customer, how often they come, what they spend."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels, loss
from behavsql.models.parts import bg_nbd_formulas, gamma_gamma
from behavsql.models.parts.bg_nbd_formulas import Histories, Population
from behavsql.models.parts.customer_histories import PROCESSES, Customers, read
from behavsql.models.parts.gamma_gamma import GammaGamma

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

FEWEST = 50  # customers who came again: fewer teach nothing about leaving
MOST_EXACT = 100_000  # customers; more are told apart by a thousandth of the longest history
MOST_ASKED = 50_000  # rows that what followed is learned from, and values
MOST_SHUFFLED = 2_000  # rows that importance is measured on
LONGEST = 400.0  # days: the horizon is looked for below, where the task does not say it
# What a label may be about, by its kind. comes: P(at least once); stays_away: P(not once);
# number: how often; value: what is spent; waits: days until then, the whole horizon if not.
ANSWERS = {
    "binary": ("comes", "stays_away"),
    "count": ("number",),
    "amount": ("value", "waits"),
}
MEANINGS = {
    "r": "shape of the rates over customers: small where few come often",
    "alpha": "scale of the rates, in days: the mean rate is r / alpha a day",
    "a": "how readily customers leave: after each time with probability a / (a + b) on average",
    "b": "how readily customers stay",
    "p": "shape of a customer's values: large where each pays about the same every time",
    "q": "shape of the customers' mean values: small where they differ much",
    "gamma": "scale of the customers' mean values",
    "horizon_days": "days that are looked ahead",
    "level": "what the labels of train came to for each one expected",
    "otherwise": "answer for who has no history to count: the mean label of such rows",
}


@dataclass(frozen=True)
class Said:
    """A fitted answer: a function of what is known of a customer."""

    process: str  # "orders" | "visits"
    answer: str  # one of ANSWERS
    population: Population
    money: GammaGamma | None
    horizon_days: float
    level: float = 1.0
    otherwise: float = 0.0

    def number(self, known: Customers) -> np.ndarray:
        """(n,) expected days within the horizon on which it happens."""
        return self.population.expected(known.x, known.t_x, known.age, self.horizon_days)

    def value_each(self, known: Customers) -> np.ndarray:
        """(n,) expected value of one such day; everybody's mean where the customer's is unknown."""
        has_value = np.isfinite(known.value)
        mean = np.where(has_value, known.value, 0.0)
        return self.money.expected(np.where(has_value, known.x + 1, 0.0), mean)

    def __call__(self, known: Customers) -> np.ndarray:
        known_ = (known.x, known.t_x, known.age, self.horizon_days)
        if self.answer == "waits":
            said = self.population.waits(*known_)
        elif self.answer == "number":
            said = self.level * self.number(known)
        elif self.answer == "value":
            said = self.level * self.number(known) * self.value_each(known)
        else:
            comes = self.population.comes(*known_)
            said = comes if self.answer == "comes" else 1 - comes
        return np.where(known.is_known, said, self.otherwise)

    def came(self, label: np.ndarray) -> np.ndarray:
        """(n,) bool: whether it happened within the horizon, told from the label."""
        if self.answer == "waits":
            return label < self.horizon_days * (1 - 1e-9)
        return (label > 0) != (self.answer == "stays_away")


class BGNBD(Model):
    """Days with an order, or days with activity, are counted: valid picks which.

    learn_from  "returns": who came within the horizon, given the history. "histories": each user's
                own as of their latest train row, which is the published method. That takes who is
                asked for a random customer; but the lately active are asked, of whom it learns that
                hardly anybody ever leaves.
    Who has no history of the kind gets the mean label of such rows in train.
    """

    name: ClassVar[str] = "bg_nbd"
    family: ClassVar[str] = "probabilistic"
    kinds: ClassVar[frozenset[str]] = frozenset(ANSWERS)
    OPTIONS: ClassVar[Mapping[str, object]] = {"learn_from": "returns"}

    def fit(self, train: Table, valid: Table) -> Self:
        labels(self, train, classes=2)
        labels(self, valid)
        tried: dict[Said, float] = {}
        for process in self._processes(train):
            for said in self._candidates(process, train):
                answer = said(read(valid.features, PROCESSES[process]))
                tried[said] = loss(self.kind, valid.label, answer)
        if not tried:
            raise ModelError(
                f"model {self.name}, task {train.task}: under {FEWEST} customers of train have come "
                f"again; as many must have. Train on a longer period, or leave the model out."
            )
        self._said = min(tried, key=tried.get)
        self._params = self._told() | {
            "learned_from": self.option("learn_from"),
            "valid_loss": tried[self._said],
        }
        self._importance = self._shuffled(at_most(train, MOST_SHUFFLED, self.seed))
        return self

    def predict(self, table: Table) -> np.ndarray:
        process = PROCESSES[self._said.process]
        return self._said(read(table.features, process, self._said.answer == "value"))

    def features(self, task: str) -> tuple[str, ...]:
        return PROCESSES[self._said.process].columns(self._said.answer == "value")

    def per_user(self, table: Table) -> pl.DataFrame:
        """(n, 6) of each row: what it counts, and what is known of the customer beside the answer.

        process, alive_probability, expected_count and expected_value within horizon_days, and
        expected_value_each; null without a history, the values also where days have none.
        """
        said = self._said
        known = read(table.features, PROCESSES[said.process], said.money is not None)
        number = said.number(known)
        each = said.value_each(known) if said.money else np.full(len(table), np.nan)
        told = {
            "alive_probability": said.population.alive(known.x, known.t_x, known.age),
            "expected_count": number,
            "expected_value_each": each,
            "expected_value": number * each,
        }
        return pl.DataFrame(
            {name: np.where(known.is_known, column, np.nan) for name, column in told.items()}
        ).select(
            pl.lit(said.process).alias("process"),
            pl.lit(said.horizon_days).alias("horizon_days"),
            pl.all().fill_nan(None),
        )

    def tables(self) -> dict[str, pl.DataFrame]:
        rows = [
            (name, float(self._params[name]), f"{meaning} (days with {self._said.process})")
            for name, meaning in MEANINGS.items()
            if name in self._params
        ]
        schema = {"parameter": pl.String, "value": pl.Float64, "meaning": pl.String}
        return {"bg_nbd_parameters": pl.DataFrame(rows, schema=schema, orient="row")}

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact Shapley values; how often and in what rhythm go together, for neither is known alone."""
        from behavsql.models.parts import shapley

        often, rhythm, *others = self.features(table.task)
        groups = [(often, rhythm), *((name,) for name in others)]
        return shapley.explained(self.predict, table, usual, groups, self.seed)

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import bg_nbd

        return bg_nbd.answer(self._said, form)

    def save(self) -> dict[str, bytes]:
        return self._card(said=asdict(self._said))

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        said = model._read_card(files)["said"]
        money = GammaGamma(**said["money"]) if said["money"] else None
        model._said = Said(
            **{**said, "population": Population(**said["population"]), "money": money}
        )
        return model

    def _processes(self, train: Table) -> list[str]:
        """What can be counted here; ModelError, naming a column, where nothing can."""
        there = set(train.features.columns)
        found = [
            name for name, process in PROCESSES.items() if there.issuperset(process.columns(True))
        ]
        if not found:
            read(train.features, PROCESSES["visits"])  # says which column is missing
        return found

    def _candidates(self, process: str, train: Table) -> Iterator[Said]:
        everyone = read(train.features, PROCESSES[process])
        latest = everyone.rows(_latest(train.users) & everyone.is_known)
        if int(np.sum(latest.x > 0)) < FEWEST:
            return
        histories = Histories.of(latest.x, latest.t_x, latest.age)
        grain = float(latest.age.max()) / 1000 if len(latest.x) > MOST_EXACT else 0.0
        population = bg_nbd_formulas.fit(histories.grouped(grain))
        money = _money(latest, self.seed)
        rest = train.label[~everyone.is_known]
        otherwise = float(rest.mean() if len(rest) else train.label.mean())
        for answer in ANSWERS[self.kind]:
            if answer == "value" and money is None:
                continue
            said = Said(process, answer, population, money, train.horizon_days, 1.0, otherwise)
            if not np.isfinite(train.horizon_days):
                said = self._with_horizon(said, everyone, train.label)
            # The other of P(comes) and P(stays away) is left to itself: it has the wrong sign.
            if self.kind != "binary" or _agrees(
                said(everyone)[everyone.is_known], train.label[everyone.is_known]
            ):
                if self.option("learn_from") == "returns":
                    said = self._of_returns(said, everyone, train)
                yield self._levelled(said, everyone, train)

    def _with_horizon(self, said: Said, everyone: Customers, label: np.ndarray) -> Said:
        """The horizon under which these labels are likeliest, where the table does not tell it."""
        from scipy.optimize import minimize_scalar

        def unlikely(log_days: float) -> float:
            one = replace(said, horizon_days=float(np.exp(log_days)))
            return loss(self.kind, label, one(everyone))

        bounds = (np.log(1 / 24), np.log(LONGEST))
        found = minimize_scalar(unlikely, bounds=bounds, method="bounded")
        return replace(said, horizon_days=float(np.exp(found.x)))

    def _of_returns(self, said: Said, everyone: Customers, train: Table) -> Said:
        rows = np.flatnonzero(everyone.is_known)
        if len(rows) > MOST_ASKED:
            rows = np.random.default_rng(self.seed).choice(rows, MOST_ASKED, replace=False)
        few = everyone.rows(rows)
        histories = Histories.of(few.x, few.t_x, few.age)
        came = said.came(train.label[rows])
        population = bg_nbd_formulas.fit_returns(histories, came, said.horizon_days)
        return replace(said, population=population)

    def _levelled(self, said: Said, everyone: Customers, train: Table) -> Said:
        """With the expected numbers or values of train brought to the sum of its labels."""
        if said.answer not in ("number", "value"):
            return said
        known = everyone.is_known
        expected = float(replace(said, level=1.0)(everyone)[known].sum())
        return replace(said, level=float(train.label[known].sum()) / max(expected, 1e-300))

    def _told(self) -> dict[str, object]:
        said = asdict(self._said)
        population, money = said.pop("population"), said.pop("money") or {}
        return said | population | money

    def _shuffled(self, table: Table) -> dict[str, float]:
        """Feature -> share of what the answers move by when its values are dealt out anew."""
        random, before = np.random.default_rng(self.seed), self.predict(table)
        moved = {}
        for name in self.features(table.task):
            column = table.features[name].gather(random.permutation(len(table)))
            shuffled = replace(table, features=table.features.with_columns(column))
            moved[name] = float(np.abs(self.predict(shuffled) - before).mean())
        total = sum(moved.values())
        ranked = sorted(moved.items(), key=lambda item: -item[1])
        return {name: share / total for name, share in ranked if share > 0}


def _agrees(said: np.ndarray, label: np.ndarray) -> bool:
    """Whether the label is more often 1 where more is said."""
    return float(((said - said.mean()) * (label - label.mean())).sum()) >= 0


def _latest(users: np.ndarray) -> np.ndarray:
    """(n,) bool: each user's last row, so that nobody is counted twice."""
    _, from_behind = np.unique(users[::-1], return_index=True)
    mask = np.zeros(len(users), dtype=bool)
    mask[len(users) - 1 - from_behind] = True
    return mask


def _money(customers: Customers, seed: int) -> GammaGamma | None:
    """Fitted to the mean values of customers; None where too few have one."""
    rows = np.flatnonzero(customers.value > 0)
    if len(rows) < FEWEST:
        return None
    if len(rows) > MOST_ASKED:
        rows = np.random.default_rng(seed).choice(rows, MOST_ASKED, replace=False)
    return gamma_gamma.fit(customers.x[rows] + 1, customers.value[rows])
