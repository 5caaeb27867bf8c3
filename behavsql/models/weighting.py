"""Members weighed by how well their mixture does on valid."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from behavsql.models.base import loss
from behavsql.models.parts.ensemble import Ensemble, Member

ROUNDS = 50  # members that are drawn: the steps of a weight are about 2%


class Weighting(Ensemble):
    """The weighted mean of the members' calibrated scores; weights are 0 or more and sum to 1.

    A bag starts empty; each round adds the member, again if it was added before, with which the
    mean over the bag has the lowest loss. The bag of the best round is kept, and a member's weight
    is its share of it. Source: Caruana, Niculescu-Mizil, Crew and Ksikes 2004, sections 2 and 2.1
    (forward stepwise selection with replacement).
    """

    name: ClassVar[str] = "weighting"

    def _weigh(
        self, members: Sequence[Member], scores: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, float]:
        bag, total = np.zeros(len(members)), np.zeros(len(label))
        best, lowest = bag, np.inf
        for size in range(1, ROUNDS + 1):
            losses = [loss(self.kind, label, (total + score) / size) for score in scores.T]
            chosen = int(np.argmin(losses))
            total, bag = total + scores[:, chosen], bag.copy()
            bag[chosen] += 1
            if losses[chosen] < lowest:
                best, lowest = bag, losses[chosen]
        return best / best.sum(), 0.0
