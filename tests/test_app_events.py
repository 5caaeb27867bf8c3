"""Events of apps: places rounded as they are read, screen times in seconds, and what is neither."""

import math
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import run, stage

from behavsql import config, ledger
from behavsql.errors import ConfigError, SourceError

PLACE = {"latitude": "lat", "longitude": "lon"}
COLUMNS = {"user_id": "user", "event_at": "at"} | PLACE | {"screen_time": "spent"}


def made(folder: Path, rows: list[tuple], **parts: object) -> config.Config:
    """Rows of latitude, longitude and time on screen, as a Parquet file of one user."""
    frame = pl.DataFrame(
        [(str(one), str(two), three) for one, two, three in rows],
        schema={"lat": pl.String, "lon": pl.String, "spent": pl.Float64}, orient="row",
    ).with_row_index("n").select(
        "lat", "lon", "spent", user=pl.lit("u"),
        at=pl.lit("2024-01-01").str.to_datetime() + pl.duration(minutes="n"),
    )  # fmt: skip
    frame.write_parquet(folder / "app.parquet")
    source = {"name": "app", "kind": "app", "path": "app.parquet", "columns": COLUMNS}
    return config.from_dict({"source": [source | parts]}, folder, "behavsql.toml")


def told(project: config.Config, columns: str) -> list[tuple]:
    return (
        stage(project).execute(f"select {columns} from staging.app_events order by all").fetchall()
    )


@pytest.mark.parametrize(("decimals", "latitude", "longitude"), [
    (0, 53, 13), (1, 52.5, 13.4), (2, 52.52, 13.41), (5, 52.52001, 13.40527),
])  # fmt: skip
def test_a_place_is_rounded(tmp_path, decimals, latitude, longitude):
    made_so = made(tmp_path, [(52.520008, 13.405268, 1)], location_decimals=decimals)
    found = told(made_so, "cast(latitude as double), cast(longitude as double)")
    assert found == [(latitude, longitude)]


def test_what_is_finer_stands_nowhere(tmp_path):
    """Neither in the raw tables nor among the attributes."""
    con = stage(made(tmp_path, [(52.520008, 13.405268, 1)]))
    tables = con.execute(
        "select database_name || '.' || schema_name || '.' || table_name from duckdb_tables() "
        "union all select 'raw.events'"
    ).fetchall()
    for (table,) in tables:
        rows = con.execute(f"select cast(t as varchar) from {table} as t").fetchall()
        assert not any("520008" in row or "405268" in row for (row,) in rows), table


@pytest.mark.parametrize(("latitude", "longitude"), [
    ("", ""), ("north", "13"), ("91", "13"), ("52", "181"), ("0", "0"), ("NaN", "13"), ("52", "inf"),
    ("52", ""),
])  # fmt: skip
def test_what_is_no_place_is_missing_and_the_event_stays(tmp_path, latitude, longitude):
    con = stage(made(tmp_path, [(latitude, longitude, 5)]))
    assert con.execute(
        "select latitude, longitude, screen_seconds from staging.app_events"
    ).fetchall() == [(None, None, 5)]
    assert con.execute("select count(*) from staging.rejected").fetchall() == [(0,)]


def test_places_are_read_as_amounts_are(tmp_path):
    """With the decimal sign of the source; what is none is counted, and what it was stands nowhere."""
    rows = [("52,51999", "13,40999", 1), ("52.5", "13", 2), ("", "", -3), ("0", "0", math.nan)]
    con = stage(made(tmp_path, rows, decimal=",", location_decimals=5))
    assert con.execute(
        "select cast(latitude as double), cast(longitude as double) from staging.app_events "
        "where latitude is not null"
    ).fetchall() == [(52.51999, 13.40999)]
    assert con.execute(
        "select count_unread_places, count_unread_screen_times from staging.source_counts"
    ).fetchall() == [(1, 1)]
    assert ledger.told(con, "staging.source_counts") == (
        "app: 1 of 4 places cannot be read, app: 1 of 4 screen times cannot be read"
    )


def test_the_edges_of_the_globe_are_places(tmp_path):
    rows = [(90, 180, 1), (-90, -180, 1), (0, 5, 1)]
    assert len([row for row in told(made(tmp_path, rows), "latitude") if row != (None,)]) == 3


@pytest.mark.parametrize(("unit", "seconds"), [
    ("seconds", 90), ("milliseconds", 0.09), ("minutes", 5400),
])  # fmt: skip
def test_screen_times_become_seconds(tmp_path, unit, seconds):
    found = told(made(tmp_path, [(1, 1, 90)], screen_time_unit=unit), "screen_seconds")
    assert [float(value) for (value,) in found] == [seconds]


