"""HMM and Markov chain: known answers, the edges of what people did, and SQL that says the same."""

import shutil
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import Heard, Shop
from explain_data import check_explanation
from models_data import said_in_sql
from sklearn.metrics import roc_auc_score

from behavsql import frames, parity
from behavsql.compile import BatchForm, CompileError, Form, RowForm, edge_rows, registry
from behavsql.compile.step import compile_task
from behavsql.config import Settings
from behavsql.database_file import open_file
from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models import REFERENCES, model_class
from behavsql.models.base import Model, loss
from behavsql.models.parts import baum_welch
from behavsql.models.parts.baum_welch import HiddenStates, Observed
from behavsql.models.parts.event_symbols import KNOWN, EventSymbols
from behavsql.score import score_task
from behavsql.sequences import COLUMNS, DAY, LENGTH, Sequences
from behavsql.tasks import ready
from behavsql.train import train_task
from behavsql.warehouse import Warehouse

NAMES = ("markov_chain", "hmm")
every_model = pytest.mark.parametrize("name", NAMES)
ROLES = np.array(["cart", "purchase", "view"])
HOUR = DAY // 24
GAPS = np.array([HOUR // 4, 12 * HOUR, 5 * DAY])  # the same session, the same day, the same week

# Three hidden states: looking around, deciding, gone cold.
START = np.array([0.5, 0.3, 0.2])
MOVES = np.array([[0.85, 0.10, 0.05], [0.10, 0.80, 0.10], [0.03, 0.12, 0.85]])
SHOWS_ROLE = np.array([[0.10, 0.05, 0.85], [0.60, 0.30, 0.10], [0.05, 0.15, 0.80]])
SHOWS_GAP = np.array([[0.85, 0.10, 0.05], [0.30, 0.60, 0.10], [0.05, 0.15, 0.80]])
RATES = np.array([0.15, 0.7, 0.03])


def drawn(shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(n,) one place of each row of shares (n, k)."""
    return (random.random((len(shares), 1)) > shares.cumsum(axis=1)).sum(axis=1)


def table(
    role: np.ndarray, gap: np.ndarray, count: np.ndarray, label: np.ndarray, kind: str = "binary"
) -> Table:
    """Questions from roles and gaps (n, t), of which each row has its first `count`; silence: an hour."""
    n, t = role.shape
    at = gap.cumsum(axis=1)
    known = np.arange(t) < count[:, np.newaxis]
    stop = count.cumsum()
    text = pl.Series(ROLES[role[known]], dtype=pl.String).cast(pl.Categorical)
    none = pl.Series([None] * len(text), dtype=pl.String)
    events = pl.DataFrame({"role": text, "item": none, "category": none,
                           "value": none.cast(pl.Float64), "at": at[known]})  # fmt: skip
    cutoff = np.where(count > 0, at[np.arange(n), count - 1] + HOUR, 0)
    sequences = Sequences(events, stop - count, stop, cutoff)
    users = np.arange(n, dtype=np.int64)
    unknown = np.full(n, np.nan)
    return Table(pl.DataFrame({"x": unknown}), label, users, unknown, "purchase", kind, sequences)


@cache
def planted(seed: int, n: int = 1500, t: int = 30) -> tuple[Table, np.ndarray]:
    """Users of a known HMM, whose last state decides about the label; and P(label) of that state."""
    random = np.random.default_rng(seed)
    count = random.integers(0, t + 1, n)
    state = drawn(np.tile(START, (n, 1)), random)
    role, gap, last = (np.zeros((n, t), int) for _ in range(3))
    for step in range(t):
        role[:, step] = drawn(SHOWS_ROLE[state], random)
        gap[:, step] = GAPS[drawn(SHOWS_GAP[state], random)]
        last[:, step] = state
        state = drawn(MOVES[state], random)
    rate = RATES[last[np.arange(n), np.maximum(count - 1, 0)]]
    label = (random.random(n) < rate).astype(float)
    return table(role, gap, count, label), rate


@cache
def chain(seed: int, noise: bool = False, n: int = 2000, t: int = 12) -> tuple[Table, np.ndarray]:
    """Users whose next role depends on the last one, and is the label if it is a purchase."""
    random = np.random.default_rng(seed)
    count = random.integers(1, t + 1, n)
    role = np.zeros((n, t + 1), int)
    role[:, 0] = random.integers(0, 3, n)
    for step in range(1, t + 1):
        role[:, step] = drawn(SHOWS_ROLE[role[:, step - 1]], random)
    gap = GAPS[random.integers(0, 3, (n, t))]
    rate = SHOWS_ROLE[role[np.arange(n), count - 1], 1]
    label = (role[np.arange(n), count] == 1).astype(float)
    if noise:
        label = random.permutation(label)
    return table(role[:, :t], gap, count, label), rate


@cache
def fitted(name: str, kind: str = "binary") -> Model:
    train, valid = (of_kind(chain(seed)[0], kind) for seed in (1, 2))
    return model_class(name)(kind, options={"states": 4} if name == "hmm" else None).fit(
        train, valid
    )


def of_kind(some: Table, kind: str) -> Table:
    label = some.label if kind == "binary" else some.label * 3.5 + np.arange(len(some)) % 2
    return replace(some, kind=kind, label=label)


def lists(some: Table) -> pl.DataFrame:
    """The questions as rows of features.sequences."""
    sequences = some.sequences
    windows = sequences.windows()
    ago, known = sequences.days_ago(windows), windows >= 0
    roles = sequences.events["role"].to_list()
    rows = range(len(some))
    data = {"role_sequence": [[roles[i] for i in windows[n][known[n]]] for n in rows],
            "days_ago_sequence": [ago[n][known[n]].tolist() for n in rows]}  # fmt: skip
    nothing = [[None] * len(row) for row in data["role_sequence"]]
    data |= {name: nothing for name in COLUMNS if name not in data}
    types = {name: pl.List(pl.Float64 if name in ("value_sequence", "days_ago_sequence") else pl.String)
             for name in COLUMNS}  # fmt: skip
    return pl.DataFrame(data, schema_overrides=types).select(COLUMNS)


# Symbols


def test_symbols_by_hand() -> None:
    symbols = EventSymbols(["cart", "view"], ["30 minutes", "a day"], ["a day", "a week"])
    rows = {
        "role_sequence": [["view", "view", "cart", "cart", "view"], ["hug"], [], ["view"] * 60],
        "days_ago_sequence": [
            [9.0, 9.0, 9.0, 8.99, 7.0], [0.5], [], [float(day) for day in range(60, 0, -1)]
        ],
    }  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(
        pl.col("role_sequence").alias("item_sequence"), pl.col("role_sequence").alias("category_sequence"),
        pl.col("days_ago_sequence").alias("value_sequence"),
    )  # fmt: skip
    names = ["", *symbols.names()]
    asked = Sequences.from_lists(frame)
    told = [[names[code] for code in row if code] for row in symbols.transform(asked).tolist()]
    assert told[0] == [
        "view, first", "cart within 30 minutes", "cart within 30 minutes", "view after more than a day"
    ]  # fmt: skip
    assert told[1:3] == [["unknown, first"], []]
    assert told[3] == ["view, after an unknown gap"] + ["view within a day"] * (LENGTH - 1)
    silences = [symbols.silence_names()[code] for code in symbols.silence(asked)]
    assert silences == ["silent for up to a week", "silent for up to a day", "no event",
                        "silent for up to a day"]  # fmt: skip
    assert symbols.transform(asked, 2)[0].tolist() == symbols.transform(asked)[0, -2:].tolist()


def test_boundaries_are_learned_from_what_train_knows() -> None:
    train = planted(1)[0]
    symbols = EventSymbols().fit(train)
    assert symbols.roles == ROLES.tolist()
    assert symbols.gaps == ["30 minutes", "a day"]  # three kinds of gaps need two boundaries
    assert symbols.silences == []  # all silences are alike
    nobody = train.rows(np.zeros(len(train), bool))
    assert EventSymbols().fit(nobody).roles == []


# Hidden states


def truth(symbols: EventSymbols) -> HiddenStates:
    """The planted states as the model writes them."""
    shape = 3, len(ROLES) + 1, symbols.gap_classes
    shows = np.ones(shape)
    shows[:, 1:, :KNOWN] = SHOWS_ROLE[:, :, np.newaxis]
    shows[:, 1:, KNOWN:] = SHOWS_ROLE[:, :, np.newaxis] * SHOWS_GAP[:, np.newaxis]
    silences = np.ones((3, symbols.silence_count))
    return HiddenStates(START, MOVES, shows.reshape(3, -1), silences)


@cache
def recovered() -> Model:
    train, valid = planted(1, 3000)[0], planted(2)[0]
    return model_class("hmm")("binary", options={"states": 3}).fit(train, valid)


def test_planted_states_are_recovered() -> None:
    model = recovered()
    tables = model.tables()
    by_rate = np.argsort(RATES)  # as states are ordered
    moves = tables["hmm_transitions"]["probability"].to_numpy().reshape(3, 3)
    np.testing.assert_allclose(moves, MOVES[np.ix_(by_rate, by_rate)], atol=0.04)
    shown = model._hidden.shows.reshape(3, len(ROLES) + 1, -1)[:, 1:, KNOWN:]
    np.testing.assert_allclose(shown.sum(axis=2), SHOWS_ROLE[by_rate], atol=0.04)
    np.testing.assert_allclose(shown.sum(axis=1), SHOWS_GAP[by_rate], atol=0.04)
    states = tables["hmm_states"]
    assert states["share"].sum() == pytest.approx(1)
    assert states["name"][0].startswith("mostly view, after more than a day: purchase ")
    assert states["name"][1].startswith("mostly view, within 30 minutes: purchase ")
    assert states["name"][2].startswith("cart and purchase, within a day: purchase ")
    assert states["top_symbols"][1].startswith("view within 30 minutes 7")


def test_an_hmm_comes_close_to_the_attainable_loss() -> None:
    model, (asked, _) = recovered(), planted(3)
    symbols = model._symbols
    codes, silence = symbols.transform(asked.sequences), symbols.silence(asked.sequences)
    known = asked.sequences.start < asked.sequences.stop
    # The state of the label is that of the last event: no step follows in which to move on.
    belief = replace(truth(symbols), moves=MOVES).filtered(codes, silence) @ np.linalg.inv(MOVES)
    attainable = loss("binary", asked.label[known], np.clip(belief @ RATES, 0, 1)[known])
    got = loss("binary", asked.label[known], model.predict(asked)[known])
    chance = loss("binary", asked.label[known], np.full(known.sum(), asked.label.mean()))
    assert attainable < got < attainable + 0.02 < chance - 0.1
    state = model.per_user(asked)["state"].to_numpy()
    rates = [asked.label[state == k].mean() for k in (1, 2, 3)]
    assert rates == sorted(rates) and set(state) == {1, 2, 3}


def test_filtering_is_the_sum_over_all_paths() -> None:
    random = np.random.default_rng(3)
    share = lambda *shape: random.dirichlet(np.ones(shape[-1]), shape[:-1])  # noqa: E731
    hidden = HiddenStates(share(3), share(3, 3), share(3, 8), share(3, 4))
    codes, silence = np.array([[0, 3, 1, 8], [0, 0, 0, 0]]), np.array([2, 1])
    got = hidden.filtered(codes, silence)
    by_last = np.zeros(3)
    for path in product(range(3), repeat=4):
        p = hidden.start[path[0]] * hidden.silences[path[3], 2]
        for k, code in zip(path[:3], (3, 1, 8), strict=True):
            p *= hidden.shows[k, code - 1]
        by_last[path[3]] += p * np.prod([hidden.moves[a, b] for a, b in pairwise(path)])
    np.testing.assert_allclose(got[0], by_last / by_last.sum(), rtol=1e-12)
    nothing = hidden.start * hidden.silences[:, 1]
    np.testing.assert_allclose(got[1], nothing / nothing.sum(), rtol=1e-12)


def test_every_pass_explains_the_sequences_better() -> None:
    train = planted(1)[0]
    symbols = EventSymbols().fit(train)
    codes, silence = symbols.transform(train.sequences), symbols.silence(train.sequences)
    observed = Observed.of(codes, silence)
    prior = baum_welch._Prior.of(symbols, observed)
    hidden, said = prior.random(4, np.random.default_rng(1)), []
    for _ in range(12):
        hidden, likelihood = baum_welch._improved(hidden, observed, prior)
        said.append(likelihood)
    assert (np.diff(said) > -1e-6).all() and said[-1] > said[0] + 0.05
    assert np.allclose(hidden.moves.sum(axis=1), 1) and hidden.moves.min() >= baum_welch.LEAST_MOVE


def test_the_longest_surprise_stays_a_number() -> None:
    hidden = recovered()._hidden
    codes = np.zeros((1, LENGTH), np.int16)
    codes[0] = 1 + np.argmin(hidden.shows[:, KNOWN:].max(axis=0)) + KNOWN
    belief = hidden.filtered(codes, np.zeros(1, int))
    assert np.isfinite(belief).all() and belief.sum() == pytest.approx(1)


# The Markov chain


def test_a_markov_chain_comes_close_to_the_attainable_loss() -> None:
    model, (asked, rate) = fitted("markov_chain"), chain(3)
    attainable = loss("binary", asked.label, rate)
    got = loss("binary", asked.label, model.predict(asked))
    chance = loss("binary", asked.label, np.full(len(asked), asked.label.mean()))
    assert attainable - 0.01 < got < attainable + 0.01 < chance
    assert model.params()["order"] > 0


def test_an_hmm_learns_a_markov_chain_too() -> None:
    asked, rate = chain(3)
    got = loss("binary", asked.label, fitted("hmm").predict(asked))
    chance = loss("binary", asked.label, np.full(len(asked), asked.label.mean()))
    assert got < (loss("binary", asked.label, rate) + chance) / 2


def test_transitions_are_those_of_the_process() -> None:
    moves = fitted("markov_chain").tables()["markov_transitions"]
    totals = moves.group_by("from_state").agg(pl.col("probability").sum())
    np.testing.assert_allclose(totals["probability"], 1)
    role = lambda name: pl.col(name).str.extract(r"^(\w+)")  # noqa: E731
    counts = moves.group_by(role("from_state"), role("to_state")).agg(pl.col("count_events").sum())
    for place, name in enumerate(ROLES):
        row = (
            counts.filter(pl.col("from_state") == name).sort("to_state")["count_events"].to_numpy()
        )
        np.testing.assert_allclose(row / row.sum(), SHOWS_ROLE[place], atol=0.03)


def test_states_of_a_chain_are_told_with_their_means() -> None:
    train, valid = chain(1)[0], chain(2)[0]
    model = model_class("markov_chain")("binary", options={"order": 1}).fit(train, valid)
    states = model.tables()["markov_states"]
    assert states["count_questions"].sum() == len(train)
    after_view = states.filter(pl.col("state").str.starts_with("view"))
    assert after_view["mean_label"].mean() == pytest.approx(SHOWS_ROLE[2, 1], abs=0.05)
    assert after_view["state"].str.ends_with("; silent for any time").all()


def test_a_rare_state_backs_off_to_the_shorter_one() -> None:
    train, valid = chain(1)[0], chain(2)[0]
    options = {"order": 1, "strength": 30}
    model = model_class("markov_chain")("binary", options=options).fit(train, valid)
    keys, rows, means = model._states[1], model._rows[1], model._means[1]
    codes, silence = model._codes(train)
    mine = model._keys(codes, silence)[1] == keys[0]
    expected = (train.label[mine].sum() + 30 * model._means[0][0]) / (mine.sum() + 30)
    assert rows[0] == mine.sum() and means[0] == pytest.approx(expected)


# Both


@every_model
def test_at_chance_on_noise(name: str) -> None:
    train, valid, test = (chain(seed, noise=True)[0] for seed in (1, 2, 3))
    answer = (
        model_class(name)("binary", options={"states": 2} if name == "hmm" else {})
        .fit(train, valid)
        .predict(test)
    )
    assert 0.45 < roc_auc_score(test.label, answer) < 0.55
    chance = loss("binary", test.label, np.full(len(test), train.label.mean()))
    assert loss("binary", test.label, answer) < chance + 0.01


@every_model
@pytest.mark.parametrize("kind", ["binary", "count", "amount"])
def test_a_reloaded_model_says_the_same(name: str, kind: str) -> None:
    model, test = fitted(name, kind), chain(3)[0]
    again = model_class(name).load(kind, model.save())
    answer = model.predict(test)
    assert np.array_equal(again.predict(test), answer)
    assert again.params() == model.params() and again.importance() == model.importance()
    assert all(frame.equals(again.tables()[shown]) for shown, frame in model.tables().items())
    assert answer.min() >= 0 and np.ptp(answer) > 0.1
    expected = of_kind(chain(1)[0], kind).label.mean()
    assert answer.mean() == pytest.approx(expected, rel=0.1)


@every_model
@pytest.mark.parametrize("kind", ["binary", "amount"])
def test_what_happened_and_when_add_up_to_the_answer(name: str, kind: str) -> None:
    one = check_explanation(fitted(name, kind), of_kind(chain(3)[0], kind))
    assert one.features == ("role_sequence", "days_ago_sequence")
    assert np.abs(one.parts).mean(axis=0).min() > 0


@every_model
def test_same_seed_same_bits_and_few_rows_as_among_many(name: str) -> None:
    train, valid, test = (chain(seed)[0] for seed in (1, 2, 3))
    options = fitted(name).options
    again = model_class(name)("binary", options=options).fit(train, valid)
    answer, place = again.predict(test), np.arange(len(test))
    assert np.array_equal(fitted(name).predict(test), answer)
    for some in (place == 0, place % 7 == 5, place < 0):
        assert np.array_equal(again.predict(test.rows(some)), answer[some])


@every_model
def test_lists_say_what_events_say(name: str) -> None:
    test = chain(3)[0].rows(np.arange(2000) < 200)
    rows = frames.unlabelled(lists(test), "purchase", "binary")
    assert np.array_equal(fitted(name).predict(rows), fitted(name).predict(test))


@every_model
def test_nobody_knows_them_one_event_and_unknown_roles(name: str) -> None:
    rows = edge_rows.events(lists(chain(3)[0]).head(5))
    model = fitted(name)
    answer = model.predict(frames.unlabelled(rows, "purchase", "binary"))
    assert ((answer > 0) & (answer < 1)).all()
    assert len(set(answer[:10])) == 1  # no list and an empty one
    train, valid = (planted(seed)[0] for seed in (1, 2))  # some users have no event
    model = model_class(name)("binary", options=model.options).fit(train, valid)
    none = valid.sequences.start == valid.sequences.stop
    assert none.any() and len(set(model.predict(valid)[none])) == 1


@every_model
def test_importance_tells_roles_from_times(name: str) -> None:
    shares = fitted(name).importance()
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "role_sequence" and shares["role_sequence"] > 0.6
    assert set(fitted(name).features("purchase")) == set(COLUMNS)


@every_model
def test_what_cannot_teach_is_refused(name: str) -> None:
    train, valid = chain(1)[0], chain(2)[0]
    model = model_class(name)("binary")
    with pytest.raises(
        ModelError, match=f"model {name}, task purchase: .* questions come without events"
    ):
        model.fit(replace(train, sequences=None), valid)
    empty = replace(train.sequences, start=train.sequences.stop)
    with pytest.raises(ModelError, match="none of the 2000 questions of train has an event"):
        model.fit(replace(train, sequences=empty), valid)
    with pytest.raises(ModelError, match="1 distinct labels; fitting needs at least 2"):
        model.fit(replace(train, label=np.zeros(len(train))), valid)


# SQL

TYPES = {name: "DOUBLE[]" if name[:5] in ("value", "days_") else "VARCHAR[]" for name in COLUMNS}


@pytest.mark.parametrize("form_class", [RowForm, BatchForm])
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in NAMES for kind in ("binary", "amount")]
)
def test_sql_says_what_python_says(name: str, kind: str, form_class: type[Form]) -> None:
    model, some = fitted(name, kind), lists(chain(3)[0].rows(np.arange(2000) < 300))
    rows = pl.concat([some, edge_rows.events(some.head(20))])
    form = form_class(TYPES, "purchase")
    said = said_in_sql(form, model.to_sql(form), rows)
    assert form.lists == ["role_sequence", "days_ago_sequence"] and form.features == []
    expected = model.predict(frames.unlabelled(rows, "purchase", kind))
    np.testing.assert_allclose(said, expected, rtol=1e-12, atol=1e-12)


def test_lists_stand_beside_features_in_sql() -> None:
    rows = pl.DataFrame({"x": [1.5, None], "role_sequence": [["a", "b"], None]})
    for form in (
        RowForm({"x": "DOUBLE"} | TYPES, "purchase"),
        BatchForm({"x": "DOUBLE"} | TYPES, "purchase"),
    ):
        known = f"coalesce(len({form.list_column('role_sequence')}), 0)"
        said = said_in_sql(form, f"coalesce({form.number('x')}, 10e0) + {known}", rows)
        assert said.tolist() == [3.5, 10.0]
    with duckdb.connect() as con:
        nobody = RowForm(TYPES, "purchase").over_row("1e0", "f")
        assert con.execute(f"select {nobody} from (select 1) as f").fetchall() == [(1.0,)]


def test_a_list_that_is_not_there_is_named() -> None:
    with pytest.raises(
        CompileError, match="column role_sequence: is VARCHAR; the model reads it as a list"
    ):
        RowForm({"role_sequence": "VARCHAR"}, "purchase").list_column("role_sequence")
    with pytest.raises(CompileError, match="column role_sequence: is not there"):
        fitted("hmm").to_sql(RowForm({}, "purchase"))


# In a warehouse


def test_functions_of_a_model_of_events(shop: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "build.duckdb"
    shutil.copyfile(Warehouse(shop.config.warehouse).build, copy)
    with open_file(copy) as con:
        con.execute("set timezone = 'UTC'")
        task = next(task for task in ready(con) if task.name == "purchase")
        names, small = (*REFERENCES, "markov_chain", "gru"), {"units": 4, "epochs": 1}
        train_task(
            con,
            task,
            shop.config.settings,
            names,
            {},
            Heard(),
            options={"gru": small | {"max_rows": 200}},
        )
        check_functions(con, "markov_chain", shop.config.settings, has_batch=True)
        shown = con.execute("select count(*), min(task) from models.markov_transitions").fetchall()
        assert shown[0][0] > 3 and shown[0][1] == "purchase"
        comment = con.execute("select comment from duckdb_functions() where function_name = "
                              "'score_purchase'").fetchall()[0][0]  # fmt: skip
        assert "Reads the last events: role_sequence, days_ago_sequence" in comment
        # No table has the features and the lists: a row by its name is asked.
        check_functions(con, "gru", shop.config.settings, has_batch=False)


def check_functions(
    con: duckdb.DuckDBPyConnection, name: str, settings: Settings, has_batch: bool
) -> None:
    """Publish a model of the task purchase; its functions are exact and say what is stored."""
    con.execute(  # whether it beats the references does not matter here
        "update models.models set is_published = model = ? where task = 'purchase'", [name]
    )
    score_task(con, "purchase", settings)
    one = next(one for one in parity.published_models(con) if one.task == "purchase")
    found = compile_task(con, one, settings)
    assert found.warnings == [] and all(proof.is_exact for proof in found.certificates)
    assert found.macros == [
        "predict_purchase", f"predict_purchase__{name}", f"predict_purchase__{name}__v{one.version}",
        *(["score_purchase"] if has_batch else []),
    ]  # fmt: skip
    assert list(registry.broken(con)) == []
    con.execute("create or replace table predictions.purchase as select user_id, score as "
                "probability from models.scores where split = 'latest' and model_id = ?",
                [one.model_id])  # fmt: skip
    assert list(parity.compare_functions(con, one)) == []
    assert list(parity.compare_scores(con, one, settings)) == []
