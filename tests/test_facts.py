"""Surveys, attributes and prices: known from their own time on, until they end; what is wrong is counted."""

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import facts_data
import pytest
from conftest import few_files, shipped, stage

from behavsql import config, live
from behavsql.config import Config
from behavsql.errors import ConfigError, SourceError
from behavsql.pipeline import build, load_catalog
from behavsql.progress import Progress
from behavsql.quoting import identifier
from behavsql.time_travel import find_leaks

QUIET = Progress(quiet=True)
EVENTS = "user,at,item\n1,2024-01-01 10:00,a\n2,2024-01-20 10:00,b\n"
SHOP = {
    "name": "shop",
    "path": "events.csv",
    "columns": {"user_id": "user", "event_at": "at", "item_id": "item"},
}
POLL = {
    "name": "poll",
    "path": "poll.csv",
    "kind": "survey",
    "columns": {"user_id": "who", "event_at": "at", "question": "asked", "answer": "said"},
}
BOUGHT = {
    "name": "bought",
    "path": "bought.csv",
    "kind": "attributes",
    "features": ["plan"],
    "columns": {"user_id": "who", "valid_from": "since", "valid_to": "until"},
}
CATALOGUE = {
    "name": "catalogue",
    "path": "catalogue.csv",
    "kind": "items",
    "columns": {"item_id": "sku", "valid_from": "since", "price": "price", "title": "name"},
}
LONG = "who,at,asked,said\n"
RANGES = "who,since,until,plan\n"
PRICES = "sku,since,price,name\n"


def made(folder: Path, *sources: dict) -> Config:
    return config.from_dict({"source": [SHOP, *sources]}, folder, "behavsql.toml")


def staged(folder: Path, **files: str) -> duckdb.DuckDBPyConnection:
    """Stage 1 of the sources of these names with this content."""
    known = {"poll": POLL, "bought": BOUGHT, "catalogue": CATALOGUE}
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return stage(made(folder, *(known[name] for name in files)))


def facts(con: duckdb.DuckDBPyConnection, table: str = "user_facts") -> list[tuple]:
    return con.execute(f"from staging.{table} order by all").fetchall()


def refused(con: duckdb.DuckDBPyConnection, source: str) -> list[tuple]:
    return con.execute(
        "select source_row, rule from staging.rejected where source = ? order by all", [source]
    ).fetchall()


def account(con: duckdb.DuckDBPyConnection, source: str) -> tuple[int, int, int]:
    """(rows read, removed, kept) of a source."""
    return con.execute(
        "select max(count_rows_in), sum(count_rows_removed), max(count_kept) from staging.ledger "
        "where source = ?", [source]
    ).fetchall()[0]  # fmt: skip


# --- what is known when ---


def test_an_answer_holds_from_its_time_until_the_next(tmp_path):
    con = staged(
        tmp_path,
        poll=LONG + "1,2024-01-02 09:00,Age,31\n1,2024-01-05,Happy?,yes\n1,2024-01-09,happy?,no\n",
    )
    assert facts(con) == [
        (1, datetime(2024, 1, 2, 9), 31.0, None),
        (1, datetime(2024, 1, 5), 31.0, "yes"),
        (1, datetime(2024, 1, 9), 31.0, "no"),
    ]
    names = [row[0] for row in con.execute("describe staging.user_facts").fetchall()]
    assert names == ["user_id", "known_at", "Age", "Happy?"]  # one question, however it is written
    assert account(con, "poll") == (3, 0, 3)


def test_a_question_left_out_of_a_wide_survey_keeps_its_answer(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "form.csv").write_text(
        "who,at,age,mood\n1,2024-01-02,31,good\n1,2024-01-03,,bad\n1,2024-01-04,,\n"
    )
    form = {
        "name": "form",
        "path": "form.csv",
        "kind": "survey",
        "features": ["age", "mood"],
        "columns": {"user_id": "who", "event_at": "at"},
    }
    con = stage(made(tmp_path, form))
    assert facts(con) == [
        (1, datetime(2024, 1, 2), 31.0, "good"),
        (1, datetime(2024, 1, 3), 31.0, "bad"),
    ]
    assert refused(con, "form") == [(3, "missing_answer")]


