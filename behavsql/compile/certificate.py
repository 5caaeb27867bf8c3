"""The proof that the functions in the file say what the model says: asked the same, row by row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl

from behavsql import frames, parity, sequences
from behavsql.compile import edge_rows
from behavsql.compile.macros import Macro
from behavsql.compile.profile import Feature
from behavsql.compile.registry import EVENT_ROW, ROW, is_table
from behavsql.compile.scorer import Scorer
from behavsql.config import Settings
from behavsql.frames import Table
from behavsql.parity import TOLERANCE, Published
from behavsql.quoting import identifier, literal

if TYPE_CHECKING:
    from behavsql.calibration import Calibrator
    from behavsql.models.base import Model

_LISTS = (
    f"(select user_id, cutoff_at, {', '.join(sequences.COLUMNS)} from features.sequences) as lists"
)
SAID = "_said"  # the column with what Python answers, beside the features


@dataclass
class Certificate:
    """What a macro was asked and how far it was off."""

    macro: Macro
    count_test_rows: int = 0
    count_edge_rows: int = 0
    largest_difference: float = 0.0
    count_wrong: int = 0
    error: str = ""

    @property
    def is_exact(self) -> bool:
        return not self.count_wrong and not self.error

    @property
    def reason(self) -> str | None:
        """Why it is not to be published; None if it is."""
        if self.error:
            return f"fails: {self.error}"
        if not self.count_wrong:
            return None
        rows = self.count_test_rows + self.count_edge_rows
        return (
            f"differs from the model in {self.count_wrong:,} of {rows:,} rows, "
            f"by up to {self.largest_difference:.3g}; allowed is {TOLERANCE:g}"
        )


def certify(
    con: duckdb.DuckDBPyConnection, one: Published, model: "Model", calibrator: "Calibrator",
    scorer: Scorer, macros: Sequence[Macro], features: list[Feature], settings: Settings,
) -> list[Certificate]:  # fmt: skip
    """Ask the macros, which must be there, about every test row and the edge rows.

    Macros whose bodies are equal are asked once.
    """
    bodies: dict[str, Certificate] = {}
    for macro in macros:
        bodies.setdefault(macro.body, Certificate(macro))
    asked = list(bodies.values())
    ask = lambda table: calibrator.transform(model.predict(table))  # noqa: E731
    for rows in _test_rows(con, one, ask, settings, bool(scorer.lists)):
        for proof in asked:
            proof.count_test_rows += _compare(con, rows, proof, features)
    some = _some(con, one, settings, bool(scorer.lists))
    edges = edge_rows.make(some, scorer.ties, scorer.features)
    if scorer.lists:
        edges = pl.concat([edges, edge_rows.events(some)])
    answers = pl.Series(SAID, ask(frames.unlabelled(edges, one.task, one.kind)), pl.Float64)
    con.register("said", edges.with_columns(answers).to_arrow())
    rows = _put(con, "said")
    con.unregister("said")
    for proof in asked:
        proof.count_edge_rows += _compare(con, rows, proof, features)
    con.execute(f"drop table {rows}")
    return [replace(bodies[macro.body], macro=macro) for macro in macros]


def _test_rows(
    con: duckdb.DuckDBPyConnection, one: Published, ask: Callable[[Table], np.ndarray],
    settings: Settings, with_lists: bool,
) -> Iterator[str]:  # fmt: skip
    """The test rows of the feature table beside what Python says of them, a part at a time."""
    lists = f"inner join {_LISTS} using (user_id, cutoff_at) " if with_lists else ""
    for only in parity.batches(con, one.task, "test"):
        asked = _load(con, one, settings, only, with_lists)
        scores = asked.keys.select("user_id", "cutoff_at", pl.Series(SAID, ask(asked.table)))
        con.register("said", scores.to_arrow())
        rows = _put(
            con,
            f"(select matrix.* exclude (user_id, cutoff_at), said.{SAID}"
            f"{', lists.* exclude (user_id, cutoff_at)' if lists else ''} "
            f"from features.matrix as matrix {lists}inner join said using (user_id, cutoff_at))",
        )
        con.unregister("said")
        yield rows
        con.execute(f"drop table {rows}")


def _put(con: duckdb.DuckDBPyConnection, rows: str) -> str:
    """Rows in a table of their own, numbered as if they were users'; its name."""
    con.execute(
        f"create or replace temp table certified as "
        f"select row_number() over () as user_id, timestamp 'epoch' as cutoff_at, * from {rows}"
    )
    return "certified"


def _some(
    con: duckdb.DuckDBPyConnection, one: Published, settings: Settings, with_lists: bool
) -> pl.DataFrame:
    """A few test rows, as the model sees them, that the edges are cut into."""
    only = f"asked.split = 'test' and hash(asked.user_id, 3) % {edge_rows.ONE_IN} = 0"
    asked = _load(con, one, settings, only)
    if len(asked.table) < edge_rows.LEAST:
        asked = _load(con, one, settings, parity.batches(con, one.task, "test")[0])
    features = asked.table.features.head(edge_rows.BASES)
    if not with_lists:
        return features
    keys = asked.keys.head(edge_rows.BASES).select("user_id", "cutoff_at").with_row_index("place")
    con.register("picked", keys.to_arrow())
    lists = con.sql(
        f"select lists.* exclude (user_id, cutoff_at) from picked left join {_LISTS} "
        "using (user_id, cutoff_at) order by place"
    ).pl()
    con.unregister("picked")
    return pl.concat([features, lists], how="horizontal")


def _load(
    con: duckdb.DuckDBPyConnection, one: Published, settings: Settings, only: str,
    with_sequences: bool = False,
) -> frames.Asked:  # fmt: skip
    return frames.load(
        con, one.task, one.kind, settings.max_train_rows, settings.seed, only, with_sequences
    )


def _compare(
    con: duckdb.DuckDBPyConnection, rows: str, proof: Certificate, features: list[Feature]
) -> int:
    """Ask a macro about the rows and note the differences; how many rows it answered."""
    if proof.error:
        return 0
    try:
        found = con.execute(_difference(proof.macro, rows, features)).fetchall()
    except duckdb.Error as error:
        proof.error = next(iter(str(error).splitlines()), "")
        return 0
    ((count, wrong, most),) = found
    proof.count_wrong += wrong
    proof.largest_difference = max(proof.largest_difference, most)
    return count


def _difference(macro: Macro, rows: str, features: list[Feature]) -> str:
    """The query for: how many rows, how many of them wrong, the largest difference."""
    if is_table(macro.form):
        answers = (
            f"select {SAID}, answers.score from {rows} left join "
            f"{identifier(macro.name)}({literal(rows)}) as answers using (user_id)"
        )
    elif macro.form in (ROW, EVENT_ROW):
        answers = f"select {SAID}, {identifier(macro.name)}({rows}) as score from {rows}"
    else:
        given = ", ".join(f"{identifier(f.name)} := {identifier(f.name)}" for f in features)
        answers = f"select {SAID}, {identifier(macro.name)}({given}) as score from {rows}"
    gap = f"case when score = {SAID} then 0 else abs(score - {SAID}) / greatest(1, abs({SAID})) end"
    return (
        f"select count(*), count(*) filter (where (gap <= {literal(TOLERANCE)}) is not true), "
        f"coalesce(max(gap) filter (where isfinite(gap)), 0) from (select {gap} as gap from ({answers}))"
    )
