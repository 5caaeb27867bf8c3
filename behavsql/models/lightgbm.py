"""Gradient-boosted trees, tuned: a few sound configurations, each stopped early on valid."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels, loss
from behavsql.models.parts import class_weight
from behavsql.models.parts.encoding import Encoder
from behavsql.models.parts.smearing import smearing_factor, unlogged, unlogged_sql
from behavsql.models.parts.space import CLASS_WEIGHTS, Between, Range

if TYPE_CHECKING:
    import lightgbm

    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

MOST_ROUNDS = 100  # a round is a tree, and every split costs planning once it is SQL
TOLD_ROUNDS = 10  # the valid loss of every tenth is told to who watches
PATIENCE = 20  # rounds without a better valid loss before stopping
SEARCH_ROWS = 300_000  # configurations are compared on at most so many rows
ONE_THREAD_ROWS = 20_000  # up to here threads on a busy machine wait more than they work

COMMON = {
    "learning_rate": 0.1,
    "max_depth": 6,  # steps of a walk through a tree
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_pre_filter": False,  # one binned dataset serves every min_data_in_leaf
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}

# From quick and cautious to slow and flexible; the first is the one objectives are compared with.
SHAPES = (
    {"num_leaves": 8, "min_data_in_leaf": 50, "lambda_l2": 5.0},
    {"num_leaves": 15, "min_data_in_leaf": 20, "lambda_l2": 1.0},
    {"num_leaves": 15, "min_data_in_leaf": 100, "lambda_l2": 10.0, "feature_fraction": 0.5},
)

# `label` log1p: fitted to log(1 + y), brought back by the smearing factor.
OBJECTIVES = {
    "binary": ({"objective": "binary"},),
    "count": ({"objective": "poisson"},),
    "amount": (
        {"objective": "tweedie", "tweedie_variance_power": 1.5},
        {"objective": "regression", "label": "log1p"},
    ),
}

STOPPING = {"binary": "binary_logloss", "count": "poisson", "amount": "tweedie"}


@dataclass(frozen=True)
class Binned:
    """Train and valid rows, cut into bins once for all trials."""

    dataset: "lightgbm.Dataset"
    against: "lightgbm.Dataset"
    matrix: np.ndarray  # (n, m)
    valid_matrix: np.ndarray
    label: np.ndarray  # (n,)
    valid_label: np.ndarray
    is_weighted: bool  # whether rows weigh by their class


@dataclass(frozen=True)
class Trial:
    """One configuration and what came of it."""

    config: dict[str, object]
    booster: "lightgbm.Booster"
    smearing: float | None  # of a log1p label
    loss: float  # on valid


class LightGBM(Model):
    """The best of a few configurations by valid loss.

    Importance is the total gain of the splits on a feature.
    """

    name: ClassVar[str] = "lightgbm"
    family: ClassVar[str] = "trees"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    # None: as in each of SHAPES. The number of trees stays: it is what SQL functions can hold.
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "num_leaves": None,
        "max_depth": None,
        "min_data_in_leaf": None,
        "lambda_l2": None,
        "feature_fraction": None,
        "learning_rate": None,
        "class_weight": "none",
    }
    SPACE: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Between(4, 15),
        "max_depth": Between(3, 6),
        "min_data_in_leaf": Between(10, 300, log=True),
        "lambda_l2": Between(0.01, 100.0, log=True),
        "feature_fraction": Between(0.2, 1.0),
        "learning_rate": Between(0.03, 0.3, log=True),
        "class_weight": CLASS_WEIGHTS,
    }

    def fit(self, train: Table, valid: Table) -> Self:
        labels(self, train, classes=2)
        labels(self, valid)
        self._until = time.monotonic() + (math.inf if self.seconds is None else self.seconds)
        self._encoder = Encoder(scale=False).fit(train.features)
        few = at_most(train, SEARCH_ROWS, self.seed)
        trial = self._search(self._binned(few, valid))
        if few is not train and time.monotonic() < self._until:
            trial = self._trial(self._binned(train, valid), trial.config)
        self._keep(trial)
        return self

    def predict(self, table: Table) -> np.ndarray:
        if len(table) == 0:
            return np.empty(0)
        matrix = self._encoder.transform(table.features)
        raw = self._booster.predict(matrix, num_threads=self._threads(len(matrix)))
        return self._answer(raw, self._smearing)

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Exact, on the scale of the trees' sum: log odds, or log of the mean."""
        from behavsql.models.parts import tree_shap
        from behavsql.models.parts.explanation import Explanation, together
        from behavsql.models.parts.lightgbm_trees import answered, read

        matrix = self._encoder.transform(table.features)
        trees, objective = read(self._text)
        base = sum(map(tree_shap.expected, trees))
        sources = [column.source for column in self._encoder.columns]
        names, parts = together(sources, tree_shap.contributions(trees, matrix))
        said = answered(np.append(base + parts.sum(axis=1), base), objective)
        answer = self._answer(said, self._smearing)
        return Explanation.exact("TreeSHAP", names, base, parts, answer[-1], answer[:-1])

    def breakpoints(self) -> dict[str, list[float]]:
        from behavsql.models.parts import tree_shap
        from behavsql.models.parts.lightgbm_trees import read

        sources = [column.source for column in self._encoder.columns]
        return tree_shap.breakpoints(read(self._text)[0], sources)

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import encoder, lightgbm_text, trees

        columns = self._encoder.columns
        roots, objective = lightgbm_text.read(
            self._text, lambda j, *split: encoder.atom(columns[j], form, *split)
        )
        total = f"list_sum({trees.leaf_values(roots, form)})"
        return form.bind(lightgbm_text.output(total, objective, form), self._answer_sql)

    def save(self) -> dict[str, bytes]:
        more = {"encoder": self._encoder.to_dict(), "smearing": self._smearing}
        return {**self._card(**more), "lightgbm.txt": self._text.encode()}

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        model._encoder = Encoder.from_dict(card["encoder"])
        model._smearing = card["smearing"]
        model._use(files["lightgbm.txt"].decode())
        return model

    def _search(self, data: Binned) -> Trial:
        """Every objective with the first shape, then the other shapes with the best, as time allows."""
        first, *others = self._shapes()
        objectives = OBJECTIVES[self.kind]
        firsts = [self._trial(data, {**first, **objective}) for objective in objectives]
        best = min(firsts, key=lambda trial: trial.loss)
        for shape in others:
            if time.monotonic() < self._until:
                best = min(
                    best, self._trial(data, {**best.config, **shape}), key=lambda one: one.loss
                )
        return best

    def _shapes(self) -> list[dict[str, object]]:
        """The configurations to compare, with what the options say in place of their own."""
        given = {
            name: self.option(name) for name in self.OPTIONS
            if name != "class_weight" and self.option(name) is not None
        }  # fmt: skip
        shapes: list[dict[str, object]] = []
        for shape in SHAPES:
            if (own := {**shape, **given}) not in shapes:
                shapes.append(own)
        return shapes

    def _settings(self, rows: int) -> dict[str, object]:
        return {**COMMON, "num_threads": self._threads(rows), "seed": self.seed}

    def _threads(self, rows: int) -> int:
        return self.threads if rows > ONE_THREAD_ROWS else 1

    def _binned(self, train: Table, valid: Table) -> Binned:
        import lightgbm as lgb

        matrix, valid_matrix = (self._encoder.transform(part.features) for part in (train, valid))
        settings = self._settings(len(train))
        way = class_weight.checked(self.kind, self.option("class_weight"))
        # Valid rows weigh too: it is the weighted loss that stops.
        weight, valid_weight = (
            class_weight.row_weights(way, part.label, train.label) for part in (train, valid)
        )
        dataset = lgb.Dataset(
            matrix, train.label, weight=weight, params=settings, free_raw_data=False
        )
        against = dataset.create_valid(valid_matrix, valid.label, valid_weight, params=settings)
        return Binned(
            dataset.construct(), against.construct(), matrix, valid_matrix, train.label,
            valid.label, weight is not None,
        )  # fmt: skip

    def _trial(self, data: Binned, config: dict) -> Trial:
        """One configuration, stopped early on valid, with its loss there."""
        import lightgbm as lgb

        logged = config.get("label") == "log1p"
        data.dataset.set_label(np.log1p(data.label) if logged else data.label)
        data.against.set_label(np.log1p(data.valid_label) if logged else data.valid_label)
        metric = "l2" if logged else STOPPING[self.kind]
        own = {key: value for key, value in config.items() if key != "label"}
        callbacks = [lgb.early_stopping(PATIENCE, verbose=False), self._stop_in_time]
        if self.watch and not logged and not data.is_weighted:  # else it is another loss
            callbacks.append(self._tell)
        booster = lgb.train(
            {**self._settings(len(data.label)), "metric": metric, **own},
            data.dataset,
            MOST_ROUNDS,
            valid_sets=[data.against],
            callbacks=callbacks,
        )
        smearing = None
        if logged:
            smearing = smearing_factor(np.log1p(data.label), booster.predict(data.matrix))
        answer = self._answer(booster.predict(data.valid_matrix), smearing)
        return Trial(config, booster, smearing, loss(self.kind, data.valid_label, answer))

    def _stop_in_time(self, env: "lightgbm.callback.CallbackEnv") -> None:
        """End the rounds when `seconds` are over; those that are there are a model."""
        import lightgbm as lgb

        if time.monotonic() > self._until:
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    def _tell(self, env: "lightgbm.callback.CallbackEnv") -> None:
        """Let who watches know how far this round has come."""
        if env.iteration % TOLD_ROUNDS == TOLD_ROUNDS - 1:
            self.watch((env.iteration + 1) // TOLD_ROUNDS, env.evaluation_result_list[0][2])

    def _keep(self, trial: Trial) -> None:
        """Adopt the trial; the booster is read back from its text, as `load` will."""
        rounds = trial.booster.best_iteration or trial.booster.current_iteration()
        gains = trial.booster.feature_importance("gain", iteration=rounds)
        self._importance = self._encoder.shares(gains)
        self._smearing = trial.smearing
        self._params = {**COMMON, **trial.config, "rounds": rounds, "valid_loss": trial.loss}
        self._params |= self.options
        self._use(trial.booster.model_to_string(num_iteration=rounds))

    def _use(self, text: str) -> None:
        import lightgbm as lgb

        self._text = text
        self._booster = lgb.Booster(model_str=text)

    def _answer(self, raw: np.ndarray, smearing: float | None) -> np.ndarray:
        if self.kind == "binary":
            return raw
        return np.maximum(raw if smearing is None else unlogged(raw, smearing), 0.0)

    def _answer_sql(self, raw: str) -> str:
        if self.kind == "binary":
            return raw
        answer = raw if self._smearing is None else unlogged_sql(raw, self._smearing)
        return f"greatest({answer}, 0e0)"
