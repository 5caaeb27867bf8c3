"""The large model in a build: pre-trained once, kept in `models.pretrained`, and what it makes of users."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from behavsql import model_tables, sequences
from behavsql.config import Config
from behavsql.database_file import open_file
from behavsql.errors import ConfigError, ModelError
from behavsql.models.parts.pretraining import FORMAT, SIZES, Pretrained, cost, pretrain
from behavsql.models.parts.pretraining_data import Histories
from behavsql.models.parts.sequence_encoder import BUCKETS, FIRST_BUCKET, MOST_KNOWN
from behavsql.plan import content
from behavsql.plan.changes import digest
from behavsql.plan.steps import EMBEDDINGS
from behavsql.plan.steps import SIMILAR_USERS as SIMILAR
from behavsql.quoting import literal
from behavsql.sequences import LENGTH

MEASURABLE = 1e11  # operations: of fewer, getting ready takes most of the time
# Codes of vocabularies that are full: what a size takes at most.
LARGEST = {name: FIRST_BUCKET + BUCKETS[name] + most for name, most in MOST_KNOWN.items()}
COMMENTS = {
    f"table {EMBEDDINGS}": "what the pre-trained Transformer makes of each user asked about now, one row per user",
    f"column {EMBEDDINGS}.user_id": "the user, as in the source",
    f"column {EMBEDDINGS}.cutoff_at": "the moment of asking (UTC): what happened up to it is known",
    f"column {EMBEDDINGS}.embedding": "numbers whose cosine with another user's says how alike the two were up to then",
    f"macro table {SIMILAR}": "the k users most like one user, by the cosine of their embeddings: "
    "from similar_users(17), or similar_users(17, k := 50). In an attached file, `use` it first",
}
if TYPE_CHECKING:
    from behavsql.models.pretrained_transformer import PretrainedTransformer

# Before the earliest moment at which any task may learn how good it is.
_SEEN_UNTIL = "(select min(cutoff_at) from cutoffs.splits where split = 'valid')"
_EVENTS = f"""
select user_id, role::varchar as role, item_id::varchar as item, category::varchar as category,
    value::double as value, epoch_us(event_at) as at, event_id
from sessions.session_events where event_at <= {_SEEN_UNTIL}
"""


def ensure(
    con: duckdb.DuckDBPyConnection, config: Config, say: Callable[[str], None],
    seconds: float | None = None,
) -> tuple[str, bool]:  # fmt: skip
    """Pre-train, unless what is there learned from the same events and settings: what was done, and
    whether `seconds` cut it short.

    Nothing is kept of what was cut before it learned anything. Nothing where no task has a valid cutoff. say: hears of the losses while it learns. seconds: what
    it may take.
    """
    con.execute(model_tables.PRETRAINED)
    until = con.execute(f"select epoch_us({_SEEN_UNTIL})").fetchall()[0][0]
    if until is None:
        con.execute("delete from models.pretrained")
        return "no task has a valid cutoff", False
    settings, start = config.settings, None
    if settings.pretrained:
        start = read(config.folder / settings.pretrained)
    source = digest(
        FORMAT, content.fingerprint(con, f"({_EVENTS})"), until, settings.seed, settings.pretrain_size,
        start.to_bytes() if start else None,
    )  # fmt: skip
    held = "select learned_from, coalesce(is_cut_short, false) from models.pretrained"
    if con.execute(held).fetchall() == [(source, False)]:
        return "learned from the same events", False
    if start and start.name != settings.pretrain_size:
        raise ConfigError(
            f'{config.origin}: pretrained = "{settings.pretrained}" is of size {start.name}, '
            f"pretrain_size is {settings.pretrain_size}; allowed is one size. "
            f'Set pretrain_size = "{start.name}".'
        )
    con.execute("delete from models.pretrained")  # also if this fails
    begun = time.perf_counter()
    found = pretrain(
        histories(con), settings.pretrain_size, settings.seed, settings.threads,
        start, say=say, seconds=seconds,
    )  # fmt: skip
    is_cut_short = bool(found.card["is_cut_short"])
    if is_cut_short and not _has_learned(found):
        return (
            f"nothing is pre-trained: {_told(found)} in {found.size.steps:,} steps, for time_budget",
            True,
        )
    _store(con, found, time.perf_counter() - begun, source, settings.pretrained)
    return _told(found), is_cut_short


def _has_learned(found: Pretrained) -> bool:
    """Whether it says what comes next better than how often things come."""
    losses, unigram = found.card["losses"], found.card["unigram"]
    following = [name for name in losses if name.startswith("next ")]
    return any(losses[name] < unigram[name] for name in following or losses)


def histories(con: duckdb.DuckDBPyConnection) -> Histories:
    """What all users did up to the earliest valid cutoff of any task."""
    until = con.execute(f"select epoch_us({_SEEN_UNTIL})").fetchall()[0][0]
    return Histories.of(con.sql(f"{_EVENTS} order by user_id, event_id").pl(), until)


def _store(
    con: duckdb.DuckDBPyConnection, found: Pretrained, seconds: float, source: str,
    started_from: str | None,
) -> None:  # fmt: skip
    price, card = cost(found.size, found.encoder.sizes, found.encoder.length + 1), found.card
    row = {
        "name": found.name, "started_from": started_from,
        "count_users": card["count_users"], "count_events": card["count_events"],
        "count_parameters": price.count_parameters, "flops_per_token": price.flops_per_token,
        "flops_training": price.flops_training, "train_seconds": round(seconds, 3),
        "losses": json.dumps(card["losses"]), "unigram_losses": json.dumps(card["unigram"]),
        "history": json.dumps(card["curve"]), "learned_from": source, "content": found.to_bytes(),
        "count_steps": found.size.steps, "is_cut_short": card["is_cut_short"],
    }  # fmt: skip
    con.execute(
        f"insert into models.pretrained ({', '.join(row)}, seen_until, trained_at) values "
        f"({', '.join('?' * len(row))}, make_timestamp({card['seen_until']}), now()::timestamp)",
        list(row.values()),
    )


def _told(found: Pretrained) -> str:
    losses, unigram = found.card["losses"], found.card["unigram"]
    parts = [f"{name} {losses[name]:.3f} (unigram {unigram[name]:.3f})"
             for name in ("next role", "next item", "time to next") if name in losses]  # fmt: skip
    return f"{found.name}: {', '.join(parts)}"


def artifact(con: duckdb.DuckDBPyConnection) -> bytes | None:
    """The stored model; None where there is none."""
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = 'models' and table_name = 'pretrained' "
        "and database_name = current_database()"
    ).fetchall()
    rows = con.execute("select content from models.pretrained").fetchall() if known else []
    return rows[0][0] if rows else None


def given(
    con: duckdb.DuckDBPyConnection, model: "PretrainedTransformer"
) -> "PretrainedTransformer":
    """A model that is not fitted yet, with what it starts from; ModelError where there is nothing."""
    stored = artifact(con)
    if stored is None:
        raise ModelError(
            f"model {model.name}: nothing is pre-trained, see the line of the step `pretrain`; it "
            "needs that. Leave it out."
        )
    return model.with_pretrained(stored)


def read(path: Path) -> Pretrained:
    """A model that was saved to a file, or is in another warehouse's; ConfigError if there is none."""
    if path.is_dir():
        path = path / "behaviour.duckdb"
    if not path.is_file():
        raise ConfigError(
            f"settings.pretrained: there is no file {path}; allowed is what `behavsql pretrained "
            "--save FILE` wrote, or another warehouse. Mend the path."
        )
    if path.suffix != ".duckdb":
        return Pretrained.from_bytes(path.read_bytes())
    with open_file(path, read_only=True) as con:
        stored = artifact(con)
    if stored is None:
        raise ConfigError(
            f"settings.pretrained: {path} holds no pre-trained model; allowed is a warehouse that "
            "trained pretrained_transformer. Build it with --models all."
        )
    return Pretrained.from_bytes(stored)


