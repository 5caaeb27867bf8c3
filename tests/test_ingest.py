"""Files of every kind and every flaw -> the same events, or a message that says what is wrong."""

import gzip
from datetime import datetime

import polars as pl
import pytest
from conftest import project, stage

from behavsql.errors import ConfigError, SourceError

COLUMNS = {
    "user_id": "user",
    "item_id": "item",
    "event_type": "type",
    "event_at": "at",
    "value": "value",
}
HEAD = "user,item,type,at,value\n"
EVENTS = pl.DataFrame(
    {
        "user": [1, 2, 2, 3],
        "item": [10, 10, 12, None],
        "type": ["view", "cart", "purchase", "mail"],
        "at": [datetime(2024, 1, 1, 10), datetime(2024, 1, 2, 11, 30, 5, 250_000),
               datetime(2024, 1, 2, 12), datetime(2024, 1, 3)],
        "value": [None, 2.5, 1234.5678, None],
    }
)  # fmt: skip
KEPT = "select user_id, item_id, event_type, role, event_at, value from staging.events order by user_id, event_id"


def _csv(lines: str) -> str:
    return HEAD + lines


def _staged(folder, content, name="events.csv", **parts):
    """Stage 1 of a source that is one file with this content, or several by their names."""
    for file, text in (content if isinstance(content, dict) else {name: content}).items():
        (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return stage(project(folder, **{"path": name, "columns": COLUMNS} | parts))


def _ledger(con, source="shop"):
    """What each rule removed, and (rows read, rows kept)."""
    removed = con.execute(
        "select rule, count_rows_removed from staging.ledger where source = ? and count_rows_removed > 0",
        [source],
    ).fetchall()
    read, kept = con.execute(
        "select max(count_rows_in), min(count_kept) from staging.ledger where source = ?", [source]
    ).fetchall()[0]
    return dict(removed), (read, kept)


@pytest.mark.parametrize(
    "name", ["e.csv", "e.tsv", "e.csv.gz", "e.parquet", "e.ndjson", "e.jsonl", "e.json", "e.JSON"]
)
def test_every_format_gives_the_same_events(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        EVENTS.write_parquet(path)
    elif name.endswith((".ndjson", ".jsonl")):
        EVENTS.write_ndjson(path)
    elif "json" in name.lower():
        path.write_text(EVENTS.with_columns(pl.col("at").cast(pl.String)).write_json())
    else:
        text = EVENTS.write_csv(separator="\t" if name.endswith("tsv") else ",").encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    con = stage(project(tmp_path, path=name, columns=COLUMNS))
    got = con.execute(KEPT.replace("value", "value::double")).fetchall()
    assert [(*row[:3], *row[4:]) for row in got] == EVENTS.rows()
    assert [row[3] for row in got] == ["view", "cart", "purchase", "other"]


def test_a_glob_reads_its_files_by_column_name(tmp_path):
    files = {
        "part1.csv": _csv("1,10,view,2024-01-01,1\n"),
        "part2.csv": "at,value,type,item,user\n2024-01-02,2,cart,20,2\n",
        "part3.csv": "user,type,at,value,item\n3,view,2024-01-03,3,\n",
        "other.csv": "not,read\n1,2\n",
    }
    con = _staged(tmp_path, files, "part*.csv")
    assert con.execute(
        KEPT.replace("role, ", "").replace("value", "value::integer")
    ).fetchall() == [
        (1, 10, "view", datetime(2024, 1, 1), 1),
        (2, 20, "cart", datetime(2024, 1, 2), 2),
        (3, None, "view", datetime(2024, 1, 3), 3),
    ]
    assert con.execute("select count_rows, files from staging.sources").fetchall() == [
        (3, "part1.csv, part2.csv, part3.csv")
    ]


@pytest.mark.parametrize("missing", ["item", "value"])
def test_files_without_a_column_of_the_others_are_refused_by_name(tmp_path, missing):
    files = {"part1.csv": EVENTS.write_csv(), "part2.csv": EVENTS.drop(missing).write_csv()}
    with pytest.raises(SourceError) as caught:
        _staged(tmp_path, files, "part*.csv")
    assert "part2.csv" in str(caught.value) and f'"{missing}"' in str(caught.value)


def test_parquet_files_may_have_other_columns(tmp_path):
    EVENTS.head(2).write_parquet(tmp_path / "part1.parquet")
    EVENTS.tail(2).drop("item").with_columns(colour=pl.lit("red")).write_parquet(
        tmp_path / "part2.parquet"
    )
    con = stage(project(tmp_path, path="part*.parquet", columns=COLUMNS))
    found = con.execute(
        "select item_id, colour from staging.events inner join staging.event_attributes using (user_id, event_id) order by all"
    )
    assert found.fetchall() == [(10, None), (10, None), (None, "red"), (None, "red")]


@pytest.mark.parametrize("name", ["e[1].csv", "e?.csv", "e*.csv", "e[1].ndjson"])
def test_a_file_whose_name_reads_as_a_pattern_is_itself(tmp_path, name):
    folder = tmp_path / "dir [1]"
    (folder / "log").mkdir(parents=True)
    line = (
        '{"user": %d, "at": "2024-01-01"}\n' if name.endswith("n") else "user,at\n%d,2024-01-01\n"
    )
    other = name.replace("[1]", "1").replace("?", "1").replace("*", "1")
    (folder / "log" / name).write_text(line % 1)
    (folder / "log" / other).write_text(line % 2)
    columns = {"user_id": "user", "event_at": "at"}
    con = stage(project(folder, path=f"log/{name}", columns=columns))
    assert con.execute("select user_id from staging.events").fetchall() == [(1,)]


def test_a_glob_goes_into_folders(tmp_path):
    for day in ("1", "2"):
        (tmp_path / "log" / day).mkdir(parents=True)
        (tmp_path / "log" / day / "e.csv").write_text(_csv(f"{day},10,view,2024-01-01,1\n"))
    assert (
        len(stage(project(tmp_path, path="log/**/*.csv", columns=COLUMNS)).execute(KEPT).fetchall())
        == 2
    )


def test_a_user_of_several_columns_merges_no_two_users(tmp_path):
    text = "a,b,at\nx|y,z,2024-01-01\nx,y|z,2024-01-01\n\\,|,2024-01-01\n\\|,,2024-01-01\nx,y,2024-01-01\n"
    con = _staged(tmp_path, text, columns={"user_id": ["a", "b"], "event_at": "at"})
    users = [user for (user,) in con.execute("select user_id from staging.users").fetchall()]
    assert sorted(users) == sorted([r"x\|y|z", r"x|y\|z", r"\\|\|", "x|y"])
    assert _ledger(con)[0] == {"missing_user": 1}, "a user with a missing part is no user"


@pytest.mark.parametrize(
    ("ids", "type_", "kept"),
    [
        (["1", "22"], "BIGINT", [1, 22]),
        (["-3", "0"], "BIGINT", [-3, 0]),
        (["00123", "123"], "VARCHAR", ["00123", "123"]),
        (["1", "a"], "VARCHAR", ["1", "a"]),
        (["1.5", "2"], "VARCHAR", ["1.5", "2"]),
        (["+1", "2"], "VARCHAR", ["+1", "2"]),
        (
            ["9223372036854775807", "9223372036854775808"],
            "VARCHAR",
            ["9223372036854775807", "9223372036854775808"],
        ),
    ],
)
def test_ids_become_integers_only_without_loss(tmp_path, ids, type_, kept):
    con = _staged(tmp_path, _csv("".join(f"{i},{i},view,2024-01-01,1\n" for i in ids)))
    for column in ("user_id", "item_id"):
        found = con.execute(
            f"select {column}, typeof({column}) from staging.events order by 1"
        ).fetchall()
        assert found == [(value, type_) for value in kept]


def test_ids_stay_text_if_one_source_has_text(tmp_path):
    (tmp_path / "a.csv").write_text(_csv("1,2,view,2024-01-01,1\n"))
    (tmp_path / "users.csv").write_text("user,land\n01,MT\n")
    made = project(tmp_path, path="a.csv", columns=COLUMNS)
    facts = {
        "name": "people",
        "path": "users.csv",
        "kind": "users",
        "columns": {"user_id": "user"},
        "attributes": ["land"],
    }
    source = type(made.source[0]).model_validate(facts)
    con = stage(made.model_copy(update={"source": [*made.source, source]}))
    assert con.execute("select user_id, attributes.land from staging.users order by 1").fetchall() == [
        ("01", "MT"), ("1", None),
    ]  # fmt: skip
    assert con.execute("select typeof(item_id) from staging.events").fetchall() == [("BIGINT",)]


def test_whole_numbers_that_nan_made_double_are_integers_again(tmp_path):
    events = pl.DataFrame(
        {"user": [1.0, 2.0, float("nan"), float("inf"), None], "at": [datetime(2024, 1, 1)] * 5,
         "item": [7.0, float("nan"), 8.0, 8.0, 8.0], "value": [float("nan"), float("inf"), 1.0, 1.0, 1.0]}
    )  # fmt: skip
    events.write_parquet(tmp_path / "e.parquet")
    columns = {key: COLUMNS[key] for key in ("user_id", "item_id", "event_at", "value")}
    con = stage(project(tmp_path, path="e.parquet", columns=columns))
    assert con.execute("select user_id, item_id, value from staging.events order by 1").fetchall() == [
        (1, 7, None), (2, None, None),
    ]  # fmt: skip
    assert _ledger(con) == ({"missing_user": 3}, (5, 2))


def test_doubles_with_fractions_and_huge_ones_stay_apart(tmp_path):
    pl.DataFrame({"user": [1.0, 1.5, 1e300], "at": [datetime(2024, 1, 1)] * 3}).write_parquet(
        tmp_path / "e.parquet"
    )
    con = stage(project(tmp_path, path="e.parquet", columns={"user_id": "user", "event_at": "at"}))
    assert con.execute("select count(distinct user_id) from staging.events").fetchall() == [(3,)]


@pytest.mark.parametrize("word", ["1", "true", "T", "yes", "1.0"])
def test_a_flag_marks_the_rows_of_its_type(tmp_path, word):
    text = f"user,at,Purchase\n1,2024-01-01,{word}\n2,2024-01-01,0\n3,2024-01-01,\n"
    con = _staged(
        tmp_path, text, columns={"user_id": "user", "event_at": "at", "type_flag": "Purchase"}
    )
    assert con.execute("select user_id, role from staging.events order by 1").fetchall() == [
        (1, "purchase"), (2, "view"), (3, "view"),
    ]  # fmt: skip


MOMENT = datetime(2024, 1, 1, 0, 0, 1)


@pytest.mark.parametrize(
    ("unit", "written", "at"),
    [
        ("epoch", "1704067201", MOMENT),
        ("epoch", "1704067201.5", MOMENT.replace(microsecond=500_000)),
        ("epoch_ms", "1704067201000", MOMENT),
        ("epoch_us", "1704067201000000", MOMENT),
        ("epoch", "-1", None),  # before min_date
        ("epoch_us", "999999999999999999999", None),
        ("epoch_ms", "soon", None),
        ("days", "3", datetime(2000, 1, 4)),
        ("days", "-18", datetime(1999, 12, 14)),
        ("days", "0.5", datetime(2000, 1, 1, 12)),
        ("seconds", "90", datetime(2000, 1, 1, 0, 1, 30)),
        ("order", "2", datetime(2000, 1, 1, 0, 0, 2)),
    ],
)
def test_numbers_are_read_as_the_unit_says(tmp_path, unit, written, at):
    con = _staged(
        tmp_path,
        f"user,at\n1,{written}\n",
        at_unit=unit,
        columns={"user_id": "user", "event_at": "at"},
    )
    assert con.execute("select event_at from staging.events").fetchall() == ([(at,)] if at else [])
    assert _ledger(con)[1] == (1, 1 if at else 0)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Int32, pl.Float64, pl.String])
