"""Times and days of zones other than UTC -> the moment, or the day, that was written."""

from datetime import datetime

import polars as pl
import pytest
from conftest import project, stage

COLUMNS = {"user_id": "user", "event_at": "at"}


def staged(folder, content, **parts):
    """Stage 1 of a source that is one CSV file with this content."""
    (folder / "events.csv").write_text(content)
    return stage(project(folder, path="events.csv", columns=COLUMNS, **parts))


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Pacific/Apia"]
)
@pytest.mark.parametrize(
    "given",
    [
        {"since": "2018-11-04", "until": "2018-11-05"},
        {"since": "2018-11-04T00:00:00", "until": "2018-11-05T00:00:00"},
        {"since": "2018-11-04T00:00:00", "until": "2018-11-05T05:00:00Z", "at_format": "%Y-%m-%d"},
    ],
)
def test_days_of_any_zone_stay_the_days_that_were_written(tmp_path, zone, given):
    # In Brazil the clocks skipped the midnight that 2018-11-04 would have begun with.
    days = ["2018-11-03", "2018-11-04", "2018-11-04", "2018-11-05", "2018-11-06"]
    text = "user,at\n" + "".join(f"1,{day}\n" for day in days)
    con = staged(tmp_path, text, at_timezone=zone, **given)
    assert con.execute("select event_at from staging.events order by event_id").fetchall() == [
        (datetime(2018, 11, day),) for day in (4, 4, 5)
    ]
    assert con.execute("select has_time_of_day, dedupe from staging.sources").fetchall() == [
        (False, "none")
    ]
    assert (
        con.execute("select rule from staging.rejected").fetchall()
        == [("outside_since_until",)] * 2
    )


def test_days_are_told_in_the_zone_that_the_times_are_in(tmp_path):
    at = [datetime(2024, 1, 1, 1), datetime(2024, 1, 2, 1)]  # midnights in UTC, were it asked there
    pl.DataFrame({"user": [1, 1], "at": at}).write_parquet(tmp_path / "local.parquet")
    midnights = pl.Series([datetime(2024, 1, 1), datetime(2024, 1, 2)])
    pl.DataFrame({"user": [1, 1], "at": midnights.dt.replace_time_zone("UTC")}).write_parquet(
        tmp_path / "zoned.parquet"
    )
    for name, timed in (("local.parquet", True), ("zoned.parquet", False)):
        con = stage(project(tmp_path, path=name, columns=COLUMNS, at_timezone="Europe/Berlin"))
        found = con.execute("select event_at from staging.events order by 1").fetchall()
        assert found == [(datetime(2024, 1, 1),), (datetime(2024, 1, 2),)]
        assert con.execute("select has_time_of_day from staging.sources").fetchall() == [(timed,)]


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2024-03-01 05:00:00 America/New_York", datetime(2024, 3, 1, 10)),
        ("2024-03-01 05:00:00 America/Port-au-Prince ", datetime(2024, 3, 1, 10)),
        ("2024-03-01T05:00:00.5 EST", datetime(2024, 3, 1, 10, 0, 0, 500_000)),
        ("2024-03-01 05:00 UTC", datetime(2024, 3, 1, 5)),
        ("2024-03-01 05:00:00 GMT0", datetime(2024, 3, 1, 5)),
        ("2024-03-01 05:00:00", datetime(2024, 3, 1, 4)),
        ("2024-03-01 05:00:00 CEST", None),  # not an abbreviation that DuckDB knows
        ("2024-03-01 05:00:00 PM", None),
    ],
)
def test_a_zone_by_its_name_counts_or_is_no_time(tmp_path, written, at):
    text = f"user,at\n1,{written}\n2,2024-03-02 05:00:00\n"
    con = staged(tmp_path, text, at_timezone="Europe/Berlin")
    assert con.execute("select event_at from staging.events order by 1").fetchall()[:-1] == (
        [(at,)] if at else []
    )
    assert con.execute("select rule, reason from staging.rejected").fetchall() == (
        [] if at else [("unparsable_time", f"not a time: {written}")]
    )
