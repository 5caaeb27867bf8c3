"""Which features a task's models train on: the fewest that lose next to nothing.

Three rankings, cut at several lengths, are candidates; each is judged by the mean loss that boosting,
a forest and a linear model on it have on the half of valid that fits. Neither the half that picks the champion nor test
is read. A category counts as one feature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from behavsql.config import Settings
from behavsql.frames import Asked, Table
from behavsql.models import model_class
from behavsql.models.base import LEAST_SHARE, Model, at_most
from behavsql.models.parts.encoding import Encoder, as_numbers, is_text
from behavsql.progress import Progress

LENGTHS = (5, 8, 13, 21, 34, 55, 89, 144, 233)
ROWS = 50_000  # of train, that are looked at at most
BINS = 16  # of a number, for its mutual information; missing is one more
MOST_CATEGORIES = 40
ALPHAS = 60  # steps of the L1 path
# One of each family that reads the table: what one of them can do without, another may need.
JUDGES = {
    "lightgbm": {
        "num_leaves": 8, "min_data_in_leaf": 50, "lambda_l2": 5.0, "feature_fraction": 0.8
    },
    "random_forest": {"min_samples_leaf": 20},
    "logistic": {"log_features": True, "l1_share": 0.0, "penalty_per_row": 0.01},
    "linear": {"log_features": True, "l1_share": 0.0, "penalty_per_row": 0.1},
}  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The features that are kept, in the order of the table, and why each is or is not."""

    kept: tuple[str, ...]
    reasons: Mapping[str, str]  # of every feature

    def applied(self, asked: Asked) -> Asked:
        """The same questions with the kept features alone."""
        table = replace(asked.table, features=asked.table.features.select(self.kept))
        return replace(asked, table=table)


@dataclass(frozen=True)
class Candidate:
    """The first of a ranking, or all of them. losses: (n,) of each valid row."""

    ranker: str
    names: tuple[str, ...]
    losses: np.ndarray

    @property
    def told(self) -> str:
        first = f"the first {len(self.names)} by {self.ranker}" if self.ranker else "all of them"
        return f"{first} ({self.losses.mean():.5g})"


def select(asked: Asked, settings: Settings, progress: Progress) -> Selection:
    """Rank, cut, judge and choose; every ranking that is as good with fewer features wins."""
    task = asked.table.task
    train = at_most(asked.table.rows(asked.split("train")), ROWS, settings.seed)
    valid = asked.table.rows(asked.split("valid") & asked.is_fit_half)
    with progress.step(f"select features {task}") as line:
        live = _that_vary(train.features)
        rankings = {name: _ranked(live, rank(train, valid, live, settings))
                    for name, rank in RANKERS.items()}  # fmt: skip
        candidates = [_judged("", live, train, valid, settings)]
        for length in (length for length in LENGTHS if length < len(live)):
            for name, ranking in rankings.items():
                progress.running(f"select features {task}: {length} by {name}")
                candidates.append(_judged(name, ranking[:length], train, valid, settings))
        chosen, best, error = choose(candidates, valid.users)
        found = _selection(asked.table, rankings, live, chosen, best, error)
        line.rows = len(train)
        line.note = f"{len(found.kept)} of {train.features.width} kept: {chosen.told}, the best is {best.told}"
    return found


def choose(candidates: list[Candidate], users: np.ndarray) -> tuple[Candidate, Candidate, float]:
    """The shortest candidate within one standard error of the best; it, the best and that error.

    The error is that of the difference between the two on the same rows, by users: what both find
    hard says nothing about which is better.
    Source: Breiman et al. 1984, section 3.4.3 (the one-standard-error rule).
    """
    best = min(candidates, key=lambda one: (one.losses.mean(), len(one.names)))
    near = []
    for one in candidates:
        worse = one.losses - best.losses
        error = _standard_error(worse, users)
        if worse.mean() <= error:
            near.append((len(one.names), one.losses.mean(), error, one))
    _, _, error, chosen = min(near, key=lambda found: found[:2])
    return chosen, best, error


def _standard_error(values: np.ndarray, users: np.ndarray) -> float:
    """Of the mean of rows (n,) that are not independent within a user."""
    _, codes = np.unique(users, return_inverse=True)
    sums = np.bincount(codes, values - values.mean())
    return float(np.sqrt(np.sum(sums**2)) / max(len(values), 1))


def _judged(
    ranker: str, names: tuple[str, ...], train: Table, valid: Table, settings: Settings
) -> Candidate:
    fewer, asked = _only(train, names), _only(valid, names)
    losses = [
        row_losses(train.kind, valid.label, _fitted(name, fewer, asked, settings).predict(asked))
        for name in JUDGES if train.kind in model_class(name).kinds
    ]  # fmt: skip
    return Candidate(ranker, names, np.mean(losses, axis=0))


def _fitted(name: str, train: Table, valid: Table, settings: Settings) -> Model:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        model = model_class(name)(train.kind, settings.seed, settings.threads, JUDGES[name])
        return model.fit(train, valid)


def _only(table: Table, names: tuple[str, ...]) -> Table:
    return replace(table, features=table.features.select(names))


