"""What a hostile query, shell script, config or file would try, and what stops it."""

import os
import stat
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from behavsql.cli.main import app
from clickstream import clickstream
from conftest import prebuilt, project, stage
from typer.testing import CliRunner

from behavsql import config, parity
from behavsql.errors import BehavsqlError, ConfigError, ModelError
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.warehouse import FILE_NAME, connect

ATTACKS = {
    "a host file": "select * from read_csv('/etc/passwd')",
    "a host file by its name": "select * from '/etc/passwd'",
    "a host file as text": "select * from read_text('/etc/hostname')",
    "a list of files": "select * from glob('/etc/*')",
    "writing a file": "copy (select 1) to '{folder}/stolen.csv'",
    "writing beside the file": "copy (select 1) to '{folder}/behaviour.duckdb.wal'",
    "exporting": "export database '{folder}/out'",
    "another database": "attach '{folder}/other.duckdb' as other",
    "the file again, to write": "attach '{folder}/behaviour.duckdb' as again (read_only false)",
    "an extension": "install httpfs",
    "an extension that is there": "load '{folder}/x.duckdb_extension'",
    "the network": "select * from read_csv('https://example.org/a.csv')",
    "opening the lock": "set enable_external_access = true",
    "opening the file system": "set disabled_filesystems = ''",
    "unlocking": "set lock_configuration = false",
    "a secret": "create persistent secret s (type http, bearer_token 'x')",
    "the environment": "select getenv('HOME')",
    "a view of ours over a host file": "from stolen",
    "a macro of ours over a host file": "from steal()",
    "writing into the file": "insert into kept values (2)",
    "dropping from it": "drop table kept",
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A file that somebody prepared, with a view and a macro over a host file."""
    (tmp_path / "host.csv").write_text("a\nsecret of the host\n")
    with closing(duckdb.connect(str(tmp_path / FILE_NAME))) as con:
        con.execute(
            f"create table kept as select 1 as a; create view stolen as from read_csv('{tmp_path}/host.csv');"
            f"create macro steal() as table select * from read_csv('{tmp_path}/host.csv')"
        )
    duckdb.connect(str(tmp_path / "other.duckdb")).close()
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_connection_reads_its_file_and_does_nothing_else(warehouse, attack):
    before = {path.name for path in warehouse.iterdir()}
    held = (warehouse / FILE_NAME).read_bytes()
    with connect(warehouse, udfs=False) as con:
        with pytest.raises(duckdb.Error) as error:
            con.execute(attack.format(folder=warehouse)).fetchall()
        assert "secret of the host" not in str(error.value) and "root:" not in str(error.value)
        assert con.execute("select a from kept").fetchall() == [(1,)]
    assert {path.name for path in warehouse.iterdir()} == before
    assert (warehouse / FILE_NAME).read_bytes() == held


@pytest.mark.parametrize("attack", ["a host file", "writing a file", "an extension", "unlocking",
                                    "another database", "a view of ours over a host file"])  # fmt: skip
def test_query_and_shell_are_such_connections(warehouse, attack):
    sql = ATTACKS[attack].format(folder=warehouse)
    for told in (
        CliRunner().invoke(app, ["query", sql, "--warehouse", str(warehouse)]),
        CliRunner().invoke(app, ["shell", "--warehouse", str(warehouse)], input=f"{sql};\n"),
    ):
        assert told.exit_code == 1 and "Error: " in told.output, told.output
        assert "secret of the host" not in told.output and "root:" not in told.output


def shell(warehouse: Path, text: str, *options: str):
    return CliRunner().invoke(app, ["shell", "--warehouse", str(warehouse), *options], input=text)


def test_the_shell_answers_a_script_statement_by_statement(warehouse):
    told = shell(
        warehouse,
        "select 1 as one;\n-- nothing; here\nselect\n 'a;b' as text;\n.quit\nselect 3;\n",
        "--csv",
    )
    assert told.exit_code == 0, told.output
    assert told.stdout.split() == ["one", "1", "text", "a;b"]


def test_the_shell_says_what_there_is(warehouse):
    tables = shell(warehouse, ".tables\n", "--csv").stdout
    assert "main.kept,table" in tables and "main.stolen,view" in tables
    assert "a,INTEGER" in shell(warehouse, ".schema kept\n", "--csv").stdout
    assert "a,INTEGER" in shell(warehouse, '.schema main."kept";\n', "--csv").stdout
    assert ".tables" in shell(warehouse, ".help\n").output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("select 1;\nselect * from nothing;\nselect 2;\n", "line 2: "),
        (".table\n", 'Did you mean ".tables"?'),
        (".schema\n", "allowed is one name"),
        (".schema keept\n", "there is no table keept"),
        ("select 'open\n", "line 1: "),
    ],
)
def test_a_script_ends_at_the_first_error_and_says_where(warehouse, text, told):
    done = shell(warehouse, text, "--csv")
    assert done.exit_code == 1 and told in done.output
    assert "\n2\n" not in done.stdout


def test_the_shell_refuses_options_that_contradict_each_other(warehouse):
    assert shell(warehouse, "", "--csv", "--json").exit_code == 2
    assert (
        shell(warehouse, "select range from range(3);", "--json", "--limit", "1").stdout.count(
            "range"
        )
        == 1
    )
    assert CliRunner().invoke(app, ["shell", "--warehouse", str(warehouse / "none")]).exit_code == 1


def test_a_stored_model_that_was_changed_is_refused_by_name(tmp_path, quick, few):
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    prebuilt(made)
    with closing(duckdb.connect(str(made.warehouse / ".work/build.duckdb"))) as con:
        one = parity.published_models(con)[0]
        parity.load(con, one)
        for file, content in con.execute(
            "select file, content from models.artifacts where model_id = ?", [one.model_id]
        ).fetchall():
            con.execute("begin")
            con.execute("update models.artifacts set content = ? where model_id = ? and file = ?",
                        [content + b" ", one.model_id, file])  # fmt: skip
            with pytest.raises(ModelError, match=f"{file} of {one.model_id} is not the file"):
                parity.load(con, one)
            con.execute("rollback")
        con.execute("alter table models.artifacts drop sha256")  # of an earlier behavsql
        parity.load(con, one)


ODD = """it's "odd"; drop table x --"""


def test_quotes_in_every_part_of_a_config_stay_text(tmp_path):
    """As names of columns, words, files and folders; what is no name is refused before any SQL."""
    folder = tmp_path / 'o\'dd "folder"'
    folder.mkdir()
    columns = [f"{name} {ODD}" for name in ("user", "at", "type", "item", "title", "extra")]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in columns)
    (folder / "it's.csv").write_text(f"{header}\nu'1,2024-01-01 10:00,w'ord,i'1,t'1,e'1\n")
    keys = ("user_id", "event_at", "event_type", "item_id", "title")
    source = {"name": "log", "path": "it's.csv", "columns": dict(zip(keys, columns[:5], strict=True)),
              "default_type": ODD, "delimiter": ",", "not_products": [ODD], "coarsen": {columns[5]: "2 decimals"}}  # fmt: skip
    made = config.from_dict({"source": [source], "types": {"w'ord": "purchase"}}, folder, ODD)
    con = stage(made)
    told = con.execute("select user_id, event_type, role, item_id from staging.events").fetchall()
    assert told == [("u'1", "w'ord", "purchase", "i'1")]
    assert con.execute("select title from staging.items").fetchall() == [("t'1",)]
    build(made, progress=Progress(quiet=True))


