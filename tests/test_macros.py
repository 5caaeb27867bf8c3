"""The functions in the file: what they answer, what is certified, what is refused, what stays."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from clickstream import clickstream
from conftest import Heard, Shop, prebuilt, project

from behavsql import parity
from behavsql.compile import CompileError, registry
from behavsql.compile.step import compile_task, forget
from behavsql.database_file import open_file
from behavsql.models.decision_tree import DecisionTree
from behavsql.models.parts.tree_model import TreeModel
from behavsql.pipeline import build
from behavsql.warehouse import Warehouse

TASKS = ("churn", "click", "engagement", "next_visit", "purchase", "spend")
Rows = Callable[..., list[tuple]]


@pytest.fixture
def work(shop: Shop, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the shop's build database, to be changed."""
    copy = tmp_path / "build.duckdb"
    shutil.copyfile(Warehouse(shop.config.warehouse).build, copy)
    with open_file(copy) as con:
        con.execute("set timezone = 'UTC'")
        yield con


def published(con: duckdb.DuckDBPyConnection, task: str) -> parity.Published:
    return next(one for one in parity.published_models(con) if one.task == task)


def functions(con: duckdb.DuckDBPyConnection, task: str) -> set[str]:
    """The functions of a task that are in the file."""
    rows = con.execute(
        "select distinct function_name from duckdb_functions() where not internal and "
        "database_name = current_database() and schema_name = 'main'"
    ).fetchall()
    forms = tuple(f"{verb}_{task}" for verb in ("predict", "whatif", "score"))
    return {name for (name,) in rows if name.startswith(forms)}


