"""Stored models as functions of a connection: `py_predict_<task>__<model>(f)`."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import Shop, run

import behavsql
from behavsql import frames, udfs
from behavsql.quoting import identifier, literal
from behavsql.warehouse import connect

ASKED = "features.latest as f"


@pytest.fixture
def file(shop: Shop, tmp_path: Path) -> Path:
    """A copy of the shop's warehouse, to change or to load anew."""
    return Path(shutil.copy(shop.built.path, tmp_path / "behaviour.duckdb"))


def _models(con: duckdb.DuckDBPyConnection) -> list[tuple]:
    return con.execute(
        "select model_id, task, is_published, model from models.models order by all"
    ).fetchall()


def _one(con: duckdb.DuckDBPyConnection, call: str, rows: str = ASKED) -> list:
    return [value for (value,) in con.execute(f"select {call} from {rows}").fetchall()]


def test_every_model_says_what_it_said_in_python_to_the_last_bit(con):
    models = _models(con)
    assert len(models) > 20
    for model_id, _, is_published, _ in models:
        found = con.execute(
            f"""select split, count(*), count(*) filter (
                    py_predict_{model_id}(f) is distinct from scores.score)
            from models.scores as scores inner join features.matrix as f using (user_id, cutoff_at)
            where model_id = {literal(model_id)} and split in ('test', 'latest')
            group by split order by split"""
        ).fetchall()
        assert [split for split, *_ in found] == ["latest", "test"][not is_published :]
        for _, rows, others in found:
            assert rows > 50 and others == 0, model_id


def test_a_row_alone_is_answered_as_among_others(con):
    for model_id, *_ in _models(con):
        call = f"py_predict_{model_id}(f)"
        together = dict(con.execute(f"select user_id, {call} from {ASKED}").fetchall())
        for user in list(together)[:5]:
            alone = _one(con, call, f"features.latest as f where user_id = {literal(user)}")
            assert alone == [together[user]], model_id


def test_the_name_of_the_task_is_its_published_model(con):
    for _, task, is_published, _ in _models(con):
        measure = "probability" if task in ("churn", "click", "purchase") else "amount"
        if is_published:
            found = con.execute(
                f"""select count(*), count(*) filter (py_predict_{task}(f) <> shown.{measure})
                from {identifier("predictions", task)} as shown
                inner join {ASKED} using (user_id)"""
            ).fetchall()
            assert found[0][0] > 50 and found[0][1] == 0


def test_any_row_by_name_that_has_the_features_will_do(con):
    expected = _one(
        con, "py_predict_purchase__lightgbm(f)", "features.latest as f order by user_id"
    )
    for row in (
        "(from features.matrix where cutoff_at = (select as_of from meta.clock)) as f",
        "(select *, 'more' as note, [1, 2] as list, user_id as USER from features.latest) as f",
        "(select columns(c -> c not like '%_last_window' or c like 'purchase%') from features.latest) as f",
    ):
        row = row.replace("c ->", "lambda c:")
        assert _one(con, "py_predict_purchase__lightgbm(f)", f"{row} order by user_id") == expected
    names = [row[0] for row in con.execute("describe features.latest").fetchall()]
    literal_row = ", ".join(f"{identifier(name.upper())}: {identifier(name)}" for name in names)
    call = f"py_predict_purchase__lightgbm({{{literal_row}}})"
    assert _one(con, call, "features.latest order by user_id") == expected


def test_null_nan_and_infinite_features_are_missing(con):
    query = "features.latest as f order by user_id limit 20"
    for model in ("lightgbm", "logistic", "persistence"):
        answers = {}
        for value in ("NULL", "NULL::double", "'nan'::double", "'-inf'::float"):
            changed = (
                f"(select * replace ({value} as purchase_last_window, "
                f"{value} as days_since_last_event) from features.latest) as f"
            )
            answers[value] = _one(
                con,
                f"py_predict_purchase__{model}(f)",
                query.replace("features.latest as f", changed),
            )
        assert len(set(map(tuple, answers.values()))) == 1 and len(answers["NULL"]) == 20


def test_untyped_nulls_are_missing_texts_too(con):
    texts = [name for name, type_, *_ in con.execute("describe features.latest").fetchall()
             if type_ == "VARCHAR"]  # fmt: skip
    assert texts
    answers = [
        _one(con, "py_predict_purchase__logistic(f)",
             "(select * replace (" + ", ".join(f"{null} as {name}" for name in texts)
             + ") from features.latest order by user_id) as f")
        for null in ("NULL", "NULL::varchar", "'never seen'")
    ]  # fmt: skip
    assert answers[0] == answers[1] == answers[2]


