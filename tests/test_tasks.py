"""Which questions a data set is asked, over which windows, and which it cannot answer."""

import re
from datetime import datetime, timedelta

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import SHIPPED, Heard, project, stage

from behavsql import tasks, transform, verdicts
from behavsql.errors import ConfigError, SourceError
from behavsql.pipeline import build, load_catalog
from behavsql.progress import Progress

DAY, HOUR, MICROSECOND = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
START = datetime(2024, 1, 1)
ONLY_TIMES = {"user_id": "user", "event_at": "at"}


def _log(days: float, users: int = 5, step: timedelta = DAY, word: str = "view") -> pl.DataFrame:
    """Every user comes once a step, each some seconds later than the one before."""
    moments = pl.datetime_range(
        START + timedelta(hours=1), START + timedelta(days=days), step, eager=True
    )
    return (
        pl.DataFrame({"at": moments})
        .join(pl.DataFrame({"user": range(users)}), how="cross")
        .with_columns(pl.col("at") + pl.duration(seconds=pl.col("user")), type=pl.lit(word))
    )


def _resolved(folder, events: pl.DataFrame, columns=None, **parts):
    """(clock, task -> row of meta.tasks) of these events."""
    known = {**ONLY_TIMES, "event_type": "type"} if columns is None else columns
    made = project(folder, events, columns=known, **parts)
    con = stage(made)
    clock = tasks.resolve(con, load_catalog(made), made)
    rows = con.execute("select task, columns(* exclude (task, purpose)) from meta.tasks").fetchall()
    names = [column[0] for column in con.description]
    return clock, {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def _judged(folder, events: pl.DataFrame, **parts):
    """Task -> (status, reason) once the labels are known; nothing is trained."""
    made = project(folder, events, **parts)
    con, catalog = stage(made), load_catalog(made)
    clock = tasks.resolve(con, catalog, made)
    transform.set_params(con, {"bucket": clock.bucket})
    for file in catalog.files.values():
        if 2 <= file.stage_number <= 5 and file.schema != "features":
            transform.run_file(con, file)
    verdicts.judge(con)
    rows = con.execute("select task, status, reason from meta.tasks").fetchall()
    return {task: (status, reason) for task, status, reason in rows}


def _windows(found, task):
    return found[task]["horizon"], found[task]["active_within"]


def test_long_data_takes_the_windows_of_ga4(tmp_path):
    clock, found = _resolved(tmp_path, _log(365))
    assert clock.bucket == DAY
    assert _windows(found, "next_visit") == (14 * DAY, 28 * DAY)
    assert _windows(found, "engagement") == (7 * DAY, 28 * DAY)
    assert found["engagement"]["every"] == 7 * DAY
    assert found["engagement"]["count_holdout_cutoffs"] == tasks.MAX_HOLDOUT_CUTOFFS
    _, found = _resolved(tmp_path, pl.concat([_log(365), _log(365, word="purchase")]))
    assert _windows(found, "purchase") == (7 * DAY, 28 * DAY)
    assert _windows(found, "spend") == (28 * DAY, 28 * DAY)
    assert _windows(found, "churn") == (7 * DAY, 7 * DAY)


def test_short_data_takes_shorter_windows(tmp_path):
    clock, found = _resolved(tmp_path, pl.concat([_log(40), _log(40, word="purchase")]))
    assert clock.bucket == DAY
    # An eighth and a quarter of the 39 days that are complete.
    assert _windows(found, "purchase") == (5 * DAY, 10 * DAY)
    assert _windows(found, "spend") == (5 * DAY, 10 * DAY)
    assert _windows(found, "churn") == (5 * DAY, 7 * DAY)
    assert found["purchase"]["every"] == 2 * DAY


def test_under_two_weeks_hours_are_the_buckets(tmp_path):
    clock, found = _resolved(
        tmp_path, pl.concat([_log(10, step=HOUR), _log(10, step=HOUR, word="purchase")])
    )
    assert clock.bucket == HOUR
    assert clock.last_event_at == datetime(2024, 1, 11, 0, 0, 4)
    assert clock.as_of == datetime(2024, 1, 11, 1) - MICROSECOND
    assert clock.complete_until == datetime(2024, 1, 11) - MICROSECOND
    assert _windows(found, "purchase") == (30 * HOUR, 60 * HOUR)
    assert found["purchase"]["every"] == 10 * HOUR


def test_short_data_without_a_time_of_day_keeps_to_days(tmp_path):
    events = _log(10).with_columns(pl.col("at").dt.truncate("1d"))
    clock, found = _resolved(tmp_path, events)
    assert clock.bucket == DAY
    assert all(row["horizon"] >= DAY and row["every"] >= DAY for row in found.values())


def test_the_clock_knows_the_last_complete_bucket(tmp_path):
    clock, _ = _resolved(tmp_path, _log(100))
    last = datetime(2024, 4, 9, 1, 0, 4)
    assert clock.last_event_at == last
    assert clock.as_of == datetime(2024, 4, 10) - MICROSECOND
    assert clock.complete_until == datetime(2024, 4, 9) - MICROSECOND


@pytest.mark.parametrize("word", ["mail", "refund"])
def test_what_is_done_about_users_does_not_move_the_clock(tmp_path, word):
    """Entries of a register, months after the last activity: nobody is left to be asked about."""
    late = _log(300, word=word).filter(pl.col("at") > START + 150 * DAY)
    clock, _ = _resolved(tmp_path, pl.concat([_log(100), late]))
    assert clock.last_event_at == datetime(2024, 4, 9, 1, 0, 4)
    clock, _ = _resolved(tmp_path, late)
    assert clock.last_event_at == late["at"].max(), "nothing else happens here"


def test_late_events_of_a_register_break_nothing(tmp_path, rows, quick, few):
    events = clickstream(300, 80, seed=4)
    late = events.head(40).with_columns(at=START + 200 * DAY, type=pl.lit("mail"))
    made = project(tmp_path, pl.concat([events, late]), only=("engagement",))
    path = build(made, progress=Progress(quiet=True)).path
    assert rows(path, "select status from meta.tasks where task = 'engagement'") == [("ready",)]
    assert rows(path, "select max(as_of) < '2024-04-01' from predictions.engagement") == [(True,)]
    assert rows(path, "select max(event_at) from staging.events") == [(START + 200 * DAY,)]


def test_days_from_an_arbitrary_origin_have_no_calendar(tmp_path):
    events = pl.DataFrame({"user": [1, 1, 2], "day": [-25, 0, 240]})
    clock, found = _resolved(
        tmp_path, events, {"user_id": "user", "event_at": "day"}, at_unit="days"
    )
    assert not clock.has_dates and clock.bucket == DAY
    assert clock.last_event_at - clock.first_event_at == 265 * DAY
    assert found["churn"]["status"] == "ready"


def test_a_project_overrules_the_windows(tmp_path):
    own = {"horizon": "3 days", "active_within": "2 weeks"}
    _, found = _resolved(
        tmp_path, _log(365), tasks={"engagement": own, "next_visit": {"horizon": "60 days"}}
    )
    assert _windows(found, "engagement") == (3 * DAY, 14 * DAY)
    assert _windows(found, "next_visit") == (60 * DAY, 28 * DAY)


def test_a_disabled_task_is_skipped_and_says_so(tmp_path):
    _, found = _resolved(tmp_path, _log(365), only=("engagement",))
    assert (found["churn"]["status"], found["churn"]["reason"]) == (
        "skipped",
        "disabled in behavsql.toml",
    )
    assert found["engagement"]["status"] == "ready"


def test_a_task_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'purchse.*Did you mean "purchase"\?'):
        build(
            project(tmp_path, _log(30), columns=ONLY_TIMES, tasks={"purchse": {"enabled": False}})
        )