@pytest.mark.parametrize(
    ("until", "ends"),
    [
        ("2024-01-05", datetime(2024, 1, 6)),  # a day is included
        ("2024-01-05 12:00", datetime(2024, 1, 5, 12, 0, 0, 1)),  # a moment too
        ("9999-12-31", None),
        ("", None),
    ],
)
def test_an_attribute_ends_with_its_range(tmp_path, until, ends):
    con = staged(tmp_path, bought=f"{RANGES}1,2024-01-01,{until},gold\n")
    expected = [(1, datetime(2024, 1, 1), "gold")]
    assert facts(con) == expected + ([(1, ends, None)] if ends else [])


def test_a_version_ends_where_the_next_begins_and_says_all_there_is(tmp_path):
    rows = "1,2024-01-01,,gold\n1,2024-01-05,2024-01-09,silver\n1,2024-01-09,,\n"
    con = staged(tmp_path, bought=RANGES + rows)
    assert facts(con) == [
        (1, datetime(2024, 1, 1), "gold"),
        (1, datetime(2024, 1, 5), "silver"),
        (1, datetime(2024, 1, 9), None),
    ]


def test_ranges_are_read_in_the_zone_of_the_source(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "bought.csv").write_text(RANGES + "1,2024-03-30,2024-03-31,gold\n")
    con = stage(made(tmp_path, BOUGHT | {"at_timezone": "Europe/Berlin"}))
    # The clocks went forward within: the day after begins at 22:00, not at 23:00.
    assert facts(con) == [
        (1, datetime(2024, 3, 29, 23), "gold"),
        (1, datetime(2024, 3, 31, 22), None),
    ]


def test_sources_stand_beside_each_other(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "people.csv").write_text("who,city\n1,Valletta\n3,Paola\n")
    (tmp_path / "poll.csv").write_text(LONG + "1,2024-01-02,age,31\n")
    (tmp_path / "bought.csv").write_text(RANGES + "1,2024-01-02,2024-01-03,gold\n")
    people = {
        "name": "people",
        "path": "people.csv",
        "kind": "users",
        "features": ["city"],
        "columns": {"user_id": "who"},
    }
    con = stage(made(tmp_path, people, POLL, BOUGHT))
    assert facts(con) == [
        (1, datetime(1, 1, 1), None, "Valletta", None),
        (1, datetime(2024, 1, 2), 31.0, "Valletta", "gold"),
        (1, datetime(2024, 1, 4), 31.0, "Valletta", None),
        (3, datetime(1, 1, 1), None, "Paola", None),
    ]
    types = {row[0]: row[1] for row in con.execute("describe staging.user_facts").fetchall()}
    assert (types["age"], types["city"], types["plan"]) == ("DOUBLE", "VARCHAR", "VARCHAR")


def test_a_text_among_the_answers_makes_them_categories(tmp_path):
    rows = "1,2024-01-02,code,01002\n1,2024-01-02,age,31\n2,2024-01-02,age,old\n"
    con = staged(tmp_path, poll=LONG + rows)
    assert facts(con) == [
        (1, datetime(2024, 1, 2), "31", "01002"),
        (2, datetime(2024, 1, 2), "old", None),
    ]


def test_prices_and_texts_of_items_have_their_time(tmp_path):
    rows = "a,2024-01-01,2.5,Ball\na,2024-01-03,2,Red ball\nb,2024-02-01,9,Bat\n"
    con = staged(tmp_path, catalogue=PRICES + rows)
    assert facts(con, "item_prices") == [
        ("a", datetime(2024, 1, 1), 2.5),
        ("a", datetime(2024, 1, 3), 2.0),
        ("b", datetime(2024, 2, 1), 9.0),
    ]
    items = "select item_id, title, described_at from staging.items order by 1"
    assert con.execute(items).fetchall() == [
        ("a", "Ball", datetime(2024, 1, 1)),
        ("b", "Bat", datetime(2024, 2, 1)),
    ]
    assert account(con, "catalogue") == (3, 0, 3)


def test_without_facts_there_are_no_columns(tmp_path):
    con = staged(tmp_path)
    for table, key in (
        ("user_facts", "user_id"),
        ("item_facts", "item_id"),
        ("item_prices", "item_id"),
    ):
        names = [row[0] for row in con.execute(f"describe staging.{table}").fetchall()]
        assert (names, facts(con, table)) == ([key, "known_at"], [])


