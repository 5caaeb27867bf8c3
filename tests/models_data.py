"""Questions with a known answer: what a model scores on them says whether it learns; and what its SQL says."""

from functools import cache

import duckdb
import numpy as np
import polars as pl

from behavsql.compile import BatchForm, Form
from behavsql.frames import Table
from behavsql.models import model_class
from behavsql.models.base import Model

NOISE = ("noise_1", "noise_2", "noise_3")

# Models that read what these questions do not have, and the tests that hold them to the contract.
ELSEWHERE = {
    "bg_nbd": "test_bg_nbd.py", "markov_chain": "test_hmm.py", "hmm": "test_hmm.py",
    **dict.fromkeys(("cnn", "gru", "lstm", "transformer"), "test_sequence_models.py"),
    "fusion": "test_fusion.py", "pretrained_transformer": "test_pretraining.py",
    "embedding_lightgbm": "test_pretraining.py",
}  # fmt: skip


def said_in_sql(form: Form, expression: str, rows: pl.DataFrame) -> np.ndarray:
    """(n,) what SQL says of the rows."""
    query = (
        form.query(expression, "numbered")
        if isinstance(form, BatchForm)
        else f"select user_id, {form.over_row(expression, 'numbered')} as score from numbered"
    )
    with duckdb.connect() as con:
        con.register("given", rows.with_row_index("user_id").to_arrow())
        con.execute("create table numbered as from given")
        return con.sql(f"select score from ({query}) order by user_id").pl()["score"].to_numpy()


def questions(kind: str, n: int, seed: int, predictable: bool = True) -> Table:
    """n questions whose label follows `signal`, `plan` and the last window, or nothing at all."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=n)
    plan = random.choice(["free", "pro", "team"], size=n, p=[0.6, 0.3, 0.1])
    label = _label(kind, signal + 0.5 * (plan == "pro"), random)
    last_window = _last_window(kind, label, random)
    if not predictable:
        order = random.permutation(n)
        label, last_window = label[order], last_window[random.permutation(n)]
    return Table(
        features=_features(signal, plan, random),
        label=label,
        users=np.arange(n, dtype=np.int64) // 2,
        last_window=last_window,
        task="purchase",
        kind=kind,
    )


def _label(kind: str, score: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if kind == "binary":
        return (random.random(len(score)) < 1 / (1 + np.exp(-3 * score))).astype(np.float64)
    if kind == "count":
        return random.poisson(np.exp(0.8 * score)).astype(np.float64)
    spent = random.random(len(score)) < 0.8
    return spent * np.exp(0.8 * score + random.normal(0, 0.3, len(score))) * 20


def _last_window(kind: str, label: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The label again, most of the time."""
    if kind == "binary":
        return np.where(random.random(len(label)) < 0.9, label, 1 - label)
    return label * random.uniform(0.7, 1.3, len(label))


def _features(signal: np.ndarray, plan: np.ndarray, random: np.random.Generator) -> pl.DataFrame:
    """What is known: the signal, its noisy twin with gaps, a category, noise and a constant."""
    n = len(signal)
    gaps = random.random(n) < 0.3
    twin = np.where(gaps, np.nan, np.exp(signal + random.normal(size=n)))
    frame = pl.DataFrame({"signal": signal, "twin": twin, "plan": plan, "always": np.ones(n)})
    noise = [pl.Series(name, random.normal(size=n)) for name in NOISE]
    gone = pl.Series(random.random(n) < 0.1)
    return frame.with_columns(
        pl.col("twin").fill_nan(None),
        pl.when(gone).then(None).otherwise(pl.col("plan")).alias("plan"),
        *noise,
    )


@cache
def table(kind: str, part: str, predictable: bool = True) -> Table:
    seed = {"train": 1, "valid": 2, "test": 3}[part]
    return questions(kind, 800 if part == "valid" else 1500, seed, predictable)


def fit(name: str, kind: str, predictable: bool = True) -> Model:
    parts = (table(kind, part, predictable) for part in ("train", "valid"))
    return model_class(name)(kind, seed=7).fit(*parts)


@cache
def fitted(name: str, kind: str) -> Model:
    return fit(name, kind)


@cache
def reloaded(name: str, kind: str) -> Model:
    return model_class(name).load(kind, fitted(name, kind).save())
