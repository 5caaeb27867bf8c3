"""Naive Bayes and the Bayes network: against scikit-learn, by hand, and on planted trees."""

from functools import cache

import duckdb
import numpy as np
import polars as pl
import pytest
from models_data import table
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from test_compile import answers, every_form

from behavsql import frames
from behavsql.compile import Form
from behavsql.errors import ModelError
from behavsql.frames import Table
from behavsql.models.bayes_network import BayesNetwork
from behavsql.models.naive_bayes import NaiveBayes
from behavsql.models.parts import chow_liu
from behavsql.models.parts.discrete import Discrete, codes, quantile_edges

pytestmark = pytest.mark.filterwarnings("error")
TEXTBOOK = {"log_features": False, "variance_smoothing": 1e-9, "weight": 1.0}


def questions(features: pl.DataFrame, label: np.ndarray, kind: str = "binary") -> Table:
    n = len(label)
    unknown = np.full(n, np.nan)
    return Table(features, label.astype(np.float64), np.arange(n), unknown, "purchase", kind)


def unlabelled(**columns: list) -> Table:
    return frames.unlabelled(pl.DataFrame(columns), "purchase", "binary")


# Naive Bayes


@cache
def gaussian(seed: int) -> Table:
    """Four features, normal given the label, of different means, spreads and units."""
    random = np.random.default_rng(seed)
    label = random.random(1500) < 0.3
    z = random.normal(size=(1500, 4)) * np.where(label[:, None], [1, 2, 0.5, 1], 1.0)
    matrix = (z + label[:, None] * [1.0, 0.0, -0.5, 0.3]) * [1, 10, 1000, 0.1] + [0, 5, 1e4, 0]
    return questions(pl.DataFrame(matrix, schema=list("abcd")), label)


def test_naive_bayes_is_that_of_scikit_learn() -> None:
    train, test = gaussian(1), gaussian(2)
    model = NaiveBayes("binary", options=TEXTBOOK).fit(train, test)
    matrix, asked = (part.features.to_numpy() for part in (train, test))
    scale = matrix.std(axis=0)  # its smoothing is a share of the largest variance
    theirs = GaussianNB().fit(matrix / scale, train.label).predict_proba(asked / scale)[:, 1]
    np.testing.assert_allclose(model.predict(test), theirs, rtol=1e-9)


def test_the_textbooks_weight_is_preferred_where_it_is_right() -> None:
    model = NaiveBayes("binary", options={"log_features": False}).fit(gaussian(1), gaussian(2))
    assert model.params()["weight"] == 1.0
    assert list(model.importance())[-1] == "d"  # the faintest


def test_a_feature_ten_times_over_counts_about_once() -> None:
    train, test = gaussian(1), gaussian(2)
    repeat = lambda part: questions(  # noqa: E731
        part.features.select(pl.col("a").alias(f"a{i}") for i in range(10)), part.label
    )
    often = NaiveBayes("binary").fit(repeat(train), repeat(test))
    once = NaiveBayes("binary").fit(
        *(questions(x.features.select("a"), x.label) for x in (train, test))
    )
    assert often.params()["weight"] == pytest.approx(0.1 * once.params()["weight"])
    np.testing.assert_allclose(often.predict(repeat(test)), once.predict(test), rtol=1e-9)


def test_what_is_missing_is_left_out_of_the_product() -> None:
    train = gaussian(1)
    both = NaiveBayes("binary", options=TEXTBOOK).fit(train, train)
    alone = questions(train.features.select("a"), train.label)
    one = NaiveBayes("binary", options=TEXTBOOK).fit(alone, alone)
    nothing = [None, float("nan"), float("inf")]
    asked = unlabelled(a=[0.5, -1.0, 2.0], b=nothing, c=nothing, d=nothing)
    np.testing.assert_allclose(both.predict(asked), one.predict(asked), rtol=1e-12)
    empty = unlabelled(**dict.fromkeys("abcd", pl.Series([None], dtype=pl.Float64)))
    assert both.predict(empty) == pytest.approx([train.label.mean()])


