"""The named functions of a model in the warehouse, each a macro that needs nothing else.

predict_<task>(f)               the published model, for a row: from features.latest as f
whatif_<task>(feature := ...)   the same for values one gives; the rest is as usual in train
score_<task>(table)             the same for a whole table, at the speed of its columns
predict_<task>__<model>(f)      by the model's name, and
predict_<task>__<model>__v<n>   by its version, which stays when a newer one comes

A model that reads the last events takes rows that hold the lists of features.sequences. It has no
whatif_, for lists have no usual value, and no score_ if it reads features too: no table has both.
"""

import textwrap
from dataclasses import dataclass

from behavsql import describe
from behavsql.compile.profile import Feature
from behavsql.compile.registry import (
    ASKED,
    BATCH,
    EVENT_BATCH,
    EVENT_ROW,
    ROW,
    WHATIF,
    dropped,
    is_table,
)
from behavsql.compile.scorer import Scorer
from behavsql.parity import Published
from behavsql.quoting import identifier, literal

COMMENT_WIDTH = 100


@dataclass(frozen=True)
class Macro:
    """One function of the warehouse. form: one of those in registry."""

    name: str
    form: str
    parameters: str
    body: str
    comment: str

    @property
    def create(self) -> str:
        """The statements that make it, with its comment."""
        kind = "MACRO TABLE" if is_table(self.form) else "MACRO"
        body = f"TABLE {self.body}" if is_table(self.form) else f"({self.body})"
        return (
            f"CREATE OR REPLACE MACRO {identifier(self.name)}({self.parameters}) AS {body};"
            f"COMMENT ON {kind} {identifier(self.name)} IS {literal(self.comment)}"
        )

    @property
    def drop(self) -> str:
        """The statement that takes it away again."""
        return dropped(self.name, self.form)


def macros(one: Published, scorer: Scorer, features: list[Feature]) -> list[Macro]:
    """Every function of a published model."""
    task, told = one.task, _Words(one, scorer, features)
    body = scorer.row.over_row(scorer.row_score, "f")
    by_row = [f"predict_{task}", f"predict_{task}__{one.model}", version_name(one)]
    form = EVENT_ROW if scorer.lists else ROW
    found = [Macro(name, form, "f", body, told.row(name)) for name in by_row]
    if scorer.lists:
        return [*found, *([] if scorer.features else [_event_batch(task, scorer, told)])]
    given = ", ".join(f"{identifier(one.name)} := {_usual(one)}" for one in features)
    whatif = f"whatif_{task}"
    body = scorer.row.over_columns(scorer.row_score)
    found.append(Macro(whatif, WHATIF, given, body, told.whatif(whatif)))
    score = f"score_{task}"
    # A parameter's name replaces every column of that name.
    body = scorer.batch.query(scorer.batch_score, "query_table(_table)")
    return [*found, Macro(score, BATCH, "_table", body, told.batch(score))]


def _event_batch(task: str, scorer: Scorer, told: "_Words") -> Macro:
    name, keys = f"score_{task}", ("user_id", "cutoff_at")
    body = scorer.batch.query(scorer.batch_score, "query_table(_table)", keys)
    return Macro(name, EVENT_BATCH, "_table", body, told.event_batch(name))


def version_name(one: Published) -> str:
    """The function that stays what it is.

    >>> version_name(Published("m", "churn", "binary", "mlp", "neural", 3))
    'predict_churn__mlp__v3'
    """
    return f"predict_{one.task}__{one.model}__v{one.version}"


def _usual(feature: Feature) -> str:
    return literal(feature.usual)


class _Words:
    """The comments of a model's functions."""

    def __init__(self, one: Published, scorer: Scorer, features: list[Feature]) -> None:
        measure = "probability (0-1)" if one.kind == "binary" else f"expected {one.kind}"
        self.task = one.task
        self.what = f"{measure} of {one.task}, by {one.model} version {one.version}, calibrated"
        read = [feature for feature in features if feature.name in scorer.features]
        rest = [feature.name for feature in features if feature.name not in scorer.features]
        listed = "\n".join(f"  {_feature(feature)}" for feature in read)
        self.reads = f"Reads {len(read)} features (NULL, NaN and infinite are missing):\n{listed}"
        self.rows = "features.latest"
        if scorer.lists:
            self.rows = ASKED if read else "features.sequences"
            lists = f"Reads the last events: {', '.join(scorer.lists)} of features.sequences."
            self.reads = f"{lists}\n{self.reads}" if read else lists
            rest = rest if read else []
        if rest:
            others = textwrap.wrap(f"Does not depend on: {', '.join(rest)}.", COMMENT_WIDTH)
            self.reads += "\n" + "\n".join(others)

    def row(self, name: str) -> str:
        example = f"select user_id, {name}(f) from {self.rows} as f"
        who = f"Scores any row; predictions.{self.task} has those who are asked."
        return f"{self.what}, for a row of features.\n{who}\nExample: {example}\n{self.reads}"

    def whatif(self, name: str) -> str:
        what = f"{self.what}, for the features one gives; the others are as usual in train."
        return f"{what}\nExample: select {name}()\n{self.reads}"

    def event_batch(self, name: str) -> str:
        what = f"{self.what}: user_id, cutoff_at and score of every row of a table of sequences."
        example = (
            f"from {name}('features.sequences') "
            "where cutoff_at = (select max(cutoff_at) from features.latest)"
        )
        return f"{what}\nExample: {example}\n{self.reads}"

    def batch(self, name: str) -> str:
        what = f"{self.what}: user_id and score of every row of a table of features."
        example = f"from {name}('features.latest')"
        return f"{what}\nExample: {example}\n{self.reads}"


def _feature(feature: Feature) -> str:
    text = f"{feature.name} {feature.data_type}: {describe.describe(feature.name) or ''}".strip()
    if feature.median is not None:
        return f"{text}; train {feature.low:.6g} to {feature.high:.6g}, median {feature.median:.6g}"
    return f"{text}; most often {feature.most_frequent!r} in train"
