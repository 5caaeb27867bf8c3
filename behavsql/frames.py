"""The two types that flow through the models."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import duckdb
import numpy as np
import polars as pl

from behavsql import sequences
from behavsql.config import Settings
from behavsql.plan import content
from behavsql.quoting import identifier, literal
from behavsql.sequences import Sequences

LATEST = "asked.split = 'latest'"  # at the cutoff of now
NOT_FEATURES = ("split", "label", "user_code", "is_fit_half", "user_id", "cutoff_at")

# Whether a survey, and no other kind of source, tells a fact about users.
_ANSWERS = """
select name, bool_and(kind = 'survey')
from (unpivot (
    select sources.kind, bool_or(columns(told.* exclude (source)) is not null)
    from (select source, unnest(features) from raw.users where features is not null) as told
    inner join raw.sources as sources on sources.source = told.source
    group by sources.kind
) on columns(* exclude (kind)) into name name value is_told)
where is_told
group by name
"""


@dataclass(frozen=True)
class Table:
    """n questions (user, cutoff) with the f features known at each cutoff.

    Feature columns are Float64 (missing = null) or String (categories, missing = null).
    """

    features: pl.DataFrame  # (n, f)
    label: np.ndarray | None  # (n,) float64; None where the future is not known yet
    users: np.ndarray  # (n,) int64 code of the user, not the id: for clustering by user
    last_window: np.ndarray  # (n,) float64: the task's own label one window earlier, NaN = unknown
    task: str  # "purchase"
    kind: str  # "binary" | "count" | "amount"
    sequences: Sequences | None = None  # the last events of each question, where a model reads them
    # Features that are another kind of input than the rest: name -> survey, user_facts or locations.
    modality_of: Mapping[str, str] = field(default_factory=dict)
    horizon_days: float = float("nan")  # how far ahead is asked; NaN = unknown

    def rows(self, mask: np.ndarray) -> Self:
        """Only the questions where the boolean `mask` (n,) is true, in the same order."""
        return replace(
            self,
            features=self.features.filter(pl.Series(mask, dtype=pl.Boolean)),
            label=None if self.label is None else self.label[mask],
            users=self.users[mask],
            last_window=self.last_window[mask],
            sequences=None if self.sequences is None else self.sequences.rows(mask),
        )

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Asked:
    """All questions of one task: the table, and beside each row which split it belongs to."""

    table: Table
    keys: pl.DataFrame  # (n, 3): user_id, cutoff_at, split; same order as the table
    is_fit_half: np.ndarray  # (n,) bool: the half of the users whose valid rows fit, not pick
    train_share: float  # of the users whose train rows are here; under 1 where there were too many

    def split(self, *names: str) -> np.ndarray:
        """(n,) bool: rows of these splits."""
        return self.keys["split"].is_in(list(names)).to_numpy()


def load(
    con: duckdb.DuckDBPyConnection,
    task: str,
    kind: str,
    max_train_rows: int,
    seed: int,
    only: str = "true",
    with_sequences: bool = False,
) -> Asked:
    """Pull one task's questions, features and labels through Arrow, ordered by user and cutoff.

    Train rows past `max_train_rows` are left out whole users at a time, by a hash of the user.
    only: a SQL condition on `asked` (user_id, cutoff_at, split); rows that do not meet it stay out.
    One that begins with LATEST is answered from features.latest, which is small.
    with_sequences: the events before each question too.
    """
    share = _train_share(con, task, max_train_rows)
    query = _query(con, task, share, seed, only)
    frame = con.sql(f"{query} order by user_id, cutoff_at").pl()
    table = replace(
        unlabelled(frame.drop(NOT_FEATURES), task, kind),
        label=frame["label"].fill_null(float("nan")).to_numpy(),
        users=frame["user_code"].to_numpy().view(np.int64),
        horizon_days=_horizon_days(con, task),
    )
    keys = frame.select("user_id", "cutoff_at", "split")
    if with_sequences:
        known = sequences.load(con, keys)
        table = replace(table, sequences=known, modality_of=_modalities(con))
    return Asked(table, keys, frame["is_fit_half"].to_numpy(), share)


def _modalities(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Feature -> what kind of input it is, of those that are not made of events.

    An answer is a `survey` where nothing but surveys tells it; where the input is not at hand, as in
    a published file, it is a fact like others.
    """
    told = con.execute(
        "select column_name, table_name from duckdb_columns() where schema_name = 'features' "
        "and table_name in ('user_facts', 'locations') and database_name = current_database()"
    ).fetchall()
    found = {name: table for name, table in told if name not in ("user_id", "cutoff_at")}
    has_input = "from duckdb_tables() where database_name = 'raw' and table_name = 'users'"
    if "user_facts" in found.values() and con.execute(has_input).fetchall():
        for name, is_survey in con.execute(_ANSWERS).fetchall():
            if is_survey and name in found:
                found[name] = "survey"
    return found