def test_gaps_are_left_out_of_means_and_variances() -> None:
    train = gaussian(1)
    gaps = np.random.default_rng(3).random(len(train)) < 0.4
    holed = train.features.with_columns(
        pl.when(pl.Series(gaps)).then(None).otherwise(pl.col("a")).alias("a")
    ).select("a")
    with_gaps = questions(holed, train.label)
    model = NaiveBayes("binary", options=TEXTBOOK).fit(with_gaps, with_gaps)
    known = train.rows(~gaps)
    theirs = GaussianNB(priors=[1 - train.label.mean(), train.label.mean()])
    theirs.fit(known.features.select("a").to_numpy(), known.label)
    asked = np.linspace(-3, 4, 9)[:, None]
    np.testing.assert_allclose(
        model.predict(unlabelled(a=asked[:, 0])), theirs.predict_proba(asked)[:, 1], rtol=1e-8
    )


def test_categories_are_counted() -> None:
    plan = ["free"] * 60 + ["pro"] * 40 + ["gold"] * 3 + [None] * 7
    label = np.array([1] * 15 + [0] * 45 + [1] * 30 + [0] * 10 + [1] * 3 + [0] * 7)
    train = questions(pl.DataFrame({"plan": plan}), label)
    model = NaiveBayes("binary", options=TEXTBOOK).fit(train, train)
    prior = 48 / 62
    free, pro = (16 / 47) / (46 / 57), (31 / 47) / (11 / 57)  # one row more of each
    odds = prior * np.array([free, pro, 1, 1, 1])  # gold is too rare to be learned from
    found = model.predict(unlabelled(plan=["free", "pro", "gold", "new", None]))
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-12)


def test_too_few_values_tell_no_variance() -> None:
    label = np.arange(40) % 2
    few = [float(i) if i in (1, 3, 5, 7) else None for i in range(40)]
    train = questions(
        pl.DataFrame(
            {"few": few, "same": [None] + [2.0] * 39, "x": label * 2.0 + np.arange(40) % 3}
        ),
        label,
    )
    model = NaiveBayes("binary", options=TEXTBOOK).fit(train, train)
    asked = unlabelled(few=[1.0, 1e9, None], same=[2.0, -5.0, None], x=[1.0] * 3)
    assert len(set(model.predict(asked))) == 1
    assert model.importance() == {"x": 1.0, "few": 0.0, "same": 0.0}


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_numbers_whose_variance_is_no_number_do_no_harm(size: float) -> None:
    train = gaussian(1)
    wild = questions(train.features.select("a", (pl.col("b") * size).alias("b")), train.label)
    model = NaiveBayes("binary").fit(wild, wild)
    assert np.isfinite(model.predict(wild)).all()
    assert np.isfinite(model.predict(unlabelled(a=[0.0], b=[1e308]))).all()


# The network


KEEP = 0.6


@cache
def planted(seed: int, n: int = 4000) -> Table:
    """left and right follow root, leaf follows left; each of them, and alone, follows the label too."""
    random = np.random.default_rng(seed)
    label = (random.random(n) < 0.4).astype(int)

    def follow(parent: np.ndarray, keep: float) -> np.ndarray:
        luck, other = random.random(n), random.integers(0, 3, n)
        return np.where(luck < keep, parent, np.where(luck < keep + 0.2, 2 * label, other))

    root = follow(label, 0.3)
    left, right = follow(root, KEEP), follow((root + 1) % 3, KEEP)
    leaf, alone = follow(left, KEEP), follow(label, 0.1)
    words = np.array(["low", "mid", "top"], dtype=object)
    features = pl.DataFrame({
        "alone": alone * 10.0, "left": words[left], "right": right.astype(float),
        "leaf": words[leaf], "root": words[root], "noise": random.normal(size=n),
    })  # fmt: skip
    return questions(features, label)


