"""The README is run: its set-up commands, its config, its queries, its list of commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from behavsql.cli.main import app
from conftest import stage

from behavsql import config
from behavsql.catalog import Catalog
from behavsql.demos import demo_config
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.recommenders import RECOMMENDER_SETS, REFERENCES
from behavsql.source import Source
from behavsql.warehouse import connect

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = r"\n```sh\n(.*?)```\n```text\n(.*?)```"
QUERIES = re.findall("<!-- query -->" + SHOWN, README, re.DOTALL)
LABEL = re.search(r"<!-- label -->\n```sql\n(.*?)```", README, re.DOTALL)[1]
LABEL_QUERIES = re.findall("<!-- label query -->" + SHOWN, README, re.DOTALL)


def _build_sample(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """The bundled sample with the SQL files of this folder and its best model; the published file.

    Next items are those of the references: all recommenders take as long as all else.
    """
    made = demo_config("retail", folder / "warehouse", models="fast")
    off = {task: config.TaskSettings(enabled=False) for task in without}
    made = made.model_copy(update={"folder": folder, "tasks": off})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", ("prevalence", "persistence", "lightgbm"))
        patch.setitem(RECOMMENDER_SETS, "fast", REFERENCES)
        return build(made, progress=Progress(quiet=True)).path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sample is built in, twice: as it is, then with the README's label."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def sample(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundled sample as it is."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "warehouse").mkdir()
    shutil.copy(_build_sample(project), folder / "warehouse")
    return folder


@pytest.fixture(scope="module")
def asked_more(project: Path, sample: Path) -> Path:
    """The project, after the README's own label file was put into it and it was built again.

    Most of the shipped tasks are left out: what is told of them is shown before.
    """
    path = project / "sql" / "5_labels" / "refund.sql"
    path.parent.mkdir(parents=True)
    path.write_text(LABEL, encoding="utf-8")
    _build_sample(project, without=("churn", "engagement", "next_item", "next_visit", "spend"))
    return project


def test_the_readme_shows_its_queries() -> None:
    assert (len(QUERIES), len(LABEL_QUERIES)) == (4, 2)
    assert len(LABEL.splitlines()) < 20


@pytest.mark.parametrize(("command", "shown"), QUERIES, ids=range(len(QUERIES)))
def test_a_query_prints_what_the_readme_shows(sample: Path, command: str, shown: str) -> None:
    _check_query(sample, command, shown)


@pytest.mark.parametrize(("command", "shown"), LABEL_QUERIES, ids=range(len(LABEL_QUERIES)))
def test_a_label_of_your_own_is_a_new_task(asked_more: Path, command: str, shown: str) -> None:
    _check_query(asked_more, command, shown)


def test_a_label_of_your_own_beats_the_references(asked_more: Path) -> None:
    """On test, as the figures in the README do."""
    with connect(asked_more / "warehouse") as con:
        told = con.execute(
            "select status, test_high < prevalence_value from main.model_card where task = 'refund'"
        ).fetchall()
    assert told == [("ready", True)]


def _check_query(folder: Path, command: str, shown: str) -> None:
    """Same columns and rows; the figures themselves depend on which model won on this machine."""
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "behavsql.cli.main", *words[1:]],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed, expected = done.stdout.splitlines(), shown.splitlines()
    assert printed[0].split() == expected[0].split()
    assert len(printed) == len(expected)
    keys = [line.split()[0] for line in expected[2:]]
    if keys[0].isalpha():  # task names, not users or figures
        assert [line.split()[0] for line in printed[2:]] == keys


def test_the_sample_has_the_rows_the_readme_names(sample: Path) -> None:
    con = connect(sample / "warehouse")
    assert con.execute("select count_rows from staging.sources").fetchall() == [(541_909,)]
    assert "541,909" in README
    con.close()


def test_the_readme_config_of_facts_is_accepted(tmp_path: Path) -> None:
    parts = re.findall(r"<!-- config(?: shop)? -->\n```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "behavsql.toml").write_text("\n".join(parts))
    people, products = config.load(tmp_path / "behavsql.toml").source[1:]
    assert people.features == ["age", "city", "heard_of_us"]
    assert (products.texts, products.vectors) == (["description"], ["photo"])


def test_the_readme_config_of_kinds_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"<!-- config kinds -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "behavsql.toml").write_text(text)
    sources = config.load(tmp_path / "behavsql.toml").source
    assert [one.kind for one in sources] == ["weblog", "app", "survey", "attributes", "events"]
    assert sources[0].columns.user_id == "visitor"
    assert sources[-1].columns.event_type == "ga4_event"


def test_the_readme_config_of_identities_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"<!-- config identity -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "behavsql.toml").write_text(text)
    assert config.load(tmp_path / "behavsql.toml").source[0].columns.anonymous_id == "cookie"


def test_the_readme_names_every_kind_and_shape() -> None:
    for key in ("kind", "shape"):
        for name in re.findall(r"'(\w+)'", str(Source.model_fields[key].annotation)):
            assert re.search(rf'[`"]{name}[`"]', README), name


def test_the_readme_config_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"<!-- config -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    tomllib.loads(text)
    (tmp_path / "behavsql.toml").write_text(text)
    loaded = config.load(tmp_path / "behavsql.toml")
    assert loaded.tasks["purchase"].horizon.days == 14


def test_the_readme_config_of_privacy_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"<!-- privacy -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "behavsql.toml").write_text(text)
    loaded = config.load(tmp_path / "behavsql.toml")
    assert loaded.privacy.pseudonyms and loaded.source[1].kind == "consent"


def test_the_readme_config_of_actions_is_accepted(tmp_path: Path) -> None:
    parts = re.findall(r"<!-- config(?: actions)? -->\n```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "behavsql.toml").write_text("\n".join(parts))
    loaded = config.load(tmp_path / "behavsql.toml")
    assert loaded.action_words() == ["coupon", "mail"]
    assert loaded.roles()["coupon"] == "other"


def test_the_readme_config_of_models_is_accepted(tmp_path: Path) -> None:
    parts = re.findall(r"<!-- config(?: models)? -->\n```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "behavsql.toml").write_text("\n".join(parts))
    loaded = config.load(tmp_path / "behavsql.toml")
    assert loaded.models["voting"] == {"vote": "hard"}


def test_withdrawals_become_dropout_events_as_the_readme_says(tmp_path: Path) -> None:
    text = re.search(r"<!-- config courses -->\n```toml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "behavsql.toml").write_text(text)
    (tmp_path / "studentRegistration.csv").write_text(
        "code_module,code_presentation,id_student,date_registration,date_unregistration\n"
        "AAA,2013J,1,-159,\nAAA,2013J,2,-53,12\nAAA,2013J,3,-92,\n"
    )
    con = stage(config.load(tmp_path / "behavsql.toml"))
    told = con.execute("select user_id, event_type, role from staging.events").fetchall()
    assert told == [("AAA|2013J|2", "unregister", "other")]
    assert told[0][1] in Catalog.load().files["labels.dropout"].types
    assert con.execute("select count(*) from staging.rejected").fetchall() == [(2,)]


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(app)
    for name in group.commands:
        assert f"`behavsql {name}" in README, name
    for name in group.commands["sql"].commands:
        assert re.search(rf"`(behavsql sql )?{name}`", README), name


def test_the_readme_names_every_shipped_task() -> None:
    tasks = {path.stem for path in (ROOT / "sql/5_labels").glob("*.sql")}
    section = README[README.index("## What it predicts") : README.index("## What you get")]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == tasks


def test_the_ci_runs_the_readme_test_command() -> None:
    command = re.search(r"^python3 -m venv .*pytest$", README, re.MULTILINE)[0]
    steps = [step.strip() for step in command.split("&&")]
    script = (ROOT / ".ci/run").read_text()
    for step in steps:
        assert step in script
