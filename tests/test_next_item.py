"""The next item: planted transitions are found again, noise is noise, functions say what tables say."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from conftest import SHIPPED, Heard, few_files, prebuilt, project, run

from behavsql.budget import Budget
from behavsql.config import from_dict
from behavsql.pipeline import build, score
from behavsql.recommenders import RECOMMENDER_SETS, blend, training
from behavsql.recommenders.als import ALS
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.panel import Panel
from behavsql.tasks import ready
from behavsql.warehouse import connect

ITEMS, USERS, DAYS = 40, 300, 60
COLUMNS = {
    "user_id": "user",
    "item_id": "item",
    "event_at": "at",
    "category": "kind",
    "title": "title",
}


def after(item: np.ndarray) -> np.ndarray:
    """The item that is planted behind each."""
    return (item * 7 + 3) % ITEMS


def visits(planted: float, seed: int = 3) -> pl.DataFrame:
    """Each user's items, one every few hours of some days: the planted one follows with that chance."""
    rng = np.random.default_rng(seed)
    length = 36
    items = rng.integers(0, ITEMS, (USERS, length))
    for step in range(1, length):
        follows = rng.random(USERS) < planted
        items[follows, step] = after(items[follows, step - 1])
    hours = np.sort(rng.integers(0, DAYS * 24, (USERS, length)), axis=1)
    at = np.datetime64("2024-01-01", "us") + hours.astype("timedelta64[h]")
    return pl.DataFrame({
        "user": np.repeat(np.arange(1, USERS + 1), length),
        "item": [f"it'em {item}" for item in items.ravel()],
        "at": at.ravel(), "kind": [f"kind {item % 4}" for item in items.ravel()],
        "title": [f"Thing number{item // 2}" for item in items.ravel()],
    })  # fmt: skip


def made(folder: Path, events: pl.DataFrame, **settings: object):
    return project(
        folder, events, only=("next_item",), columns=COLUMNS, default_type="view",
        settings={"session_gap": "12 hours", **settings},
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch)
        yield


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, few: None):
    """A warehouse of users whose next item is planted in four of five cases."""
    config = made(tmp_path_factory.mktemp("planted"), visits(0.8), seen_items="keep")
    return config, prebuilt(config).path


@pytest.fixture
def con(planted):
    with connect(planted[1], udfs=False) as con:
        yield con


def metric(con: duckdb.DuckDBPyConnection, model: str, name: str) -> float:
    return con.execute(
        "select value from models.metrics where model_id = ? and metric = ? and split = 'test'",
        [f"next_item__{model}", name],
    ).fetchall()[0][0]


def test_planted_transitions_are_recovered(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        "select item_id, neighbour_id from models.item_neighbours where rank = 1"
    ).fetchall()
    right = [other == f"it'em {after(int(item.split()[1]))}" for item, other in found]
    assert len(found) == ITEMS and np.mean(right) > 0.95