# --- what is wrong with them ---

GOOD = {
    "poll": "1,2024-01-02,age,31\n" * 1 + "".join(f"1,2024-02-{day},age,{day}\n" for day in range(10, 29)),
    "bought": "".join(f"1,2024-02-{day},2024-02-{day},p{day}\n" for day in range(10, 29)),
    "catalogue": "".join(f"a,2024-02-{day},{day},Ball\n" for day in range(10, 29)),
}  # fmt: skip
HEADS = {"poll": LONG, "bought": RANGES, "catalogue": PRICES}
BAD = [
    ("poll", ",2024-01-02,age,31", "missing_user"),
    ("poll", "99,2024-01-02,age,31", "unknown_user"),
    ("poll", "somebody,2024-01-02,age,31", "unknown_user"),
    ("poll", "1,the other day,age,31", "unparsable_time"),
    ("poll", "1,2024-02-30,age,31", "unparsable_time"),
    ("poll", "1,,age,31", "missing_time"),
    ("poll", "1,2199-01-01,age,31", "future_time"),
    ("poll", "1,1970-01-01,age,31", "time_before_min_date"),
    ("poll", "1,2024-01-03,age,", "missing_answer"),
    ("poll", "1,2024-01-03,,31", "missing_answer"),
    ("poll", "1,2024-02-10,age,10", "duplicate"),
    ("poll", "1,2024-02-10,Age,11", "contradiction"),
    ("poll", "1,2024-01-03,age,31,more", "malformed_line"),
    ("bought", ",2024-01-01,,gold", "missing_user"),
    ("bought", "99,2024-01-01,,gold", "unknown_user"),
    ("bought", "1,soon,,gold", "unparsable_time"),
    ("bought", "1,2024-01-01,later,gold", "unparsable_time"),
    ("bought", "1,,2024-01-01,gold", "missing_time"),
    ("bought", "1,2024-01-05,2024-01-04,gold", "reversed_range"),
    ("bought", "1,2024-01-05 12:00,2024-01-05 11:59,gold", "reversed_range"),
    ("bought", "1,2024-02-10,2024-02-10,p10", "duplicate"),
    ("bought", "1,2024-02-10,2024-02-10,p11", "contradiction"),
    ("bought", "1", "malformed_line"),
    ("catalogue", ",2024-01-01,2,Ball", "missing_item"),
    ("catalogue", "a,never,2,Ball", "unparsable_time"),
    ("catalogue", "a,,2,Ball", "missing_time"),
    ("catalogue", "a,2024-01-01,cheap,Ball", "unparsable_value"),
    ("catalogue", "a,2024-01-01,-2,Ball", "negative_value"),
    ("catalogue", "a,2024-01-01,2e10,Ball", "absurd_value"),
    ("catalogue", "a,2024-02-10,11,Ball", "contradiction"),
]  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_bad_rows_are_counted_and_change_nothing(tmp_path, name):
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
    wrong = [(line, rule) for of, line, rule in BAD if of == name]
    rows = HEADS[name] + GOOD[name]
    good = staged(tmp_path / "good", **{name: rows})
    bad = staged(tmp_path / "bad", **{name: rows + "".join(f"{line}\n" for line, _ in wrong)})
    # A line that is no row is numbered after the rows.
    expected = sorted((rule for _, rule in wrong), key="malformed_line".__eq__)
    assert [rule for _, rule in refused(bad, name)] == expected
    read, removed, kept = account(good, name)
    assert account(bad, name) == (read + len(wrong), removed + len(wrong), kept)
    for table in ("user_facts", "item_prices"):
        assert facts(bad, table) == facts(good, table)


def test_a_range_that_begins_before_an_earlier_one_ends_is_refused(tmp_path):
    rows = "1,2024-01-01,2024-01-10,a\n" + "".join(
        f"2,2024-02-{day},,x{day}\n" for day in range(10, 20)
    )
    con = staged(tmp_path, bought=f"{RANGES}{rows}1,2024-01-09,,b\n")
    assert refused(con, "bought") == [(12, "overlapping_range")]
    assert [row[2] for row in facts(con) if row[0] == 1] == ["a", None]


