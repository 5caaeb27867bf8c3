"""Features that say the same: reasons and importance tell them as one."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from behavsql.models.parts.encoding import as_numbers, is_text

ALIKE = 0.9  # |rank correlation| from which on features go together
ROWS = 5_000


@dataclass(frozen=True)
class Groups:
    """f features in g groups, each named after the feature that counts most."""

    features: tuple[str, ...]
    names: tuple[str, ...]  # of the groups
    member: np.ndarray  # (f,) int64: the group of each feature
    correlation: np.ndarray  # (f,) with the feature the group is named after

    def among(self, features: tuple[str, ...]) -> "Groups":
        """The same for features in another order; those that are not known are alone."""
        if features == self.features:
            return self
        known = dict(zip(self.features, self.member.tolist(), strict=True))
        own = [self.names[known[name]] if name in known else name for name in features]
        names = tuple(dict.fromkeys(own))
        return Groups(
            features, names, np.array([names.index(name) for name in own]), np.ones(len(features))
        )

    def of(self, parts: np.ndarray) -> np.ndarray:
        """Parts of features (n, f) added up to those of groups (n, g)."""
        which = np.zeros((len(self.features), len(self.names)))
        which[np.arange(len(self.features)), self.member] = 1.0
        return parts @ which

    def spokesmen(self, parts: np.ndarray, together: np.ndarray) -> np.ndarray:
        """(n, g) the feature of each group that moves a row most in the group's own direction."""
        found = np.empty(together.shape, np.int64)
        for group in range(len(self.names)):
            of = np.flatnonzero(self.member == group)
            found[:, group] = of[np.argmax(parts[:, of] * np.sign(together[:, [group]]), axis=1)]
        return found


def find(frame: pl.DataFrame, features: tuple[str, ...], weights: np.ndarray) -> Groups:
    """Group features whose rank correlation over some rows reaches ALIKE with the group's first.

    weights (f,): how much each counts; the one that counts most gathers those like it first.
    Missing is the lowest rank. Texts, constants and what is no column stay alone.
    """
    numbers = [
        name for name in features if name in frame.columns and not is_text(frame.schema[name])
    ]
    alike = _correlations(frame.head(ROWS), numbers)
    place = {name: j for j, name in enumerate(numbers)}
    member, correlation = np.full(len(features), -1), np.ones(len(features))
    names = []
    for j in np.argsort(-weights, kind="stable"):
        if member[j] >= 0:
            continue
        member[j] = len(names)
        if features[j] in place:
            row = alike[place[features[j]]]
            for other, name in enumerate(features):
                if member[other] < 0 and name in place and row[place[name]] >= ALIKE:
                    member[other], correlation[other] = len(names), row[place[name]]
        names.append(features[j])
    return Groups(features, tuple(names), member, correlation)


def _correlations(frame: pl.DataFrame, numbers: list[str]) -> np.ndarray:
    """(k, k) absolute rank correlations; 0 of what does not vary."""
    if not numbers or frame.height < 2:
        return np.zeros((len(numbers), len(numbers)))
    values = as_numbers(frame, numbers)
    values = np.where(np.isnan(values), -np.inf, values)
    ranks = np.column_stack([
        pl.Series(column).rank("average").to_numpy() for column in values.T
    ])  # fmt: skip
    ranks = ranks - ranks.mean(axis=0)
    spread = np.sqrt((ranks**2).sum(axis=0))
    scaled = ranks / np.where(spread > 0, spread, np.inf)
    return np.abs(scaled.T @ scaled)