def row_losses(kind: str, label: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(n,) whose mean is `base.loss`."""
    if kind == "binary":
        p = np.clip(answer, 1e-6, 1 - 1e-6)
        return -(label * np.log(p) + (1 - label) * np.log1p(-p))
    mean = np.maximum(answer, max(LEAST_SHARE * label.mean(), 1e-6))
    if kind == "amount":
        return 4 * (np.sqrt(label) - np.sqrt(mean)) ** 2 / np.sqrt(mean)
    ratio = np.where(label > 0, label / mean, 1.0)
    return 2 * (label * np.log(ratio) - label + mean)


# Rankings: feature -> how much it is worth, 0 or more


def mutual_information(
    train: Table, valid: Table, names: tuple[str, ...], settings: Settings
) -> dict[str, float]:
    """What a feature alone tells of the label, in nats, both cut into bins.

    Less what as many bins would tell by chance. Source: Miller 1955 (the correction).
    """
    from sklearn.metrics import mutual_info_score

    label = _bins(train.label)
    found = {}
    for name in names:
        codes = _codes(train.features[name])
        cells = (len(np.unique(codes)) - 1) * (len(np.unique(label)) - 1)
        told = mutual_info_score(label, codes) - cells / (2 * len(label))
        found[name] = max(float(told), 0.0)
    return found


def model_importance(
    train: Table, valid: Table, names: tuple[str, ...], settings: Settings
) -> dict[str, float]:
    """The gain of gradient boosting's splits on a feature."""
    fitted = _fitted("lightgbm", _only(train, names), _only(valid, names), settings)
    shares = fitted.importance()
    return {name: shares.get(name, 0.0) for name in names}


def l1_path(
    train: Table, valid: Table, names: tuple[str, ...], settings: Settings
) -> dict[str, float]:
    """The L1 penalty at which a linear model first takes the feature, as a share of the largest.

    Source: Tibshirani 1996 (the lasso), its path by coordinate descent.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    encoder = Encoder(log=True).fit(train.features.select(names))
    matrix = encoder.transform(train.features) / encoder.spread
    label = train.label if train.kind == "binary" else np.log1p(train.label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its order is all that is asked
        alphas, weights, _ = lasso_path(
            matrix - matrix.mean(axis=0), label - label.mean(), alphas=ALPHAS, eps=1e-3, tol=1e-3
        )
    taken = weights != 0  # (m, alphas), the largest alpha first
    first = np.where(taken.any(axis=1), alphas[taken.argmax(axis=1)] / alphas[0], 0.0)
    found = dict.fromkeys(names, 0.0)
    for column, share in zip(encoder.columns, first, strict=True):
        found[column.source] = max(found[column.source], float(share))
    return found


RANKERS: dict[str, Callable[..., dict[str, float]]] = {
    "model importance": model_importance,
    "L1 path": l1_path,
    "mutual information": mutual_information,
}


def _ranked(names: tuple[str, ...], worth: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (-worth[name], name)))


def _that_vary(features: pl.DataFrame) -> tuple[str, ...]:
    """The features with at least two values in train, missing among them."""
    sources = Encoder(scale=False).fit(features).sources
    return tuple(name for name in features.columns if name in sources)


def _codes(column: pl.Series) -> np.ndarray:
    """(n,) the bin of each row; missing is a bin, and so are all rare categories together."""
    if not is_text(column.dtype):
        return _bins(as_numbers(column.to_frame(), [column.name])[:, 0])
    counts = column.cast(pl.String).value_counts(sort=True, name="rows").drop_nulls()
    common = counts[column.name].head(MOST_CATEGORIES).to_list()
    codes = column.cast(pl.String).cast(pl.Enum(common), strict=False).to_physical()
    return codes.cast(pl.Int64).fill_null(-1).to_numpy()


def _bins(values: np.ndarray) -> np.ndarray:
    """(n,) quantile bins; a number that is frequent enough to be an edge has a bin of its own."""
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1))) if len(known) else known
    bins = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, "right")
    return np.where(np.isfinite(values), bins, -1)


def _selection(
    table: Table, rankings: Mapping[str, tuple[str, ...]], live: tuple[str, ...],
    chosen: Candidate, best: Candidate, error: float,
) -> Selection:  # fmt: skip
    """The chosen features, and the task's own last window, which persistence reads."""
    own = f"{table.task}_last_window"
    reasons = {}
    for name in table.features.columns:
        if name not in live:
            reasons[name] = "the same in all rows of train"
        elif not chosen.ranker:
            reasons[name] = f"no choice of fewer is as good: all of them {best.told}"
        else:
            rank = rankings[chosen.ranker].index(name) + 1
            reasons[name] = f"{rank} of {len(live)} by {chosen.ranker}"
            if name not in chosen.names:
                reasons[name] += (
                    f"; {chosen.told} lose no more than a standard error ({error:.2g}) "
                    f"against {best.told}"
                )
    kept = {*chosen.names, *({own} & {*table.features.columns})}
    if own in kept - {*chosen.names}:
        reasons[own] = "what persistence reads"
    return Selection(tuple(name for name in table.features.columns if name in kept), reasons)
