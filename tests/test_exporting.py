"""The warehouse in the hands of dbt, SQLAlchemy and JupySQL; the tools are installed when asked for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from behavsql.cli.main import app
from conftest import Shop
from typer.testing import CliRunner

from behavsql.exporting import dbt_sources

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL_SECONDS = 900


def asked(*words: str, code: int = 0) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout


def test_sources_name_every_table_and_column_once(shop: Shop) -> None:
    text = asked("export", "dbt", "--warehouse", shop.config.warehouse)
    with duckdb.connect(str(shop.built.path), read_only=True) as con:
        ((columns,),) = con.execute(
            "select count(*) from duckdb_columns() where not internal "
            "and database_name = current_database()"
        ).fetchall()
        names = con.execute(
            "select distinct schema_name, table_name from duckdb_columns() where not internal "
            "and database_name = current_database()"
        ).fetchall()
    assert text.count("data_type: ") == columns
    found = set()
    for part in text.split("  - name: ")[1:]:
        if schema := re.search(r'^    schema: "(.*)"$', part, re.MULTILINE):
            current = schema[1]
        found |= {(current, json.loads(table)) for table in re.findall(r"^ +- name: (.*)\n        description", "      - name: " + part, re.MULTILINE)}  # fmt: skip
    assert found >= {name for name in names if name[0] == current}
    assert "behaviour_predictions" in text and '"reasons"' in text


def test_odd_names_and_braces_are_text() -> None:
    with duckdb.connect() as con:
        con.execute('create table "a: \'b\' {{ x }}" ("c # d" integer)')
        con.execute("comment on table \"a: 'b' {{ x }}\" is 'says \"yes\" {% if %}\nand more'")
        text = dbt_sources(con)
    assert "\"a: 'b' { { x } }\"" in text and '"c # d"' in text
    assert '"says \\"yes\\" { % if % }\\nand more"' in text
    assert "{{" not in text and "{%" not in text


def test_a_file_that_is_there_is_not_overwritten(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "sources.yml"
    told = json.loads(
        asked("export", "dbt", "-o", file, "--json", "--warehouse", shop.config.warehouse)
    )
    assert file.read_text(encoding="utf-8") == told["text"]
    assert "it is there already" in asked(
        "export", "dbt", "-o", file, "--warehouse", shop.config.warehouse, code=1
    )
    nowhere = tmp_path / "no" / "sources.yml"
    assert "cannot be written" in asked(
        "export", "dbt", "-o", nowhere, "--warehouse", shop.config.warehouse, code=1
    )


def test_explain_prints_scores_reasons_and_why_not(shop: Shop) -> None:
    with duckdb.connect(str(shop.built.path), read_only=True) as con:
        ((user,),) = con.execute("select min(user_id) from predictions.purchase").fetchall()
    words = ("--warehouse", shop.config.warehouse)
    text = asked("explain", user, "-t", "purchase", *words)
    assert f"user {user}: first seen" in text and "where everybody starts" in text
    data = json.loads(asked("explain", user, "--no-changes", "--json", *words))
    assert {task["task"] for task in data["tasks"]} >= {"purchase", "churn"}
    assert all("changes" not in task for task in data["tasks"])
    assert "there is no user 'nobody'" in asked("explain", "nobody", *words, code=2)


# With the real tools


def _tools(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with these packages; the test is skipped if they cannot be had."""
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
    python = folder / "bin" / "python"
    if made.returncode == 0:
        made = subprocess.run(
            [python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True,
            timeout=INSTALL_SECONDS,
        )  # fmt: skip
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["it says no more"])[-1]
        pytest.skip(f"{', '.join(packages)} cannot be installed here: {last}")
    return python


@pytest.mark.slow
def test_dbt_parses_the_sources_and_builds_on_them(shop: Shop, tmp_path: Path) -> None:
    python = _tools(
        tmp_path / "dbt",
        "dbt-core>=1.9,<1.11",
        "dbt-duckdb>=1.9,<1.11",
        f"duckdb=={duckdb.__version__}",
    )
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    asked(
        "export", "dbt", "-o", folder / "models/sources.yml", "--warehouse", shop.config.warehouse
    )
    profile = re.search(r"<!-- dbt profile -->\n```yaml\n(.*?)```", README, re.DOTALL)[1]
    model = re.search(r"<!-- dbt model -->\n```sql\n(.*?)```", README, re.DOTALL)[1]
    (folder / "profiles.yml").write_text(
        profile.replace("warehouse/behaviour.duckdb", str(shop.built.path))
    )
    (folder / "dbt_project.yml").write_text('name: shop\nversion: "1.0"\nprofile: shop\n')
    (folder / "models/worth_a_call.sql").write_text(model)
    for command in ("parse", "run"):
        done = subprocess.run(
            [python.parent / "dbt", command, "--profiles-dir", ".", "--no-use-colors"], cwd=folder,
            capture_output=True, text=True, timeout=INSTALL_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
    with duckdb.connect(str(folder / "own.duckdb")) as con:
        con.execute(f"attach '{shop.built.path}' as behaviour (read_only)")
        assert con.execute("select count(*) > 0 from worth_a_call").fetchall() == [(True,)]


SQLALCHEMY = """
import sqlalchemy as sa, sys
engine = sa.create_engine("duckdb:///" + sys.argv[1], connect_args={"read_only": True})
with engine.connect() as con:
    reasons = sa.Table("reasons", sa.MetaData(), schema="predictions", autoload_with=con)
    print(con.execute(sa.select(reasons.c.sentence).where(reasons.c.rank == 0).limit(1)).scalar())
    try:
        con.execute(sa.text("create table x (a int)"))
    except sa.exc.DBAPIError:
        print("refused")
"""
JUPYSQL = """
import duckdb, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "sql")
shell.user_ns["con"] = duckdb.connect(sys.argv[1], read_only=True)
shell.run_line_magic("sql", "con --alias behaviour")
print(shell.run_cell_magic("sql", "", "select sentence from predictions.reasons where rank = 0 limit 1"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packages", "script"),
    [(("duckdb-sqlalchemy",), SQLALCHEMY), (("jupysql", "ipython", "pandas"), JUPYSQL)],
    ids=["sqlalchemy", "jupysql"],
)
def test_notebooks_read_the_published_file(
    shop: Shop, tmp_path: Path, packages: tuple[str, ...], script: str
) -> None:
    python = _tools(tmp_path / "tools", f"duckdb=={duckdb.__version__}", *packages)
    done = subprocess.run(  # elsewhere: here `sql` is a package, and so is JupySQL
        [python, "-c", script, str(shop.built.path)], cwd=tmp_path, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "where everybody starts" in done.stdout
    if script == SQLALCHEMY:
        assert "refused" in done.stdout
