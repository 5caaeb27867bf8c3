"""`check` finds every fault that is planted in a warehouse, names it, and changes nothing."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from behavsql.cli.main import app
from clickstream import clickstream
from conftest import FAST, few_files, project
from processes import holding
from typer.testing import CliRunner

from behavsql import catalog, parity, transform
from behavsql.check import check, groups
from behavsql.errors import ConfigError, LockedError, WarehouseError
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build, load_catalog
from behavsql.progress import Line, Progress
from behavsql.warehouse import Warehouse

QUIET = Progress(quiet=True)
FEATURE = """-- purpose: how often the user came
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.events
-- check:   count_seen >= 1
-- check:   count_seen < 100000
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    count(*) as count_seen,
from cutoffs.cutoffs as cutoffs
inner join staging.events as events
    on events.user_id = cutoffs.user_id
    and events.event_at <= cutoffs.cutoff_at
group by cutoffs.user_id, cutoffs.cutoff_at
"""
LEAK = "count(*) filter (events.event_at <= cutoffs.cutoff_at) as count_seen,\n    count(*) as count_ever,"


def _write(folder: Path, text: str) -> Path:
    path = folder / "sql" / "4_features" / "seen.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def models():
    """Two models, of which the better one is sure to be published and has an artifact to spoil."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", ("prevalence", "decision_tree"))
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory, models) -> Path:
    """The folder of a small project with a feature of its own, built once for all tests."""
    folder = tmp_path_factory.mktemp("template")
    _write(folder, FEATURE)
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch)
        build(project(folder, clickstream(300, 80, seed=4), only=("purchase",)), progress=QUIET)
    return folder