def network(train: Table, valid: Table, **options: object) -> BayesNetwork:
    return BayesNetwork(train.kind, options=options).fit(train, valid)


@cache
def recovered() -> BayesNetwork:
    return network(planted(1), planted(2), most_features=6)


def test_the_planted_tree_is_found_and_nothing_else() -> None:
    shown = recovered().tables()["bayes_network"]
    pairs = shown.filter(pl.col("parent").is_not_null()).select("feature", "parent").unique()
    assert {frozenset(pair) for pair in pairs.rows()} == {
        frozenset(pair) for pair in (("root", "left"), ("root", "right"), ("left", "leaf"))
    }
    assert set(shown["feature"]) == {"label", "alone", "left", "right", "leaf", "root"}
    assert recovered().importance()["noise"] == 0.0
    assert recovered().params()["count_edges"] == 3


def test_its_tables_and_its_information_are_the_planted_ones() -> None:
    words, train = ["low", "mid", "top"], planted(1)
    truth = np.full((2, 3, 3), 0.2 / 3)  # label, right, root
    truth[:, [1, 2, 0], [0, 1, 2]] += KEEP
    truth[0, 0] += 0.2
    truth[1, 2] += 0.2
    root = train.features["root"].to_numpy()
    share = np.array([[(root[train.label == y] == word).mean() for word in words] for y in (0, 1)])
    joint = truth * share[:, np.newaxis] * np.array([0.6, 0.4])[:, np.newaxis, np.newaxis]
    edge = recovered().tables()["bayes_network"].filter(feature="right", parent="root")
    told = edge["conditional_mutual_information"][0]
    assert told == pytest.approx(chow_liu.information(joint), abs=0.03)
    for y, label in enumerate("01"):
        cell = edge.filter(state="[1, 2)", parent_state="low", label=label)
        assert cell["probability"].item() == pytest.approx(truth[y, 1, 0], abs=0.04)


def test_it_comes_close_to_the_attainable_score_where_naive_bayes_overrates_itself() -> None:
    random = np.random.default_rng(1)
    label = random.random(6000) < 0.4
    signal = random.normal(size=6000) + label
    copies = {f"copy_{i}": signal + random.normal(0, 0.2, 6000) for i in range(4)}
    every = questions(pl.DataFrame(copies), label)
    place = np.arange(6000) % 3
    train, valid, test = (every.rows(place == i) for i in range(3))
    truth = 1 / (1 + np.exp(-(signal - 0.5 + np.log(0.4 / 0.6))))[place == 2]
    best = log_loss(test.label, truth)
    tree = log_loss(test.label, network(train, valid, bins=8).predict(test))
    naive = NaiveBayes("binary", options=TEXTBOOK).fit(train, valid)
    assert best < tree < best + 0.03 < log_loss(test.label, naive.predict(test))


def test_the_tables_say_what_the_model_says() -> None:
    """The tables multiplied in SQL are the prediction."""
    model = recovered()
    asked = planted(3, 50)
    known = [node.feature for node in model._nodes]
    states = pl.DataFrame({
        one.source: [one.names[i] for i in one.codes(asked.features[one.source])] for one in known
    }).with_row_index("question")  # fmt: skip
    with duckdb.connect() as con:
        con.register("network", model.tables()["bayes_network"].to_arrow())
        con.register("wide", states.to_arrow())
        said = con.sql("""
            with states as (unpivot wide on * exclude (question) into name feature value state),
            factors as (
                select mine.question, network.label, ln(network.probability) as factor
                from network
                inner join states as mine using (feature, state)
                left join states as above
                    on above.question = mine.question and above.feature = network.parent
                where network.parent_state is not distinct from above.state
            ),
            joint as (
                select question, factors.label, exp(sum(factor)) * any_value(prior.probability) as p
                from factors
                inner join network as prior on prior.feature = 'label' and prior.state = factors.label
                group by question, factors.label
            )
            select question, sum(p) filter (where label = '1') / sum(p) as probability
            from joint group by question order by question
        """).pl()["probability"]  # fmt: skip
    np.testing.assert_allclose(said.to_numpy(), model.predict(asked), rtol=1e-9)