def test_numbers_of_any_type_are_what_they_are_worth(con):
    flag = "has_open_cart"
    answers = [
        _one(con, "py_predict_purchase__lightgbm(f)",
             f"(select * replace ({flag}::{type_} as {flag}) from features.latest order by user_id) as f")
        for type_ in ("boolean", "utinyint", "hugeint", "decimal(9, 3)", "float")
    ]  # fmt: skip
    assert all(answer == answers[0] for answer in answers)


def test_lists_reach_the_frame_as_they_are():
    frame = pl.DataFrame({"roles": [["view", None], []], "values": [[1.5], None], "n": [1, None]})
    table = frames.unlabelled(frame, "purchase", "binary")
    assert table.features.select("roles", "values").equals(frame.select("roles", "values"))
    assert table.features["n"].to_list() == [1.0, None] and len(table) == 2


def test_no_row_has_no_score(con):
    assert _one(con, "py_predict_purchase(NULL)", "range(3)") == [None] * 3
    rows = "(select case when hash(user_id) % 2 = 0 then l end as f from features.latest as l)"
    answers = con.execute(
        f"select f is null, py_predict_purchase__logistic(f) is null, count(*) from {rows} group by all"
    ).fetchall()
    assert sorted(answer[:2] for answer in answers) == [(False, False), (True, True)]
    assert _one(con, "py_predict_purchase(f)", "features.latest as f where user_id is null") == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "py_predict_purchase__lightgbm({'days_since_last_evnt': 1})",
            r"py_predict_purchase__lightgbm\(f\): f has no column '\w+' \(and \d+ more\); allowed is "
            r"a row with each of the \d+ features that model purchase__lightgbm reads.* Pass a row of",
        ),
        (
            "py_predict_spend__persistence({'user_id': 1})",
            r"f has no column 'spend_last_window'; .* model spend__persistence",
        ),
        (
            "py_predict_purchase__lightgbm(user_id)",
            r"py_predict_purchase__lightgbm\(f\): got \w+; allowed is one row by name\. Write "
            r"py_predict_purchase__lightgbm\(f\) from features\.latest as f",
        ),
        ("py_predict_purchase(f, f)", r"py_predict_purchase\(f\): got .*; allowed is one row"),
    ],
)
def test_what_is_no_row_of_features_says_so(con, call, message):
    with pytest.raises(duckdb.InvalidInputException, match=message):
        _one(con, call)


def test_a_feature_of_another_type_says_so(con):
    rows = "(select * replace ('late' as days_since_last_event) from features.latest) as f"
    with pytest.raises(
        duckdb.InvalidInputException,
        match=r"py_predict_purchase__logistic\(f\): features: column 'days_since_last_event' is of type "
        r"String; the model was fitted with numbers",
    ):
        _one(con, "py_predict_purchase__logistic(f)", rows)


def test_a_model_that_cannot_be_loaded_says_so(file):
    with duckdb.connect(str(file)) as writer:
        writer.execute(
            "update models.artifacts set content = 'tree'::blob, sha256 = sha256('tree') "
            "where model_id = 'purchase__lightgbm' and file = 'lightgbm.txt'"
        )
    with connect(file) as con:
        with pytest.raises(
            duckdb.InvalidInputException,
            match=r"py_predict_purchase__lightgbm\(f\): models\.artifacts: purchase__lightgbm cannot be "
            r"loaded .* Run `behavsql build -s purchase\+`",
        ):
            _one(con, "py_predict_purchase__lightgbm(f)")
        assert _one(con, "py_predict_purchase__logistic(f)")


@pytest.mark.parametrize(
    "change",
    ["drop schema models cascade", "alter table models.models drop column is_published"],
)
def test_a_warehouse_of_another_making_has_no_functions(file, change):
    with duckdb.connect(str(file)) as writer:
        for (view,) in writer.execute(
            "select schema_name || '.' || view_name from duckdb_views() where not internal"
        ).fetchall():
            writer.execute(f"drop view {view}")
        writer.execute(change)
    with connect(file) as con:
        assert _functions(con) == []
        assert _one(con, "count(*)")[0] > 0


def _functions(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in con.execute(
        "select distinct function_name from duckdb_functions() "
        "where function_name like 'py_predict_%' order by all"
    ).fetchall()]  # fmt: skip


def test_there_is_a_function_per_model_and_per_task_and_none_on_demand(con, shop):
    models = _models(con)
    names = {f"py_predict_{model_id}" for model_id, *_ in models}
    names |= {f"py_predict_{task}" for _, task, *_ in models}
    assert set(_functions(con)) == names
    with connect(shop.built.path, udfs=False) as without:
        assert _functions(without) == []


