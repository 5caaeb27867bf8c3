"""The command line: stdout and stderr, exit codes, help, and every command on one small build."""

import csv
import functools
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import typer
from behavsql.cli import main as cli_main
from behavsql.cli import options, places, show, sql_files
from behavsql.cli.main import app
from typer.testing import CliRunner

from behavsql import catalog, model_tables
from behavsql.models import MODEL_SETS
from behavsql.warehouse import Warehouse

RUNNER = CliRunner()
CLI = [sys.executable, "-m", "behavsql.cli.main"]
CONFIG = """
[settings]
models = "fast"
[[source]]
name = "events"
path = "events.parquet"
default_type = "view"
[source.columns]
user_id = "user_id"
event_at = "ts"
event_type = "event"
[tasks]
churn.enabled = false
engagement.enabled = false
next_visit.enabled = false
spend.enabled = false
"""


def write_events(path: Path) -> None:
    """90 days of 120 users with rates of their own; two visits in five end in a purchase."""
    rng = np.random.default_rng(3)
    rate = rng.choice([0.05, 0.15, 0.5], 120)
    user, day = np.nonzero(rng.random((120, 90)) < rate[:, None])
    at = np.datetime64("2025-01-01", "us") + (
        day * 86_400 + rng.integers(0, 86_400, day.size)
    ) * np.timedelta64(10**6, "us")
    buys = rng.random(day.size) < 0.4
    views = pl.DataFrame({"user_id": user, "ts": at, "event": "view"})
    pl.concat([views, views.filter(buys).with_columns(event=pl.lit("purchase"))]).write_parquet(
        path
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built once."""
    folder = tmp_path_factory.mktemp("shop")
    write_events(folder / "events.parquet")
    (folder / "behavsql.toml").write_text(CONFIG, encoding="utf-8")
    done = subprocess.run([*CLI, "build"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]), encoding="utf-8")
    return folder


@pytest.fixture
def here(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The built project as the current folder."""
    monkeypatch.chdir(shop)
    return shop


def commands() -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for name, group in (("", app), ("sql ", cli_main.sql_app)):
        for command in group.registered_commands:
            yield name + (command.name or command.callback.__name__), command


def run(*arguments: str, **options: object):
    return RUNNER.invoke(app, list(arguments), **options)


# Help


def test_every_command_has_an_example_and_help_for_every_option() -> None:
    for name, _ in commands():
        told = run(*name.split(), "--help").stdout
        assert "Example:\n" in told, name
        assert f"    behavsql {name}" in told, name
    for name, command in commands():
        for parameter in inspect.signature(command.callback).parameters.values():
            assert parameter.annotation.__metadata__[0].help, f"{name} {parameter.name}"


def test_every_command_offers_json() -> None:
    assert [
        name for name, _ in commands() if "--json" not in run(*name.split(), "--help").stdout
    ] == []


def test_command_bodies_stay_thin() -> None:
    for name, command in commands():
        source = inspect.getsource(command.callback)
        body = source.rpartition('"""\n')[2]
        assert len(body.splitlines()) < 15, name


def test_the_model_sets_are_those_of_the_library() -> None:
    assert [choice.value for choice in options.Models] == list(MODEL_SETS)


def test_help_loads_no_library() -> None:
    heavy = (
        "lightgbm",
        "sklearn",
        "tensorflow",
        "keras",
        "polars",
        "duckdb",
        "pydantic",
        "numpy",
        "rich",
    )
    code = (
        "import sys; from behavsql.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit:\n"
        f"    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "behavsql" in done.stdout
    assert done.stderr == "[]\n"


def test_the_version_is_printed() -> None:
    from behavsql import __version__

    assert run("--version").stdout == f"behavsql {__version__}\n"


# Build


def test_a_build_tells_progress_on_stderr_and_results_on_stdout(shop: Path) -> None:
    out, err = json.loads((shop / "said.json").read_text(encoding="utf-8"))
    assert "staging.events" in err
    assert "warehouse/behaviour.duckdb: " in out
    lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines if line[2].startswith("log_loss")] == ["purchase"]
    assert ["churn", "skipped", "disabled", "in", "behavsql.toml"] in lines
    assert 'try: behavsql query "from predictions.purchase where decile = 1 limit 10"\n' in out
    assert out.endswith("try: behavsql report\n")


def test_a_build_in_which_nothing_changed_says_so(here: Path) -> None:
    result = run("build")
    assert result.exit_code == 0
    assert result.stdout.startswith("nothing changed since 20")
    assert "nothing ran" in result.stdout.splitlines()[0]


def test_a_build_as_json(here: Path) -> None:
    built = json.loads(run("build", "--json", "-q").stdout)
    assert built["path"].endswith("warehouse/behaviour.duckdb")
    assert built["steps"] == []
    purchase = next(task for task in built["tasks"] if task["task"] == "purchase")
    assert purchase["metric"] == "log_loss"
    assert purchase["low"] <= purchase["value"] <= purchase["high"]
    assert purchase["reference"] in ("prevalence", "persistence")


def test_a_quiet_build_says_nothing(here: Path) -> None:
    result = run("build", "-q")
    assert (result.stdout, result.stderr) == ("", "")


def test_a_dry_run_lists_steps_with_reasons_and_runs_none(here: Path) -> None:
    before = Path("warehouse/behaviour.duckdb").stat().st_mtime_ns
    result = run("build", "--dry-run", "-s", "features.recency")
    assert result.stdout.splitlines()[2:] == ["features.recency  selected"]
    assert "1 of " in result.stderr and "nothing was run" in result.stderr
    steps = json.loads(run("build", "--dry-run", "--full", "--json").stdout)
    left = (re.split(r"[ .]", step["step"]) for step in steps if step["reason"] != "--full")
    assert {about[-1] for about in left} == {"click", "dropout", "next_item"}  # skipped tasks
    assert Path("warehouse/behaviour.duckdb").stat().st_mtime_ns == before


def test_a_selection_says_that_nothing_was_published(here: Path) -> None:
    result = run("build", "-s", "features.recency", "-q")
    assert result.stdout == ""
    result = run("build", "-s", "features.recency")
    assert result.stdout.startswith("ran features.recency in ")
    assert "warehouse/behaviour.duckdb is as it was.\nit holds all there is\n" in result.stdout
    # Training makes other models (a new version), which the published file does not hold.
    result = run("build", "-s", "train purchase")
    assert "is as it was.\npublish with: behavsql build\n" in result.stdout
    assert run("build", "-q").exit_code == 0


def test_a_dry_run_tells_what_may_run_from_what_must(here: Path, monkeypatch) -> None:
    config = here / "other.toml"
    config.write_text(CONFIG.replace("[settings]", '[settings]\nsession_gap = "45 minutes"'))
    monkeypatch.setenv("COLUMNS", "60")  # a reason may be longer than a line
    result = run("build", "-c", "other.toml", "--dry-run")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()[2:]]
    reasons = {line[0]: line[1] for line in lines if len(line) > 1}
    told = "settings.session_gap changed (30 minutes -> 45 minutes)"
    assert reasons["sessions.session_events"] == told
    assert reasons["publish"] == "perhaps: sessions.session_events is rebuilt"
    assert re.match(
        r"\d+ of \d+ steps would run, \d+ more if what they read comes out different; nothing was run\.",
        result.stderr,
    )
    steps = json.loads(run("build", "-c", "other.toml", "--dry-run", "--json").stdout)
    assert {step["step"]: step["is_certain"] for step in steps if step["reason"]}[
        "publish"
    ] is False