def test_typed_columns_are_read_as_the_unit_says(tmp_path, dtype):
    pl.DataFrame({"user": [1], "at": ["1704067201"]}).with_columns(
        pl.col("at").cast(dtype)
    ).write_parquet(tmp_path / "e.parquet")
    con = stage(
        project(
            tmp_path,
            path="e.parquet",
            at_unit="epoch",
            columns={"user_id": "user", "event_at": "at"},
        )
    )
    assert con.execute("select event_at from staging.events").fetchall() == [(MOMENT,)]


def test_days_are_told_from_times(tmp_path):
    text = "user,at\n" + "1,2024-01-01\n1,2024-01-01\n"
    con = _staged(tmp_path, text, columns={"user_id": "user", "event_at": "at"})
    assert con.execute(
        "select has_time_of_day, has_dates, dedupe from staging.sources"
    ).fetchall() == [(False, True, "none")]
    assert con.execute("select count(*) from staging.events").fetchall() == [(2,)], (
        "equal rows are real there"
    )
    con = _staged(
        tmp_path, text + "1,2024-01-02 10:00\n", columns={"user_id": "user", "event_at": "at"}
    )
    assert con.execute("select has_time_of_day, dedupe from staging.sources").fetchall() == [
        (True, "row")
    ]
    assert con.execute("select count(*) from staging.events").fetchall() == [(2,)]


