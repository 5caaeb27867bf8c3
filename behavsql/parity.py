"""Whether the stored models still say what the tables say they said."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from behavsql.compile import registry
from behavsql.config import Settings
from behavsql.errors import ModelError
from behavsql.quoting import identifier, literal

if TYPE_CHECKING:
    from behavsql.calibration import Calibrator
    from behavsql.models.base import Model

TOLERANCE = 1e-9  # of the score, relative where it is above 1
BATCH_ROWS = 200_000
SAMPLED_ROWS = 20_000  # of the test cutoffs


@dataclass(frozen=True)
class Published:
    """A model whose scores are what `predictions.<task>` shows."""

    model_id: str
    task: str
    kind: str
    model: str
    family: str
    version: int

    @property
    def again(self) -> str:
        return f"Run `behavsql build -s {self.task}+`."

    @property
    def compile_again(self) -> str:
        return f'Run `behavsql build -s "compile {self.task}+"`.'


@dataclass
class Tally:
    """What was found among the rows of one split."""

    rows: int = 0
    unscored: int = 0
    unasked: int = 0
    raw: int = 0
    score: int = 0
    worst_raw: float = 0.0
    worst_score: float = 0.0


def published_models(con: duckdb.DuckDBPyConnection) -> list[Published]:
    """The published models of the tasks that are asked; con is the build database."""
    rows = con.execute(
        "select models.model_id, tasks.task, tasks.kind, models.model, models.family, "
        "models.version from models.models as models inner join meta.tasks as tasks on tasks.task = models.task "
        "where models.is_published and tasks.status = 'ready' and tasks.kind <> 'choice' "
        "order by models.model_id"
    ).fetchall()
    return [Published(*row) for row in rows]


def load(
    con: duckdb.DuckDBPyConnection, one: Published, artifacts: str = "models.artifacts"
) -> "tuple[Model, Calibrator]":
    """A model and its calibration from `models.artifacts`; ModelError where they cannot be read."""
    from behavsql.calibration import Calibrator
    from behavsql.models import model_class

    cursor = con.execute(f"select * from {artifacts} where model_id = ?", [one.model_id])
    names = [column[0] for column in cursor.description]
    stored = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    files = {row["file"]: row["content"] for row in stored}
    for row in stored:  # before any library reads it; earlier versions kept no sha256
        known = row.get("sha256")
        if known and hashlib.sha256(row["content"]).hexdigest() != known:
            raise ModelError(
                f"models.artifacts: {row['file']} of {one.model_id} is not the file that was stored (its "
                f"SHA-256 is another); allowed is what the build stored. {one.again}"
            )
    try:
        calibrator = Calibrator.from_dict(json.loads(files.pop("calibration.json")))
        return model_class(one.model).load(one.kind, files), calibrator
    except Exception as error:  # whatever a library says of bytes that are not what it wrote
        first = next(iter(str(error).splitlines()), "").partition("; ")[0]
        raise ModelError(
            f"models.artifacts: {one.model_id} cannot be loaded ({type(error).__name__}: {first}); "
            f"allowed is what the build stored. {one.again}"
        ) from None


def compare_scores(
    con: duckdb.DuckDBPyConnection, one: Published, settings: Settings
) -> Iterator[str]:
    """Where the model, loaded again, and `models.scores` disagree: all latest rows, some test ones.

    The raw prediction is compared with the stored one, and the stored score with the calibration
    of the stored raw prediction, so that it is known which of them moved.
    """
    try:
        model, calibrator = load(con, one)
        pieces = {
            "latest": batches(con, one.task, "latest"),
            "test": batches(con, one.task, "test", SAMPLED_ROWS)[:1],
        }
        for split in ("latest", "test"):
            tally = Tally()
            for only in pieces[split]:
                _add(tally, con, one, model, calibrator, settings, only)
            yield from _told(one, split, tally)
    except (ModelError, duckdb.Error) as error:
        yield str(error)


def batches(
    con: duckdb.DuckDBPyConnection, task: str, split: str, most: int = BATCH_ROWS,
    only: str = "true",
) -> list[str]:  # fmt: skip
    """Conditions on `asked` that cut a split's rows, those that are `only`, into pieces of about so many."""
    rows = con.execute(
        "select count(*) from cutoffs.populations as asked "
        f"where task = ? and split = ? and {only}", [task, split]
    ).fetchall()[0][0]  # fmt: skip
    parts = max(1, -(-rows // most))
    return [
        f"asked.split = {literal(split)} and hash(asked.user_id, 2) % {parts} = {part} and {only}"
        for part in range(parts)
    ]


def _add(
    tally: Tally,
    con: duckdb.DuckDBPyConnection,
    one: Published,
    model: "Model",
    calibrator: "Calibrator",
    settings: Settings,
    only: str,
) -> None:
    import polars as pl

    from behavsql import frames

    asked = frames.load(
        con,
        one.task,
        one.kind,
        settings.max_train_rows,
        settings.seed,
        only,
        model.reads != "table",
    )
    said = asked.keys.with_columns(
        pl.Series("raw_now", model.predict(asked.table) if len(asked.table) else [], pl.Float64)
    )
    con.register("said", said.to_arrow())
    frame = con.sql(
        f"""select held.raw, held.score, said.raw_now, held.model_id is null as is_unscored,
                said.raw_now is null as is_unasked
            from (
                select * from models.scores as asked
                where asked.model_id = {literal(one.model_id)} and {only}
            ) as held
            full outer join said using (user_id, cutoff_at)"""
    ).pl()
    con.unregister("said")
    tally.rows += len(frame)
    tally.unscored += int(frame["is_unscored"].sum())
    tally.unasked += int(frame["is_unasked"].sum())
    both = frame.filter(~pl.col("is_unscored") & ~pl.col("is_unasked"))
    raw, score, now = (
        both[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("raw", "score", "raw_now")
    )
    count, worst = _far(raw, now, model.tolerance)
    tally.raw, tally.worst_raw = tally.raw + count, max(tally.worst_raw, worst)
    count, worst = _far(score, calibrator.transform(raw), TOLERANCE)
    tally.score, tally.worst_score = tally.score + count, max(tally.worst_score, worst)


def _far(held: np.ndarray, now: np.ndarray, tolerance: float) -> tuple[int, float]:
    """How many differ by more than the tolerance (relative above 1), and the most by which."""
    gap = np.abs(held - now)
    far = ~(gap <= tolerance * np.maximum(1, np.abs(now)))  # a missing value is far too
    return int(far.sum()), float(np.nanmax(gap[far], initial=0.0))


def _told(one: Published, split: str, tally: Tally) -> Iterator[str]:
    of = f"of {tally.rows:,} {split} rows"
    if tally.raw:
        yield (
            f"models.artifacts: {one.model_id}, loaded again, predicts something else for "
            f"{tally.raw:,} {of} (off by up to {tally.worst_raw:.3g}); allowed is what models.scores "
            f"holds in raw. {one.again}"
        )
    if tally.score:
        yield (
            f"models.scores: {one.model_id}: column score is not the calibrated raw prediction in "
            f"{tally.score:,} {of} (off by up to {tally.worst_score:.3g}). {one.again}"
        )
    if tally.unscored:
        yield f"models.scores: {one.model_id}: {tally.unscored:,} {of} have no score. {one.again}"
    if tally.unasked:
        yield (
            f"models.scores: {one.model_id}: {tally.unasked:,} {of} are of users the task does not "
            f"ask about. {one.again}"
        )


def compare_predictions(con: duckdb.DuckDBPyConnection, one: Published) -> Iterator[str]:
    """Where `predictions.<task>` is not what `models.scores` holds of the latest cutoff."""
    measure = "probability" if one.kind == "binary" else "amount"
    try:
        rows, differ = con.execute(
            f"select count(*), count(*) filter (where shown.{measure} is distinct from held.score) "
            f"from {identifier('predictions', one.task)} as shown full outer join ("
            "select user_id, score from models.scores where model_id = ? and split = 'latest'"
            ") as held using (user_id)", [one.model_id]
        ).fetchall()[0]  # fmt: skip
    except duckdb.Error as error:
        yield f"predictions.{one.task}: {str(error).splitlines()[0]}. {one.again}"
        return
    if differ:
        yield (
            f"predictions.{one.task}: column {measure} is not the score in models.scores for "
            f"{differ:,} of {rows:,} users. Run `behavsql build -s predictions.scored+`."
        )


def compare_functions(con: duckdb.DuckDBPyConnection, one: Published) -> Iterator[str]:
    """Where the stored functions say now something else than `predictions.<task>`."""
    measure = "probability" if one.kind == "binary" else "amount"
    shown = f"{identifier('predictions', one.task)} as shown"
    forms = registry.functions(con)
    for name in (f"predict_{one.task}", f"score_{one.task}"):
        if name not in forms:
            continue
        try:
            rows, differ = con.execute(
                f"select count(*), count(*) filter ((abs(answers.score - shown.{measure}) "
                f"<= {TOLERANCE} * greatest(1, abs(shown.{measure}))) is not true) "
                f"from {shown} left join ({registry.answers(name, forms[name])}) as answers using (user_id)"
            ).fetchall()[0]
        except duckdb.Error as error:
            yield f"function {name}: {str(error).splitlines()[0]}. {one.compile_again}"
            continue
        if differ:
            yield (
                f"function {name}: differs from predictions.{one.task} for {differ:,} of {rows:,} "
                f"users; allowed is {TOLERANCE:g}. {one.compile_again}"
            )
