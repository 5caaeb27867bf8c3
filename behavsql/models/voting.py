"""Every member has one vote."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from behavsql.errors import ModelError
from behavsql.models.parts.ensemble import Ensemble, Member
from behavsql.quoting import literal

VOTES = ("soft", "hard")


class Voting(Ensemble):
    """The mean of the members' calibrated scores (soft), or the share of members that say yes (hard).

    Hard is for binary labels: a member says yes where its score reaches its threshold. The share
    is no probability until it is calibrated, and knows no more than one step a member.
    Source: Kittler, Hatef, Duin and Matas 1998, sum rule (eq. 12) and majority vote (eq. 14).
    """

    name: ClassVar[str] = "voting"
    OPTIONS: ClassVar[Mapping[str, object]] = {"vote": "soft"}

    def __init__(self, kind: str, *arguments: object, **settings: object) -> None:
        super().__init__(kind, *arguments, **settings)
        vote = self.option("vote")
        if vote not in VOTES or (vote == "hard" and kind != "binary"):
            raise ModelError(
                f"model voting: vote is {vote!r}, the label of kind {kind!r}; allowed is 'soft', "
                "and for binary labels 'hard'. Leave the option out."
            )
        self._params["vote"] = vote

    def _weigh(
        self, members: Sequence[Member], scores: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, float]:
        return np.full(len(members), 1 / len(members)), 0.0

    def _term(self, member: Member, score: np.ndarray) -> np.ndarray:
        if self._params["vote"] == "soft":
            return score
        return (score >= member.threshold).astype(np.float64)

    def _term_sql(self, member: Member, score: str) -> str:
        if self._params["vote"] == "soft":
            return score
        return f"({score} >= {literal(member.threshold)})::DOUBLE"

    def _answer(self, total: np.ndarray) -> np.ndarray:
        # All say yes: the sum of their equal weights may be a last bit more than 1.
        return np.minimum(total, 1.0) if self.kind == "binary" else total

    def _answer_sql(self, total: str) -> str:
        return f"least({total}, 1e0)" if self.kind == "binary" else total