def save(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Write the stored model to a file and return its size; ModelError where there is none."""
    stored = artifact(con)
    if stored is None:
        raise ModelError(
            "pretrained: the warehouse holds no pre-trained model; allowed is one that trained "
            "pretrained_transformer. Run `behavsql train -m pretrained_transformer`."
        )
    path.write_bytes(stored)
    return len(stored)


def sizes(con: duckdb.DuckDBPyConnection) -> list[dict]:
    """What each size takes on this warehouse's data, and in hours at the speed that was measured."""
    stored = artifact(con)
    found = Pretrained.from_bytes(stored) if stored else None
    codes = found.encoder.sizes if found else LARGEST
    steps = found.encoder.length + 1 if found else LENGTH + 1
    speed = None
    if found:
        speed = con.execute(
            "select if(flops_training < ?, null, flops_training / nullif(train_seconds, 0)) "
            "from models.pretrained",
            [MEASURABLE],
        ).fetchall()[0][0]
    prices = {name: cost(size, codes, steps) for name, size in SIZES.items()}
    return [
        {"name": name, **vars(price),
         "hours_here": price.flops_training / speed / 3600 if speed else None}
        for name, price in prices.items()
    ]  # fmt: skip


def embed(con: duckdb.DuckDBPyConnection, config: Config) -> int:
    """Write `features.embeddings` for who is asked about now, and `similar_users`; rows.

    Both go where there is no pre-trained model.
    """
    stored = artifact(con)
    con.execute(f"drop table if exists {EMBEDDINGS}; drop macro table if exists {SIMILAR}")
    if stored is None:
        return 0
    keys = con.sql(
        "select user_id, cutoff_at from cutoffs.cutoffs inner join meta.clock as clock "
        "on clock.as_of = cutoff_at order by user_id"
    ).pl()
    asked = sequences.load(con, keys)
    found = Pretrained.from_bytes(stored).embed(asked, config.settings.threads)
    rows = keys.with_columns(pl.Series("embedding", found.tolist(), pl.List(pl.Float32)))
    con.register("embedded", rows.to_arrow())
    con.execute(f"create table {EMBEDDINGS} as select * from embedded order by user_id")
    con.unregister("embedded")
    con.execute(_SIMILAR_USERS)
    for what, comment in COMMENTS.items():
        con.execute(f"comment on {what} is {literal(comment)}")
    return len(keys)


_SIMILAR_USERS = f"""
create or replace macro {SIMILAR}("user", k := 10) as table
select
    others.user_id,
    list_cosine_similarity(others.embedding, one.embedding) as similarity,
from {EMBEDDINGS} as one
inner join {EMBEDDINGS} as others on others.user_id <> one.user_id
where one.user_id = "user"
order by similarity desc, others.user_id
limit k
"""