def test_a_format_and_a_zone_are_applied(tmp_path):
    columns = {"user_id": "user", "event_at": "at"}
    con = _staged(
        tmp_path, "user,at\n1,01/07/2024 12.30\n2,01/01/2024 12.30\n3,2024-01-01 12:30\n",
        columns=columns, at_format="%d/%m/%Y %H.%M", at_timezone="Europe/Berlin",
    )  # fmt: skip
    assert con.execute("select user_id, event_at from staging.events order by 1").fetchall() == [
        (1, datetime(2024, 7, 1, 10, 30)), (2, datetime(2024, 1, 1, 11, 30)),
    ]  # fmt: skip
    assert con.execute("select rule, reason from staging.rejected").fetchall() == [
        ("unparsable_time", "not a time: 2024-01-01 12:30")
    ]


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2024-07-01 12:00", datetime(2024, 7, 1, 10)),
        ("2024-07-01T12:00:00", datetime(2024, 7, 1, 10)),
        ("2024-07-01T12:00:00Z", datetime(2024, 7, 1, 12)),
        ("2024-07-01T12:00:00+05:30", datetime(2024, 7, 1, 6, 30)),
        ("2024-07-01 12:00:00.5-02", datetime(2024, 7, 1, 14, 0, 0, 500_000)),
    ],
)
@pytest.mark.parametrize("name", ["e.csv", "e.ndjson"])
def test_a_time_with_an_offset_keeps_it(tmp_path, name, written, at):
    columns = {"user_id": "user", "event_at": "at"}
    text = f"user,at\n1,{written}\n" if name == "e.csv" else f'{{"user": 1, "at": "{written}"}}\n'
    con = _staged(tmp_path, text, name, columns=columns, at_timezone="Europe/Berlin")
    assert con.execute("select event_at from staging.events").fetchall() == [(at,)]