def test_tasks_without_their_events_are_skipped(tmp_path):
    _, found = _resolved(tmp_path, _log(365))
    assert (
        found["purchase"]["reason"] == found["spend"]["reason"] == "the data has no purchase event"
    )
    assert found["click"]["reason"] == "the data has no click event"
    assert found["dropout"]["reason"] == "the data has no dropout event"
    ready = {task for task, row in found.items() if row["status"] == "ready"}
    assert ready == {"churn", "engagement", "next_visit"}


@pytest.mark.parametrize("other", [None, "mail", "refund"])
def test_with_one_kind_of_event_churn_looks_three_times_as_far(tmp_path, other):
    events = _log(365, word="purchase")
    if other:
        events = pl.concat([events, _log(365, word=other)])
    _, found = _resolved(tmp_path, events)
    assert _windows(found, "churn") == (21 * DAY, 21 * DAY)
    assert _windows(found, "purchase") == (7 * DAY, 28 * DAY)


def test_a_repeated_question_is_asked_once(tmp_path):
    """With purchases alone and equal windows, churn is purchase turned round."""
    same = {"horizon": "7 days", "active_within": "28 days"}
    bought = clickstream(500).filter(pl.col("type") == "view").with_columns(type=pl.lit("purchase"))
    found = _judged(
        tmp_path, bought, only=("purchase", "churn"), tasks={"churn": same, "purchase": same}
    )
    assert found["churn"] == ("ready", None)
    assert found["purchase"] == (
        "skipped",
        "its labels are the complement of those of churn on every row",
    )
    found = _judged(tmp_path, bought, only=("purchase", "churn"), tasks={"purchase": same})
    assert (found["churn"][0], found["purchase"][0]) == ("ready", "ready")