@pytest.mark.parametrize("spent", [-1, math.nan, math.inf, 40_000_000, None])
def test_what_is_no_screen_time_is_missing(tmp_path, spent):
    assert told(made(tmp_path, [(1, 1, spent)]), "screen_seconds") == [(None,)]


def test_the_way_is_measured_over_events_without_a_place(tmp_path):
    rows = [(0, 10, 1), ("", "", 1), (0, 11, 1)]
    found = told(made(tmp_path, rows), "cast(km_from_previous as double)")
    assert [km for (km,) in found if km] == [pytest.approx(111.195, abs=0.01)]


@pytest.mark.parametrize(("columns", "message"), [
    ({"latitude": "lat", "screen_time": "spent"}, "maps latitude and no longitude; a place has both"),
    ({}, 'of kind "app" maps no latitude and longitude and no screen_time; map them, or set kind'),
])  # fmt: skip
def test_half_a_place_and_none_are_refused(tmp_path, columns, message):
    with pytest.raises(ConfigError) as error:
        made(tmp_path, [(1, 1, 1)], columns={"user_id": "user", "event_at": "at"} | columns)
    assert message in str(error.value)


def test_other_kinds_have_no_place(tmp_path):
    with pytest.raises(ConfigError, match='maps latitude, which kind = "app" has; set it'):
        made(tmp_path, [(1, 1, 1)], kind="events")


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r'has no column "lng"; .* Mend the mapping'):
        stage(made(tmp_path, [(1, 1, 1)], columns=COLUMNS | {"longitude": "lng"}))


def test_a_precision_that_is_none_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"location_decimals: it is 7; .* less than or equal to 5"
    ):
        made(tmp_path, [(1, 1, 1)], location_decimals=7)


@pytest.mark.parametrize(("header", "mapped"), [
    ("user_id,ts,lat,lng,screen_time", {"latitude": "lat", "longitude": "lng", "screen_time": "screen_time"}),
    ("user_id,ts,Latitude,Longitude,x", {"latitude": "Latitude", "longitude": "Longitude"}),
    ("user_id,ts,lat,y,time_on_screen", {"screen_time": "time_on_screen"}),
    ("user_id,ts,lat,y,z", {}),
    ("user_id;ts;lat;lon;x", {"latitude": "lat", "longitude": "lon"}),  # with decimal commas
])  # fmt: skip
def test_init_knows_an_app_by_its_columns(here, header, mapped):
    rows = [
        f"u{n % 5},2024-01-0{n % 9 + 1} 10:00:0{n % 9},{50 + n / 100},{8 + n / 100},{n}"
        for n in range(60)
    ]
    if ";" in header:
        rows = [row.replace(",", ";").replace(".", ",") for row in rows]
    Path("events.csv").write_text("\n".join([header, *rows]) + "\n")
    assert run("init", "events.csv").exit_code == 0
    source = config.load(Path("behavsql.toml")).source[0]
    assert source.kind == ("app" if mapped else "events")
    assert source.decimal == ("," if ";" in header else ".")
    parts = {"latitude", "longitude", "screen_time"}
    assert source.columns.model_dump(include=parts, exclude_none=True) == mapped


def test_init_names_what_may_be_of_an_app(here):
    rows = [f"u{n % 5},2024-01-0{n % 9 + 1},north,{n},{n}" for n in range(60)]
    Path("events.csv").write_text("\n".join(["user_id,ts,lat,lon,secs", *rows]) + "\n")
    assert run("init", "events.csv").exit_code == 0
    text = Path("behavsql.toml").read_text()
    assert (
        'set it, and under columns screen_time = "secs", latitude = "lat", longitude = "lon".'
        in text
    )


def test_an_app_is_built_alone(here):
    """Through the real command line, to features."""
    rows = [
        f"u{n % 9},2024-01-{n % 28 + 1:02d} 10:00:0{n % 9},{50 + n % 7},{8 + n % 3},{n % 60}"
        for n in range(300)
    ]
    Path("events.csv").write_text("\n".join(["user_id,ts,lat,lon,screen_time", *rows]) + "\n")
    assert run("init", "events.csv").exit_code == 0
    done = run("build", "-q", "-s", "features")
    assert done.exit_code == 0, done.stderr
    with duckdb.connect("warehouse/.work/build.duckdb", read_only=True) as con:
        found = con.execute(
            "select count(count_regions), count(screen_seconds_7d), count(*) from features.locations "
            "full outer join features.screen_time using (user_id, cutoff_at)"
        ).fetchall()[0]
    assert found[0] == found[1] == found[2] > 0