@pytest.fixture
def made(template, tmp_path, few):
    """A copy of it, to spoil."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return project(tmp_path, only=("purchase",))


def _spoil(made, *statements: str) -> None:
    with duckdb.connect(str(Warehouse(made.warehouse).build)) as con:
        for statement in statements:
            con.execute(statement)


def _found(made, group: str | None = None, **options) -> list[str]:
    found = check(made, **options)
    assert group is None or {finding.group for finding in found} <= {group}, found
    return [finding.message for finding in found]


def _content(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def test_a_sound_warehouse_has_nothing_to_find_and_is_left_as_it_was(made):
    before = _content(made.warehouse)
    looked = list(groups(made, time_travel=True))
    assert [finding for group in looked for finding in group.findings] == []
    assert [group.name for group in looked] == [
        "sql files", "plan", "tables", "ledger", "models", "published", "time travel",
    ]  # fmt: skip
    assert [group.looked_at for group in looked if group.name == "models"] == ["1 published model"]
    assert _content(made.warehouse) == before


def test_every_published_model_of_the_shop_says_what_its_scores_say(shop, monkeypatch):
    monkeypatch.setitem(MODEL_SETS, "fast", FAST)
    assert _found(shop.config) == []


def test_a_duplicate_row_is_named_with_its_file_line_and_key(made):
    _spoil(made, "insert into features.seen from features.seen order by user_id, cutoff_at limit 1")
    (message,) = _found(made, "tables")
    assert re.search(
        r"4_features/seen\.sql:2: 2 rows share user_id = \d+, cutoff_at = datetime.*; the grain allows one",
        message,
    )


def test_a_duplicate_row_in_a_table_without_a_file_is_named(made):
    _spoil(made, "insert into features.matrix from features.matrix limit 1")
    assert any(
        re.match(r"features\.matrix: 2 rows share user_id = \d+.*-s features\.matrix\+`", message)
        for message in _found(made)
    )


def test_every_check_that_no_longer_holds_is_named_with_its_line(made):
    _spoil(
        made,
        "update features.seen set count_seen = case when user_id % 2 = 0 then 0 else 100000 end",
    )
    first, second = _found(made, "tables")
    assert re.search(r"seen\.sql:4: check `count_seen >= 1` fails for [\d,]+ of [\d,]+ rows", first)
    assert re.search(r"seen\.sql:5: check `count_seen < 100000` fails for ", second)


def test_a_changed_check_is_asked_of_the_table_that_is_there(made):
    _write(made.folder, FEATURE.replace("count_seen >= 1", "count_seen > 1"))
    found = _found(made)
    assert any("seen.sql:4: check `count_seen > 1` fails for " in message for message in found)
    assert any("steps out of date: features.seen (" in message for message in found)
    assert all("behavsql build" in message or "Mend" in message for message in found)


def test_a_header_that_lies_ends_the_check_with_its_line(made):
    _write(made.folder, FEATURE.replace("-- inputs:  cutoffs.cutoffs, ", "-- inputs:  "))
    (message,) = _found(made, "sql files")
    assert re.search(r"sql/4_features/seen\.sql:\d+: ", message) and "cutoffs.cutoffs" in message


def test_a_file_that_changed_under_its_locked_version_is_named(made):
    folder = made.folder / "sql"
    lock = catalog.render_lock(catalog.Catalog.load(folder).only_in(folder))
    assert lock.count("version =") == 1  # the package's own files are locked by the package
    (folder / "versions.toml").write_text(lock)
    assert _found(made) == []
    _write(made.folder, FEATURE.replace("events.event_at <=", "events.event_at <"))
    (message,) = [finding.message for finding in check(made) if finding.group == "sql files"]
    assert re.search(r"seen\.sql:6: the file changed .* and its version is still 1", message)


def test_a_lock_that_is_no_list_of_versions_is_named(made):
    (made.folder / "sql" / "versions.toml").write_text("[versions\n")
    (message,) = _found(made, "sql files")
    assert message.startswith(str(made.folder / "sql" / "versions.toml: not a list of versions"))


def test_a_missing_table_is_named_with_the_command_that_makes_it(made):
    _spoil(made, "drop table features.recency", "drop table predictions.purchase cascade")
    found = _found(made)
    assert (
        "features.recency: the table is missing, although the build recorded it. "
        "Run `behavsql build -s features.recency+`." in found
    )
    assert any(
        message.startswith("predictions.purchase: the table is missing") for message in found
    )


def test_what_is_out_of_date_is_named_with_its_reason(made):
    wider = made.settings.model_copy(update={"session_gap": timedelta(hours=3)})
    (message,) = _found(made.model_copy(update={"settings": wider}), "plan")
    assert re.fullmatch(
        r"\d+ of \d+ steps out of date: sessions\.session_events \(settings\.session_gap changed "
        r"\(30 minutes -> 3 hours\)\).*; \d+ that read them may follow\. Run `behavsql build`\.",
        message,
    )
    (made.folder / "events.parquet").unlink()
    (message,) = _found(made, "plan")
    assert 'source "shop": no file matches' in message


class Stopper(Progress):
    """Presses Ctrl-C when a step begins."""

    def __init__(self, step: str) -> None:
        super().__init__(quiet=True)
        self.at = step

    @contextmanager
    def step(self, name: str) -> Iterator[Line]:
        if name.startswith(self.at):
            raise KeyboardInterrupt
        with super().step(name) as line:
            yield line


@pytest.mark.parametrize(
    ("step", "ledger", "models_told"),
    [
        ("raw.events", "nothing yet", "none yet"),
        ("staging.events", "nothing yet", "none yet"),
        ("features.", "1 source", "none yet"),
        ("train purchase / decision_tree", "1 source", "0 published models"),
    ],
)
def test_a_first_build_that_was_stopped_is_one_finding(
    tmp_path, models, few, step, ledger, models_told
):
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    with pytest.raises(KeyboardInterrupt):
        build(made, progress=Stopper(step))
    (message,) = _found(made, "plan")
    assert re.fullmatch(
        r".*build\.duckdb: the build was stopped before it was whole; \d+ of \d+ steps are left "
        r"to do\. Run `behavsql build`\.", message
    )  # fmt: skip
    told = {group.name: group.looked_at for group in groups(made)}
    assert (told["ledger"], told["models"], told["published"]) == (
        ledger, models_told, "no file yet",
    )  # fmt: skip


def test_a_first_build_of_a_selection_is_not_called_stopped(tmp_path, models, few):
    made = project(tmp_path, clickstream(300, 80, seed=4), only=("purchase",))
    build(made, select=["staging"], progress=QUIET)
    (message,) = _found(made, "plan")
    assert "build.duckdb: only some steps were built so far; " in message


def test_a_rebuild_that_was_stopped_is_told_by_its_step(made):
    wider = made.settings.model_copy(update={"session_gap": timedelta(hours=3)})
    wider = made.model_copy(update={"settings": wider})
    with pytest.raises(KeyboardInterrupt):
        build(wider, progress=Stopper("features."))
    (message,) = _found(wider, "plan")
    assert "(failed or was stopped last time)" in message
    assert "before it was whole" not in message


def test_the_models_are_judged_by_the_set_that_was_trained(made):
    """As after `build --models fast` where the config says standard."""
    other = made.settings.model_copy(update={"models": "standard"})
    other = made.model_copy(update={"settings": other})
    assert _found(other) == []
    told = {group.name: group.looked_at for group in groups(other)}
    assert told["plan"].endswith(
        "steps, with the models of the last training (fast; a build now would train the standard set)"
    )
    assert "last training" not in {group.name: group.looked_at for group in groups(made)}["plan"]


def test_what_the_database_says_becomes_one_sentence(made):
    _spoil(made, "drop table staging.ledger cascade")
    found = [finding.message for finding in check(made) if finding.group == "ledger"]
    assert found == [
        "staging.ledger: Table with name ledger does not exist. Run `behavsql build -s staging+`."
    ]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update staging.ledger set count_rows_removed = count_rows_removed + 1 where rule = 'duplicate'",
         r'source "shop" counts [\d,]+ rows removed, but [\d,]+ are in staging\.rejected'),
        ("delete from staging.events where user_id = 5",
         r'source "shop" counts [\d,]+ rows kept, but [\d,]+ are in staging\.events'),
        ("update staging.ledger set count_rows_in = count_rows_in + 5, count_rows_out = count_rows_out + 5",
         r'source "shop" counts [\d,]+ rows in, but [\d,]+ rows were read'),
        ("delete from staging.ledger", r'source "shop" has no account'),
    ],
)  # fmt: skip
def test_a_ledger_that_does_not_add_up_says_where(made, statement, told):
    _spoil(made, statement)
    found = [finding.message for finding in check(made) if finding.group == "ledger"]
    assert found and any(re.match(rf"staging\.ledger: {told}", message) for message in found)


def test_a_tampered_score_is_found_beside_the_raw_one_and_in_the_predictions(made):
    _spoil(made, "update models.scores set score = 0.5 where split = 'latest' and user_id % 10 = 3")
    scores, predictions = _found(made, "models")
    assert re.match(
        r"models\.scores: purchase__decision_tree: column score is not the calibrated raw prediction in "
        r"\d+ of \d+ latest rows \(off by up to 0\.\d+\)",
        scores,
    )
    assert re.match(
        r"predictions\.purchase: column probability is not the score in models\.scores for \d+ of \d+ users",
        predictions,
    )


def test_a_tampered_prediction_is_found(made):
    _spoil(made, "update predictions.purchase set probability = 0.9 where user_id = "
                 "(select min(user_id) from predictions.purchase)")  # fmt: skip
    (message,) = _found(made, "models")
    assert "for 1 of " in message


def test_a_function_that_says_something_else_is_found(made):
    _spoil(
        made, "create or replace macro predict_purchase(f) as 0.5",
        "drop macro table score_purchase",
    )  # fmt: skip
    messages = _found(made, "models")
    assert any(
        message.startswith("function predict_purchase: differs from predictions.purchase for ")
        and 'Run `behavsql build -s "compile purchase+"`.' in message for message in messages
    ), messages  # fmt: skip
    assert any(message.startswith("function score_purchase: ") for message in messages), messages


def test_scores_that_are_missing_or_of_nobody_are_counted(made):
    one = "(select min(user_id) from models.scores where split = 'latest')"
    _spoil(
        made, f"update models.scores set user_id = 99999 where split = 'latest' and user_id = {one}"
    )
    found = _found(made, "models")
    assert any(re.search(r"1 of \d+ latest rows have no score", message) for message in found)
    assert any(re.search(r"1 of \d+ latest rows are of users the task does not", m) for m in found)


def test_a_tampered_model_no_longer_says_what_is_stored(made):
    _spoil(
        made,
        "update models.scores set raw = raw + 0.001 where split = 'test' and model_id = 'purchase__decision_tree'",
    )
    found = _found(made, "models")
    assert any(
        re.match(r"models\.artifacts: purchase__decision_tree, loaded again, predicts something else "
                 r"for \d+ of \d+ test rows \(off by up to 0\.001\)", message)
        for message in found
    )  # fmt: skip


@pytest.mark.parametrize("content", ["not a model", "{}"])
@pytest.mark.parametrize("file", ["model.json", "calibration.json"])
def test_an_artifact_that_is_none_is_named(made, file, content):
    _spoil(
        made,
        f"update models.artifacts set content = '{content}'::blob, sha256 = sha256('{content}') where file = '{file}'",
    )
    (message,) = _found(made, "models")
    assert re.fullmatch(
        r"models\.artifacts: purchase__decision_tree cannot be loaded \(\w+Error: .+\); allowed is what "
        r"the build stored\. Run `behavsql build -s purchase\+`\.",
        message,
    )


def test_models_that_wait_for_training_are_not_held_against_a_newer_matrix(made):
    _write(
        made.folder,
        FEATURE.replace("count(*) as", "2 * count(*) as").replace("version: 1", "version: 2"),
    )
    build(made, select=["features.seen", "features.matrix"], progress=QUIET)
    looked = {group.name: group for group in groups(made)}
    assert looked["models"].findings == ()
    assert looked["models"].looked_at.endswith("not compared, out of date: purchase")
    assert looked["plan"].findings


def test_large_tasks_are_compared_piece_by_piece(made, monkeypatch):
    monkeypatch.setattr(parity, "BATCH_ROWS", 20)
    monkeypatch.setattr(parity, "SAMPLED_ROWS", 20)
    assert _found(made) == []
    _spoil(made, "update models.scores set raw = raw + 1, score = null where split = 'latest'")
    found = _found(made, "models")
    with duckdb.connect(str(Warehouse(made.warehouse).build), read_only=True) as con:
        count = con.execute("select count(*) from predictions.purchase").fetchall()[0][0]
    assert count > 40 and any(f"for {count} of {count} latest rows" in message for message in found)


def test_a_view_that_cannot_be_selected_is_named(made):
    with duckdb.connect(str(Warehouse(made.warehouse).published)) as con:
        con.execute("alter table predictions.purchase rename to bought")
    (message,) = _found(made, "published")
    assert "view main.customers cannot be selected: " in message
    assert message.endswith("Run `behavsql build -s publish`.")


def test_a_leaking_feature_is_named_by_file_and_column(tmp_path, models, few):
    text = FEATURE.replace("count(*) as count_seen,", LEAK).replace(
        "\n    and events.event_at <= cutoffs.cutoff_at", ""
    )
    _write(tmp_path, text.replace("-- check:   count_seen >= 1\n", ""))
    made = project(tmp_path, clickstream(200, 80, seed=4), only=("purchase",))
    build(made, progress=QUIET)
    assert _found(made) == []
    found = _found(made, "time travel", time_travel=True)
    assert found and all(
        re.search(r"4_features/seen\.sql: column count_ever differs for [\d,]+ rows once events after the "
                  r"cutoff 20\d\d-\d\d-\d\d \d\d:\d\d are gone", message)
        for message in found
    )  # fmt: skip
    assert list(Warehouse(made.warehouse).work.glob("time-travel-*")) == []


def test_time_travel_goes_to_the_day_that_is_asked_for(made):
    with duckdb.connect(str(Warehouse(made.warehouse).build), read_only=True) as con:
        days = [
            at.date() for (at,) in con.execute(
                "select distinct cutoff_at from cutoffs.cutoffs order by 1").fetchall()
        ]  # fmt: skip
    looked = list(groups(made, time_travel=True, at=days[1]))[-1]
    count = len(load_catalog(made).feature_files())
    assert looked.looked_at == f"{count} feature files as of {days[1]}"
    with pytest.raises(
        ConfigError, match=r"check --at 1999-01-01: no cutoff lies on that day; allowed are"
    ):
        check(made, time_travel=True, at=date(1999, 1, 1))


def test_time_travel_over_features_that_are_out_of_date_is_refused(made):
    _write(made.folder, FEATURE.replace("count(*) as", "2 * count(*) as"))
    found = [finding.message for finding in check(made, time_travel=True)]
    assert any(
        "time travel: features are out of date (features.seen" in message for message in found
    )


def test_time_travel_leaves_nothing_behind_when_it_is_stopped(made, monkeypatch):
    work = Warehouse(made.warehouse).work

    def stop(con, file):
        assert len(list(work.glob("time-travel-*/past.duckdb"))) == 1
        assert con.execute("select current_setting('threads')").fetchall() == [(1,)]
        raise KeyboardInterrupt

    monkeypatch.setattr(transform, "run_file", stop)
    with pytest.raises(KeyboardInterrupt):
        check(made, time_travel=True)
    assert list(work.glob("time-travel-*")) == []


def test_a_damaged_input_file_is_named_and_the_rest_is_still_checked(made):
    Warehouse(made.warehouse).raw.write_bytes(b"damaged" * 1000)
    looked = {group.name: [finding.message for finding in group.findings]
              for group in groups(made, time_travel=True)}  # fmt: skip
    assert looked.pop("ledger") == looked.pop("time travel")
    assert {name for name, found in looked.items() if found} <= {"plan"} and "models" in looked
    (message,) = _found(made, "ledger")
    assert re.search(r"raw\.duckdb: cannot be opened: .* Run `behavsql build --full`", message)


def test_nothing_built_and_a_running_build_are_errors(made, tmp_path_factory):
    empty = project(tmp_path_factory.mktemp("empty"))
    with pytest.raises(
        WarehouseError, match=r"build\.duckdb: there is nothing to check; .*behavsql build"
    ):
        check(empty)
    with holding(Warehouse(made.warehouse).build) as writer:
        told = rf"another process holds it \(.*PID {writer.pid}\)"
        with pytest.raises(LockedError, match=told):
            check(made)


CONFIG = """
[settings]
models = "fast"
[[source]]
name = "shop"
path = "events.parquet"
[source.columns]
user_id = "user"
event_at = "at"
"""


def test_the_command_prints_groups_then_findings_and_fails(tmp_path, monkeypatch, models):
    monkeypatch.chdir(tmp_path)
    clickstream(60, 20, seed=4).select(pl.col("user", "at")).write_parquet("events.parquet")
    Path("behavsql.toml").write_text(CONFIG)
    runner = CliRunner()
    assert runner.invoke(app, ["build", "-q"]).exit_code == 0
    done = runner.invoke(app, ["check"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 6
    with duckdb.connect("warehouse/.work/build.duckdb") as con:
        con.execute("insert into staging.users from staging.users limit 1")
    done = runner.invoke(app, ["check"])
    assert done.exit_code == 1
    assert re.search(r"^problem  tables .* 2 findings$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^sql/1_staging/users\.sql:2: 2 rows share user_id = ", done.stdout, re.MULTILINE
    )
    done = runner.invoke(app, ["check", "--json"])
    assert done.exit_code == 1 and '"check": "tables"' in done.stdout
    done = runner.invoke(app, ["check", "--at", "2024-01-01"])
    assert done.exit_code == 2 and "Add --time-travel" in done.stderr
