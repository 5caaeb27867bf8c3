"""What a build says of what it did: nothing published yet, models that do not stay, units."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from behavsql.cli import builds
from test_cli import CONFIG, run, write_events

from behavsql import config
from behavsql.models import MODEL_SETS
from behavsql.progress import Progress


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that was built with one model and a reference."""
    folder = tmp_path_factory.mktemp("shop")
    write_events(folder / "events.parquet")
    (folder / "behavsql.toml").write_text(CONFIG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(MODEL_SETS, "fast", ("prevalence", "decision_tree"))
        assert run("build", "-q").exit_code == 0
        yield folder


@pytest.fixture
def here(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The built project as the current folder."""
    monkeypatch.chdir(shop)
    return shop


def test_a_selection_in_a_new_warehouse_says_that_nothing_is_published_yet(
    shop: Path, tmp_path: Path, monkeypatch
) -> None:
    for name in ("events.parquet", "behavsql.toml"):
        (tmp_path / name).write_bytes((shop / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    lines = run("build", "-s", "staging.users").stdout.splitlines()
    assert lines[0].startswith("ran raw.events, ")
    assert lines[0].endswith(" s; nothing is published yet.")
    assert lines[1:] == ["publish with: behavsql build"]
    # A task that is not asked: nothing runs at all.
    run("build", "-q", "-s", "labels.click")
    assert run("build", "-s", "labels.click").stdout == (
        "nothing ran; nothing is published yet.\npublish with: behavsql build\n"
    )


def test_a_set_of_models_that_is_not_the_configs_is_said(here: Path) -> None:
    told = (
        'with --models fast; write models = "fast" under [settings] to keep it, or the next build '
        "trains the standard set"
    )
    (here / "plain.toml").write_text(CONFIG.replace('models = "fast"', ""), encoding="utf-8")
    result = run("build", "-c", "plain.toml", "--models", "fast")
    assert result.stdout.splitlines()[-1] == f"built {told}"
    assert "--models" not in run("build", "--models", "fast").stdout
    assert run("build", "-c", "plain.toml", "--models", "fast", "-q").stdout == ""
    asked = builds.Ask(kept_models="standard")
    settings = config.load(here / "behavsql.toml")
    assert builds._not_kept("trained", settings, asked) == f"trained {told}"
    assert builds._not_kept("built", settings, builds.Ask()) is None, "no file to write it into"


def test_the_summary_names_what_the_progress_names_and_units_where_there_are_some() -> None:
    reference = {
        "task": "next_visit", "status": "ready", "reason": None, "metric": "rmse",
        "question": "in how many days will the user come back?", "family": "reference",
        "is_published": False, "value": 3.5, "low": 3.0, "high": 4.0, "is_worse_on_test": False,
    }  # fmt: skip
    references = [reference | {"model": name} for name in ("persistence", "prevalence")]
    trees = reference | {"model": "lightgbm", "family": "trees", "is_published": True, "value": 2.5}
    found = builds._result([*references, trees])
    [line] = builds.summary_lines([found])
    assert line.split("  ") == [
        "next_visit", "lightgbm", "rmse 2.5000 [3.0000, 4.0000] days", "against prevalence 3.5000",
    ]  # fmt: skip
    found = builds._result([references[0], references[1] | {"is_published": True}])
    assert builds.summary_lines([found])[0].endswith("  no other model")
    found = builds._result([reference | {"model": "prevalence", "is_published": True},
                            trees | {"is_published": False, "metric": "r2"}])  # fmt: skip
    assert builds.summary_lines([found])[0].endswith(" days  no model surely beats it")
    assert builds._unit({"metric": "poisson_deviance", "question": "how many days?"}) == ""


def test_progress_lines_of_the_longest_names_stay_aligned(capsys: pytest.CaptureFixture) -> None:
    for name in ("staging.users", "train engagement / random_forest"):
        with Progress().step(name) as line:
            line.rows = 7
    first, second = capsys.readouterr().err.splitlines()
    assert first.index("7 rows") == second.index("7 rows")


def test_no_models_yet_is_said(here: Path, tmp_path: Path) -> None:
    copy = tmp_path / "behaviour.duckdb"
    copy.write_bytes((here / "warehouse/behaviour.duckdb").read_bytes())
    with duckdb.connect(str(copy)) as con:
        con.execute("delete from report.leaderboard")
    result = run("models", "--warehouse", str(tmp_path))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no models yet\n")
    assert run("models", "--warehouse", str(tmp_path), "--json").stdout == "[]\n"