def test_a_listed_question_is_all_that_is_read(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "poll.csv").write_text(
        LONG + "1,2024-01-02,age,31\n" + "1,2024-01-02,size,42\n" * 9
    )
    con = stage(made(tmp_path, POLL | {"features": ["age"]}))
    assert facts(con) == [(1, datetime(2024, 1, 2), 31.0)]
    assert {rule for _, rule in refused(con, "poll")} == {"unlisted_question"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("".join(f"1,2024-01-02,q{n},1\n" for n in range(201)),
         r'poll\.csv: source "poll" has more than 200 different questions, such as "q.*Name those'),
        ("1,2024-01-02,User_ID,1\n", r'poll\.csv: source "poll" asks "User_ID"; .* columns of ours\.'),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_columns_stop_the_build(tmp_path, rows, message):
    with pytest.raises(SourceError, match=message):
        staged(tmp_path, poll=LONG + rows)


def test_a_question_of_two_sources_names_both(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    for name in ("poll", "again"):
        (tmp_path / f"{name}.csv").write_text(LONG + "1,2024-01-02,age,31\n")
    again = POLL | {"name": "again", "path": "again.csv"}
    with pytest.raises(
        SourceError, match=r'^source "again": the question "age" is told by source "poll"'
    ):
        stage(made(tmp_path, POLL, again))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([BOUGHT, BOUGHT | {"name": "more", "features": ["Plan"]}],
         'the sources "bought" and "more" tell the feature "Plan" both; each fact has one source: '
         "rename it in one of them, or leave it out."),
        ([CATALOGUE, CATALOGUE | {"name": "more"}],
         'the sources "catalogue" and "more" tell the feature "price" both;'),
        ([BOUGHT | {"columns": {"user_id": "who"}}],
         'source "bought" of kind "attributes" maps no valid_from; add it under columns.'),
        ([BOUGHT | {"columns": BOUGHT["columns"] | {"item_id": "sku"}}],
         'source "bought" of kind "attributes" maps both user_id and item_id; it tells of users or'),
        ([BOUGHT | {"columns": {"valid_from": "since"}}],
         'source "bought" of kind "attributes" maps no user_id and no item_id;'),
        ([BOUGHT | {"features": []}],
         'source "bought" of kind "attributes" has no features; name the columns that are facts.'),
        ([BOUGHT | {"features": ["Cutoff_at"]}],
         'source "bought" has the feature "Cutoff_at"; user_id, item_id, cutoff_at, known_at, _none are'),
        ([POLL | {"columns": {"user_id": "who", "event_at": "at", "answer": "said"}}],
         'source "poll" maps answer and no question; a survey in rows has both.'),
        ([POLL | {"columns": {"user_id": "who", "event_at": "at"}}],
         'source "poll" of kind "survey" says not what was asked; map question and answer, or name'),
        ([POLL | {"columns": {"user_id": "who", "question": "q", "answer": "a"}}],
         'source "poll" of kind "survey" maps no event_at; add it under columns.'),
        ([POLL | {"kind": "users"}],
         'source "poll" of kind "users" maps question, which a source of kind "survey" has; remove it'),
        ([CATALOGUE | {"columns": {"item_id": "sku", "valid_to": "until"}}],
         'source "catalogue" maps valid_to and no valid_from; a fact that ends has begun: add it.'),
        ([SHOP | {"name": "more", "features": ["age"]}],
         "source \"more\" of kind \"events\" sets features = ['age']; what is known of users or items"),
    ],
)  # fmt: skip
def test_contradictions_are_named(tmp_path, sources, message):
    with pytest.raises(ConfigError) as error:
        made(tmp_path, *sources)
    assert message in str(error.value)
    assert str(error.value).startswith("behavsql.toml: ")


# --- whole builds ---


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Config:
    """All kinds of facts beside a clickstream, up to the matrix."""
    made = facts_data.project(tmp_path_factory.mktemp("facts"))
    build(made, select=("staging", "features.matrix"), progress=QUIET)
    return made


def _opened(made: Config, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(made.warehouse / ".work" / "build.duckdb"), read_only=read_only)


def _cutoffs(made: Config) -> list[datetime]:
    with _opened(made) as con:
        query = "select distinct cutoff_at from cutoffs.cutoffs order by 1"
        return [at for (at,) in con.execute(query).fetchall()]


