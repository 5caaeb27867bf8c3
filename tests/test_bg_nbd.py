"""BG/NBD and Gamma-Gamma: known answers, limits, the model contract, and their SQL."""

import re
from dataclasses import astuple, replace
from functools import cache

import duckdb
import numpy as np
import polars as pl
import pytest
from customers_data import (
    HORIZON,
    LABELS,
    ORDERS,
    PARTS,
    TRUE,
    TRUE_MONEY,
    VISITS,
    lives,
    meaningless_visits,
    table,
)
from explain_data import check_explanation
from scipy import integrate, special, stats
from sklearn.metrics import r2_score, roc_auc_score

from behavsql import frames
from behavsql.compile import BatchForm, CompileError, Form, RowForm, edge_rows
from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.bg_nbd import BGNBD, FEWEST
from behavsql.models.parts import bg_nbd_formulas, gamma_gamma
from behavsql.models.parts.bg_nbd_formulas import Histories, Population
from behavsql.models.parts.customer_histories import PROCESSES, read
from behavsql.models.parts.gamma_gamma import GammaGamma

pytestmark = pytest.mark.filterwarnings("error")

# As published for the 1/10 sample of CDNOW, in weeks; and Gamma-Gamma's in dollars.
CDNOW = Population(r=0.243, alpha=4.414, a=0.793, b=2.426)
CDNOW_MONEY = GammaGamma(p=6.25, q=3.74, gamma=15.44)
# x, t_x, age; the second is customer 1 of that sample, of whom the paper's spreadsheet tells.
CUSTOMERS = ((0, 0.0, 20.0), (2, 30.43, 38.86), (5, 8.0, 30.0), (1, 1.0, 39.0), (29, 37.5, 38.0))
every_task = pytest.mark.parametrize("task", LABELS)


def of(customers: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.array(column, dtype=float) for column in zip(*customers, strict=True))


RATES = np.exp(np.arange(-90, 8, 0.1))[:, None]
ODDS = np.arange(-90, 90, 0.2)[None, :]  # log odds of p
LEAVES, STAYS = special.expit(ODDS), special.expit(-ODDS)


def posterior(one: Population, customer: tuple, then: object = 1.0) -> tuple[float, float]:
    """The likelihoods of (alive, gone) as the paper's story has them, over all rates and p.

    Summed on a grid; none of the paper's closed forms is used. The alive part is times `then`.
    """
    x, t_x, age = customer
    density = stats.gamma(one.r, scale=1 / one.alpha).pdf(RATES) * RATES * 0.1
    log_beta = one.a * special.log_expit(ODDS) + one.b * special.log_expit(-ODDS)
    density = density * np.exp(log_beta - special.betaln(one.a, one.b)) * 0.2
    alive = STAYS**x * RATES**x * np.exp(-RATES * age) * then
    gone = LEAVES * STAYS ** (x - 1) * RATES**x * np.exp(-RATES * t_x) if x else 0.0
    return float((density * alive).sum()), float((density * gone).sum())


@pytest.mark.parametrize("customer", CUSTOMERS, ids=str)
@pytest.mark.parametrize("one", [CDNOW, TRUE, Population(3.0, 9.0, 1.0, 4.0)], ids=str)
def test_the_formulas_are_the_integrals_they_stand_for(one: Population, customer: tuple) -> None:
    known, t = of((customer,)), 39.0
    alive, gone = posterior(one, customer)
    likelihood = np.exp(one.log_likelihood(Histories.of(*known))[0])
    assert likelihood == pytest.approx(alive + gone, rel=1e-6)
    assert one.alive(*known)[0] == pytest.approx(alive / (alive + gone), rel=1e-6)

    def told(then: np.ndarray) -> float:
        return posterior(one, customer, then)[0] / (alive + gone)

    assert one.comes(*known, t)[0] == pytest.approx(told(1 - np.exp(-RATES * t)), rel=1e-6)
    # Alive, one leaves at the rate p * rate: (1 - exp(-p rate t)) / p purchases are expected.
    number = told(-np.expm1(-LEAVES * RATES * t) / LEAVES)
    assert one.expected(*known, t)[0] == pytest.approx(number, rel=1e-4 if one.a == 1 else 1e-6)
    waits = t - told(t + np.expm1(-RATES * t) / RATES)
    assert one.waits(*known, t)[0] == pytest.approx(waits, rel=1e-6)