def test_an_offset_counts_without_a_zone_too(tmp_path):
    columns = {"user_id": "user", "event_at": "at"}
    con = _staged(
        tmp_path, "user,at\n1,2024-07-01T12:00:00+05:30\n1,2024-07-01 12:00\n", columns=columns
    )
    assert con.execute("select event_at from staging.events order by 1").fetchall() == [
        (datetime(2024, 7, 1, 6, 30),), (datetime(2024, 7, 1, 12),),
    ]  # fmt: skip


def test_a_zoned_parquet_column_is_utc(tmp_path):
    at = pl.Series([datetime(2024, 7, 1, 12)]).dt.replace_time_zone("Asia/Tokyo")
    pl.DataFrame({"user": [1], "at": at}).write_parquet(tmp_path / "e.parquet")
    columns = {"user_id": "user", "event_at": "at"}
    con = stage(project(tmp_path, path="e.parquet", columns=columns, at_timezone="Europe/Berlin"))
    assert con.execute("select event_at from staging.events").fetchall() == [
        (datetime(2024, 7, 1, 3),)
    ]


def test_price_times_quantity_is_the_value(tmp_path):
    columns = {"user_id": "user", "event_at": "at", "price": "price", "quantity": "quantity"}
    text = "user,at,price,quantity\n1,2024-01-01,2.5,3\n2,2024-01-01,2.5,-2\n3,2024-01-01,,4\n4,2024-01-01,2.5,some\n"
    con = _staged(tmp_path, text, columns=columns, default_type="purchase")
    assert con.execute("select user_id, role, value::double, quantity::double from staging.events order by 1").fetchall() == [
        (1, "purchase", 7.5, 3.0), (2, "return", -5.0, -2.0), (3, "purchase", None, 4.0),
    ]  # fmt: skip
    assert con.execute("select rule, reason from staging.rejected").fetchall() == [
        ("unparsable_value", "not a number: some")
    ]