def test_scoring_and_training_from_the_command_line(
    shop: Path, tmp_path: Path, monkeypatch
) -> None:
    for name in ("events.parquet", "behavsql.toml"):
        (tmp_path / name).write_bytes((shop / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    result = run("score")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: score: there is no model yet; allowed is a warehouse with trained ones. "
        "Run `behavsql build`.\n"
    )
    result = run("train", "-t", "purchase", "-m", "decision_tree", "--json", "-q")
    assert result.exit_code == 0, result.stderr
    assert "train purchase" in json.loads(result.stdout)["steps"]
    found = json.loads(run("models", "--json").stdout)
    assert {model["model"] for model in found} == {"decision_tree", "prevalence", "persistence"}
    assert run("score").stdout.startswith("nothing changed since 20")
    result = run("train", "-t", "purchas")
    assert (result.exit_code, 'Did you mean "purchase"?' in result.stderr) == (2, True)


def test_a_selection_of_nothing_is_a_usage_error(here: Path) -> None:
    result = run("build", "-s", "featurs.*")
    assert result.exit_code == 2
    assert "--select: nothing is called 'featurs.*'" in result.stderr


def test_without_a_config_the_bundled_sample_stands_in(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("build", "--dry-run")
    assert 'building the bundled sample "retail"' in result.stderr
    assert "behavsql init FILE" in result.stderr
    assert "raw.events" in result.stdout
    assert places.choose_config(None).warehouse.resolve() == tmp_path / "warehouse"
    assert "Chen, D. (2015)" in places.choose_config(None).attribution


def test_a_named_config_that_is_missing_is_no_reason_for_the_sample(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("build", "-c", "other.toml")
    assert result.exit_code == 2
    assert (
        result.stderr
        == "Error: other.toml: there is no such file. Write one with `behavsql init FILE`.\n"
    )


def test_demos_are_listed_and_an_unknown_one_is_refused() -> None:
    assert "retail" in run("demo").stdout
    assert {demo["name"] for demo in json.loads(run("demo", "--json").stdout)} >= {
        "retail",
        "courses",
    }
    result = run("demo", "nosuch")
    assert result.exit_code == 2
    assert 'demo: there is no "nosuch"' in result.stderr


# Exit codes


def test_a_locked_warehouse_is_exit_3(here: Path) -> None:
    with Warehouse(here / "warehouse").locked():
        done = subprocess.run([*CLI, "build"], cwd=here, capture_output=True, text=True)
    assert done.returncode == 3
    assert "another build is running here" in done.stderr


def test_a_wrong_config_is_exit_2_and_names_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[settings]\nmodel = "fast"\n[[source]]\nname = "x"\npath = "x"\n', encoding="utf-8"
    )
    result = run("build", "-c", str(path))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert 'Did you mean "models"?' in result.stderr


def test_an_unexpected_error_is_one_line_and_a_traceback_with_debug(
    here: Path, monkeypatch
) -> None:
    monkeypatch.setattr(places, "choose_warehouse", lambda *_: 1 / 0)
    result = run("tasks")
    assert result.exit_code == 1
    assert (
        result.stderr
        == "Error: unexpected ZeroDivisionError: division by zero (run again with --debug)\n"
    )
    assert "Traceback" in run("tasks", "--debug").stderr


def test_ctrl_c_stops_a_query_with_130(here: Path) -> None:
    sql = "select count(*) from range(1000000000000) as t(i) where i % 7 = 3"
    process = subprocess.Popen(
        [*CLI, "query", sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_heed_ctrl_c,
    )  # fmt: skip
    try:
        for _ in range(5):  # a signal that comes while a library is still loading may be lost
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            if not _outlives(process, 1):
                break
        out, err = process.communicate(timeout=5)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err == "stopped; what was published is as it was\n"


def _heed_ctrl_c() -> None:
    """Tests run in the background of a shell ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _outlives(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def test_a_reader_that_goes_away_is_silent(here: Path) -> None:
    sql = "from range(200000)"
    process = subprocess.Popen(
        [*CLI, "query", "--csv", sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=30)


# Query


def test_a_table_shows_100_rows_and_says_how_many_there_are(here: Path) -> None:
    result = run("query", "from range(250) as t(i)")
    assert result.stdout.splitlines()[:3] == [" i", "--", " 0"]
    assert len(result.stdout.splitlines()) == 102
    assert result.stderr == "100 of 250 rows; --limit 0 shows all.\n"
    assert len(run("query", "from range(250) as t(i)", "--limit", "0").stdout.splitlines()) == 252


def test_csv_and_json_hold_all_rows_and_exact_values(here: Path) -> None:
    sql = "select 0.1::double as share, 'a,\"b\"' as name, null as nothing, interval 7 days as wait"
    rows = list(csv.reader(io.StringIO(run("query", sql, "--csv").stdout)))
    assert rows == [["share", "name", "nothing", "wait"], ["0.1", 'a,"b"', "", "7 days"]]
    assert json.loads(run("query", sql, "--json").stdout) == [
        {"share": 0.1, "name": 'a,"b"', "nothing": None, "wait": "7 days"}
    ]
    assert len(json.loads(run("query", "from range(250)", "--json").stdout)) == 250
    both = run("query", sql, "--json", "--csv")
    assert (both.exit_code, both.stderr) == (
        2, "Error: query: both --csv and --json are set; allowed is one of them. Leave one out.\n"
    )  # fmt: skip


def test_several_statements_are_all_shown(here: Path) -> None:
    result = run("query", "select 1 as a; select 2 as b")
    assert result.stdout == "a\n-\n1\n\nb\n-\n2\n"
    result = run("query", "select 1; select 2", "--csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "query: 2 statements and --csv; allowed is one, whose rows it writes." in result.stderr


def test_sql_from_stdin(here: Path) -> None:
    assert run("query", "-", "--csv", input="select 42 as answer").stdout == "answer\n42\n"


def test_wrong_sql_is_one_message_with_the_caret(here: Path) -> None:
    result = run("query", "select foo from customers")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith('Error: query: Binder Error: Referenced column "foo" not found')
    assert lines[-2:] == ["LINE 1: select foo from customers", "               ^^^"]


def test_a_query_can_write_nothing_and_read_no_other_file(here: Path) -> None:
    assert run("query", "create table main.x as select 1").exit_code == 1
    assert "disabled" in run("query", "from read_csv('events.parquet')").stderr


def test_no_warehouse_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("query", "select 1", "--warehouse", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: nowhere: there is no warehouse; allowed is a file that")


# Tasks and models


def test_tasks_say_what_is_asked_and_what_is_not(here: Path) -> None:
    found = {task["task"]: task for task in json.loads(run("tasks", "--json").stdout)}
    assert found["purchase"]["status"] == "ready"
    assert found["purchase"]["horizon"].endswith("days")
    assert found["churn"]["reason"] == "disabled in behavsql.toml"
    assert run("tasks").stdout.startswith("task ")


def test_models_are_best_first_with_references_among_them(here: Path) -> None:
    found = json.loads(run("models", "-t", "purchase", "--json").stdout)
    assert [model["value"] for model in found] == sorted(model["value"] for model in found)
    assert {"prevalence", "persistence", "lightgbm"} <= {model["model"] for model in found}
    assert {model["ranking_metric"] for model in found} == {"roc_auc"}
    assert "reference" in run("models").stdout
    result = run("models", "-t", "purchas")
    assert result.exit_code == 2
    assert (
        'models: no model answers the task "purchas"; allowed are purchase. '
        'Did you mean "purchase"?' in result.stderr
    )


# SQL files


def test_sql_list_and_show() -> None:
    listed = json.loads(run("sql", "list", "--json").stdout)
    tables = [file["table"] for file in listed]
    assert (
        tables.index("staging.events")
        < tables.index("features.recency")
        < tables.index("labels.purchase")
    )
    shown = run("sql", "show", "recency").stdout
    assert shown == (catalog.package_folder() / "4_features" / "recency.sql").read_text(
        encoding="utf-8"
    )
    result = run("sql", "show", "features.recensy")
    assert result.exit_code == 2
    assert 'Did you mean "features.recency"?' in result.stderr


def test_sql_new_writes_files_that_build_as_they_stand(
    shop: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.parquet").write_bytes((shop / "events.parquet").read_bytes())
    (tmp_path / "behavsql.toml").write_text(CONFIG, encoding="utf-8")
    assert run("sql", "new", "features", "loyalty").stdout == "sql/4_features/loyalty.sql\n"
    made = run("sql", "new", "labels", "active_days")
    assert made.exit_code == 0
    assert made.stderr == "It builds as it stands: edit it, then `behavsql build`.\n"
    wanted = ["raw", "staging", "meta", "sessions", "cutoffs", "features", "labels"]
    result = run("build", *[part for name in wanted for part in ("-s", name)])
    assert result.exit_code == 0, result.stderr
    assert "features.loyalty" in result.stderr and "labels.active_days" in result.stderr


def test_sql_new_overwrites_and_overrides_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("sql", "new", "features", "loyalty")
    for name, message in (
        ("loyalty", "sql/4_features/loyalty.sql: the file exists; allowed is a new name."),
        ("recency", "sql new: features.recency is shipped with behavsql; allowed is a new name."),
        ("Loyal", 'sql new: "Loyal" cannot name a table; allowed are lower-case letters'),
    ):
        result = run("sql", "new", "features", name)
        assert result.exit_code == 2
        assert message in result.stderr


def test_sql_lock_refuses_a_change_without_a_new_version(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("sql", "new", "features", "loyalty")
    assert run("sql", "lock").stdout == "sql/versions.toml: 1 files, rewritten\n"
    os.utime("sql/versions.toml", ns=(1, 1))
    assert run("sql", "lock").stdout == "sql/versions.toml: 1 files, unchanged\n"
    assert Path("sql/versions.toml").stat().st_mtime_ns == 1, "it was not written"
    path = Path("sql/4_features/loyalty.sql")
    path.write_text(
        path.read_text(encoding="utf-8").replace("14 days", "15 days"), encoding="utf-8"
    )
    result = run("sql", "lock")
    assert result.exit_code == 1
    assert "its version is still 1; new rows need a new one. Write 2." in result.stderr


def test_sql_lock_leaves_the_package_alone_where_there_is_no_sql_folder(
    tmp_path: Path, monkeypatch
) -> None:
    package = catalog.package_folder()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sql_files, "_write", lambda path, _: pytest.fail(f"{path} was written"))
    for arguments, folder in (((), "sql"), (("--config", "shop/behavsql.toml"), "shop/sql")):
        result = run("sql", "lock", *arguments)
        assert result.exit_code == 2
        assert result.stderr == (
            f"Error: sql lock: there is no {folder}/ folder here; allowed is a project with SQL "
            "files of its own. Start one with `behavsql sql new features NAME`.\n"
        )
    monkeypatch.chdir(Path(str(package)).parent)  # behavsql's own checkout
    assert "files, unchanged" in run("sql", "lock").stdout


# Tables


def test_a_wide_row_becomes_a_block(capsys: pytest.CaptureFixture) -> None:
    show.write_table(("user_id", "a_long_column_name"), [("u1", "x" * 40)], width=48)
    assert capsys.readouterr().out == f"user_id             u1\na_long_column_name  {'x' * 25}...\n"


def test_many_wide_rows_lose_columns_and_say_so(capsys: pytest.CaptureFixture) -> None:
    show.write_table(("a", "b"), [(1, "x" * 30)] * 20, width=20)
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "a"
    assert said.err == "1 of 2 columns fit; name the others, or use --csv.\n"


def test_control_characters_cannot_reach_the_terminal(capsys: pytest.CaptureFixture) -> None:
    show.write_table(("a",), [("\x1b[31mred\n",)])
    assert capsys.readouterr().out.splitlines()[2] == "\\x1b[31mred\\n"


def test_values_as_json_can_hold_them() -> None:
    values = {
        "d": Decimal("1.50"),
        "f": float("inf"),
        "i": timedelta(hours=36),
        "l": [None, b"\x01"],
    }
    assert show.plain(values) == {"d": 1.5, "f": None, "i": "36 hours", "l": [None, "01"]}


def test_a_model_that_loses_on_test_does_not_pass_for_a_good_one(here: Path, tmp_path) -> None:
    """The reference counts as beaten only where the interval says so; worse is said everywhere."""
    from behavsql.cli.builds import results, summary_lines

    references = [{"poisson_deviance": 1.24}, {"poisson_deviance": 1.9}]
    worse = functools.partial(model_tables._is_worse, "poisson_deviance", references)
    assert worse({"poisson_deviance": (1.74, 1.83)})
    assert not worse({"poisson_deviance": (1.2, 1.83)})
    assert not worse({"poisson_deviance": (None, None)}) and not worse({})
    assert model_tables._is_worse("roc_auc", [{"roc_auc": 0.7}], {"roc_auc": (0.6, 0.65)})

    copy = tmp_path / "behaviour.duckdb"
    copy.write_bytes((here / "warehouse/behaviour.duckdb").read_bytes())
    with duckdb.connect(str(copy)) as con:
        con.execute(
            "update models.models set is_worse_on_test = true, is_published = true, "
            "family = 'trees' where model = 'lightgbm'"
        )
        con.execute("update models.models set is_published = false where model <> 'lightgbm'")
        con.execute("update report.leaderboard set is_published = model = 'lightgbm'")
    [purchase] = [task for task in results(copy) if task["task"] == "purchase"]
    assert purchase["is_worse_on_test"]
    assert "WORSE on test" in summary_lines([purchase])[0]
    assert "published, WORSE on test" in run("models", "--warehouse", str(tmp_path)).stdout
    sql = "select is_worse_on_test from model_card where task = 'purchase'"
    asked = run("query", sql, "--csv", "--warehouse", str(tmp_path))
    assert asked.stdout == "is_worse_on_test\ntrue\n"


def test_a_config_that_is_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    result = run("build", "-c", str(tmp_path))
    assert result.exit_code == 2
    assert "cannot be read (Is a directory); allowed is a TOML file" in result.stderr