@pytest.mark.parametrize(
    "data",
    [
        {"source": [{"name": ODD, "path": "a.csv"}]},
        {"tasks": {ODD: {}}},
        {"settings": {"memory_limit": ODD}},
        {"settings": {"publish_mode": ODD}},
        {"settings": {"models": ODD}},
        {"types": {"view": ODD}},
        {"privacy": {"unknown_consent": ODD}},
        {"source": [{"name": "a", "path": "a.csv", "at_timezone": ODD}]},
        {"source": [{"name": "a", "path": "a.csv", "coarsen": {"b": ODD}}]},
    ],
    ids=str,
)
def test_what_can_be_no_name_is_refused(tmp_path, data):
    (tmp_path / "a.csv").write_text("u,t\n1,2024-01-01\n")
    columns = {"columns": {"user_id": "u", "event_at": "t"}}
    source = [{"name": "a", "path": "a.csv"} | columns]
    if "source" in data:
        data = {"source": [one | columns for one in data["source"]]}
    with pytest.raises(ConfigError):
        build(
            config.from_dict({"source": source} | data, tmp_path, "b"),
            progress=Progress(quiet=True),
        )


def test_files_with_rows_of_users_are_their_owners_alone(tmp_path):
    others = os.umask(0)
    try:
        made = project(tmp_path, clickstream(40, 40, seed=4), only=())
        build(made, progress=Progress(quiet=True))
    finally:
        os.umask(others)
    for path in made.warehouse.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        else:
            assert mode == (0o640 if path.name == FILE_NAME else 0o600), path


def test_errors_are_those_of_behavsql(warehouse):
    with pytest.raises(BehavsqlError, match="there is no warehouse"):
        connect(warehouse / "none")
