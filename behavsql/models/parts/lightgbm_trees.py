"""A LightGBM model's trees, with the shares of the train rows that went either way."""

from collections.abc import Mapping

import numpy as np

from behavsql.compile import lightgbm_text
from behavsql.errors import ModelError
from behavsql.models.parts.tree_shap import Fork, Tree


def read(text: str) -> tuple[list[Tree], Mapping[str, str]]:
    """The trees and the objective; CompileError for what `lightgbm_text` does not read either."""
    trees, objective = lightgbm_text.read(text, _column)
    blocks = text.split("\nTree=")[1:]
    return [_weighed(tree, block) for tree, block in zip(trees, blocks, strict=True)], objective


def _column(column: int, zero_is_missing: bool, categories: frozenset[int] | None) -> int:
    if zero_is_missing or categories is not None:
        raise ModelError(
            f"model lightgbm: its split on column {column} is on categories, or takes zero for "
            "missing; explained are splits on numbers. Train again without those settings."
        )
    return column


def _weighed(tree: object, block: str) -> Tree:
    """The tree with its shares: counts are listed in the order of the splits and leaves."""
    fields = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
    if not isinstance(tree, lightgbm_text.Split):
        return tree
    whole = lambda key: [int(value) for value in fields[key].split()]  # noqa: E731
    leaves, splits = whole("leaf_count"), whole("internal_count")
    lefts, rights = whole("left_child"), whole("right_child")

    def rows(i: int) -> int:
        return splits[i] if i >= 0 else leaves[~i]

    def node(split: object, i: int) -> Tree:
        if i < 0:
            return float(split)
        left, right = lefts[i], rights[i]
        share = rows(left) / max(rows(left) + rows(right), 1)
        return Fork(
            split.atom, split.threshold, split.missing_left, share,
            node(split.left, left), node(split.right, right),
        )  # fmt: skip

    return node(tree, 0)


def answered(total: np.ndarray, objective: Mapping[str, str]) -> np.ndarray:
    """What the booster answers, of the sums (n,) of its trees."""
    if objective["name"] == "binary":
        return 1 / (1 + np.exp(-float(objective.get("sigmoid", 1)) * total))
    return np.exp(total) if objective["name"] in ("poisson", "tweedie", "gamma") else total