@pytest.mark.parametrize(
    ("price", "quantity", "value", "rejected"),
    [
        ("94868.3298", "94868.3298", 8999999999.0416, None),
        ("100000", "100000", 1e10, None),
        ("-100000", "100000.5", -10000050000, ("negative_value", "negative value: -10000050000.0000")),
        ("1000000", "1000000", None, ("absurd_value",
         "beyond max_value or max_quantity: 1000000000000.0000 for 1000000.0000")),
        ("90000000000000", "-90000000000", None, ("unparsable_value",
         "not a number: 90000000000000.0000 * -90000000000.0000")),
        ("99999999999999.9999", "99999999999999.9999", None, ("unparsable_value",
         "not a number: 99999999999999.9999 * 99999999999999.9999")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["e.csv", "e.ndjson"])
def test_a_product_of_any_size_is_a_value_or_counted(
    tmp_path, name, price, quantity, value, rejected
):
    columns = {"user_id": "user", "event_at": "at", "price": "price", "quantity": "quantity"}
    text = f"user,at,price,quantity\n1,2024-01-01,{price},{quantity}\n2,2024-01-01,1,1\n"
    if name == "e.ndjson":
        line = '{"user": %s, "at": "2024-01-01", "price": "%s", "quantity": "%s"}\n'
        text = line % (1, price, quantity) + line % (2, 1, 1)
    con = _staged(
        tmp_path, text, name, columns=columns, default_type="purchase",
        settings={"max_value": 1e11, "max_quantity": 1e12, "max_rejected_share": 1},
    )  # fmt: skip
    kept = con.execute("select value::double from staging.events order by user_id").fetchall()
    assert kept == ([(1.0,)] if rejected else [(value,), (1.0,)])
    found = con.execute("select rule, reason from staging.rejected").fetchall()
    assert found == ([rejected] if rejected else [])


@pytest.mark.parametrize("word", ["", "NULL", "null", "NaN", "nan", "NA", "None", "none", "\\N"])
def test_words_for_missing_are_missing(tmp_path, word):
    con = _staged(
        tmp_path,
        _csv(f"1,{word},{word},2024-01-01,{word}\n{word},1,view,2024-01-01,1\n1,1,view,{word},1\n"),
    )
    assert con.execute("select item_id, event_type, value from staging.events").fetchall() == [
        (None, "action", None)
    ]
    assert _ledger(con) == ({"missing_user": 1, "missing_time": 1}, (3, 1))


@pytest.mark.parametrize("word", ["inf", "-inf", "Infinity"])
def test_an_infinite_value_is_missing(tmp_path, word):
    con = _staged(tmp_path, _csv(f"1,1,view,2024-01-01,{word}\n"))
    assert con.execute("select value from staging.events").fetchall() == [(None,)]


def test_malformed_lines_are_counted_with_their_numbers(tmp_path):
    good = [f"{n},1,view,2024-01-01 10:00:{n:02d},1" for n in range(50)]
    lines = [
        *good[:10],
        "1,2,3",
        *good[10:30],
        "1,1,view,2024-01-01,1,2,3",
        "",
        *good[30:],
        "alone",
    ]
    con = _staged(tmp_path, _csv("\n".join(lines) + "\n"))
    found = con.execute("select rule, reason from staging.rejected order by source_row").fetchall()
    # The header is line 1; an empty line is nothing at all.
    assert [rule for rule, _ in found] == ["malformed_line"] * 3
    assert [reason.partition(":")[0] for _, reason in found] == [
        f"events.csv line {n}" for n in (12, 33, 55)
    ]
    assert _ledger(con) == ({"malformed_line": 3}, (53, 50))


def test_malformed_lines_of_every_file_and_source_are_counted(tmp_path):
    good = "".join(f"{n},1,view,2024-01-01 10:00:{n:02d},1\n" for n in range(20))
    files = {
        f"part{n}.csv": _csv(good.replace(",1,view", f",{n},view") + "1,2\n") for n in range(3)
    }
    files["part1.csv"] += "1,2,3,4\n"
    files["late.csv"] = _csv("x,y\n" + good)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    made = project(tmp_path, path="part*.csv", columns=COLUMNS)
    second = made.source[0].model_copy(update={"name": "late", "path": "late.csv"})
    con = stage(made.model_copy(update={"source": [*made.source, second]}))
    assert _ledger(con) == ({"malformed_line": 4}, (64, 60))
    assert _ledger(con, "late") == ({"malformed_line": 1}, (21, 20))
    told = con.execute(
        "select split_part(reason, ':', 1) from staging.rejected where source = 'shop'"
    ).fetchall()
    assert sorted(told) == [
        ("part0.csv line 22",),
        ("part1.csv line 22",),
        ("part1.csv line 23",),
        ("part2.csv line 22",),
    ]


def test_two_sources_count_their_rows_each_from_one(tmp_path):
    (tmp_path / "a.csv").write_text(_csv("1,1,view,2024-01-01,1\n,1,view,2024-01-01,1\n"))
    (tmp_path / "b.csv").write_text(
        _csv("1,1,view,2024-01-01,1\n1,1,view,2024-01-01,1\n1,1,view,soon,1\n")
    )
    made = project(tmp_path, path="a.csv", columns=COLUMNS)
    second = made.source[0].model_copy(update={"name": "till", "path": "b.csv"})
    con = stage(made.model_copy(update={"source": [*made.source, second]}))
    assert con.execute("select source, source_row, rule from staging.rejected order by all").fetchall() == [
        ("shop", 2, "missing_user"), ("till", 3, "unparsable_time"),
    ]  # fmt: skip
    assert con.execute("select source, count(*) from staging.events group by 1 order by 1").fetchall() == [
        ("shop", 1), ("till", 2),
    ]  # fmt: skip


def test_a_column_may_be_an_attribute_here_and_mapped_there(tmp_path):
    (tmp_path / "a.ndjson").write_text('{"user": 1, "at": "2024-01-01", "code": 5}\n')
    (tmp_path / "b.csv").write_text("user,at,code\n2,2024-01-01,abc\n")
    columns = {"user_id": "user", "event_at": "at"}
    made = project(tmp_path, path="a.ndjson", columns=columns)
    second = project(tmp_path, path="b.csv", name="till", columns=columns | {"item_id": "code"})
    con = stage(made.model_copy(update={"source": [*made.source, *second.source]}))
    assert con.execute("select user_id, item_id, source from staging.events order by 1").fetchall() == [
        (1, None, "shop"), (2, "abc", "till"),
    ]  # fmt: skip
    found = con.execute("select user_id, code from staging.event_attributes order by 1").fetchall()
    assert found == [(1, 5), (2, None)]


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_odd_ids_come_through_whole(tmp_path, kind):
    ids = [
        "O'Brien",
        'say "hi"',
        "a;b",
        "x,y",
        "two\nlines",
        "Ünïcödé 日本 🙂",
        " padded ",
        "'); drop table x; --",
    ]
    frame = pl.DataFrame({"user": ids, "at": ["2024-01-01 10:00:00"] * len(ids)})
    getattr(frame, f"write_{kind}")(tmp_path / f"e.{kind}")
    con = stage(project(tmp_path, path=f"e.{kind}", columns={"user_id": "user", "event_at": "at"}))
    assert sorted(
        user for (user,) in con.execute("select user_id from staging.users").fetchall()
    ) == sorted(ids)


def test_odd_column_names_come_through_whole(tmp_path):
    names = ["the user", 'at "UTC"', "it's; worth", "größe", "select"]
    pl.DataFrame([[1, "2024-01-01 10:00", 2.5, "XL", "yes"]], schema=names, orient="row").write_csv(
        tmp_path / "e.csv"
    )
    columns = {"user_id": names[0], "event_at": names[1], "value": names[2]}
    con = stage(project(tmp_path, path="e.csv", columns=columns))
    assert con.execute("select user_id, value::double from staging.events").fetchall() == [(1, 2.5)]
    assert con.execute('select größe, "select" from staging.event_attributes').fetchall() == [
        ("XL", "yes")
    ]


def test_the_other_columns_are_kept_beside_the_event(tmp_path):
    text = HEAD.replace("\n", ",device\n") + "2,1,view,2024-01-02,1,phone\n1,1,view,2024-01-01,1,\n"
    con = _staged(tmp_path, text)
    assert con.execute("from staging.event_attributes order by user_id").fetchall() == [
        (1, 1, None),
        (2, 1, "phone"),
    ]


def test_what_is_no_product_is_other(tmp_path):
    con = _staged(
        tmp_path,
        _csv("1,POST,purchase,2024-01-01,4\n1,7,purchase,2024-01-01,4\n"),
        not_products=["POST"],
    )
    assert con.execute("select item_id, role from staging.events order by 1").fetchall() == [
        ("7", "purchase"),
        ("POST", "other"),
    ]


def test_what_is_no_product_is_named_letter_by_letter(tmp_path):
    text = _csv("".join(f"1,{item},purchase,2024-01-0{item},4\n" for item in (5, 6, 7)))
    con = _staged(tmp_path, text, not_products=["007", " 5", "6.0", "6"])
    assert con.execute("select item_id, role from staging.events order by 1").fetchall() == [
        (5, "purchase"), (6, "other"), (7, "purchase"),
    ]  # fmt: skip


@pytest.mark.parametrize(("dedupe", "left"), [("row", 3), ("key", 2), ("none", 4)])
def test_duplicates_are_what_the_source_says(tmp_path, dedupe, left):
    row = "1,1,view,2024-01-01 10:00:00"
    con = _staged(
        tmp_path,
        _csv(f"{row},1\n{row},1\n{row},2\n1,2,view,2024-01-01 10:00:00,1\n"),
        dedupe=dedupe,
    )
    assert con.execute("select count(*) from staging.events").fetchall() == [(left,)]
    assert _ledger(con)[0] == ({"duplicate": 4 - left} if left < 4 else {})


@pytest.mark.parametrize(
    ("name", "content", "parts", "told"),
    [
        ("e.csv", HEAD + "1,1,view,2024-01-01,1\n", {"columns": {"user_id": "uesr", "event_at": "at"}},
         'source "shop": e.csv has no column "uesr"; its columns are user, item, type, at, value. Mend the mapping'),
        ("e.csv", HEAD, {}, 'source "shop" has a header but no rows; allowed is at least one'),
        ("e.csv", "", {}, "e.csv: the file is empty; allowed is a file with a header and rows"),
        ("e.xlsx", "PK", {}, "cannot tell the format from '.xlsx'; allowed are .csv, .json, .jsonl"),
        ("e.parquet", "no parquet", {}, "e.parquet: is text (CSV?) and not Parquet; allowed is what"),
        ("e.json", '{"user": 1', {}, 'e.json: source "shop" cannot be read: '),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_read_says_why(tmp_path, name, content, parts, told):
    with pytest.raises(SourceError) as caught:
        _staged(tmp_path, content, name, **parts)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_nothing_or_a_folder_says_so(tmp_path):
    with pytest.raises(
        SourceError, match=r"no file matches .*gone\.csv; allowed is a path or a glob"
    ):
        stage(project(tmp_path, path="gone.csv", columns=COLUMNS))
    (tmp_path / "log").mkdir()
    with pytest.raises(
        SourceError, match=r"log: is a folder; allowed are files\. Write for example .*log/\*\.csv"
    ):
        stage(project(tmp_path, path="log", columns=COLUMNS))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"event_at": "at"}, "maps no user_id"),
        ({"user_id": "user"}, "maps no event_at"),
        ({"user_id": "user", "event_at": "at", "event_typ": "type"}, 'Did you mean "event_type"?'),
        ({"user_id": "user", "event_at": "at", "event_type": "a", "type_flag": "b"}, "keep one"),
        ({"user_id": "user", "event_at": "at", "value": "a", "price": "b"}, "keep one"),
    ],
)
def test_a_mapping_that_cannot_be_meant_says_so(tmp_path, columns, told):
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, columns=columns)
    assert told in str(caught.value) and str(caught.value).startswith("behavsql.toml: ")
