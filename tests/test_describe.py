"""Every published column has a comment that says what it holds."""

import doctest

import duckdb
import pytest
from sql_case_runner import built_columns, catalog

from behavsql import describe as module
from behavsql.describe import comment_columns, comment_tables, describe, glossary

PUBLISHED = {table: names for table, names in built_columns().items() if table[:4] != "raw."}
# What a source says of users is called as the source calls it.
FACTS = {*PUBLISHED["features.user_facts"]} - {"user_id", "cutoff_at"}
COLUMNS = [(column, table) for table, columns in PUBLISHED.items() for column in columns
           if column not in FACTS]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "table", "comment"),
    [
        ("user_id", "", "the user, as in the source"),
        ("count_views", "", "number of views"),
        ("count_views_1d", "", "number of views in the last day"),
        ("count_views_lifetime", "", "number of views since the user's first event"),
        ("quantity_30d", "", "pieces bought in the last 30 days"),
        ("count_orders_1d", "", "number of orders in the last day (sessions with a purchase)"),
        ("max_value_7d", "", describe("max_value").replace(",", " in the last 7 days,")),
        ("carts_per_view_30d", "", "carts per view in the last 30 days; NULL if there was no view"),
        ("days_since_last_x", "", "days from the last x to the cutoff; NULL if there was none"),
        ("value", "models.metrics", "value of the metric; NULL if it is not defined there"),
        ("color", "staging.event_attributes", "as in the source"),
        ("value", "staging.event_attributes", "as in the source"),
        ("color", "", None),
        ("7d", "", None),
        ("nonsense_30d", "", None),
    ],
)
def test_a_comment_is_told_from_the_name_and_its_parts(column, table, comment):
    assert describe(column, table) == comment


def test_the_doctests_hold():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("table", PUBLISHED)
def test_no_column_of_a_whole_build_is_left_to_its_name(table):
    columns = [column for column in PUBLISHED[table] if column not in FACTS]
    assert [column for column in columns if describe(column, table) is None] == []


def test_comments_are_short_sentences():
    comments = {describe(column, table) for column, table in COLUMNS}
    assert [text for text in comments if len(text) > 140 or text.endswith(".") or "{" in text] == []


def test_the_glossary_holds_no_entry_that_no_table_has():
    """A name, a name before a window, or schema.table.name: each is a column of a whole build."""
    names = {column for column, _ in COLUMNS}
    split = [name.rpartition("_") for name in names]
    stems = {stem for stem, _, window in split if window in module.WINDOWS}
    places = {f"{table}.{column}" for column, table in COLUMNS}
    places |= {f"{table}.*" for table in PUBLISHED}
    assert set(glossary().columns) - names - stems - places == set()
    for pattern, _ in glossary().patterns:
        assert any(pattern.fullmatch(name) for name in names | stems), pattern.pattern


def test_tables_without_a_file_are_those_the_glossary_names():
    kept = {name for name in PUBLISHED if name.startswith(("meta.", "models.", "live.inbox"))}
    assert set(glossary().tables) == kept
    assert not kept & set(catalog().files)


def _comments(con: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    found = con.execute("select column_name, comment from duckdb_columns() where not internal")
    return dict(found.fetchall())


def test_columns_of_tables_and_views_get_comments_and_unknown_ones_their_own_name():
    with duckdb.connect() as con:
        con.execute('create view seen as select 1 as user_id, 2 as "it\'s", 3 as count_views_7d')
        comment_columns(con, "main", "seen")
        assert _comments(con) == {
            "user_id": "the user, as in the source", "it's": "it's",
            "count_views_7d": "number of views in the last 7 days",
        }  # fmt: skip


def test_tables_that_no_sql_file_makes_get_comments_where_they_are_there():
    with duckdb.connect() as con:
        con.execute("create schema meta; create table meta.clock (bucket interval)")
        con.execute("create table other (x integer)")
        comment_tables(con)
        tables = con.execute("select table_name, comment from duckdb_tables() order by 1")
        assert tables.fetchall() == [("clock", "the data's own time, one row"), ("other", None)]
        assert _comments(con)["bucket"].startswith("the step of the clock: a day, or an hour")
        assert _comments(con)["x"] is None