@pytest.mark.parametrize("task", TASKS)
def test_three_ways_to_ask_one_model(task: str, con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    measure = "amount" if task in ("engagement", "next_visit", "spend") else "probability"
    names = [
        name for (name,) in rows(con, f"select feature from models.features where task = '{task}'")
    ]
    given = ", ".join(f'"{name}" := f."{name}"' for name in names)
    found = rows(con, f"""
        select count(*), max(abs(predict_{task}(f) - shown.{measure})),
            max(abs(whatif_{task}({given}) - shown.{measure})),
            max(abs(answers.score - shown.{measure}))
        from features.latest as f
        inner join predictions.{task} as shown using (user_id)
        inner join score_{task}('features.latest') as answers using (user_id)""")  # fmt: skip
    ((count, *differences),) = found
    assert count == rows(con, f"select count(*) from predictions.{task}")[0][0] > 100
    assert max(differences) < 1e-9


def test_no_row_is_no_score(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    assert rows(
        con, "select predict_purchase((select f from features.latest as f where false))"
    ) == [(None,)]
    assert rows(con, "select predict_purchase(null)") == [(None,)]


def test_by_the_models_name_and_by_its_version(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    model = rows(con, "select model from models.models where task = 'churn' and is_published")[0][0]
    assert functions(con, "churn") == {
        "predict_churn", "whatif_churn", "score_churn", f"predict_churn__{model}",
        f"predict_churn__{model}__v1",
    }  # fmt: skip
    assert rows(con, f"""
        select count(*) filter (where predict_churn(f) = predict_churn__{model}__v1(f)), count(*)
        from features.latest as f""")[0] == rows(
        con, "select count(*), count(*) from features.latest")[0]  # fmt: skip


def test_whatif_takes_the_rest_as_usual_in_train(
    con: duckdb.DuckDBPyConnection, rows: Rows
) -> None:
    usual = rows(con, "select feature, median, most_frequent from models.features "
                      "where task = 'purchase'")  # fmt: skip
    given = ", ".join(
        f'"{name}" := {median if median is not None else repr(word) if word else "null"}'
        for name, median, word in usual
    )
    assert rows(con, "select whatif_purchase()") == rows(con, f"select whatif_purchase({given})")
    used = rows(con, "select feature from models.importance inner join models.models "
                     "using (model_id) where task = 'purchase' and is_published "
                     "order by importance desc limit 5")  # fmt: skip
    moved = {
        rows(con, f'select whatif_purchase("{name}" := {value})')[0][0]
        for (name,) in used for value in ("0", "1000000", "null")
        if not any(name == other and word for other, _, word in usual)
    }  # fmt: skip
    assert len(moved) > 1
    with pytest.raises(duckdb.BinderException, match="no_such_feature"):
        con.execute("select whatif_purchase(no_such_feature := 1)")


def test_every_function_has_its_certificate(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    found = rows(con, "select macro, is_published, reason, count_test_rows, count_edge_rows, "
                      "largest_difference, tolerance, count_bytes from models.parity")  # fmt: skip
    tested = dict(rows(con, "select task, count(*) from cutoffs.populations where split = 'test' "
                            "group by task"))  # fmt: skip
    assert {name for name, *_ in found} == set().union(*(functions(con, task) for task in TASKS))
    for name, is_published, reason, test, edge, difference, tolerance, size in found:
        task = next(task for task in TASKS if f"_{task}" in name)
        assert is_published and reason is None
        assert test == tested[task] and edge > 100
        assert difference <= tolerance == 1e-9 and size > 0


def test_the_comment_says_what_a_function_is_and_reads(
    con: duckdb.DuckDBPyConnection, rows: Rows
) -> None:
    comments = dict(rows(con, "select function_name, comment from duckdb_functions() "
                              "where not internal and schema_name = 'main' and comment is not null "
                              "and database_name = current_database()"))  # fmt: skip
    said = comments["predict_purchase"]
    model = rows(con, "select model from models.models where task = 'purchase' and is_published")[
        0
    ][0]
    assert said.startswith(f"probability (0-1) of purchase, by {model} version 1, calibrated")
    assert "Example: select user_id, predict_purchase(f) from features.latest as f" in said
    feature, low, median, high = rows(con, "select feature, low, median, high from models.features "
        "inner join (select feature from models.importance inner join models.models using (model_id) "
        "where task = 'purchase' and is_published) using (feature) "
        "where median is not null and task = 'purchase' limit 1"
    )[0]  # fmt: skip
    assert f"  {feature} " in said
    assert f"train {low:.6g} to {high:.6g}, median {median:.6g}" in said
    assert "from score_spend('features.latest')" in comments["score_spend"]
    assert "whatif_spend()" in comments["whatif_spend"]


@pytest.mark.parametrize("broken", ["0.5", "case when f.user_id % 7 = 0 then 1e-6 else 0 end"])
def test_a_function_that_is_not_exact_is_not_stored(
    broken: str, work: duckdb.DuckDBPyConnection, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = TreeModel.to_sql
    offset = "1e-6" if "1e-6" in broken else broken
    monkeypatch.setattr(
        DecisionTree, "to_sql", lambda self, form: f"({exact(self, form)} + {offset})"
    )
    work.execute("update models.models set is_published = (model = 'decision_tree')")
    found = compile_task(work, published(work, "spend"), shop.config.settings)
    assert functions(work, "spend") <= {
        name for name in functions(work, "spend") if "__v" in name and "decision_tree" not in name
    }
    assert found.macros == []
    assert any("predict_spend is not published: it differs from the model in" in warning
               for warning in found.warnings)  # fmt: skip
    reasons = work.execute(
        "select distinct is_published, reason from models.parity where model = 'decision_tree'"
    ).fetchall()
    assert all(not is_published and "differs from the model" in reason
               for is_published, reason in reasons)  # fmt: skip


def test_a_model_without_sql_says_why(
    work: duckdb.DuckDBPyConnection, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise CompileError("linear leaves have no SQL here. It stays in Python.")

    one = published(work, "purchase")
    monkeypatch.setattr(type(parity.load(work, one)[0]), "to_sql", refuse)
    found = compile_task(work, one, shop.config.settings)
    assert found.macros == [] and "linear leaves have no SQL" in found.warnings[0]
    assert work.execute(
        "select macro, form, is_published, reason from models.parity "
        "where task = 'purchase' and not contains(macro, '__v')"
    ).fetchall() == [
        ("predict_purchase", None, False, "linear leaves have no SQL here. It stays in Python.")
    ]


def test_a_function_that_fails_is_not_stored(
    work: duckdb.DuckDBPyConnection, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = published(work, "purchase")
    model = type(parity.load(work, one)[0])
    monkeypatch.setattr(model, "to_sql", lambda self, form: "error('no number')")
    found = compile_task(work, one, shop.config.settings)
    assert found.macros == []
    assert any("no number" in warning for warning in found.warnings)


def test_versions_stand_side_by_side_and_the_oldest_go(
    work: duckdb.DuckDBPyConnection, shop: Shop
) -> None:
    model = published(work, "churn").model
    for version in range(2, 6):
        work.execute("update models.models set version = ? where task = 'churn'", [version])
        compile_task(work, published(work, "churn"), shop.config.settings)
    versions = {name for name in functions(work, "churn") if "__v" in name}
    assert versions == {f"predict_churn__{model}__v{n}" for n in (3, 4, 5)}
    kept = work.execute(
        "select macro from models.parity where task = 'churn' and contains(macro, '__v')"
    )
    assert {name for (name,) in kept.fetchall()} == versions


def test_a_version_whose_features_are_gone_is_dropped_and_said(
    work: duckdb.DuckDBPyConnection,
) -> None:
    one = published(work, "churn")
    name = f"predict_churn__{one.model}__v0"
    work.execute(f"create macro {name}(f) as list_transform([f], lambda r: r.gone)[1]")
    work.execute("insert into models.parity (macro, task, model, version, form, is_published) "
                 "values (?, 'churn', ?, 0, 'row', true)", [name, one.model])  # fmt: skip
    (told,) = registry.drop_broken(work)
    assert told.startswith(f"{name} is dropped, it cannot be called any more: ")
    assert name not in functions(work, "churn")


def test_a_task_that_is_gone_takes_its_functions_along(work: duckdb.DuckDBPyConnection) -> None:
    forget(work, "purchase")
    assert functions(work, "purchase") == set()
    assert work.execute(
        "select count(*) from models.parity where task = 'purchase'"
    ).fetchall() == [(0,)]
    assert functions(work, "churn")


def test_a_build_makes_them_when_a_model_is_trained_and_only_then(
    tmp_path: Path, quick: None, few: None
) -> None:
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    first, heard = prebuilt(made), Heard()
    assert "compile purchase" in first.steps
    assert build(made, progress=heard).steps == ()
    again = project(tmp_path, only=("purchase",), settings={"seed": 8})
    assert "compile purchase" in build(again, progress=heard).steps
    assert not [line for line in heard.lines if "dropped" in line]
    with duckdb.connect(first.path, read_only=True) as con:
        versions = {name for name in functions(con, "purchase") if "__v" in name}
    assert {name.rpartition("__")[2] for name in versions} == {"v1", "v2"}