def test_the_published_customer() -> None:
    """Customer 1 of CDNOW's sample: 1.226 purchases expected in the next 39 weeks."""
    assert CDNOW.expected(*of((CUSTOMERS[1],)), 39.0)[0] == pytest.approx(1.226, abs=0.001)


def test_planted_parameters_are_recovered() -> None:
    one = lives(20_000, 4)
    found = bg_nbd_formulas.fit(one.histories.grouped())
    assert astuple(found)[:2] == pytest.approx(astuple(TRUE)[:2], rel=0.06)
    assert astuple(found)[2:] == pytest.approx(astuple(TRUE)[2:], rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(0.9 / 3.4, rel=0.04)
    likelihood = found.log_likelihood(one.histories).sum()
    assert likelihood >= TRUE.log_likelihood(one.histories).sum()


def test_planted_values_are_recovered() -> None:
    one = lives(20_000, 4)
    found = gamma_gamma.fit(one.x + 1, one.value)
    assert astuple(found) == pytest.approx(astuple(TRUE_MONEY), rel=0.15)
    mean = TRUE_MONEY.p * TRUE_MONEY.gamma / (TRUE_MONEY.q - 1)
    assert found.expected(np.zeros(1), np.zeros(1))[0] == pytest.approx(mean, rel=0.03)


def test_what_the_truth_expects_is_what_happens() -> None:
    one = lives(20_000, 4)
    for low, high in ((0, 0), (1, 2), (3, 10**9)):
        rows = (one.x >= low) & (one.x <= high)
        known = [column[rows] for column in one.known]
        for said, happened in (
            (TRUE.alive(*known), one.is_alive),
            (TRUE.comes(*known, HORIZON), one.next_count > 0),
            (TRUE.expected(*known, HORIZON), one.next_count),
            (TRUE.waits(*known, HORIZON), one.next_wait),
        ):
            happened = happened[rows]
            error = 4 * happened.std() / np.sqrt(len(happened))
            assert said.mean() == pytest.approx(happened.mean(), abs=error + 1e-12)


def test_grouping_and_rounding_change_little() -> None:
    one = lives(6000, 1).histories
    whole = replace(one, t_x=np.round(one.t_x), age=np.round(one.age))
    grouped = whole.grouped()
    assert len(grouped.x) < len(one.x)
    assert grouped.count.sum() == len(one.x)
    assert (TRUE.log_likelihood(grouped) * grouped.count).sum() == pytest.approx(
        TRUE.log_likelihood(whole).sum(), rel=1e-12
    )
    assert astuple(bg_nbd_formulas.fit(one.grouped(grain=0.3))) == pytest.approx(
        astuple(bg_nbd_formulas.fit(one)), rel=0.02
    )


# Limits


def test_who_never_came_again_is_alive_and_who_is_long_silent_is_not() -> None:
    never, silent = of(((0, 0, 1e5),)), of(((10, 50, 1e5),))
    assert CDNOW.alive(*never) == 1
    assert CDNOW.alive(*silent) < 1e-20
    assert CDNOW.comes(*silent, 39) < 1e-20
    assert CDNOW.expected(*silent, 39) < 1e-20
    assert CDNOW.waits(*silent, 39) == 39
    just_now = of(((10, 50, 50),))
    assert CDNOW.alive(*just_now)[0] == pytest.approx(1 / (1 + CDNOW.a / (CDNOW.b + 9)))


def test_longer_silence_never_helps_and_more_purchases_then_tell_more() -> None:
    age = np.linspace(30, 300, 50)
    for x in (1.0, 5.0, 50.0):
        alive = CDNOW.alive(np.full(50, x), np.full(50, 30.0), age)
        assert (np.diff(alive) < 0).all()
    at_60 = CDNOW.alive(np.array([1.0, 5, 50]), np.full(3, 30.0), np.full(3, 60.0))
    assert (np.diff(at_60) < 0).all()


@pytest.mark.parametrize("one", [
    CDNOW, Population(1.0, 1.0, 1.0, 1.0), Population(1e3, 1e-3, 1e-3, 1e3),
    Population(1e-3, 1e6, 1e3, 1e-3), Population(500.0, 1e-3, 800.0, 700.0),
], ids=str)  # fmt: skip
def test_nothing_overflows(one: Population) -> None:
    x, t_x, age = of(tuple((x, share * age * (x > 0), age) for x in (0, 1, 2, 300, 1e5)
                           for share in (1e-6, 0.5, 1.0) for age in (0.0, 1e-6, 1.0, 1e5)))  # fmt: skip
    with np.errstate(all="raise", under="ignore"):
        alive, comes = one.alive(x, t_x, age), one.comes(x, t_x, age, 28.0)
        waits, number = one.waits(x, t_x, age, 28.0), one.expected(x, t_x, age, 28.0)
        assert np.isfinite(one.log_likelihood(Histories.of(x, t_x, age))).all()
    assert ((alive >= 0) & (alive <= 1) & (comes >= 0) & (comes <= alive)).all()
    assert ((waits >= 0) & (waits <= 28)).all()
    # Markov: at least once is no more likely than the number expected.
    assert (np.isfinite(number) & (number >= comes * (1 - 1e-6) - 1e-9)).all()


@pytest.mark.parametrize("one", [
    TRUE, Population(0.3, 36.0, 1e-3, 1e3), Population(2.5, 150.0, 3.0, 0.2)
], ids=str)  # fmt: skip
def test_the_series_is_the_function_that_is_looked_up(one: Population) -> None:
    x, _, age = of(tuple((x, 0, age) for x in (0, 1, 2, 30, 1e5) for age in (0.0, 3.0, 1e3)))
    series = np.exp(-(one.a - 1) * np.log1p(28 / (one.alpha + age)))
    series *= one._series(one.ratios(28.0), x, age, 28.0)
    assert series == pytest.approx(one._looked_up(x, age, 28.0), rel=1e-11)


def _rate(one: Population, x: float, age: float, s: float) -> float:
    """Purchases a day, `s` days on, of a customer alive at `age`: the mean over p of its own rate."""
    power, scale = one.r + x, one.alpha + age
    odds = ODDS[0]
    log_beta = one.a * special.log_expit(odds) + (one.b + x) * special.log_expit(-odds)
    weight = np.exp(log_beta - special.betaln(one.a, one.b + x)) * 0.2
    later = (power + 1) * np.log1p(special.expit(odds) * s / scale)
    return float((weight * power / scale * np.exp(-later)).sum())


@pytest.mark.parametrize("one", [
    replace(TRUE, alpha=0.01), Population(187.0, 0.1, 0.3, 1.3), Population(1e3, 50.0, 0.5, 0.8)
], ids=str)  # fmt: skip
def test_a_series_that_is_long_or_cancels_is_looked_up_instead(one: Population) -> None:
    assert one.ratios(28.0) is None
    x, t_x, age = of(((0, 0, 0.5), (3, 1, 5), (3, 8, 9)))
    number = one.expected(x, t_x, age, 28.0)
    ahead = [
        integrate.quad(lambda s, i=i: _rate(one, x[i], age[i], s), 0, 28, limit=200)[0]
        for i in range(3)
    ]
    assert number == pytest.approx(one.alive(x, t_x, age) * np.array(ahead), rel=1e-6)


def test_the_expectation_passes_smoothly_through_a_equal_one() -> None:
    known = of(CUSTOMERS)
    below, at, above = (
        Population(0.5, 10, a, 3).expected(*known, 39.0) for a in (0.999, 1.0, 1.001)
    )
    assert at == pytest.approx((below + above) / 2, rel=1e-4)


# Gamma-Gamma


@pytest.mark.parametrize("x", [1.0, 4.0, 40.0])
def test_gamma_gamma_is_the_integral_it_stands_for(x: float) -> None:
    one, mean = CDNOW_MONEY, 21.0
    rate = stats.gamma(one.q, scale=1 / one.gamma)

    def density(nu: float) -> float:  # a mean of x gammas is a gamma
        return rate.pdf(nu) * stats.gamma(one.p * x, scale=1 / (nu * x)).pdf(mean)

    total = integrate.quad(density, 0, 10)[0]
    value = integrate.quad(lambda nu: density(nu) * one.p / nu, 0, 10)[0] / total
    known = np.array([x]), np.array([mean])
    assert np.exp(one.log_likelihood(*known)[0]) == pytest.approx(total, rel=1e-6)
    assert one.expected(*known)[0] == pytest.approx(value, rel=1e-6)


def test_the_value_of_who_buys_much_is_their_own_of_who_buys_little_everybodys() -> None:
    x, everybody = np.array([0.0, 1, 10, 1e5]), 6.25 * 15.44 / 2.74
    said = CDNOW_MONEY.expected(x, np.full(4, 100.0))
    assert said[0] == pytest.approx(everybody)
    assert (np.diff(said) > 0).all()
    assert said[-1] == pytest.approx(100, rel=1e-3)


# The model


@cache
def fitted(task: str) -> BGNBD:
    kind, _ = LABELS[task]
    return BGNBD(kind).fit(table(task, "train"), table(task, "valid"))


@every_task
def test_the_model_finds_what_the_label_is_about(task: str) -> None:
    test, model = table(task, "test"), fitted(task)
    assert model.params()["process"] == "orders"
    answers = {
        "purchase": "comes", "churn": "stays_away", "engagement": "number", "spend": "value",
        "next_visit": "waits",
    }  # fmt: skip
    assert model.params()["answer"] == answers[task]
    said, one = model.predict(test), lives(*PARTS["test"])
    truth = {
        "purchase": TRUE.comes(*one.known, HORIZON),
        "churn": 1 - TRUE.comes(*one.known, HORIZON),
        "engagement": TRUE.expected(*one.known, HORIZON),
        "spend": TRUE.expected(*one.known, HORIZON) * TRUE_MONEY.expected(one.x + 1, one.value),
        "next_visit": TRUE.waits(*one.known, HORIZON),
    }[task]
    score = roc_auc_score if model.kind == "binary" else r2_score
    assert score(test.label, said) > score(test.label, truth) - 0.01
    assert said.mean() == pytest.approx(truth.mean(), rel=0.05)


def test_what_is_counted_is_what_the_label_is_about() -> None:
    def both(part: str, names: dict[str, str]) -> Table:
        one = table("purchase", part)
        features = one.features.with_columns(meaningless_visits(len(one))).rename(names)
        return replace(one, features=features)

    swapped = dict(zip(ORDERS + VISITS, VISITS + ORDERS, strict=True))
    for names, process in (({}, "orders"), (swapped, "visits")):
        model = BGNBD("binary").fit(both("train", names), both("valid", names))
        assert model.params()["process"] == process
        assert np.array_equal(
            model.predict(both("test", names)),
            fitted("purchase").predict(table("purchase", "test")),
        )


def test_the_lately_active_alone_do_not_mislead_it() -> None:
    """Of who came in the last 28 days only, histories alone would know of few who left."""
    train, valid = (
        part.rows(part.features["days_since_last_purchase"].to_numpy() < 28)
        for part in (table("purchase", part) for part in ("train", "valid"))
    )
    model = BGNBD("binary").fit(train, valid)
    assert model.predict(train).mean() == pytest.approx(train.label.mean(), abs=0.01)
    alone = BGNBD("binary", options={"learn_from": "histories"}).fit(train, valid)
    assert alone.params()["a"] / alone.params()["b"] < 0.01
    assert alone.predict(train).mean() > train.label.mean() + 0.1


def test_a_user_of_many_rows_counts_once() -> None:
    train, valid = table("purchase", "train"), table("purchase", "valid")
    double = Table(**{
        **vars(train), "features": pl.concat([train.features.reverse(), train.features]),
        "label": np.concatenate([train.label[::-1], train.label]),
        "users": np.concatenate([train.users[::-1], train.users]),
        "last_window": np.concatenate([train.last_window, train.last_window]),
    })  # fmt: skip
    of_histories = {"learn_from": "histories"}
    once, again = (BGNBD("binary", options=of_histories).fit(x, valid) for x in (train, double))
    for name in ("r", "alpha", "a", "b"):
        assert again.params()[name] == pytest.approx(once.params()[name], rel=1e-6)


def test_an_unknown_horizon_is_found() -> None:
    train, valid = (
        replace(table("purchase", part), horizon_days=float("nan")) for part in ("train", "valid")
    )
    model = BGNBD("binary").fit(train, valid)
    assert model.params()["horizon_days"] == pytest.approx(HORIZON, rel=0.1)


@every_task
def test_a_reloaded_model_and_one_fitted_again_say_the_same(task: str) -> None:
    test, model = table(task, "test"), fitted(task)
    loaded = BGNBD.load(model.kind, model.save())
    assert np.array_equal(loaded.predict(test), model.predict(test))
    assert loaded.params() == model.params()
    assert loaded.importance() == model.importance()
    assert loaded.tables()["bg_nbd_parameters"].equals(model.tables()["bg_nbd_parameters"])
    assert not any(
        name.endswith("pkl") or b"\x80\x04" in file for name, file in model.save().items()
    )


@every_task
def test_parts_add_up_and_silence_speaks_for_itself(task: str) -> None:
    model, test = fitted(task), table(task, "test")
    one = check_explanation(model, test)
    often, _, silence, *_ = model.features(task)
    assert set(one.features) <= {*model.features(task)} and {often, silence} <= {*one.features}


def test_same_rows_same_bits() -> None:
    train, valid, test = (table("churn", part) for part in PARTS)
    again = BGNBD("binary").fit(train, valid)
    assert np.array_equal(again.predict(test), fitted("churn").predict(test))


@every_task
def test_few_rows_no_row_and_rows_without_a_value(task: str) -> None:
    test, model = table(task, "test"), fitted(task)
    together, place = model.predict(test), np.arange(len(test))
    for some in (place == 0, place < 3, place % 7 == 5, place == len(test) - 1):
        assert np.array_equal(model.predict(test.rows(some)), together[some])
    assert model.predict(test.rows(place < 0)).shape == (0,)
    empty = replace(test, features=test.features.clear(len(test)), label=None)
    assert (model.predict(empty) == model.params()["otherwise"]).all()
    names = ("alive_probability", "expected_count", "expected_value")
    assert model.per_user(empty).select(names).null_count().row(0) == (len(test),) * 3


@every_task
def test_odd_values_have_finite_answers(task: str) -> None:
    test, model = table(task, "test"), fitted(task)
    odd = edge_rows.make(test.features.head(20), {}, test.features.columns)
    asked = frames.unlabelled(odd, task, model.kind)
    said = model.predict(asked)
    assert np.isfinite(said).all()
    assert (said >= 0).all()
    if model.kind == "binary":
        assert (said <= 1).all()


def test_importance_names_what_was_read() -> None:
    shares = fitted("spend").importance()
    assert set(shares) == {*ORDERS, "value_lifetime"}
    assert sum(shares.values()) == pytest.approx(1)
    assert fitted("spend").features("spend") == (*ORDERS, "value_lifetime")
    assert set(fitted("purchase").importance()) == set(ORDERS)
    test = table("purchase", "test")
    alone = replace(test, features=test.features.select(fitted("purchase").features("purchase")))
    assert np.array_equal(fitted("purchase").predict(alone), fitted("purchase").predict(test))


def test_what_is_published_of_it() -> None:
    model, test = fitted("spend"), table("spend", "test")
    rows = model.tables()["bg_nbd_parameters"]
    assert rows.schema == {"parameter": pl.String, "value": pl.Float64, "meaning": pl.String}
    assert rows["parameter"].to_list() == [
        "r", "alpha", "a", "b", "p", "q", "gamma", "horizon_days", "level", "otherwise"
    ]  # fmt: skip
    users = model.per_user(test)
    level = model.params()["level"]
    assert len(users) == len(test)
    assert (users["expected_value"] * level).to_numpy() == pytest.approx(model.predict(test))
    assert users["alive_probability"].mean() == pytest.approx(
        lives(*PARTS["test"]).is_alive.mean(), abs=0.03
    )


def test_what_it_cannot_learn_from_is_refused() -> None:
    train, valid = table("purchase", "train"), table("purchase", "valid")
    few = train.rows(np.arange(len(train)) < FEWEST)
    with pytest.raises(ModelError, match="under 50 customers of train have come again"):
        BGNBD("binary").fit(few, valid)
    bare = replace(train, features=train.features.drop(ORDERS[0]))
    with pytest.raises(ModelError, match="column 'count_active_days_lifetime' is missing"):
        BGNBD("binary").fit(bare, valid)
    with pytest.raises(ModelError, match="column 'order_gap_mean_days' is missing"):
        test = table("purchase", "test")
        fitted("purchase").predict(replace(test, features=test.features.drop(ORDERS[1])))
    alike = replace(train, label=np.zeros(len(train)))
    with pytest.raises(ModelError, match="1 distinct labels; fitting needs at least 2"):
        BGNBD("binary").fit(alike, valid)


def test_a_history_is_known_from_its_days_gap_and_last_day() -> None:
    rows = pl.DataFrame(
        [(3.0, 5.0, 2.0, 60.0), (1.0, None, 4.0, None), (0.0, None, None, 0.0), (2.0, None, 1.0, 9.0)],
        schema=dict.fromkeys((*ORDERS, "value_lifetime"), pl.Float64), orient="row",
    )  # fmt: skip
    known = read(rows, PROCESSES["orders"])
    assert known.is_known.tolist() == [True, True, False, False]
    assert [c[0] for c in (known.x, known.t_x, known.age, known.value)] == [2, 10, 12, 20]
    assert [c[1] for c in (known.x, known.t_x, known.age)] == [0, 0, 4]
    assert np.isnan(known.value[1])


# SQL


@pytest.mark.parametrize("form_class", [RowForm, BatchForm], ids=("row", "batch"))
@every_task
def test_sql_says_what_the_model_says(task: str, form_class: type[Form]) -> None:
    model, features = fitted(task), table(task, "test").features.head(500)
    rows = edge_rows.make(features, {}, features.columns)
    form = form_class(dict.fromkeys(rows.columns, "DOUBLE"), task)
    expression = model.to_sql(form)
    with duckdb.connect() as con:
        con.register("given", rows.with_row_index("user_id").to_arrow())
        con.execute("create table numbered as from given")
        query = (
            form.query(expression, "numbered") if isinstance(form, BatchForm)
            else f"select user_id, {form.over_row(expression, 'numbered')} as score from numbered"
        )  # fmt: skip
        said = con.sql(f"select score from ({query}) order by user_id").pl()["score"].to_numpy()
    expected = model.predict(frames.unlabelled(rows, task, model.kind))
    np.testing.assert_allclose(said, expected, rtol=1e-9, atol=1e-12)


def test_a_series_of_too_many_terms_stays_in_python() -> None:
    model = BGNBD.load("count", fitted("engagement").save())
    model._said = replace(model._said, population=replace(TRUE, alpha=0.5))
    form = RowForm(dict.fromkeys(ORDERS, "DOUBLE"), "engagement")
    with pytest.raises(CompileError, match=re.escape("(2F1), which takes over 200 terms")):
        model.to_sql(form)
