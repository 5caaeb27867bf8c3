"""Voting, weighting and stacking: weights that are known, folds that keep time, the whole path."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import Heard, Shop
from hypothesis import given
from hypothesis import strategies as st

from behavsql import ensembles, parity, score, tasks, udfs
from behavsql.calibration import Calibrator
from behavsql.compile import BatchForm, CompileError, Form, RowForm
from behavsql.compile.step import compile_task
from behavsql.config import Settings
from behavsql.database_file import open_file
from behavsql.errors import ModelError
from behavsql.frames import Asked, Table, unlabelled
from behavsql.models import ENSEMBLES, MODELS, model_class
from behavsql.models.base import Model, loss
from behavsql.models.parts.ensemble import Ensemble, Member
from behavsql.tasks import Task
from behavsql.train import train_task
from behavsql.warehouse import Warehouse

TYPES = {"a": "DOUBLE", "b": "DOUBLE", "c": "DOUBLE"}
KINDS = ("binary", "count", "amount")
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)
every_kind = pytest.mark.parametrize("kind", KINDS)


class Column(Model):
    """Says what one of its features says, whatever it was fitted on, and remembers that."""

    name = "column"
    family = "linear"
    kinds = frozenset(KINDS)
    OPTIONS: Mapping[str, object] = {"column": "a", "sql": "features"}
    heard: list[tuple[Table, Table]] = []

    def fit(self, train: Table, valid: Table) -> Self:
        Column.heard.append((train, valid))
        return self

    def predict(self, table: Table) -> np.ndarray:
        return table.features[self.option("column")].to_numpy()

    def features(self, task: str) -> tuple[str, ...]:
        return (self.option("column"),)

    def importance(self) -> dict[str, float]:
        return {self.option("column"): 1.0}

    def to_sql(self, form: Form) -> str:
        if not self.option("sql"):
            raise CompileError("column: has none. It stays in Python.")
        if self.option("sql") == "lists":
            form.list_column("role_sequence")
        return form.number(self.option("column"))

    def save(self) -> dict[str, bytes]:
        return self._card(options=self.options)

    @classmethod
    def load(cls, kind: str, files: dict[str, bytes]) -> Self:
        card = cls(kind)._read_card(files)
        return cls(kind, options=card["options"])


class Other(Column):
    """One of another name."""

    name = "other"


class Third(Column):
    """And another."""

    name = "third"


NAMES = {"a": Column, "b": Other, "c": Third}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in NAMES.values():
        monkeypatch.setitem(MODELS, cls.name, f"{__name__}:{cls.__name__}")
    monkeypatch.setattr(Column, "heard", [])


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def said(kind: str, n: int = 6_000, seed: int = 1) -> np.ndarray:
    """(n, 3) what two members who know different things and one who knows nothing say."""
    random = np.random.default_rng(seed)
    if kind == "binary":
        return np.clip(random.beta(0.8, 0.8, size=(n, 3)), 0.01, 0.99)
    return random.gamma(1.5, 2.0, size=(n, 3)) + 0.05


def drawn(kind: str, mean: np.ndarray, seed: int = 2) -> np.ndarray:
    """(n,) labels of these means."""
    random = np.random.default_rng(seed)
    if kind == "binary":
        return (random.random(len(mean)) < mean).astype(np.float64)
    return (random.poisson(mean) if kind == "count" else random.gamma(2.0, mean / 2)).astype(float)


def members(kind: str, *columns: str) -> list[Member]:
    calibrator = Calibrator() if kind == "binary" else Calibrator.floor(0.01)
    return [Member(Column(kind, options={"column": name}), calibrator, 0.5) for name in columns]


def rows(scores: np.ndarray, kind: str) -> Table:
    return unlabelled(pl.DataFrame(scores, schema=list("abc")[: scores.shape[1]]), "t", kind)


def joined(name: str, kind: str, scores: np.ndarray, label: np.ndarray, **more: object) -> Ensemble:
    columns = "abc"[: scores.shape[1]]
    return model_class(name)(kind, **more).join(members(kind, *columns), scores, label)


def weights(ensemble: Ensemble) -> dict[str, float]:
    return {one.model.option("column"): weight for one, weight in ensemble.weighted}


# Known answers


@every_kind
def test_weighting_finds_the_mixture_and_leaves_out_who_knows_nothing(kind: str) -> None:
    scores = said(kind)
    label = drawn(kind, 0.3 * scores[:, 0] + 0.7 * scores[:, 1])
    found = joined("weighting", kind, scores, label)
    given = weights(found)
    assert given["a"] == pytest.approx(0.3, abs=0.06)
    assert given["b"] == pytest.approx(0.7, abs=0.06)
    assert given.get("c", 0.0) <= 0.04
    assert sum(given.values()) == pytest.approx(1)
    fresh = said(kind, seed=3)
    truth = drawn(kind, 0.3 * fresh[:, 0] + 0.7 * fresh[:, 1], seed=4)
    lost = loss(kind, truth, found.predict(rows(fresh, kind)))
    assert lost < 0.95 * min(loss(kind, truth, column) for column in fresh.T)


@every_kind
def test_stacking_finds_the_regression_that_made_the_labels(kind: str) -> None:
    scores = said(kind)
    if kind == "binary":
        wanted, intercept = {"a": 0.8, "b": 1.4}, -0.5
        total = intercept + logit(scores[:, :2]) @ list(wanted.values())
        mean = 1 / (1 + np.exp(-total))
    else:
        wanted, intercept = {"a": 0.3, "b": 0.6}, 0.8
        mean = intercept + scores[:, :2] @ list(wanted.values())
    found = joined("stacking", kind, scores, drawn(kind, mean))
    assert found.params()["intercept"] == pytest.approx(intercept, abs=0.12)
    for name, weight in weights(found).items():
        assert weight == pytest.approx(wanted.get(name, 0.0), abs=0.1)
    assert np.abs(found.predict(rows(scores, kind)) / mean - 1).mean() < 0.08


def test_a_member_that_speaks_backwards_gets_no_weight() -> None:
    scores = said("binary")
    label = drawn("binary", scores[:, 0])
    turned = np.column_stack([scores[:, 0], 1 - (scores[:, 0] + scores[:, 2]) / 2])
    assert weights(joined("weighting", "binary", turned, label)).get("b", 0.0) <= 0.04
    found = joined("stacking", "binary", turned, label)
    assert weights(found).keys() == {"a"} and found.params()["without_weight"] == ["column"]


@every_kind
def test_soft_voting_is_the_mean(kind: str) -> None:
    scores = said(kind, 100)
    found = joined("voting", kind, scores, drawn(kind, scores[:, 0]))
    np.testing.assert_allclose(found.predict(rows(scores, kind)), scores.mean(axis=1), rtol=1e-14)


def test_hard_voting_is_the_share_that_says_yes() -> None:
    scores = np.array([[0.2, 0.3, 0.9], [0.6, 0.5, 0.9], [0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    found = joined("voting", "binary", scores, np.array([0, 1, 0, 1.0]), options={"vote": "hard"})
    assert found.predict(rows(scores, "binary")).tolist() == pytest.approx([1 / 3, 1, 0, 1])
    again = model_class("voting").load("binary", found.save())
    assert again.predict(rows(scores, "binary")).tolist() == pytest.approx([1 / 3, 1, 0, 1])


def test_hard_voting_needs_a_yes_or_no() -> None:
    for kind, vote in (("count", "hard"), ("binary", "loud")):
        with pytest.raises(ModelError, match=f"vote is '{vote}', the label of kind '{kind}'"):
            model_class("voting")(kind, options={"vote": vote})


def test_a_vote_turns_between_two_scores_not_on_one() -> None:
    raw, label = said("binary", 500)[:, 0], drawn("binary", said("binary", 500)[:, 0])
    member = Member.of(Column("binary"), raw, label, 0.5)
    score = member.score(rows(raw[:, np.newaxis], "binary"))
    assert member.threshold not in score
    assert 0 < (score >= member.threshold).mean() < 1
    assert np.abs(score - member.threshold).min() > 1e-9


# Edges


@every_ensemble
@every_kind
def test_members_that_are_constant(name: str, kind: str) -> None:
    scores = np.tile([0.2, 0.4], (200, 1))
    found = joined(name, kind, scores, drawn(kind, np.full(200, 0.3)))
    answer = found.predict(rows(scores, kind))
    assert np.isfinite(answer).all() and len(set(answer)) == 1 and 0 < answer[0] < 1


@every_ensemble
@every_kind
def test_a_single_member_is_what_it_is(name: str, kind: str) -> None:
    scores = said(kind, 4_000)[:, :1]
    found = joined(name, kind, scores, drawn(kind, scores[:, 0]))
    tolerance = 0.08 if name == "stacking" else 1e-12  # which learns that it is right
    np.testing.assert_allclose(
        found.predict(rows(scores, kind)), scores[:, 0], rtol=tolerance, atol=tolerance
    )


def test_all_that_nobody_knows_is_the_mean() -> None:
    scores, label = said("binary"), drawn("binary", np.full(6_000, 0.2))
    found = joined("stacking", "binary", scores, label)
    assert found.predict(rows(scores, "binary")).mean() == pytest.approx(0.2, abs=0.02)
    assert found.predict(rows(scores, "binary")).std() < 0.03


@every_ensemble
@every_kind
def test_saved_loaded_and_in_sql_it_is_the_same(name: str, kind: str) -> None:
    scores = said(kind, 800)
    label = drawn(kind, scores[:, 1:] @ [0.5, 0.5])
    found = [joined(name, kind, scores, label)]
    if (name, kind) == ("voting", "binary"):
        found.append(joined(name, kind, scores, label, options={"vote": "hard"}))
    asked = rows(scores, kind)
    for one in found:
        again = model_class(name).load(kind, one.save())
        assert np.array_equal(again.predict(asked), one.predict(asked))
        assert again.params() == one.params() and again.importance() == one.importance()
        assert set(one.save()) == {"model.json"} | {
            f"member_{i}/model.json" for i in range(len(one.members))
        }
        assert again.features("t") == tuple(weights(one))
        assert sum(again.importance().values()) == pytest.approx(1)
        for form_class in (RowForm, BatchForm):
            np.testing.assert_allclose(in_sql(again, form_class, asked), one.predict(asked), 1e-12)


def in_sql(model: Model, form_class: type[Form], asked: Table) -> np.ndarray:
    form = form_class(TYPES, "t")
    expression = model.to_sql(form)
    query = (
        form.query(expression, "given") if isinstance(form, BatchForm) else
        f"select user_id, {form.over_row(expression, 'given')} as score from given"
    )  # fmt: skip
    with duckdb.connect() as con:
        con.register("rows", asked.features.with_row_index("user_id").to_arrow())
        con.execute("create table given as from rows")
        return con.sql(f"select score from ({query}) order by user_id").pl()["score"].to_numpy()


def test_it_has_sql_only_if_all_its_members_have() -> None:
    silent = Column("count", options={"column": "b", "sql": ""})
    mixed = [*members("count", "a"), Member(silent, Calibrator.floor(0.1))]
    found = model_class("voting")("count").join(mixed, said("count", 50)[:, :2], np.ones(50))
    with pytest.raises(CompileError, match="column: has none"):
        found.to_sql(RowForm(TYPES, "t"))


def test_it_reads_what_its_members_read() -> None:
    wide = Column("count", options={"column": "b"})
    wide.reads, wide.tolerance = "sequences", 1e-5
    mixed = [*members("count", "a"), Member(wide, Calibrator.floor(0.1))]
    found = model_class("voting")("count").join(mixed, said("count", 50)[:, :2], np.ones(50))
    assert (found.reads, found.tolerance) == ("both", 1e-5)
    assert (model_class("voting").reads, joined_reads("count")) == ("table", "table")


def joined_reads(kind: str) -> str:
    return joined("voting", kind, said(kind, 50), np.ones(50)).reads


# Folds


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 23)
)
def test_no_label_window_of_early_rows_reaches_the_late_ones(
    days: list[int], horizon: int, hours: int
) -> None:
    cutoff = np.datetime64("2026-01-01T23:59:59.999999") + np.array(days) * np.timedelta64(1, "D")
    span = timedelta(days=horizon, hours=hours)
    taken = np.zeros(len(cutoff), dtype=int)
    for early, late in ensembles.folds(cutoff, span):
        assert early.any() and late.any()
        assert (cutoff[early] + np.timedelta64(span)).max() <= cutoff[late].min()
        taken += late
    assert taken.max() <= 1  # nobody is asked twice
    moments = np.unique(cutoff)
    half = moments[len(moments) // 2 :]
    assert np.array_equal(
        taken == 1, np.isin(cutoff, half[half >= moments[0] + np.timedelta64(span)])
    )


def test_folds_of_a_long_train() -> None:
    cutoff = np.repeat(np.datetime64("2026-01-01") + np.arange(12) * np.timedelta64(7, "D"), 2)
    found = ensembles.folds(cutoff, timedelta(days=14))
    assert [(early.sum() // 2, late.sum() // 2) for early, late in found] == [
        (5, 2), (7, 2), (9, 2)
    ]  # fmt: skip


def made(kind: str = "count", users: int = 300) -> tuple[Asked, Task]:
    """Users asked weekly: ten times in train, then in valid and in test."""
    weeks = [*range(10), 12, 14]
    splits = ["train"] * 10 + ["valid", "test"]
    scores = said(kind, users * len(weeks))
    if kind == "binary":
        mean = 0.5 * scores[:, 0] + 0.5 * scores[:, 1]
    else:
        mean = 0.2 + 0.5 * scores[:, 0] + 0.5 * scores[:, 1]
    user = np.repeat(np.arange(users), len(weeks))
    start = datetime(2026, 1, 4, 23, 59, 59, 999999)
    keys = pl.DataFrame({
        "user_id": user, "cutoff_at": [start + timedelta(weeks=week) for week in weeks] * users,
        "split": splits * users,
    })  # fmt: skip
    frame = pl.DataFrame(scores, schema=["a", "b", "c"])
    table = Table(frame, drawn(kind, mean), user, np.full(len(user), np.nan), "t", kind)
    return Asked(table, keys, user % 2 == 0, 1.0), Task("t", kind, "log_loss", timedelta(days=14))


def trained(asked: Asked, column: str, seconds: float = 1.0, **options: object) -> SimpleNamespace:
    model = NAMES[column](asked.table.kind, options={"column": column} | options)
    raw = np.where(asked.split("train"), np.nan, model.predict(asked.table))
    return SimpleNamespace(model=model, raw=raw, score=raw, seconds=seconds, is_reference=False)


def reference(asked: Asked) -> SimpleNamespace:
    mean = np.full(len(asked.table), asked.table.label.mean())
    return SimpleNamespace(model=None, raw=mean, score=mean, seconds=0.0, is_reference=True)


def test_stacking_learns_from_later_rows_of_others_than_those_that_stopped_the_fit() -> None:
    asked, task = made()
    singles = [trained(asked, "a"), trained(asked, "b")]
    chosen = ensembles.choose(singles, asked, task, TYPES)
    found, raw = ensembles.build("stacking", chosen, asked, task, Settings())
    assert found.params()["folds"] == 3 and found.params()["too_slow_for_folds"] == []
    place = {key: i for i, key in enumerate(asked.table.features["a"].to_list())}
    at = lambda rows: np.array([place[value] for value in rows.features["a"].to_list()])  # noqa: E731
    cutoff, split = asked.keys["cutoff_at"].to_numpy(), asked.keys["split"].to_numpy()
    assert len(Column.heard) == 6
    for early, stopping in Column.heard:
        assert set(split[at(early)]) == set(split[at(stopping)]) == {"train"}
        assert (cutoff[at(early)] + np.timedelta64(14, "D")).max() <= cutoff[at(stopping)].min()
        assert asked.is_fit_half[at(stopping)].all()
    assert found.params()["rows"] == sum(len(stopping) for _, stopping in Column.heard[::2])
    assert np.isnan(raw[split == "train"]).all()
    rest = asked.table.rows(split != "train")
    assert np.array_equal(found.predict(rest), raw[split != "train"])
    assert weights(found) == {name: pytest.approx(0.5, abs=0.1) for name in ("a", "b")}


def test_slow_members_are_not_fitted_again_and_named() -> None:
    asked, task = made()
    singles = [trained(asked, "a"), trained(asked, "b"), trained(asked, "c", 9.0)]
    features = asked.table.features
    singles[2].raw = features["b"].to_numpy() + features["c"].to_numpy() / 9
    chosen = ensembles.choose(singles, asked, task, TYPES)
    assert len(chosen) == 3
    build = lambda seconds: ensembles.build("stacking", chosen, asked, task, Settings(), seconds)  # noqa: E731
    assert build(None)[0].params()["too_slow_for_folds"] == []
    found = build(5.0)[0]
    assert found.params()["too_slow_for_folds"] == ["third"] and set(weights(found)) == {"a", "b"}
    with pytest.raises(ModelError, match=r"0 of the models can be combined .*too slow for folds"):
        build(1.5)
    singles[2].model.family, singles[2].model.reads = "neural", "sequences"
    assert build(None)[0].params()["too_slow_for_folds"] == ["third"]


def test_a_train_that_is_too_short_for_folds_says_so() -> None:
    asked, task = made()
    chosen = ensembles.choose([trained(asked, "a"), trained(asked, "b")], asked, task, TYPES)
    long = Task("t", "count", "poisson_deviance", timedelta(days=70))
    with pytest.raises(ModelError, match="no train cutoff is a whole horizon later than another"):
        ensembles.build("stacking", chosen, asked, long, Settings())
    unknown = Task("t", "count", "poisson_deviance")
    with pytest.raises(ModelError, match="task t: its horizon is not known"):
        ensembles.build("stacking", chosen, asked, unknown, Settings())


# Who may be a member


def columns(chosen: list[ensembles.Candidate]) -> list[str]:
    return [one.member.model.option("column") for one in chosen]


def test_the_best_are_chosen_that_beat_the_references_and_differ() -> None:
    asked, task = made()
    twin = trained(asked, "b")
    twin.raw = twin.raw * 1.001 + 0.001
    useless = trained(asked, "c")
    singles = [reference(asked), useless, trained(asked, "a"), trained(asked, "b"), twin]
    singles[3].raw = asked.table.features["b"].to_numpy() * 0.5 + 1.7  # the best
    chosen = ensembles.choose(singles, asked, task, TYPES)
    assert columns(chosen) == ["b"] or columns(chosen) == ["b", "a"]
    assert useless.model not in [one.member.model for one in chosen]
    assert chosen[0].member.model is singles[3].model


def test_no_more_than_five_and_the_best_first() -> None:
    asked, task = made()
    features, random = asked.table.features, np.random.default_rng(1)
    truth = 0.2 + 0.5 * features["a"].to_numpy() + 0.5 * features["b"].to_numpy()
    singles = []
    for size in (0.8, 0.1, 0.4, 0.3, 0.2, 1.2, 0.6):
        one = trained(asked, "b")
        one.raw, one.size = truth * np.exp(random.normal(0, size, len(truth))), size
        singles.append(one)
    chosen = ensembles.choose(singles, asked, task, TYPES)
    sizes = {id(one.model): one.size for one in singles}
    assert [sizes[id(one.member.model)] for one in chosen] == [0.1, 0.2, 0.3, 0.4, 0.6]


FEATURES, LISTS, NONE = "features", "lists", ""


@pytest.mark.parametrize(("best", "other", "taken"), [
    (FEATURES, LISTS, False), (FEATURES, NONE, False), (LISTS, NONE, False),
    (FEATURES, FEATURES, True), (LISTS, FEATURES, True), (NONE, LISTS, True), (NONE, NONE, True),
])  # fmt: skip
def test_members_go_as_far_in_the_file_as_the_best_model(
    best: str, other: str, taken: bool
) -> None:
    asked, task = made()
    singles = [trained(asked, "a", sql=best), trained(asked, "b", sql=other)]
    features = asked.table.features
    singles[0].raw = 0.2 + (features["a"] + features["b"]).to_numpy() / 2
    chosen = ensembles.choose(singles, asked, task, TYPES | {"role_sequence": "VARCHAR[]"})
    assert columns(chosen) == (["a", "b"] if taken else ["a"])


@every_ensemble
def test_fewer_than_two_members_make_no_ensemble(name: str) -> None:
    asked, task = made()
    alone = ensembles.choose([trained(asked, "a")], asked, task, TYPES)
    with pytest.raises(
        ModelError, match=f"model {name}, task t: 1 of the models can be combined; "
    ):
        ensembles.build(name, alone, asked, task, Settings())


def test_all_weight_on_one_is_no_ensemble() -> None:
    asked, task = made()
    right, wrong = trained(asked, "a"), trained(asked, "b")
    right.raw = (
        0.2 + asked.table.features.select(pl.col("a") + pl.col("b")).to_series().to_numpy() / 2
    )
    wrong.raw = right.raw * 3 + asked.table.features["c"].to_numpy()
    chosen = ensembles.choose([right, wrong], asked, task, TYPES)
    with pytest.raises(ModelError, match=r"all weight is on column; .* Use column by itself"):
        ensembles.build("weighting", chosen, asked, task, Settings())


# The whole path: trained beside others, published, scored, compiled, called


PUBLISHED = {"purchase": "stacking", "engagement": "voting", "spend": "weighting"}
SINGLES = ("prevalence", "persistence", "naive_bayes", "linear", "decision_tree")


@pytest.fixture(scope="module")
def work(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the shop's build database in which an ensemble is published for each kind."""
    copy = tmp_path_factory.mktemp("ensembles") / "build.duckdb"
    shutil.copyfile(Warehouse(shop.config.warehouse).build, copy)
    settings = shop.config.settings
    with open_file(copy) as con:
        con.execute("set timezone = 'UTC'")
        for task in tasks.ready(con):
            if task.name in PUBLISHED:
                names = (*SINGLES, PUBLISHED[task.name])
                train_task(con, task, settings, names, {}, Heard())
                con.execute("update models.models set is_published = (model = ?) where task = ?",
                            [PUBLISHED[task.name], task.name])  # fmt: skip
                score.score_task(con, task.name, settings)
        yield con


