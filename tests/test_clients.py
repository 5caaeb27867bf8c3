"""The published file in the hands of other DuckDB clients: all of it selects and says what Python says."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import clients
import duckdb
import pytest
from clickstream import clickstream
from clients import Client
from conftest import Heard, project

from behavsql import models, parity
from behavsql.compile import profile
from behavsql.compile.certificate import TOLERANCE
from behavsql.compile.macros import macros
from behavsql.compile.registry import ASKED, BATCH, EVENT_BATCH, EVENT_ROW, ROW, WHATIF
from behavsql.compile.scorer import Scorer
from behavsql.pipeline import build
from behavsql.quoting import identifier, literal
from behavsql.warehouse import connect

LIMIT = 100
# One task of each kind: binary, count, amount. Every model that serves the kind is trained.
TASKS = ("churn", "engagement", "spend")
OF_EVENTS = {"markov_chain", "hmm", "gru"}


@dataclass(frozen=True)
class Asked:
    """A query and the rows it must return: (key, number); of others, only how many."""

    query: str
    rows: list[tuple[str, float]] | int


@dataclass(frozen=True)
class Function:
    """A macro of the file, and which model it must agree with."""

    name: str
    form: str
    model_id: str
    task: str


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Function]]:
    """A published file with the functions of every model that has some, not just of the best."""
    names = {
        name for name in models.MODELS if models.model_class(name).reads == "table"
    } | OF_EVENTS
    folder = tmp_path_factory.mktemp("every_kind")
    made = project(folder, clickstream(400), only=TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODEL_SETS, "fast", tuple(sorted(names)))
        file = build(made, progress=Heard()).path
    with duckdb.connect(str(file)) as con:
        found = _published(con)
        con.begin()
        con.execute("update models.models set is_published = true")
        every = parity.published_models(con)
        con.rollback()
        for one in every:
            found += _compiled(con, one)
    assert {one.model_id.split("__")[1] for one in found} >= names - {*models.ENSEMBLES}
    return file, found


def _compiled(con: duckdb.DuckDBPyConnection, one: parity.Published) -> list[Function]:
    """Add a function of each form of a model under names of its own."""
    scorer = Scorer.of(*parity.load(con, one), profile.types(con), one.task)
    named = replace(one, task=f"{one.task}_{one.model}")
    written = {macro.form: macro for macro in macros(named, scorer, profile.read(con, one.task))}
    for macro in written.values():
        con.execute(macro.create)
    return [Function(made.name, form, one.model_id, one.task) for form, made in written.items()]


def _published(con: duckdb.DuckDBPyConnection) -> list[Function]:
    return [
        Function(*row)
        for row in con.execute(
            "select macro, form, model_id, task from models.parity where is_published order by all"
        ).fetchall()
    ]


def _relations(con: duckdb.DuckDBPyConnection) -> list[Asked]:
    """Some of every table and view, and how many there are of each."""
    names = con.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'behaviour' "
        "union all select schema_name, view_name from duckdb_views() "
        "where database_name = 'behaviour' and not internal order by all"
    ).fetchall()
    asked = []
    for name in names:
        table = identifier(*name)
        count = con.execute(f"select count(*) from {table}").fetchall()[0][0]
        asked.append(Asked(f"select * from {{db}}{table} limit {LIMIT}", min(count, LIMIT)))
        asked.append(Asked(f"select 'rows', count(*) from {{db}}{table}", [("rows", count)]))
    return asked


def _answers(con: duckdb.DuckDBPyConnection, one: Function) -> list[Asked]:
    """What Python says of everyone, and of no one in particular."""
    name, python = "{db}" + identifier(one.name), f"py_predict_{one.model_id}"
    table = ASKED if one.form in (EVENT_ROW, EVENT_BATCH) else "features.latest"
    asked = f"select user_id::varchar, {python}(f) from {table} as f order by 1"
    rows = con.execute(asked).fetchall()
    if one.form == EVENT_BATCH:
        call = f"select user_id::varchar, score from {name}({literal('{db}features.sequences')})"
        now = "(select max(cutoff_at) from {db}features.latest)"
        return [Asked(f"{call} where cutoff_at = {now} order by 1", rows)]
    features = profile.read(con, one.task)
    if one.form == BATCH:
        call = f"select user_id::varchar, score from {name}({literal('{db}features.latest')})"
        return [Asked(f"{call} order by 1", rows)]
    if one.form in (ROW, EVENT_ROW):
        table = table.replace("features.", "{db}features.")
        call = f"select user_id::varchar, {name}(f) from {table} as f"
        return [Asked(f"{call} order by 1", rows)]
    assert one.form == WHATIF
    given = ", ".join(f"{identifier(f.name)} := latest.{identifier(f.name)}" for f in features)
    call = f"select user_id::varchar, {name}({given}) from {{db}}features.latest as latest"
    usual = ", ".join(f"{identifier(f.name)}: {literal(f.usual)}" for f in features)
    nobody = con.execute(f"select 'nobody', {python}({{{usual}}})").fetchall()
    return [Asked(f"{call} order by 1", rows), Asked(f"select 'nobody', {name}()", nobody)]


def _all_asked(file: Path, functions: list[Function] | None = None) -> list[Asked]:
    """Of a file, about these functions, or those it was published with."""
    with connect(file) as con:
        asked = _relations(con)
        for one in functions or _published(con):
            asked += _answers(con, one)
        count = con.execute("select count(*) from features.latest").fetchall()[0][0]
    assert len(asked) > 100 and count > 50
    return [*asked, Asked("select 'ratio', {db}safe_ratio(1, 4)", [("ratio", 0.25)])]


def _check(client: Client, file: Path, asked: list[Asked], folder: Path) -> None:
    """Ask everything of the file, of its copy by another name, attached, and attached and used."""
    renamed = Path(shutil.copy(file, folder / "a shop's 2nd.duckdb"))
    attach = f"attach {literal(str(renamed))} as other (read_only)"
    _compare(client.ask(_written(asked), file), asked, "opened")
    _compare(client.ask(_written(asked), renamed), asked, "renamed")
    _compare(client.ask([attach, *_written(asked, "other.")])[1:], asked, "attached")
    _compare(client.ask([attach, "use other", *_written(asked)])[2:], asked, "used")


def _written(asked: list[Asked], db: str = "") -> list[str]:
    return [one.query.replace("{db}", db) for one in asked]


def _compare(answers: list[list[list]], asked: list[Asked], how: str) -> None:
    for answer, one in zip(answers, asked, strict=True):
        if isinstance(one.rows, int):
            assert len(answer) == one.rows, (how, one.query)
            continue
        expected = dict(one.rows)
        said = {key: float(value) for key, value in answer}
        assert said == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), (how, one.query)


def test_a_renamed_and_an_attached_file_says_the_same(shop, tmp_path):
    client = clients.installed(tmp_path)
    _check(client, shop.built.path, _all_asked(shop.built.path), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("install", [clients.command_line, clients.wheel, clients.node])
def test_other_clients_read_every_table_and_call_every_function(
    every_kind: tuple[Path, list[Function]], tmp_path: Path, install: Callable[[Path], Client]
) -> None:
    client = install(tmp_path / "client")
    _check(client, every_kind[0], _all_asked(*every_kind), tmp_path)
    _check_insert(client, Path(shutil.copy(every_kind[0], tmp_path / "inbox.duckdb")))


def _check_insert(client: Client, file: Path) -> None:
    """Insert an event after all others, and ask what is to be expected now."""
    insert = (
        "insert into live.inbox (user_id, event_type, event_at) "
        "select user_id, 'view', event_at + interval 1 minute from staging.events "
        "order by event_at desc limit 1"
    )
    more = "select count(*) - (select count(*) from staging.events) from live.events"
    since = "select count(*) from live.inbox where inserted_at > '2024-01-01'"
    _, *answers = client.ask([insert, more, since], file, writes=True)
    assert [int(answer[0][0]) for answer in answers] == [1, 1]
    with connect(file) as con:
        asked = _answers_now(con)
    _compare(client.ask(_written(asked), file), asked, "inserted")


def _answers_now(con: duckdb.DuckDBPyConnection) -> list[Asked]:
    """What Python says of the features as of now: by a function, and in the views of scores."""
    said = "select user_id::varchar, {}(f) from live.features as f"
    asked = []
    for task in TASKS:
        rows = con.execute(said.format(f"py_predict_{task}")).fetchall()
        asked.append(Asked(said.format(f"predict_{task}"), rows))
    views = con.execute(
        "select table_name, column_name from duckdb_columns() "
        "where schema_name = 'live' and column_name in ('probability', 'amount')"
    ).fetchall()
    for task, measure in views:
        those = f"where user_id in (select user_id from live.{task})"
        rows = con.execute(f"{said.format(f'py_predict_{task}')} {those}").fetchall()
        asked.append(Asked(f"select user_id::varchar, {measure} from live.{task}", rows))
    return asked