@pytest.mark.parametrize("place", [0, -6, -1])
def test_facts_see_only_the_past(built, place):
    leaks = find_leaks(built, load_catalog(built), _cutoffs(built)[place])
    assert [f"{leak.file} {leak.column} {leak.count_rows}" for leak in leaks] == []


def test_the_latest_rows_know_what_was_told_last(built):
    told = (
        'select count(*), count("Happy?"), count(income), count(last_item_price), '
        "count(last_item_grade), count(distinct last_item_price_ratio) from features.latest"
    )
    with _opened(built) as con:
        rows, *known = con.execute(told).fetchall()[0]
        wrong = con.execute(
            "select count(*) from features.matrix where (segment is not null) and "
            "date_diff('day', timestamp '2024-01-01', cutoff_at) % 40 > 29"
        ).fetchall()
    assert rows > 20 and min(known) > 5
    assert wrong == [(0,)]  # between two ranges nothing is known


def _leaking(made: Config) -> None:
    """A project's own file in the place of ours: facts as they are in the end."""
    folder = made.folder / "sql" / "4_features"
    folder.mkdir(parents=True)
    text = shipped().files["features.user_facts"].sql
    (folder / "user_facts.sql").write_text(
        "-- purpose: facts, whenever they were told\n-- grain:   user_id, cutoff_at\n"
        "-- inputs:  cutoffs.cutoffs, staging.user_facts\n-- version: 1\n"
        + text[text.index("select") :].replace(
            "facts.known_at <= cutoffs.cutoff_at",
            "facts.known_at <= cutoffs.cutoff_at + interval '30 days'",
        )
    )


def test_a_file_that_reads_facts_too_early_is_named(tmp_path, monkeypatch):
    few_files(monkeypatch, "features.user_facts")
    made = facts_data.project(tmp_path)
    _leaking(made)
    build(made, select=("features.matrix",), progress=QUIET)
    leaks = find_leaks(made, load_catalog(made), _cutoffs(made)[-6])
    assert {(Path(leak.file).name, leak.column) for leak in leaks} >= {
        ("user_facts.sql", "Happy?"), ("user_facts.sql", "segment"), ("user_facts.sql", "stars"),
    }  # fmt: skip


def test_parts_make_the_same_facts(built, tmp_path):
    made = facts_data.project(tmp_path, partitions=2)
    tables = ("staging.user_facts", "staging.users", "features.user_facts", "features.last_item")
    build(made, select=tables, progress=QUIET)
    with _opened(made) as con, _opened(built) as other:
        for table in tables:
            query = f"select columns(*)::varchar from {table} order by all"
            found = con.execute(query).fetchall()
            assert found == other.execute(query).fetchall() and len(found) > 100


def test_live_views_read_the_same_facts(built, tmp_path):
    """As of an event inserted, what has become known since counts too, as in the next build."""
    with _opened(built, read_only=False) as con:
        con.execute(f"attach '{built.warehouse / '.work' / 'raw.duckdb'}' as raw (read_only)")
        with live.Views(con, load_catalog(built), built) as views:
            assert views.create() == ""
        names = [
            "Happy?",
            "income",
            "segment",
            "country",
            "last_item_price",
            "last_item_price_ratio",
        ]
        listed = ", ".join(map(identifier, names))
        query = f"select user_id, {listed} from {{}} order by user_id"
        assert (
            con.execute(query.format("live.features")).fetchall()
            == con.execute(query.format("features.latest")).fetchall()
        )
        newest = con.execute("select max(event_at) from staging.events").fetchall()[0][0]
        later = newest + timedelta(days=4)
        con.execute(
            "insert into live.inbox (user_id, item_id, event_type, event_at) values (3, 6, 'view', ?)",
            [later],
        )
        cutoff, price = con.execute(
            "select cutoff_at, last_item_price from live.features where user_id = 3"
        ).fetchall()[0]
        assert cutoff.date() == later.date()
        told = "select price from staging.item_prices where item_id = 6 and known_at <= ? order by known_at"
        assert price == con.execute(told, [cutoff]).fetchall()[-1][0]
        happy = 'select "Happy?" from {} where user_id = 3 {}'
        known = con.execute(
            happy.format("staging.user_facts", "and known_at <= ? order by known_at desc limit 1"),
            [cutoff],
        ).fetchall()
        assert con.execute(happy.format("live.features", "")).fetchall() == known
