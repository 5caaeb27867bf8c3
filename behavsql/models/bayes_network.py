"""A Bayes network learned from data: the label, and a tree of features below it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.base import Model, at_most, labels, loss
from behavsql.models.parts import bayes_tables, chow_liu, discrete
from behavsql.models.parts.bayes_tables import Classes, Node
from behavsql.models.parts.discrete import Discrete
from behavsql.models.parts.space import Between, Range

if TYPE_CHECKING:
    from behavsql.compile import Form
    from behavsql.models.parts.explanation import Explanation

MOST_ROWS = 500_000  # it is fitted on at most so many
CHOOSE_ROWS = 100_000  # features are compared on at most so many
FEATURES = (4, 6, 8, 12, 16, 24)  # so many, at most, are tried
SMOOTHINGS = (1.0, 10.0, 100.0)


class BayesNetwork(Model):
    """P(label | features) from P(label) and P(feature | its parent in the tree, label) of each.

    Numbers are cut into quantile bins, missing is a state of its own. Features that tell no more
    about the label than chance are left out, edges no stronger than chance are cut, and valid
    chooses how many features to keep and how much to smooth. A state that train never saw is left
    out of the product; features below it are then taken as without a parent.

    count, amount  the label is cut into quantile classes as well; the answer is the mean label of
                   the classes in train, weighted with their probabilities

    Importance is the share of the mutual information with the label.
    Source: N. Friedman, D. Geiger and M. Goldszmidt, 1997, Bayesian network classifiers (the tree
    and the smoothing), with weak edges cut; which features: F. Fleuret, 2004, see chow_liu.py.
    """

    name: ClassVar[str] = "bayes_network"
    family: ClassVar[str] = "probabilistic"
    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "amount"})
    # None: valid chooses. classes: of a label that is not yes or no
    OPTIONS: ClassVar[Mapping[str, object]] = {
        "bins": 5, "classes": 5, "most_features": None, "smoothing": None,
    }  # fmt: skip
    SPACE: ClassVar[Mapping[str, Range]] = {
        "bins": Between(3, 12),
        "most_features": Between(2, 32, log=True),
        "smoothing": Between(0.5, 500.0, log=True),
    }

    def fit(self, train: Table, valid: Table) -> Self:
        train = at_most(train, MOST_ROWS, self.seed)
        labels(self, train, classes=2)
        labels(self, valid)
        label = self._classify(train.label)
        features = self._choose(train.features, label)
        codes, asked = (discrete.codes(features, x.features) for x in (train, valid))
        edges = chow_liu.pairwise(label, codes, [feature.size for feature in features])
        best = np.inf
        for count in self._tried("most_features", FEATURES, len(features)):
            some, among = slice(count), tuple(part[:count, :count] for part in edges)
            for smoothing in self._tried("smoothing", SMOOTHINGS):
                nodes = bayes_tables.learn(features[some], codes[some], label, among, smoothing)
                answer = self._classes.mean(bayes_tables.scores(nodes, self._classes, asked[some]))
                found = loss(self.kind, valid.label, answer)
                if found < best:
                    best, self._nodes, self._smoothing = found, nodes, smoothing
        self._describe(best)
        return self

    def predict(self, table: Table) -> np.ndarray:
        codes = discrete.codes([node.feature for node in self._nodes], table.features)
        return self._classes.mean(bayes_tables.scores(self._nodes, self._classes, codes))

    def explain(self, table: Table, usual: Table) -> "Explanation":
        """Each feature's likelihood ratio given its parent; of several classes, see `bayes_tables`."""
        from behavsql.models.parts.explanation import Explanation

        codes = discrete.codes([node.feature for node in self._nodes], table.features)
        is_binary = self.kind == "binary"
        base, parts = bayes_tables.parts(self._nodes, self._classes, codes, is_binary)
        answer = self._classes.mean(bayes_tables.scores(self._nodes, self._classes, codes))
        start = float(self._classes.mean(self._classes.log_ratios[:, np.newaxis])[0])
        names = tuple(node.feature.source for node in self._nodes)
        one = Explanation.exact("likelihood ratios", names, base, parts, start, answer)
        if is_binary:
            return one
        return replace(one, residual=answer - start - parts.sum(axis=1))

    def breakpoints(self) -> dict[str, list[float]]:
        # A bin begins with its edge: the step is just below it.
        return {
            node.feature.source: [float(np.nextafter(edge, -np.inf)) for edge in node.feature.edges]
            for node in self._nodes if node.feature.edges
        }  # fmt: skip

    def features(self, task: str) -> tuple[str, ...]:
        return tuple(node.feature.source for node in self._nodes)

    def tables(self) -> dict[str, pl.DataFrame]:
        return {"bayes_network": bayes_tables.shown(self._nodes, self._classes)}

    def to_sql(self, form: "Form") -> str:
        from behavsql.compile import bayes_network

        return bayes_network.expected(self._nodes, self._classes, form)

    def save(self) -> dict[str, bytes]:
        classes = {"names": self._classes.names, "means": self._classes.means.tolist(),
                   "rows": self._classes.rows.tolist()}  # fmt: skip
        return self._card(classes=classes, nodes=[node.to_dict() for node in self._nodes])

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        model = cls(kind)
        card = model._read_card(files)
        names, means, rows = (card["classes"][key] for key in ("names", "means", "rows"))
        model._classes = Classes(names, np.array(means), np.array(rows))
        model._nodes = [Node.from_dict(stored) for stored in card["nodes"]]
        return model

    def _classify(self, label: np.ndarray) -> np.ndarray:
        """Learn the classes of the label; (n,) int64, the class of each row."""
        if self.kind == "binary":
            edges, names = np.array([1.0]), ["0", "1"]
        else:
            edges = discrete.quantile_edges(label, self.option("classes"))
            names = discrete.bin_names(edges)
        self._classes, found = Classes.learn(label, edges, names)
        return found

    def _choose(self, frame: pl.DataFrame, label: np.ndarray) -> list[Discrete]:
        """The features that add most about the label, in that order; ModelError if none varies."""
        found = [Discrete.learn(series, self.option("bins")) for series in frame]
        random = np.random.default_rng(self.seed)
        some = np.sort(random.permutation(len(label))[:CHOOSE_ROWS])
        codes = discrete.codes(found, frame[some])
        varies = np.flatnonzero((codes != codes[:, :1]).any(axis=1))
        if len(varies) == 0:
            raise ModelError(
                f"features: none of the {frame.width} columns varies over the {frame.height} rows "
                "of train; at least one must. Add features or a longer period."
            )
        found = [found[j] for j in varies]
        self._importance = {feature.source: 0.0 for feature in found}
        sizes = [feature.size for feature in found]
        most = self._tried("most_features", FEATURES)[-1]
        chosen = chow_liu.most_informative(label[some], codes[varies], sizes, most)
        return [found[j] for j in chosen]

    def _tried(self, option: str, choices: tuple, most: float = np.inf) -> list:
        """What is tried of an option, in order: what was given, or else all choices."""
        given = self.option(option)
        return sorted({min(one, most) for one in (choices if given is None else (given,))})

    def _describe(self, valid_loss: float) -> None:
        """Note what was chosen."""
        edges = sum(node.parent is not None for node in self._nodes)
        self._params = {
            "bins": self.option("bins"), "classes": len(self._classes.names),
            "count_features": len(self._nodes), "count_edges": edges,
            "smoothing": self._smoothing, "valid_loss": valid_loss,
        }  # fmt: skip
        ranked = sorted(self._nodes, key=lambda node: -node.information)
        total = sum(node.information for node in ranked)
        if total > 0:
            used = {node.feature.source: node.information / total for node in ranked}
            self._importance = used | {name: 0.0 for name in self._importance if name not in used}
