"""What every model promises, and the few lines all of them share."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.errors import ModelError, nearest
from behavsql.frames import Table
from behavsql.models.parts.space import Range

if TYPE_CHECKING:
    import polars as pl

    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

LEAST_SHARE = 0.01  # of the mean label: nobody's expected count or amount is called smaller


class Model(ABC):
    """One way to answer one kind of question.

    `fit` learns from `train`; `valid` is for early stopping and the choice of the model's own
    hyperparameters, nothing else. The same seed and rows give the same model.
    """

    name: ClassVar[str]  # "logistic", its key in MODELS
    family: ClassVar[str]  # "reference" | "linear" | "trees" | "probabilistic" | "neural" | ...
    kinds: ClassVar[frozenset[str]]  # the label kinds it serves
    needs: ClassVar[tuple[str, ...]] = ()  # "pretrained": given by `with_pretrained`, before fit
    reads: ClassVar[str] = "table"  # "table" | "sequences" | "both"
    tolerance: ClassVar[float] = 1e-9  # between two answers to one question, relative above 1
    OPTIONS: ClassVar[Mapping[str, object]] = {}  # hyperparameter -> default
    SPACE: ClassVar[Mapping[str, Range]] = {}  # hyperparameter -> where tuning looks; {}: not tuned
    # Told (1, loss), (2, loss) ... on valid by models that fit in rounds; what it raises ends the fit.
    watch: Callable[[int, float], None] | None = None

    def __init__(
        self, kind: str, seed: int = 7, threads: int | None = None,
        options: Mapping[str, object] | None = None, seconds: float | None = None,
    ) -> None:  # fmt: skip
        """options: instead of the defaults in OPTIONS. seconds: what fitting may take, if it can stop early."""
        if kind not in self.kinds:
            raise ModelError(
                f"model {self.name}: it cannot predict a label of kind {kind!r}; it serves "
                f"{', '.join(sorted(self.kinds))}. Leave it out of this task's models."
            )
        for option in options or {}:
            if option not in self.OPTIONS:
                raise ModelError(
                    f"model {self.name}: {option!r} is not an option; known are "
                    f"{', '.join(self.OPTIONS) or 'none'}.{nearest(option, self.OPTIONS)} Leave it out."
                )
        self.kind = kind
        self.seed = seed
        self.threads = threads or os.cpu_count() or 1  # that fitting and predicting may use
        self.options = dict(options or {})
        self.seconds = seconds
        self._params: dict[str, object] = {}
        self._importance: dict[str, float] = {}

    @abstractmethod
    def fit(self, train: Table, valid: Table) -> Self:
        """Learn; ModelError where the rows cannot teach anything."""

    @abstractmethod
    def predict(self, table: Table) -> np.ndarray:
        """(n,) float64: P(label = 1) for binary, the expected value (>= 0) for count and amount."""

    @abstractmethod
    def save(self) -> dict[str, bytes]:
        """The model as named files: JSON, LightGBM text, .keras, .npz; never pickle."""

    @classmethod
    @abstractmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        """The inverse of `save`: predictions are the same bit for bit."""

    def features(self, task: str) -> tuple[str, ...]:
        """The columns of a fitted model's task that `predict` reads."""
        return self._encoder.sources

    def option(self, name: str) -> object:
        """The value of a hyperparameter: as it was given, or its default."""
        return self.options.get(name, self.OPTIONS[name])

    def tables(self) -> "dict[str, pl.DataFrame]":
        """What a fitted model has to show: name -> rows, stored as `models.<name>` with task and model_id.

        A name has the same columns whichever model makes it.
        """
        return {}

    def per_user(self, table: Table) -> "pl.DataFrame | None":
        """What the model knows of each row (n,) beside its answer, stored as `models.<model>_users`."""
        return None

    def importance(self) -> dict[str, float]:
        """Feature -> share, largest first, sums to 1; {} where no feature had any influence."""
        return dict(self._importance)

    def params(self) -> dict[str, object]:
        """What was chosen while fitting (penalty, rounds, depth, epochs), ready for JSON."""
        return dict(self._params)

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """What each feature adds to the prediction of each row (n,), from a base that is anybody's.

        usual: one row of the features as they usually are in train. It is the base of models that
        have none of their own, as here: Shapley values of the difference, on the answer's scale.
        """
        from behavsql.models.parts import shapley

        names = [name for name in self.features(table.task) if name in table.features.columns]
        return shapley.explained(self.predict, table, usual, [(name,) for name in names], self.seed)

    def breakpoints(self) -> dict[str, list[float]]:
        """Feature -> where the answer steps as it grows; {} where it does not step, or it is not known."""
        return {}

    def to_sql(self, form: "Form") -> str:
        """The model's prediction as a SQL expression over the features `form` hands out.

        CompileError, saying why, for a model that stays in Python.
        """
        from behavsql.compile import CompileError

        raise CompileError(f"model {self.name}: nothing here says it in SQL. It stays in Python.")

    def _card(self, **more: object) -> dict[str, bytes]:
        """The file `model.json` all models have: parameters, importance and `more`."""
        card = {"params": self._params, "importance": self._importance, **more}
        return {"model.json": json.dumps(card).encode()}

    def _read_card(self, files: Mapping[str, bytes]) -> dict:
        """Restore what `_card` wrote and return all of it."""
        card = json.loads(files["model.json"])
        self._params, self._importance = card["params"], card["importance"]
        return card


def labels(model: Model, table: Table, classes: int = 1) -> np.ndarray:
    """The labels (n,) a model may learn from; or ModelError.

    It is raised for unknown or negative labels, and for fewer distinct ones than `classes`.
    """
    where = f"model {model.name}, task {table.task}"
    if table.label is None or not np.isfinite(table.label).all():
        raise ModelError(
            f"{where}: {len(table)} rows include some without a label; fitting needs them all. "
            "Pass rows whose label window is over."
        )
    if model.kind != "binary" and len(table) and table.label.min() < 0:
        raise ModelError(
            f"{where}: a label is {table.label.min()}; those of kind {model.kind!r} are 0 or more. "
            "Let the task's SQL count or sum what cannot be negative."
        )
    if len(table) == 0 or len(np.unique(table.label)) < classes:
        raise ModelError(
            f"{where}: {len(table)} rows with {len(np.unique(table.label))} distinct labels; "
            f"fitting needs at least {classes}. Train on a longer period."
        )
    return table.label


def loss(kind: str, label: np.ndarray, prediction: np.ndarray) -> float:
    """What hyperparameters are chosen by: the loss that later decides between models.

    Log loss for binary, Poisson deviance for count, Tweedie deviance (power 1.5) for amount; means
    count as at least a hundredth of the labels' own, as they will when the model is used.
    """
    from sklearn import metrics

    if kind == "binary":
        p = np.clip(prediction, 1e-6, 1 - 1e-6)
        return float(-np.mean(label * np.log(p) + (1 - label) * np.log(1 - p)))
    mean = np.maximum(prediction, max(LEAST_SHARE * label.mean(), 1e-6))
    return float(metrics.mean_tweedie_deviance(label, mean, power=1.0 if kind == "count" else 1.5))


def at_most(table: Table, rows: int, seed: int) -> Table:
    """A random `rows` of the table in their order, or the table itself if it is no longer."""
    if len(table) <= rows:
        return table
    mask = np.zeros(len(table), dtype=bool)
    mask[np.random.default_rng(seed).choice(len(table), rows, replace=False)] = True
    return table.rows(mask)