def test_too_few_positives_are_refused_with_the_numbers(tmp_path):
    few = clickstream(500).filter((pl.col("type") != "purchase") | (pl.col("user") < 12))
    status, reason = _judged(tmp_path, few, only=("purchase",))["purchase"]
    assert status == "refused"
    told = pl.Series([reason]).str.extract_groups(
        r"^([\d,]+) positives of ([\d,]+) in (?:train|valid|test), at least 50 needed$"
    )
    positives, rows = (int(number.replace(",", "")) for number in told.struct.unnest().row(0))
    assert 0 < positives < 50 < rows


def test_too_few_negatives_are_refused_with_the_numbers(tmp_path):
    status, reason = _judged(tmp_path, _log(200, 60), columns={**ONLY_TIMES, "event_type": "type"})[
        "churn"
    ]
    assert (status, reason) == ("refused", "0 positives of 1,200 in train, at least 50 needed") or (
        status == "refused" and reason.startswith("0 positives of ")
    )


def test_a_split_without_anybody_says_why_and_what_to_set(tmp_path):
    events = clickstream(500)
    last = events["at"].max()
    late = events.head(3).with_columns(at=last + 170 * DAY)
    status, reason = _judged(tmp_path, pl.concat([events, late]), only=("engagement",))[
        "engagement"
    ]
    assert status == "refused"
    dates = r"\(\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d\)"
    assert re.fullmatch(
        rf"nobody was active in the 28 days before the valid cutoffs {dates}, though the data goes on "
        rf"until {last + 170 * DAY:%Y-%m-%d}: if its last events lie apart from the rest, set until for "
        "the source",
        reason,
    )
    late = late.with_columns(at=last + 1500 * DAY)
    reason = _judged(tmp_path, pl.concat([events, late]), only=("engagement",))["engagement"][1]
    assert "before the train cutoffs" in reason and "set since or until for the source" in reason


def test_too_short_a_time_is_refused_with_the_number(tmp_path):
    found = _judged(tmp_path, _log(2, 300, HOUR), columns={**ONLY_TIMES, "event_type": "type"},
                    tasks={"churn": {"horizon": "20 hours"}})  # fmt: skip
    status, reason = found["churn"]
    assert status == "refused"
    assert "train cutoffs, at least 3 needed: the data spans too little time" in reason