def test_every_distribution_is_one_and_counts_the_rows_it_has() -> None:
    shown = recovered().tables()["bayes_network"].filter(pl.col("feature") != "label")
    sums = shown.group_by("feature", "parent_state", "label").agg(
        pl.col("probability").sum(), pl.col("count_rows").sum()
    )
    assert sums["probability"].to_numpy() == pytest.approx(1)
    alone = sums.filter(pl.col("parent_state").is_null())
    rows = alone.group_by("feature").agg(pl.col("count_rows").sum())
    assert set(rows["count_rows"]) == {4000}
    assert (shown["probability"] > 0).all()


def test_smoothing_by_hand() -> None:
    one = ["a"] * 50 + ["b"] * 50
    label = np.array([1] * 40 + [0] * 10 + [1] * 10 + [0] * 40)
    train = questions(pl.DataFrame({"x": one}), label)
    shown = network(train, train, smoothing=10.0).tables()["bayes_network"]
    assert shown.filter(state="a", label="1")["probability"].item() == (40 + 10 * 0.5) / 60
    assert shown.row(0) == ("label", None, None, None, 1, "0", None, None, 0.5, 50)
    told = shown.filter(feature="x")["mutual_information"][0]
    assert told == pytest.approx(np.log(2) + 0.8 * np.log(0.8) + 0.2 * np.log(0.2))


def test_a_state_never_seen_is_left_out_and_its_children_stand_alone() -> None:
    train = planted(1)
    words = ["left", "leaf"]
    some = questions(train.features.select(words), train.label)
    model = network(some, some, smoothing=1.0)
    assert model.params()["count_edges"] == 1
    (top,) = [node.feature.source for node in model._nodes if node.parent is None]
    (low,) = set(words) - {top}
    shown = model.tables()["bayes_network"]
    one, zero = (shown.filter(pl.col("parent_state").is_null(), feature=low, state="mid", label=label)
                 ["probability"].item() for label in "10")  # fmt: skip
    prior = train.label.mean()
    expected = prior * one / (prior * one + (1 - prior) * zero)
    for strange in ("never", None):
        found = model.predict(
            unlabelled(**{low: ["mid"], top: pl.Series([strange], dtype=pl.String)})
        )
        assert found == pytest.approx([expected])
    nothing = unlabelled(**dict.fromkeys(words, pl.Series([None], dtype=pl.String)))
    assert model.predict(nothing) == pytest.approx([prior])


def test_missing_tells_something_where_train_had_it() -> None:
    random = np.random.default_rng(1)
    label = random.random(1000) < 0.5
    gone = random.random(1000) < np.where(label, 0.8, 0.2)
    number = pl.Series("x", np.where(gone, np.nan, random.normal(size=1000))).fill_nan(None)
    train = questions(number.to_frame(), label)
    model = network(train, train)
    assert "missing" in set(model.tables()["bayes_network"]["state"])
    assert model.predict(unlabelled(x=[None, float("nan")])) == pytest.approx([0.8, 0.8], abs=0.05)


def test_features_that_say_the_same_are_taken_once() -> None:
    train = planted(1)
    twice = train.features.with_columns(again=pl.col("root"), thrice=pl.col("root"))
    label = train.label.astype(int)
    found = [Discrete.learn(series, 5) for series in twice]
    sizes = [feature.size for feature in found]
    chosen = chow_liu.most_informative(label, codes(found, twice), sizes, 10)
    names = [found[j].source for j in chosen]
    assert len({"root", "again", "thrice"} & set(names)) == 1
    assert "noise" not in names and "alone" in names
    assert len(chow_liu.most_informative(label, codes(found, twice), sizes, 2)) == 2