def test_what_follows_is_published_and_beats_what_is_popular(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert metric(con, "co_visitation", "ndcg_at_10") > 1.3 * metric(
        con, "popularity", "ndcg_at_10"
    )
    best = con.execute(
        "select model, reason from models.models where task = 'next_item' and is_published"
    ).fetchall()
    assert best[0][0] in ("co_visitation", "session_knn", "blend") and "beats" in best[0][1]


def test_lists_are_whole(con: duckdb.DuckDBPyConnection) -> None:
    told = con.execute("""
        select count(distinct user_id), count(distinct n), min(n), bool_and(ranks = range(1, n + 1)),
            bool_and(is_falling)
        from (select user_id, count(*) as n, list(rank order by rank) as ranks,
            list(score order by rank) = list(score order by score desc, rank) as is_falling
            from predictions.next_item group by user_id)
    """).fetchall()[0]
    asked = con.execute("""select count(*) from cutoffs.populations
        where task = 'next_item' and split = 'latest'""").fetchall()[0][0]
    assert told == (asked, 1, 20, True, True) and asked > 100
    assert con.execute(
        "select count(*) from predictions.next_item where reason is null"
    ).fetchall() == [(0,)]


def test_recommend_says_what_the_table_says(con: duckdb.DuckDBPyConnection) -> None:
    users = [
        user
        for (user,) in con.execute(
            "select distinct user_id from predictions.next_item order by all limit 20"
        ).fetchall()
    ]
    for user in users:
        told = con.execute("from recommend($user, k := 7)", {"user": user}).fetchall()
        assert told == con.execute(
            "select rank, item_id, score, source, reason from predictions.next_item "
            "where user_id = $user and rank <= 7 order by rank", {"user": user}
        ).fetchall()  # fmt: skip


def test_who_is_not_known_is_shown_what_is_popular(con: duckdb.DuckDBPyConnection) -> None:
    told = con.execute("select item_id, source from recommend(-1, k := 5)").fetchall()
    popular = con.execute(
        "select item_id, 'popular' from models.popular_items where rank <= 5 order by rank"
    )
    assert told == popular.fetchall() and len(told) == 5


def test_functions_about_items(con: duckdb.DuckDBPyConnection) -> None:
    told = con.execute("select rank, item_id from similar_items('it''em 5', k := 3)").fetchall()
    assert [rank for rank, _ in told] == [1, 2, 3] and told[0][1] == f"it'em {after(np.array(5))}"
    # The latest item of a visit speaks loudest, and what was seen in it is not shown again.
    visit = con.execute(
        "select item_id from recommend_session(['it''em 9', 'it''em 5'], k := 40)"
    ).fetchall()
    assert visit[0] == (f"it'em {after(np.array(5))}",)
    assert not {("it'em 9",), ("it'em 5",)} & set(visit) and len(visit) == ITEMS - 2
    with_gap = con.execute(  # an event of the visit that is about no item
        "select item_id from recommend_session(['it''em 9', 'it''em 5', null], k := 40)"
    ).fetchall()
    assert with_gap == visit
    nobody = con.execute("select source from recommend_session(['what?'], k := 3)").fetchall()
    assert nobody == [("popular",)] * 3


def test_noise_is_no_better_than_popularity(tmp_path: Path) -> None:
    config = made(tmp_path, visits(0.0), seen_items="keep")
    with connect(build(config, progress=Heard()).path, udfs=False) as con:
        recall = metric(con, "blend", "recall_at_10")
        assert recall == pytest.approx(10 / ITEMS, abs=0.05)
        published = con.execute(
            "select family from models.models where task = 'next_item' and is_published"
        ).fetchall()
        assert published == [("reference",)]


def test_rules_of_ones_own_take_the_place_of_the_shipped_ones(planted, tmp_path: Path) -> None:
    config = made(tmp_path, visits(0.8), seen_items="drop", max_per_category=3, count_recommended=9)
    folder = tmp_path / "sql" / "6_predictions"
    folder.mkdir(parents=True)
    (folder / "next_item_rules.sql").write_text(
        "-- purpose: nothing of kind 0\n-- grain: item_id\n-- inputs: staging.items\n"
        "-- scope: global\n-- version: 1\n"
        "select item_id, category <> 'kind 0' as is_available, 1.0::double as boost,\n"
        "    category as category_of_rule from staging.items"
    )
    with connect(build(config, progress=Heard()).path, udfs=False) as con:
        kinds = con.execute("""select category, max(n), min(n) from (
            select user_id, category, count(*) as n from predictions.next_item
            inner join staging.items using (item_id) group by all) group by category order by all""")
        found = kinds.fetchall()
        assert [kind for kind, *_ in found] == ["kind 1", "kind 2", "kind 3"]
        assert max(most for _, most, _ in found) <= 3
        seen = con.execute("""select count(*) from predictions.next_item semi join staging.events
            using (user_id, item_id)""").fetchall()
        assert seen == [(0,)]
        assert con.execute("select count(*) from recommend(-1, k := 40) semi join "
                           "(from staging.items where category = 'kind 0') using (item_id)"
                           ).fetchall() == [(0,)]  # fmt: skip


def test_new_events_are_scored_without_training(planted, tmp_path: Path) -> None:
    config = made(tmp_path, visits(0.8), seen_items="keep")
    prebuilt(config)
    events = visits(0.8)
    more = pl.DataFrame({"user": [1], "item": ["it'em 11"], "kind": ["kind 3"],
                         "title": ["Thing number5"], "at": [events["at"].max()]})  # fmt: skip
    pl.concat([events, more.select(events.columns)]).write_parquet(tmp_path / "events.parquet")
    done = score(config, progress=Heard())
    assert "score next_item" in done.steps and "predictions.next_item" in done.steps
    with connect(done.path, udfs=False) as con:
        top = con.execute("select item_id from recommend(1, k := 3)").fetchall()
        assert (f"it'em {after(np.array(11))}",) in top


@pytest.mark.parametrize("name", ["blend", "reranker"])
def test_what_was_kept_is_scored_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factors of a blend's member, and the trees of a re-ranker, come out of the file as they were."""
    members = ("popularity", "own_items", "co_visitation", "als", name)
    monkeypatch.setitem(RECOMMENDER_SETS, "fast", members)
    monkeypatch.setattr(training, "_promote", lambda found, *_: (found[-1], found[-1]))
    monkeypatch.setattr(
        blend.Search, "best", lambda self: ({"als": 0.5, "co_visitation": 0.5}, "share", 1.0)
    )
    config = made(tmp_path, visits(0.8), seen_items="keep")
    place = build(config, progress=Heard()).path
    listed = "select * exclude place from models.recommended order by user_id, place"
    with connect(place, udfs=False) as con:
        files = {file for (file,) in con.execute("select file from models.artifacts").fetchall()}
        assert "als/factors.npz" in files and ("reranker/lightgbm.txt" in files) == (
            name == "reranker"
        )
        told = con.execute(listed).fetchall()
    events = visits(0.8)
    more = events.tail(1).with_columns(user=pl.lit(1, pl.Int64))
    pl.concat([events, more]).write_parquet(tmp_path / "events.parquet")
    done = score(config, progress=Heard())
    assert "score next_item" in done.steps and "train next_item" not in done.steps
    with connect(done.path, udfs=False) as con:
        again = con.execute(listed).fetchall()
        of_others = {row for row in told if row[1] not in (1, USERS)}
        # One more choice of one user moves a pair's count, and with it a place here and there.
        assert len(of_others & set(again)) > 0.5 * len(of_others)
    with duckdb.connect(config.warehouse / ".work" / "build.duckdb") as con:
        (task,) = ready(con)
        training.score_task(con, task, config.settings)
        assert con.execute(listed).fetchall() == again


@pytest.fixture
def made_before(planted, tmp_path: Path):
    """(connection to a copy of what was built, its task, its settings), to train in."""
    config, place = planted
    shutil.copy(place.parent / ".work" / "build.duckdb", tmp_path / "copy.duckdb")
    with duckdb.connect(tmp_path / "copy.duckdb") as con:
        (task,) = ready(con)
        yield con, task, config.settings


def test_less_alike_items_are_published_with_their_price(made_before) -> None:
    con, task, settings = made_before
    names = ("popularity", "own_items", "co_visitation")
    before = con.execute("select user_id, item_id from models.recommended where place = 1")
    first = set(before.fetchall())
    heard = Heard()
    more = settings.model_copy(update={"diversity": 0.5})
    training.train_task(con, task, more, names, {}, heard)
    assert any(
        "diverse is published, the lists of co_visitation reordered" in line for line in heard.lines
    )
    published = con.execute("select model, is_champion from models.models where is_published")
    assert published.fetchall() == [("diverse", False)]
    for name in ("distance_at_10", "diversity_at_10"):
        assert metric(con, "diverse", name) > 1.02 * metric(con, "co_visitation", name)
    assert metric(con, "diverse", "ndcg_at_10") < metric(con, "co_visitation", "ndcg_at_10")
    listed = "from models.recommended order by user_id, place"
    told = con.execute(listed).fetchall()
    assert len(first & {(row[1], row[3]) for row in told if row[2] == 1}) > 0.8 * len(first)
    assert con.execute("""select bool_and(score <= before + 1e-12) from (select score,
        lag(score, 1, 1.0) over (partition by user_id order by place) as before
        from models.recommended)""").fetchall() == [(True,)]  # fmt: skip
    training.score_task(con, task, more)
    assert con.execute(listed).fetchall() == told


def test_a_budget_that_is_used_up_leaves_the_references(made_before) -> None:
    con, task, settings = made_before
    heard = Heard()
    names = RECOMMENDER_SETS["all"]
    training.train_task(con, task, settings, names, {}, heard, Budget(0.0))
    left = dict(con.execute("select model, reason from models.left_out").fetchall())
    assert {"als", "item_gru", "co_visitation"} <= set(left)
    assert "time_budget was used up" in left["als"]
    assert any("item_gru is left out: time_budget" in line for line in heard.lines)
    trained = {model for (model,) in con.execute("select model from models.models").fetchall()}
    assert (
        {"popularity", "own_items"} <= trained <= {"popularity", "own_items", "blend", "reranker"}
    )
    assert con.execute("select count(*) from models.recommended").fetchall() != [(0,)]


def test_who_would_take_longer_than_is_left_is_left_out(made_before) -> None:
    con, _, settings = made_before
    Choices.load(con, "next_item", "keep", settings.seed)
    panel = Panel(con, ("popularity", "own_habits", "co_visitation"), False, left=lambda: 10.0)
    panel.seconds = {"popularity": 1.0, "own_habits": 0.5, "co_visitation": 6.0}
    panel.answer_seconds = dict.fromkeys(panel.seconds, 0.0)
    panel.fit_in(rounds=2)
    assert list(panel.members) == ["popularity", "own_habits"]
    assert panel.left_out["co_visitation"] == (
        "12.0 s more for it would not fit: 10.0 s of time_budget are left"
    )


def test_nothing_runs_twice(tmp_path: Path) -> None:
    config = made(tmp_path, visits(0.8), seen_items="keep")
    prebuilt(config)
    assert build(config, progress=Heard()).steps == ()


def test_events_without_items_are_no_choices(tmp_path: Path) -> None:
    events = visits(0.8).drop("item", "kind", "title")
    config = project(tmp_path, events, only=("next_item", "churn"), default_type="view",
                     columns={"user_id": "user", "event_at": "at"})  # fmt: skip
    with connect(build(config, progress=Heard()).path, udfs=False) as con:
        told = con.execute(
            "select status, reason from meta.tasks where task = 'next_item'"
        ).fetchall()
        assert told == [("skipped", "the data has no item")]
        assert con.execute("from recommend(1)").fetchall() == []


def test_an_item_nobody_chose_yet_is_known_by_its_words(tmp_path: Path) -> None:
    pl.DataFrame({"item": ["new"], "title": ["thing, NUMBER7!"], "kind": ["kind 2"]}).write_csv(
        tmp_path / "products.csv"
    )
    visits(0.8).write_parquet(tmp_path / "events.parquet")
    config = from_dict({
        "settings": {"models": "fast", "threads": 2, "session_gap": "12 hours"},
        "tasks": {task: {"enabled": False} for task in SHIPPED},
        "source": [
            {"name": "shop", "path": "events.parquet", "columns": COLUMNS, "default_type": "view"},
            {"name": "products", "kind": "items", "path": "products.csv",
             "columns": {"item_id": "item", "title": "title", "category": "kind"}},
        ],
    }, tmp_path, "behavsql.toml")  # fmt: skip
    with connect(build(config, progress=Heard()).path, udfs=False) as con:
        told = con.execute("select item_id, source from similar_items('new', k := 2)").fetchall()
        assert sorted(told) == [("it'em 14", "similar content"), ("it'em 15", "similar content")]
        visit = con.execute(
            "select item_id, source from recommend_session(['new'], k := 4)"
        ).fetchall()
        assert sorted(visit[:2]) == sorted(told) and visit[-1][1] in ("similar content", "popular")


def test_all_that_is_shipped_says_something(tmp_path: Path) -> None:
    """The standard set, in which every recommender finds the planted order or its own signal."""
    config = made(tmp_path, visits(0.8), seen_items="keep", models="standard")
    with connect(build(config, progress=Heard()).path, udfs=False) as con:
        heard = {
            model
            for (model,) in con.execute(
                "select model from models.models where task = 'next_item'"
            ).fetchall()
        }
        assert heard == {*RECOMMENDER_SETS["standard"]}
        assert con.execute("select * from models.left_out").fetchall() == []
        assert metric(con, "als", "ndcg_at_10") > metric(con, "popularity", "ndcg_at_10")
        members = [metric(con, name, "ndcg_at_10") for name in heard - {"blend"}]
        assert metric(con, "blend", "ndcg_at_10") > 0.97 * max(members)
        assert metric(con, "reranker", "ndcg_at_10") > 0.97 * max(members)


def test_a_kept_factorisation_says_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    with duckdb.connect() as con:
        con.execute(
            "create table next_items as select n::integer as item, 'i' || n as item_id from range(1, 13) as t(n)"
        )
        con.execute(
            "create table next_asked as select n::integer as question, 0 as count_hidden from range(30) as t(n)"
        )
        pairs = pl.DataFrame({"who": np.repeat(np.arange(30), 4),
                              "item": (rng.integers(0, 6, 120) + 6 * (np.repeat(np.arange(30), 4) % 2) + 1)
                              .astype(np.int32)})  # fmt: skip
        con.register("pairs", pairs.to_arrow())
        con.execute("create table next_own as select who::integer as question, item, count(*) as times, "
                    "1 as nth from pairs group by all")  # fmt: skip
        model = ALS(seed=1).fit(con, "pairs")
        told = con.execute(f"from ({model.answer(con, 6)}) order by all").fetchall()
        best = con.execute(
            f"from ({model.answer(con, 6)}) "
            "qualify row_number() over (partition by question order by score desc, item) <= 6"
        ).fetchall()
        halves = [(question % 2) == (item > 6) for question, item, _ in best]
        assert np.mean(halves) > 0.9  # two groups of users, two groups of items
        again = ALS()
        assert again.load(con, model.save())
        assert con.execute(f"from ({again.answer(con, 6)}) order by all").fetchall() == told
        assert not ALS().load(con, {})


def test_the_command(planted) -> None:
    place = str(planted[1].parent)
    done = run("recommend", "17", "-k", "3", "--warehouse", place, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["is_known"] and len(told["items"]) == 3
    done = run("recommend", "nobody's", "--warehouse", place)
    assert done.exit_code == 0 and "user nobody's is not known" in done.stderr
    assert "popular" in done.stdout
