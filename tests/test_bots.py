"""Known crawlers are told by their user agents; people, and rows without an agent, are not."""

from collections.abc import Iterator

import duckdb
import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA, is_crawler

from behavsql.input.bots import mark_bots

PEOPLE = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    'it\'s "me"; drop table raw.events; --\n\\',
]
BOTS = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "curl/8.5.0",
    "it's Googlebot/2.1'); --\nü",
]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("create schema raw")
        yield con


def _marked(
    con: duckdb.DuckDBPyConnection, agents: list[str | None], type_: str = "varchar"
) -> tuple[int, list[str]]:
    con.execute(f"create table raw.events (user_id bigint, user_agent {type_})")
    con.execute("insert into raw.events select 1, unnest(?::varchar[])", [agents])
    count = mark_bots(con)
    return count, [row[0] for row in con.execute("from raw.bots").fetchall()]


def test_crawlers_are_found_and_people_are_not(con):
    assert _marked(con, PEOPLE + BOTS) == (len(BOTS), sorted(BOTS))


def test_an_agent_is_written_once(con):
    assert _marked(con, ["curl/8.5.0"] * 5 + PEOPLE * 3) == (1, ["curl/8.5.0"])


def test_no_agent_is_no_bot(con):
    assert _marked(con, [None, "", None]) == (0, [])


def test_no_rows_make_an_empty_table(con):
    assert _marked(con, []) == (0, [])
    assert con.execute("describe raw.bots").fetchall()[0][:2] == ("user_agent", "VARCHAR")


def test_agents_kept_as_an_enum_are_read_as_text(con):
    con.execute("create type agents as enum ('curl/8.5.0', 'Firefox')")
    assert _marked(con, ["Firefox", "curl/8.5.0", None], "agents") == (1, ["curl/8.5.0"])
    assert con.execute("describe raw.bots").fetchall()[0][:2] == ("user_agent", "VARCHAR")


def test_marking_again_replaces_what_was_marked(con):
    _marked(con, BOTS)
    con.execute("delete from raw.events where user_agent <> 'curl/8.5.0'")
    assert mark_bots(con) == 1


def test_it_agrees_with_the_lists_own_matcher(con):
    """On every agent the list knows, and on each in small letters, which often is none."""
    known = {text for entry in CRAWLER_USER_AGENTS_DATA for text in entry["instances"]}
    agents = sorted(known | {text.lower() for text in known} | set(PEOPLE))
    expected = [text for text in agents if text and is_crawler(text)]
    count, found = _marked(con, agents)
    assert len(known) < count < len(agents)
    assert found == expected
