"""What the ensembles share: members that speak calibrated, and a number for each of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from behavsql.calibration import MIN_PER_CLASS, Calibrator
from behavsql.frames import Table
from behavsql.metrics import DEFAULT_THRESHOLD, best_threshold
from behavsql.models import model_class
from behavsql.models.base import LEAST_SHARE, Model, labels, loss
from behavsql.quoting import literal

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

# Whom `fit` trains where nobody brings members along.
OWN_MEMBERS = {
    "binary": ("logistic", "decision_tree"),
    "count": ("linear", "decision_tree"),
    "amount": ("linear", "decision_tree"),
}


@dataclass(frozen=True)
class Member:
    """A fitted model, its calibration, and the score at or above which it votes yes."""

    model: Model
    calibrator: Calibrator
    threshold: float = DEFAULT_THRESHOLD

    @classmethod
    def fit(cls, model: Model, train: Table, valid: Table) -> Self:
        """Fit the model on train and calibrate it on valid."""
        raw = model.fit(train, valid).predict(valid)
        return cls.of(model, raw, valid.label, float(train.label.mean()))

    @classmethod
    def of(cls, model: Model, raw: np.ndarray, label: np.ndarray, mean: float) -> Self:
        """Calibrated by what it says (n,) of held-out rows. mean: of the labels it learned from."""
        if model.kind != "binary":
            return cls(model, Calibrator.floor(LEAST_SHARE * mean))
        calibrator = gentle(raw, label)
        return cls(model, calibrator, _threshold(calibrator.transform(raw), label))

    def score(self, table: Table) -> np.ndarray:
        """(n,) what the model says, calibrated."""
        return self.calibrator.transform(self.model.predict(table))

    def to_sql(self, form: "Form") -> str:
        """`score` in SQL; CompileError for a model without."""
        raw = self.model.to_sql(form)
        return form.bind(raw, lambda name: self.calibrator.to_sql(name, form))


def gentle(raw: np.ndarray, label: np.ndarray) -> Calibrator:
    """A calibration without steps, for what is combined or is a combination.

    Weights are learned from the rows that calibrate: there, isotonic steps flatter a model.
    """
    if min(label.sum(), len(label) - label.sum()) < MIN_PER_CLASS:
        return Calibrator()
    return Calibrator.sigmoid(raw, label)


def _threshold(score: np.ndarray, label: np.ndarray) -> float:
    """The best one, put between two scores: there no last bit turns a vote."""
    best = best_threshold(label, score)
    below = score[score < best]
    return (best + float(below.max())) / 2 if len(below) else 0.0


class Ensemble(Model):
    """intercept + the sum of weight times term, where a term is made of a member's score.

    Training brings fitted members along and calls `join`; `fit` trains two of its own. Members
    without weight are not kept. It reads what its members read; it is in SQL if all of them are.
    Importance is the members' own, by their weights.
    """

    family: ClassVar[str] = "ensemble"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    is_out_of_time: ClassVar[bool] = False  # training weighs by folds of train, else by valid

    def fit(self, train: Table, valid: Table) -> Self:
        """Two members that learn from train; valid, which is later, calibrates and weighs them."""
        labels(self, train, classes=2)
        labels(self, valid)
        models = [model_class(name)(self.kind, self.seed, self.threads)
                  for name in OWN_MEMBERS[self.kind]]  # fmt: skip
        members = [Member.fit(model, train, valid) for model in models]
        scores = np.column_stack([member.score(valid) for member in members])
        return self.join(members, scores, valid.label)

    def join(
        self, members: Sequence[Member], scores: np.ndarray, label: np.ndarray, **told: object
    ) -> Self:
        """Adopt fitted members, weighed by what they say (n, m) of rows they did not learn from.

        told: what else `params` is to say.
        """
        weights, self._intercept = self._weigh(members, scores, label)
        kept = np.flatnonzero(weights)
        self._adopt([members[i] for i in kept], weights[kept])
        self._params |= {
            "weights": {member.model.name: weight for member, weight in self.weighted},
            "without_weight": [one.model.name for i, one in enumerate(members) if not weights[i]],
            "intercept": self._intercept,
            "rows": len(label),
            "loss": loss(self.kind, label, self.pool(scores[:, kept])),
            **told,
        }
        self._importance = self._shares()
        return self

    @property
    def weighted(self) -> list[tuple[Member, float]]:
        """The members with their weights, in the order of `pool`."""
        return list(zip(self.members, self._weights.tolist(), strict=True))

    @abstractmethod
    def _weigh(
        self, members: Sequence[Member], scores: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """The weights (m,), 0 or more, and the intercept."""

    def _term(self, member: Member, score: np.ndarray) -> np.ndarray:
        """What a member's scores (n,) add, before the weight."""
        return score

    def _term_sql(self, member: Member, score: str) -> str:
        """`_term` in SQL, of a name."""
        return score

    def _answer(self, total: np.ndarray) -> np.ndarray:
        """Sums (n,) -> predictions (n,)."""
        return total

    def _answer_sql(self, total: str) -> str:
        """`_answer` in SQL, of a name."""
        return total

    def pool(self, scores: np.ndarray) -> np.ndarray:
        """(n,) the prediction where the members said `scores` (n, m)."""
        total = np.full(len(scores), self._intercept)
        for i, (member, weight) in enumerate(self.weighted):
            total = total + weight * self._term(member, scores[:, i])
        return self._answer(total)

    def predict(self, table: Table) -> np.ndarray:
        scores = np.empty((len(table), len(self.members)))
        for i, member in enumerate(self.members):
            member.model.threads = self.threads
            scores[:, i] = member.score(table)
        return self.pool(scores)

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """The members' parts, each rescaled to its calibrated term, weighted and added up."""
        from behavsql.models.parts.explanation import Explanation, most_of, summed

        told = []
        for member, weight in self.weighted:
            member.model.threads = self.threads
            one = member.model.explain(table, usual)
            both = self._term(member, member.calibrator.transform(np.append(one.answer, one.start)))
            most = np.inf if self.is_out_of_time else most_of(self.kind, both[-1], both[:-1])
            told.append((one.rescaled(both[-1], both[:-1], most), weight))
        names, base, parts, residual = summed(told, self._intercept)
        answer = self._answer(np.append(base + parts.sum(axis=1) + residual, base))
        methods = dict.fromkeys(one.method for one, _ in told)
        return Explanation(
            " + ".join(methods), names, base, parts, residual, float(answer[-1]), answer[:-1]
        )

    def breakpoints(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for member in self.members:
            for name, values in member.model.breakpoints().items():
                found[name] = sorted({*found.get(name, []), *values})
        return found

    def to_sql(self, form: "Form") -> str:
        terms = [literal(self._intercept)]
        for member, weight in self.weighted:
            term = form.bind(
                member.to_sql(form), lambda name, member=member: self._term_sql(member, name)
            )
            terms.append(f"{literal(weight)} * {term}")
        return form.bind(f"({' + '.join(terms)})", self._answer_sql)

    def features(self, task: str) -> tuple[str, ...]:
        read = [name for member in self.members for name in member.model.features(task)]
        return tuple(dict.fromkeys(read))

    def save(self) -> dict[str, bytes]:
        stored = [
            {"model": one.model.name, "calibration": one.calibrator.to_dict(),
             "threshold": one.threshold, "weight": weight}
            for one, weight in self.weighted
        ]  # fmt: skip
        files = self._card(members=stored, intercept=self._intercept)
        for i, member in enumerate(self.members):
            own = member.model.save().items()
            files |= {f"member_{i}/{name}": content for name, content in own}
        return files

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        ensemble = cls(kind)
        card = ensemble._read_card(files)
        members = []
        for i, stored in enumerate(card["members"]):
            prefix = f"member_{i}/"
            own = {name.removeprefix(prefix): content
                   for name, content in files.items() if name.startswith(prefix)}  # fmt: skip
            model = model_class(stored["model"]).load(kind, own)
            calibrator = Calibrator.from_dict(stored["calibration"])
            members.append(Member(model, calibrator, stored["threshold"]))
        ensemble._intercept = card["intercept"]
        ensemble._adopt(members, np.array([stored["weight"] for stored in card["members"]]))
        return ensemble

    def _adopt(self, members: Sequence[Member], weights: np.ndarray) -> None:
        self.members, self._weights = tuple(members), weights
        read = {member.model.reads for member in members}
        self.reads = "both" if len(read) > 1 else next(iter(read), "table")
        self.tolerance = max([type(self).tolerance, *(one.model.tolerance for one in members)])

    def _shares(self) -> dict[str, float]:
        shares: dict[str, float] = {}
        for member, weight in self.weighted:
            for feature, share in member.model.importance().items():
                shares[feature] = shares.get(feature, 0.0) + weight * share
        total = sum(shares.values())
        return {feature: share / total for feature, share in
                sorted(shares.items(), key=lambda one: -one[1])} if total else {}  # fmt: skip
