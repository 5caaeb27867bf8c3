"""Which of a task's trained models speak together, and what their weights are learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from behavsql.config import Settings
from behavsql.errors import ModelError
from behavsql.frames import Asked
from behavsql.models import model_class
from behavsql.models.base import Model, loss
from behavsql.models.parts.ensemble import Ensemble, Member
from behavsql.models.parts.ensemble import gentle as gentle
from behavsql.promotion import reach
from behavsql.tasks import Task

if TYPE_CHECKING:
    from behavsql.train import Trained

MOST_MEMBERS = 5
SAME = 0.999  # correlation of scores from which a second model adds nothing
FOLDS = 3
# Networks over sequences are not fitted for folds: they take the longest, and a pre-trained one has
# seen events that are later than a fold. A rule by the clock would not give the same twice.
NOT_AGAIN = ("neural", "multimodal")
FOLDS_COST = 2.0  # full fits: the folds learn from about 0.4, 0.6 and 0.8 of train


@dataclass(frozen=True)
class Candidate:
    """A trained model that may become a member."""

    member: Member
    score: np.ndarray  # (n,) as the member says it; NaN for train rows
    seconds: float  # that fitting took

    @property
    def name(self) -> str:
        return self.member.model.name


def choose(
    trained: "Sequence[Trained]", asked: Asked, task: Task, types: Mapping[str, str]
) -> list[Candidate]:
    """The best few by loss on the fitting half of valid that are unlike each other, best first.

    Only models that beat every reference there, and that go as far in the file as the best of them:
    if that one is a function of a row of features, an ensemble must not be less. types: of the
    features and of the lists of features.sequences.
    """
    fit = asked.split("valid") & asked.is_fit_half
    label, mean = asked.table.label, float(asked.table.label[asked.split("train")].mean())
    lost = lambda score: loss(task.kind, label[fit], score[fit])  # noqa: E731
    bar = min((lost(one.score) for one in trained if one.is_reference), default=np.inf)
    found = []
    for one in trained:
        if not one.is_reference:
            member = Member.of(one.model, one.raw[fit], label[fit], mean)
            found.append(Candidate(member, member.calibrator.transform(one.raw), one.seconds))
    ranked = sorted(
        (one for one in found if lost(one.score) < bar), key=lambda one: lost(one.score)
    )
    if ranked and (least := reach(ranked[0].member, types, task)):
        ranked = [one for one in ranked if reach(one.member, types, task) >= least]
    chosen: list[Candidate] = []
    for one in ranked:
        if not any(_alike(one.score[fit], other.score[fit]) for other in chosen):
            chosen.append(one)
    return chosen[:MOST_MEMBERS]


def _alike(score: np.ndarray, other: np.ndarray) -> bool:
    if score.std() == 0 or other.std() == 0:
        return True
    return float(np.corrcoef(score, other)[0, 1]) > SAME


def build(
    name: str, chosen: Sequence[Candidate], asked: Asked, task: Task, settings: Settings,
    seconds: float | None = None, options: Mapping[str, object] = MappingProxyType({}),
) -> tuple[Ensemble, np.ndarray]:  # fmt: skip
    """An ensemble of these candidates, and what it says (n,), NaN for train rows.

    Its weights are learned on the half of valid that fits, stacking's on folds of train. seconds:
    what the folds may take. ModelError where there are not two to combine.
    """
    ensemble = model_class(name)(task.kind, settings.seed, settings.threads, options, seconds)
    where, slow = f"model {name}, task {task.name}", []
    if ensemble.is_out_of_time:
        chosen, slow = _fitted_again(chosen, seconds)
    if len(chosen) < 2:
        beside = f" ({', '.join(slow)} not, too slow for folds)" if slow else ""
        raise ModelError(
            f"{where}: {len(chosen)} of the models can be combined{beside}; allowed are 2 or more that "
            f"beat the references and differ. Train it with other models."
        )
    scores, label, told = _evidence(ensemble, chosen, asked, task, settings)
    told |= {"too_slow_for_folds": slow} if ensemble.is_out_of_time else {}
    ensemble.join([one.member for one in chosen], scores, label, **told)
    kept = [one for one in chosen if one.member in ensemble.members]
    if len(kept) < 2:
        alone = kept[0].name if kept else "no model"
        raise ModelError(
            f"{where}: all weight is on {alone}; allowed are 2 or more models that add to each "
            f"other. Use {alone} by itself."
        )
    raw = ensemble.pool(np.column_stack([one.score for one in kept]))
    return ensemble, np.where(asked.split("train"), np.nan, raw)


def _evidence(
    ensemble: Ensemble, chosen: Sequence[Candidate], asked: Asked, task: Task, settings: Settings
) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """Scores (n, m) and labels (n,) that weights are learned from, and what there is to say of them."""
    if ensemble.is_out_of_time:
        count = len(folds(_train_cutoffs(asked), _horizon(task)))
        models = [one.member.model for one in chosen]
        return *out_of_time(models, asked, task, settings), {"folds": count}
    fit = asked.split("valid") & asked.is_fit_half
    return np.column_stack([one.score[fit] for one in chosen]), asked.table.label[fit], {}


def _fitted_again(
    chosen: Sequence[Candidate], seconds: float | None
) -> tuple[list[Candidate], list[str]]:
    """Those that are fitted for folds, and the names of the others; the slowest go where time is short."""
    is_large = lambda model: model.family in NOT_AGAIN and model.reads != "table"  # noqa: E731
    kept = [one for one in chosen if not is_large(one.member.model)]
    for one in sorted(kept, key=lambda one: -one.seconds):
        if seconds is not None and FOLDS_COST * sum(other.seconds for other in kept) > seconds:
            kept.remove(one)
    names = {one.name for one in kept}
    return kept, [one.name for one in chosen if one.name not in names]


def out_of_time(
    models: Sequence[Model], asked: Asked, task: Task, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, m) that models of the same make give to train rows later than those they learn from.

    Of a fold's later rows one half of the users stops and calibrates the models, as the fitting
    half of valid does for those that are trained on all of train; the other half is scored. Returned
    with the labels (n,).
    """
    train = asked.split("train")
    table, is_fit_half = asked.table.rows(train), asked.is_fit_half[train]
    scores, labels = [], []
    for early, late in folds(_train_cutoffs(asked), _horizon(task)):
        known, stopping, rest = (
            table.rows(rows) for rows in (early, late & is_fit_half, late & ~is_fit_half)
        )
        again = [
            Member.fit(
                type(model)(task.kind, settings.seed, settings.threads, options=model.options),
                known, stopping,
            ) for model in models
        ]  # fmt: skip
        scores.append(np.column_stack([member.score(rest) for member in again]))
        labels.append(rest.label)
    if not scores:
        raise ModelError(
            f"model stacking, task {task.name}: no train cutoff is a whole horizon later than another; "
            f"folds need one. Train on a longer period."
        )
    return np.concatenate(scores), np.concatenate(labels)


def folds(cutoff: np.ndarray, horizon: timedelta) -> list[tuple[np.ndarray, np.ndarray]]:
    """(early, late) masks over rows with these cutoffs (n,): up to FOLDS stretches of the later half.

    Purged: every label window of the early rows ends before the first cutoff of the late ones.
    """
    moments = np.unique(cutoff)
    span = np.timedelta64(horizon)
    later = moments[len(moments) // 2 :]
    later = later[later >= moments[0] + span] if len(moments) else later
    stretches = [part for part in np.array_split(later, FOLDS) if len(part)]
    return [
        (cutoff + span <= part[0], (cutoff >= part[0]) & (cutoff <= part[-1])) for part in stretches
    ]


def _train_cutoffs(asked: Asked) -> np.ndarray:
    return asked.keys["cutoff_at"].to_numpy()[asked.split("train")]


def _horizon(task: Task) -> timedelta:
    if task.horizon is None:
        raise ModelError(
            f"task {task.name}: its horizon is not known; folds need it to keep label windows apart. "
            f"Take the task from behavsql.tasks.ready."
        )
    return task.horizon