@pytest.mark.parametrize("kind", ["count", "amount"])
def test_a_number_is_the_mean_of_its_classes(kind: str) -> None:
    label = np.repeat([0.0, 1.0, 10.0], [100, 60, 40])
    words = np.repeat(["none", "one", "ten"], [100, 60, 40])
    train = questions(pl.DataFrame({"x": words}), label, kind)
    model = network(train, train, smoothing=1e-6)
    assert model.predict(unlabelled(x=["none", "one", "ten"])) == pytest.approx(
        [0, 1, 10], abs=1e-5
    )
    assert model.predict(unlabelled(x=["never"])) == pytest.approx([label.mean()])
    prior = model.tables()["bayes_network"].filter(feature="label")
    assert prior["state"].to_list() == ["< 1", "[1, 10)", ">= 10"]
    assert prior["count_rows"].to_list() == [100, 60, 40]
    assert prior["position"].to_list() == [1, 2, 3]
    few = train.rows(np.arange(200) % 14 == 0)
    assert network(few, few).predict(train) == pytest.approx(few.label.mean())


def test_nothing_that_varies_is_refused() -> None:
    train = questions(pl.DataFrame({"same": [1.0] * 60, "gone": [None] * 60}), np.arange(60) % 2)
    with pytest.raises(ModelError, match="none of the 2 columns varies over the 60 rows"):
        network(train, train)


def test_the_information_of_counts() -> None:
    independent = np.outer([10, 30], [20, 20])[np.newaxis]
    assert chow_liu.information(independent) == pytest.approx(0)
    same = np.diag([25, 75])[np.newaxis]
    assert chow_liu.information(same) == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert chow_liu.information(np.concatenate([same, independent])) == pytest.approx(
        chow_liu.information(same) * 100 / (100 + independent.sum())
    )
    assert chow_liu.information(np.zeros((1, 2, 2), dtype=int)) == 0.0
    assert chow_liu.chance(np.ones((2, 3, 4), dtype=int)) == 2 * 2 * 3 / (2 * 24)


def test_the_spanning_tree_weighs_most() -> None:
    weight = np.array([[0, 5, 1, 1], [5, 0, 4, 1], [1, 4, 0, 1], [1, 1, 1, 0]])
    assert chow_liu.spanning_tree(weight) == [None, 0, 1, 0]
    assert chow_liu.spanning_tree(np.zeros((1, 1))) == [None]


# States


def test_edges_of_bins() -> None:
    assert quantile_edges(np.arange(100.0), 4).tolist() == [25, 50, 75]
    rare = np.array([0.0] * 900 + [1.0] * 40 + [2.0] * 40 + [9.0] * 20)
    assert quantile_edges(rare, 4).tolist() == [1, 2]  # 9 alone would be few
    assert quantile_edges(np.array([0.0] * 500 + [1.0] * 19), 4).tolist() == []
    assert quantile_edges(np.full(50, 3.0), 4).tolist() == []
    assert quantile_edges(np.empty(0), 4).tolist() == []


def test_states_of_numbers_and_texts() -> None:
    number = Discrete("x", (0.0, 5.0), (), False, True)
    assert number.names == ["< 0", "[0, 5)", ">= 5", "missing"]
    series = pl.Series("x", [-1.0, -0.0, 4.9, 5.0, 1e300, None, float("nan"), float("-inf")])
    assert number.codes(series).tolist() == [0, 1, 1, 2, 2, 3, 3, 3]
    words = pl.Series("w", ["a"] * 9 + ["missing"] * 8 + ["b", "c", "d"] * 2 + [None] * 2)
    text = Discrete.learn(words, 5)
    assert text.names == ["a", "'missing'", "other"]
    assert text.codes(pl.Series("w", ["missing", "a", "b", "never", None])).tolist() == [
        1,
        0,
        2,
        2,
        3,
    ]
    assert Discrete.from_dict(text.to_dict()) == text
    assert number.codes(series.clear()).tolist() == []
    rare = Discrete.learn(pl.Series("w", ["a", "b", "c"] * 2), 5)
    assert (rare.names, rare.size) == (["other"], 1)
    assert rare.codes(pl.Series("w", ["a", None])).tolist() == [0, 1]