def unlabelled(features: pl.DataFrame, task: str, kind: str) -> Table:
    """Rows of features as a model takes them, without labels: of tables that are no questions.

    A `_last_window` that is not among the columns is unknown. Users are not told apart. Where the
    lists of features.sequences are among them, the events are known.
    """
    events = Sequences.from_lists(features) if {*sequences.COLUMNS} <= {*features.columns} else None
    clean = _clean(features.drop(sequences.COLUMNS, strict=False))
    last = np.full(len(clean), np.nan)
    if (name := f"{task}_last_window") in clean.columns:
        last = clean[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return Table(clean, None, np.zeros(len(clean), np.int64), last, task, kind, events)


def fingerprints(con: duckdb.DuckDBPyConnection, task: str, settings: Settings) -> dict[str, str]:
    """What `load` would bring, told without loading it: `rows` all of it, `latest` what is asked now."""
    share = _train_share(con, task, settings.max_train_rows)
    wanted = {"rows": "true", "latest": LATEST}
    return {
        name: content.fingerprint(con, f"({_query(con, task, share, settings.seed, only)})")
        for name, only in wanted.items()
    }


def _horizon_days(con: duckdb.DuckDBPyConnection, task: str) -> float:
    days = "select horizon_days from meta.tasks where task = ?"
    return con.execute(days, [task]).fetchall()[0][0]


def _train_share(con: duckdb.DuckDBPyConnection, task: str, max_train_rows: int) -> float:
    rows = con.execute(
        "select count(*) from cutoffs.populations where task = ? and split = 'train'", [task]
    ).fetchall()[0][0]
    return min(1.0, max_train_rows / max(rows, 1))


def _query(con: duckdb.DuckDBPyConnection, task: str, share: float, seed: int, only: str) -> str:
    """The rows of `load` in no order.

    Of the `_last_window` columns only the task's own is among them: whether another task's is known
    depends on that task's cutoffs, so it is missing in train, test and later at different rates.
    """
    columns = [row[0] for row in con.execute("describe features.matrix").fetchall()]
    others = [
        identifier(name) for name in columns
        if name.endswith("_last_window") and name != f"{task}_last_window"
    ]  # fmt: skip
    own = f"matrix.* exclude ({', '.join(others)})" if others else "matrix.*"
    source = "features.latest" if only.startswith(LATEST) else "features.matrix"
    return f"""select asked.split, labels.label::double as label,
            hash(asked.user_id) as user_code,
            hash(asked.user_id, {int(seed)}) % 2 = 0 as is_fit_half,
            {own}
        from cutoffs.populations as asked
        inner join {source} as matrix using (user_id, cutoff_at)
        left join {identifier("labels", task)} as labels
            on labels.user_id = asked.user_id and labels.cutoff_at = asked.cutoff_at
            and asked.split <> 'latest'
        where asked.task = {literal(task)} and ({only}) and (
            asked.split <> 'train'
            or hash(asked.user_id, 1) / 18446744073709551616.0 < {literal(share)}
        )"""


def _clean(frame: pl.DataFrame) -> pl.DataFrame:
    """Text and lists stay; every other column becomes Float64, with NaN and infinities missing.

    A NULL without a type (of a struct literal) may be either, and stays too.
    """
    numbers = [
        name for name, type_ in frame.schema.items()
        if type_ not in (pl.String, pl.Categorical, pl.Null) and not type_.is_nested()
    ]  # fmt: skip
    if not numbers:
        return frame
    frame = frame.with_columns(pl.col(numbers).cast(pl.Float64))
    return frame.with_columns(pl.when(pl.col(numbers).is_finite()).then(pl.col(numbers)))