def test_a_build_that_can_ask_nothing_says_so_and_still_publishes(tmp_path, rows):
    path = build(
        project(tmp_path, _log(20, 3), columns=ONLY_TIMES), progress=Progress(quiet=True)
    ).path
    told = dict(rows(path, "select task, status || ': ' || reason from main.model_card"))
    assert set(told) == {*SHIPPED, "dropout", "next_item"}
    assert all(text.startswith(("refused: ", "skipped: ")) for text in told.values())
    assert rows(path, "select * from main.customers order by user_id")[0][0] == 0
    assert rows(path, "select count(*) from report.leaderboard") == [(0,)]


def test_windows_stay_when_the_data_grows(tmp_path, rows, quick, few):
    """From 40 days to 160: the horizon of the first build stays, for the task that has a model."""
    events = clickstream(300, 160, seed=4)
    short = events.filter(pl.col("at") < START + 40 * DAY)
    made = project(tmp_path, short, only=("engagement", "purchase"))
    path = build(made, progress=Progress(quiet=True)).path
    windows = (
        "select task, horizon_days, every_days from meta.tasks where status = 'ready' order by 1"
    )
    first = rows(path, windows)
    assert [row[0] for row in first] == ["engagement"], "purchase is refused: too few positives"
    assert first[0][1] < 7

    events.write_parquet(tmp_path / "events.parquet")
    heard = Heard()
    build(made, progress=heard)
    found = {row[0]: row for row in rows(path, windows)}
    assert found["engagement"] == first[0]
    assert found["purchase"][1:] == (7.0, 7.0), "it had no model: resolved anew"
    told = next(line for line in heard.lines if "windows are those of the first build" in line)
    assert "--full revises them (engagement: " in told

    build(made, select=["meta.tasks"], full=True, progress=Progress(quiet=True))
    windows = (
        "select horizon_days, every_days from meta.tasks where task in ('engagement', 'purchase')"
    )
    assert rows(made.warehouse / ".work/build.duckdb", windows) == [(7.0, 7.0)] * 2


def test_hours_stay_the_buckets_when_the_data_grows_past_two_weeks(tmp_path):
    made = project(tmp_path, _log(10, step=HOUR), columns={**ONLY_TIMES, "event_type": "type"})
    con = stage(made)
    first = tasks.resolve(con, load_catalog(made), made)
    _log(60, step=HOUR).write_parquet(tmp_path / "events.parquet")
    con = _moved(con, stage(made))
    kept = tasks.resolve(con, load_catalog(made), made, {"churn"})
    assert (first.bucket, kept.bucket) == (HOUR, HOUR)
    assert kept.outgrown.startswith("churn: horizon 90 hours, now it would be 21 days")
    assert tasks.resolve(con, load_catalog(made), made).bucket == DAY


def _moved(old: duckdb.DuckDBPyConnection, new: duckdb.DuckDBPyConnection):
    """The new staging tables with the clock and the tasks of an earlier resolution."""
    for table in ("clock", "tasks"):
        new.register("kept", old.sql(f"from meta.{table}").to_arrow_table())
        new.execute(f"create table meta.{table} as from kept")
    return new


def test_no_usable_event_is_an_error_that_names_the_rules(tmp_path):
    events = _log(20, 3).with_columns(at=datetime(1950, 1, 1))
    with pytest.raises(SourceError, match="time_before_min_date"):
        build(
            project(tmp_path, events, columns=ONLY_TIMES, settings={"max_rejected_share": 1.0}),
            progress=Progress(quiet=True),
        )


def test_one_user_with_one_event_builds(tmp_path, rows):
    made = project(tmp_path, _log(1, 1), columns=ONLY_TIMES)
    path = build(made, progress=Progress(quiet=True)).path
    assert rows(path, "select count(*) from main.customers") == [(1,)]