def test_the_connection_stays_locked(con, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    _one(con, "py_predict_purchase(f)")
    assert type(con) is duckdb.DuckDBPyConnection
    for statement in (
        f"from read_csv('{tmp_path / 'secret.csv'}')",
        "set enable_external_access = true",
        "create table models.more as select 1 as x",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(statement)


def test_models_load_once_for_all_threads_and_connections(file, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        udfs, "load", lambda con, one, *rest: loaded.append(one.model_id) or load(con, one, *rest)
    )
    load = behavsql.parity.load
    with connect(file) as con, connect(file) as other:
        assert loaded == []
        call = "py_predict_purchase__lightgbm(f)"
        cursors = [con.cursor() for _ in range(4)] + [other.cursor() for _ in range(4)]
        with ThreadPoolExecutor(8) as pool:
            rows = "behaviour.features.latest as f order by user_id"
            answers = list(pool.map(lambda cursor: _one(cursor, call, rows), cursors))
        assert all(answer == answers[0] for answer in answers)
        assert loaded == ["purchase__lightgbm"]


def test_a_closed_connection_is_not_asked_for_another(file):
    closed = [connect(file) for _ in range(3)]
    with connect(file) as con:
        for other in closed:
            other.close()
        assert _one(con, "py_predict_purchase__logistic(f)")


def test_a_file_that_was_replaced_still_answers_whom_it_was_opened_for(file):
    with connect(file) as con:
        file.unlink()
        assert _one(con, "py_predict_purchase__logistic(f)")


@pytest.fixture
def python(shop: Shop, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess]:
    """Run a script, whose argument is the warehouse, in a process of its own."""

    def run(code: str) -> subprocess.CompletedProcess:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(code))
        command = [sys.executable, str(script), str(shop.built.path)]
        return subprocess.run(command, capture_output=True, text=True)

    return run


ASK = 'con.execute("select sum(py_predict_purchase__logistic(f)) from features.latest as f").fetchall()'


@pytest.mark.parametrize(
    "path",
    [
        "with con: ASK",
        "ASK; con.close()",
        "ASK",
        "con.execute('select 1').fetchall()",
        "ASK; sys.exit(3)",
        "ASK; del con",
        "ASK; kept = con.cursor()",
        "kept = con.cursor(); kept.execute('use behaviour'); ASK; con = kept; ASK",
        "import threading; thread = threading.Thread(target=lambda: ASK); thread.start(); thread.join()",
        "kept = con.sql('select py_predict_purchase__logistic(f) from features.latest as f'); kept.fetchall()",
        "try:\n    con.execute('select py_predict_purchase(1)')\nexcept Exception as error: kept = error",
    ],
)  # fmt: skip
def test_a_process_ends_without_noise(python, path):
    start = "import sys\nfrom behavsql import connect\ncon = connect(sys.argv[1])\n"
    done = python(start + path.replace("ASK", ASK))
    assert (done.stderr, done.stdout) == ("", "")
    assert done.returncode == (3 if "exit(3)" in path else 0)


def test_a_process_that_fails_prints_its_traceback_alone(python):
    code = f"import sys\nfrom behavsql import connect\ncon = connect(sys.argv[1])\n{ASK}\n1 / 0"
    done = python(code)
    assert done.stderr.startswith("Traceback") and "leaked" not in done.stderr
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_cursor_without_its_connection_is_told_to_keep_it(python):
    code = """
        import gc, sys
        from behavsql import connect
        cursor = connect(sys.argv[1]).cursor()
        gc.collect()
        try:
            cursor.execute("select py_predict_purchase(f) from behaviour.features.latest as f")
            cursor.fetchall()
        except Exception as error:
            print(error)
    """
    done = python(code)
    assert "the connection that behavsql.connect returned is gone" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_connecting_loads_no_model_and_no_library_of_one(python):
    code = """
        import sys
        from behavsql import connect
        con = connect(sys.argv[1])
        print(*(name for name in ("polars", "pyarrow", "sklearn", "lightgbm", "scipy", "keras")
                if name in sys.modules))
        con.execute("select py_predict_purchase__logistic(f) from features.latest as f").fetchall()
        print(*(name for name in ("sklearn", "lightgbm", "scipy", "keras") if name in sys.modules))
    """
    done = python(code)
    assert (done.stdout, done.stderr) == ("\n\n", "")


def test_the_command_line_has_the_functions_where_a_query_calls_one(shop, con):
    query = "select PY_PREDICT_purchase(f) as p from features.latest as f order by 1 limit 1"
    done = run("query", query, "--csv", "--warehouse", str(shop.built.path.parent))
    assert done.exit_code == 0, done.stderr
    lowest = min(_one(con, "py_predict_purchase(f)"))
    assert float(done.stdout.split()[1]) == lowest
    done = run(
        "query", "select count(*) from duckdb_functions() where function_name like 'py_p' || '%'",
        "--csv", "--warehouse", str(shop.built.path.parent),
    )  # fmt: skip
    assert done.stdout.split()[1] == "0"