def published(con: duckdb.DuckDBPyConnection, task: str) -> parity.Published:
    return next(one for one in parity.published_models(con) if one.task == task)


def test_ensembles_are_candidates_like_the_others(work: duckdb.DuckDBPyConnection) -> None:
    found = work.execute(
        "select task, model, contains(reason, ' on valid'), "
        "(select count(distinct split) from models.metrics where model_id = models.model_id) "
        "from models.models where family = 'ensemble' order by task"
    ).fetchall()
    assert found == [(task, model, True, 2) for task, model in sorted(PUBLISHED.items())]


@pytest.mark.parametrize("task", PUBLISHED)
def test_a_published_ensemble_is_loaded_scored_and_a_function(
    task: str, work: duckdb.DuckDBPyConnection, shop: Shop
) -> None:
    one = published(work, task)
    assert one.model == PUBLISHED[task] and one.family == "ensemble"
    assert list(parity.compare_scores(work, one, shop.config.settings)) == []
    done = compile_task(work, one, shop.config.settings)
    assert done.warnings == [] and len(done.macros) == 5
    assert max(proof.largest_difference for proof in done.certificates) < 1e-9
    ((count, difference),) = work.execute(
        f"""select count(*), max(abs(predict_{task}(f) - held.score))
        from models.scores as held
        inner join features.matrix as f using (user_id, cutoff_at)
        where held.model_id = ? and held.split = 'test'""", [one.model_id]
    ).fetchall()  # fmt: skip
    assert count > 100 and difference < 1e-9


def test_an_ensemble_is_a_python_function_too(
    work: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    work.execute("checkpoint")
    source = work.execute("select path from duckdb_databases() where path is not null").fetchall()
    file = Path(shutil.copy(source[0][0], tmp_path / "behaviour.duckdb"))
    with duckdb.connect(file, read_only=True) as con:
        udfs.register(con, file, "behaviour")
        for task, model in PUBLISHED.items():
            ((count, wrong),) = con.execute(
                f"""select count(*), count(*) filter (
                    py_predict_{task}__{model}(f) is distinct from held.score)
                from models.scores as held inner join features.matrix as f using (user_id, cutoff_at)
                where held.model_id = '{task}__{model}' and held.split = 'test'"""
            ).fetchall()  # fmt: skip
            assert count > 100 and wrong == 0