def test_bins_so_close_that_six_digits_do_not_tell_them_apart() -> None:
    assert Discrete("x", (1.0, 1.00000001), (), False, False).names == [
        "< 1.0", "[1.0, 1.00000001)", ">= 1.00000001"
    ]  # fmt: skip


# SQL


@every_form
@pytest.mark.parametrize("model", [NaiveBayes, BayesNetwork])
def test_sql_of_odd_words_and_gaps(
    model: type[NaiveBayes] | type[BayesNetwork], form_class: type[Form]
) -> None:
    random = np.random.default_rng(1)
    words = np.array(["it's {odd}", "missing", "other", "", "[1, 2)", None, *map(str, range(400))])
    luck = random.random(2000)
    place = np.where(luck < 0.8, random.integers(0, 6, 2000), random.integers(6, 406, 2000))
    word, label = words[place], random.random(2000) < 0.1 + 0.15 * np.minimum(place, 5)
    size = np.where(random.random(2000) < 0.3, np.nan, random.poisson(1 + label))
    features = pl.DataFrame({
        "word": pl.Series(word, dtype=pl.String), "size": pl.Series(size).fill_nan(None),
    })  # fmt: skip
    train = questions(features, label)
    fitted = model("binary").fit(train, train)
    asked = pl.concat([features.head(500), pl.DataFrame(
        {"word": ["never", None, ""], "size": [None, -1e300, float("nan")]}, schema=features.schema
    )])  # fmt: skip
    form = form_class({"word": "VARCHAR", "size": "DOUBLE"}, "purchase")
    said = answers(form, fitted.to_sql(form), asked)
    expected = fitted.predict(frames.unlabelled(asked, "purchase", "binary"))
    np.testing.assert_allclose(said, expected, rtol=1e-12)
    assert len(set(expected)) > 10


@every_form
def test_sql_of_the_widest_network(form_class: type[Form]) -> None:
    train = table("amount", "train")
    model = network(train, train, most_features=24, smoothing=1.0, bins=12, classes=8)
    assert model.params()["classes"] == 8
    types = {name: "VARCHAR" if name == "plan" else "DOUBLE" for name in train.features.columns}
    form = form_class(types, "purchase")
    said = answers(form, model.to_sql(form), train.features)
    np.testing.assert_allclose(said, model.predict(train), rtol=1e-12)


@every_form
def test_no_single_factor_outweighs_all_others(form_class: type[Form]) -> None:
    """Two features that are sure of opposite answers, one of them surer, leave what the third says."""
    random = np.random.default_rng(1)
    label = np.arange(400) % 2
    sharp = {name: label + random.normal(0, wide, 400) for name, wide in (("a", 0.01), ("b", 0.02))}
    train = questions(pl.DataFrame({**sharp, "c": random.normal(label)}), label)
    model = NaiveBayes("binary", options=TEXTBOOK).fit(train, train)
    asked = pl.DataFrame({"a": [1.0, None], "b": [0.0, None], "c": [2.0, 2.0]})
    found = model.predict(frames.unlabelled(asked, "purchase", "binary"))
    assert 0.6 < found[1] < 0.99
    assert found[0] == pytest.approx(found[1])
    form = form_class(dict.fromkeys("abc", "DOUBLE"), "purchase")
    np.testing.assert_allclose(answers(form, model.to_sql(form), asked), found, rtol=1e-12)
