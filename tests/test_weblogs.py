"""Logs of web servers: each line an event or counted, pages apart from assets, robots from people."""

import gzip
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from conftest import run, stage

from behavsql import config
from behavsql.errors import ConfigError, SourceError
from behavsql.input import log_format
from behavsql.sniffing.known import format_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
SAFARI = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605"
START = datetime(2024, 5, 17, 10, 5, 3)


def line(
    request: str = "GET / HTTP/1.1", status: int | str = 200, *, address: str = "203.0.113.7",
    user: str = "-", at: datetime | str = START, referrer: str = "-", agent: str = FIREFOX,
) -> str:  # fmt: skip
    """A line of the combined format."""
    when = at if isinstance(at, str) else f"{at:%d/%b/%Y:%H:%M:%S} +0000"
    return f'{address} - {user} [{when}] "{request}" {status} 512 "{referrer}" "{agent}"'


def made(folder: Path, *lines: str, **parts: object) -> config.Config:
    (folder / "access.log").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    source = {"name": "web", "kind": "weblog", "path": "access.log"}
    settings = {"max_rejected_share": 1.0} | parts.pop("settings", {})
    return config.from_dict(
        {"source": [source | parts], "settings": settings}, folder, "behavsql.toml"
    )


CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PAGES = [f"GET /{n} HTTP/1.1" for n in range(40)]


def visit(count: int, seconds: int, address: str, **parts: object) -> list[str]:
    return [
        line(PAGES[n], at=START + timedelta(seconds=seconds * n), address=address, **parts)
        for n in range(count)
    ]


def asked(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    return con.execute(query).fetchall()


def test_a_line_becomes_an_event_with_all_that_it_says(tmp_path):
    con = stage(made(tmp_path, line(
        "GET /shop/tea?from=mail HTTP/1.1", at="17/May/2024:12:05:03 +0200",
        referrer="http://example.org/", user="ann",
    )))  # fmt: skip
    assert asked(
        con, "select user_id, item_id, event_type, role, event_at from staging.events"
    ) == [("ann", "/shop/tea", "page_view", "view", START)]
    assert asked(con, "select * exclude (user_id, event_id) from staging.event_attributes") == [
        (200, 512, "http://example.org/", FIREFOX, "GET", "/shop/tea", "from=mail")
    ]


def test_nothing_but_the_visitor_names_people(tmp_path):
    con = stage(made(tmp_path, line()))
    names = {row[0] for row in asked(con, "describe staging.event_attributes")}
    assert names.isdisjoint({"address", "remote_user", "ident"})


REQUESTS = [
    ("GET / HTTP/1.1", 200, "page_view", "/"),
    ("GET /a HTTP/1.1", 304, "page_view", "/a"),
    ("GET http://example.org/a?b#c HTTP/1.1", 200, "page_view", "/a"),
    ("GET /old", 200, "page_view", "/old"),  # HTTP/0.9
    ("POST /basket HTTP/1.1", 200, "submit", "/basket"),
    ("POST /basket HTTP/1.1", 302, "submit", "/basket"),
    ("HEAD / HTTP/1.1", 200, "probe", None),
    ("GET /old HTTP/1.1", 301, "redirect", None),
    ("GET /style.CSS?v=2 HTTP/1.1", 200, "asset", None),
    ("GET /favicon.ico HTTP/1.1", 200, "asset", None),
    ("GET /a HTTP/1.1", 404, "error", None),
    ("POST /a HTTP/1.1", 500, "error", None),
    ("-", 408, "error", None),
    (r"\x16\x03\x01", 400, "error", None),
    ("GET /a HTTP/1.1", "-", "page_view", "/a"),
]  # fmt: skip


def test_what_a_request_is(tmp_path):
    lines = [
        line(request, status, user=f"visitor{n:02d}")
        for n, (request, status, *_) in enumerate(REQUESTS)
    ]
    con = stage(made(tmp_path, *lines))
    found = asked(con, "select event_type, item_id from staging.events order by user_id")
    assert found == [(event, page) for *_, event, page in REQUESTS]


def test_a_visitor_is_who_is_logged_in_or_an_address_with_an_agent(tmp_path):
    con = stage(made(
        tmp_path, line(), line("GET /a HTTP/1.1"), line(agent=SAFARI), line(address="2001:db8::1"),
        line(user="ann"), line(user="ann", address="198.51.100.1", agent=SAFARI),
    ))  # fmt: skip
    counts = dict(asked(con, "select user_id, count(*) from staging.events group by user_id"))
    assert counts.pop("ann") == 2
    assert sorted(counts.values()) == [1, 1, 2]
    assert {user.split()[0] for user in counts} == {"203.0.113.7", "2001:db8::1"}


def test_quotes_within_quotes_belong_to_the_field(tmp_path):
    con = stage(made(tmp_path, line(r"GET /\"a\" HTTP/1.1", agent=r"My \"own\" browser \\ 1")))
    assert asked(con, "select item_id from staging.events") == [(r"/\"a\"",)]


def test_lines_in_are_events_and_rejected_rows(tmp_path):
    lines = [line(), "", line(at="99/Foo/2024:00:00:00 +0000"), "no line of a log", line("GET /a"),
             line()[:-1], line("GET /a\x01b"), "   "]  # fmt: skip
    con = stage(made(tmp_path, *lines))
    assert asked(con, "select source_row, rule, reason from staging.rejected order by all") == [
        (2, "unparsable_time", "not a time: 99/Foo/2024:00:00:00 +0000"),
        (4, "malformed_line", 'access.log line 3: does not fit log_format = "combined"'),
        (5, "malformed_line", 'access.log line 5: does not fit log_format = "combined"'),
        (6, "malformed_line", 'access.log line 6: does not fit log_format = "combined"'),
    ]
    told = "select count_rows_in, count_kept from staging.ledger where rule in ('malformed_line')"
    assert asked(con, told) == [(6, 2)]  # of eight lines two are blank, and not counted


def test_the_common_format_and_packed_logs(tmp_path):
    lines = [line(address=f"203.0.113.{n}").rsplit(' "', 2)[0] for n in range(3)]
    project = made(tmp_path, *lines[:2], log_format="common", path="access.log*")
    with gzip.open(tmp_path / "access.log.2.gz", "wt") as file:
        file.write(lines[2] + "\n")
    con = stage(project)
    assert asked(con, "select count(*), count(distinct user_id) from staging.events") == [(3, 3)]


@pytest.mark.parametrize(("format_", "text"), [
    ('$remote_addr [$time_iso8601] "$request" $status', '1.2.3.4 [2024-05-17T12:05:03+02:00] "GET /a HTTP/2" 200'),
    ("$msec|$remote_user|$request_method|$uri", "1715940303.000|ann|GET|/a"),
    ('$remote_addr "$request_uri" ${time_local}', '1.2.3.4 "/a?b=1" 17/May/2024:10:05:03 +0000'),
    ('%h %l %u %t "%r" %>s %b', '1.2.3.4 - - [17/May/2024:10:05:03 +0000] "GET /a HTTP/1.1" 200 9'),
    (r'%v:%p %a %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" %D',
     'w:443 1.2.3.4 [17/May/2024:10:05:03 +0000] "GET /a HTTP/1.1" 200 9 "-" "Firefox" 1234'),
    ("%{%d/%b/%Y:%H:%M:%S %z}t %h %m %U%q %!200{X-Id}i",
     "17/May/2024:10:05:03 +0000 1.2.3.4 GET /a?b=1 -"),
])  # fmt: skip
def test_a_format_of_ones_own(tmp_path, format_, text):
    con = stage(made(tmp_path, text, log_format=format_))
    assert asked(con, "select event_type, item_id, event_at from staging.events") == [
        ("page_view", "/a", START)
    ]


@pytest.mark.parametrize(("format_", "told"), [
    ("simple", "names no fields; allowed are common, combined, main, or the server's own words"),
    ("%h %t %j", "has %j, which is none of Apache's directives that can be read"),
    ("$remote_addr$time_local $uri", "has nothing between $remote_addr and $time_local"),
    ("$remote_addr $uri", "has to tell the time once, as one of $time_local, $time_iso8601, $msec"),
    ("$remote_addr $msec", "tells no page: it has none of $request, $request_uri, $uri"),
    ("$msec $uri", "tells nobody: it has neither $remote_addr nor $remote_user"),
    ("$remote_addr $msec $uri $request_uri", "tells uri twice"),
])  # fmt: skip
def test_a_format_that_cannot_be_meant_is_refused(tmp_path, format_, told):
    with pytest.raises(ConfigError) as error:
        made(tmp_path, line(), log_format=format_)
    assert told in str(error.value)


@pytest.mark.parametrize(("parts", "told"), [
    ({"delimiter": ";"}, 'kind "weblog" sets delimiter; a log is text whose lines log_format describes'),
    ({"kind": "events", "log_format": "common", "columns": {"user_id": "a", "event_at": "b"}},
     'kind "events" sets log_format, which a source of kind "weblog" has'),
    ({"features": ["status"]}, "sets features"),
])  # fmt: skip
def test_settings_that_a_log_cannot_have_are_refused(tmp_path, parts, told):
    with pytest.raises(ConfigError) as error:
        made(tmp_path, line(), **parts)
    assert told in str(error.value)


def test_a_file_that_is_no_log_says_what_to_do(tmp_path):
    with pytest.raises(SourceError) as error:
        stage(made(tmp_path, "user,at", "1,2024-01-01"))
    assert str(error.value).endswith(
        'source "web": no line fits log_format = "combined"; allowed are common, combined, '
        "main, or the server's own words. Copy them from its configuration (nginx: log_format, "
        "Apache: LogFormat)."
    )


def test_nginx_as_packaged_says_for_whom_it_asks(tmp_path):
    """Which is an address, and kept as little as the other."""
    lines = [
        f'{line(agent=agent)} "10.1.1.{n}"' for n, agent in enumerate((FIREFOX, SAFARI, CRAWLER))
    ]
    con = stage(made(tmp_path, *lines, log_format="main"))
    assert asked(con, "select count(distinct user_id), min(item_id) from staging.events") == [
        (2, "/")
    ]
    assert asked(con, "select count(bytes) from staging.event_attributes") == [(2,)]
    assert asked(con, "select rule from staging.rejected") == [("bot",)]
    names = {row[0] for row in asked(con, "describe staging.event_attributes")}
    assert "http_x_forwarded_for" not in names


def test_an_address_is_coarse_before_the_visitor_is_made_of_it(tmp_path):
    lines = [line(), line(address="203.0.113.9"), line(address="203.0.114.9")]
    con = stage(made(tmp_path, *lines, coarsen={"address": "/24"}))
    users = {user.split()[0] for (user,) in asked(con, "select user_id from staging.events")}
    assert users == {"203.0.113.0", "203.0.114.0"}
    assert asked(con, "select count(distinct user_id) from staging.events") == [(2,)]


@pytest.mark.parametrize(("drop", "users"), [
    (["address"], {"ann"}), (["user_agent"], {"ann", "203.0.113.7"}), (["remote_user"], {"203.0.113.7"}),
])  # fmt: skip
def test_who_asked_may_be_dropped(tmp_path, drop, users):
    con = stage(made(tmp_path, line(), line(user="ann"), drop=drop))
    assert {row[0].split()[0] for row in asked(con, "select user_id from staging.events")} == users
    names = {row[0] for row in asked(con, "describe staging.event_attributes")}
    assert ("user_agent" in names) == (drop != ["user_agent"])


def test_what_is_dropped_still_tells_robots_from_people(tmp_path):
    """Nobody's path or referrer is kept, and whoever asked for robots.txt is known for it."""
    lines = [
        *visit(10, 90, "1"), *visit(10, 90, "2", referrer="http://example.org/"),
        line("GET /robots.txt HTTP/1.1", address="3"), line(agent="-", address="4"),
    ]  # fmt: skip
    con = stage(made(tmp_path, *lines, drop=["referrer", "path", "query", "user_agent", "status"]))
    assert asked(con, "select reason from staging.rejected group by all order by all") == [
        ("a program: 10 pages without an image, script, style or referrer",),
        ("a program: asked for robots.txt",), ("a program: names no browser",),
    ]  # fmt: skip
    assert asked(con, "select user_id, count(item_id) from staging.events group by all") == [
        (2, 10)
    ]
    names = {row[0] for row in asked(con, "describe staging.event_attributes")}
    assert names == {"user_id", "event_id", "bytes", "method"}
    held = asked(con, "select cast(row_of as varchar) from raw.loaded as row_of")
    assert not any("example.org" in row for (row,) in held)


def test_a_column_that_a_log_lacks_cannot_be_dropped(tmp_path):
    with pytest.raises(SourceError, match=r'no column "refferer", which is to be dropped'):
        stage(made(tmp_path, line(), drop=["refferer"]))


def test_columns_may_be_mapped_otherwise(tmp_path):
    """As who is behind an address alone, whatever the browser."""
    con = stage(made(tmp_path, line(), line(agent=SAFARI), columns={"user_id": "address"}))
    assert asked(con, "select distinct user_id from staging.events") == [("203.0.113.7",)]


# Robots


@pytest.mark.parametrize(("lines", "told"), [
    (visit(1, 1, "1", agent=CRAWLER), f"a crawler: {CRAWLER}"),
    ([line("GET /robots.txt HTTP/1.1"), line()], "a program: asked for robots.txt"),
    (visit(30, 2, "2", referrer="/"), "a program: 30 pages in a minute"),
    (visit(10, 90, "3"), "a program: 10 pages without an image, script, style or referrer"),
    (visit(1, 1, "4", agent="-"), "a program: names no browser"),
])  # fmt: skip
def test_robots_are_told_and_counted(tmp_path, lines, told):
    con = stage(made(tmp_path, *lines, line(address="9")))
    assert asked(con, "select reason, count(*) from staging.rejected group by all") == [
        (told, len(lines))
    ]
    assert asked(con, "select count(*) from staging.events") == [(1,)]


@pytest.mark.parametrize("lines", [
    visit(29, 2, "1", referrer="/"),  # fast, and yet a person
    visit(40, 90, "2", referrer="/"),  # much
    visit(9, 90, "3"),  # few pages, as of who has no images loaded
    [*visit(40, 90, "4"), line("GET /a.css HTTP/1.1", address="4")],
    [line(f"GET /{n}.png HTTP/1.1", referrer="/") for n in range(100)],  # a page of images
])  # fmt: skip
def test_no_request_of_people_is_refused(tmp_path, lines):
    con = stage(made(tmp_path, *lines, settings={}))
    assert asked(con, "select count(*) from staging.rejected") == [(0,)]


def test_robots_may_be_kept(tmp_path):
    lines = [*visit(10, 90, "3"), line(agent=CRAWLER)]
    con = stage(made(tmp_path, *lines, settings={"bots": "keep"}))
    assert asked(con, "select count(*) from staging.events") == [(11,)]


# init


def test_init_and_build_alone_do_it(here):
    """From a log to a published file, with not a word of configuration."""
    lines = [
        line(PAGES[n % 9], address=f"203.0.113.{n % 40}", referrer="/",
             at=START + timedelta(minutes=97 * n))
        for n in range(600)
    ]  # fmt: skip
    Path("access.log").write_text("\n".join([*lines, 'torn "']) + "\n")
    assert run("init", "access.log").exit_code == 0
    text = Path("behavsql.toml").read_text()
    assert 'kind = "weblog"  # by its lines\nlog_format = "combined"  # by its lines\n' in text
    assert "# note: lines: 1 do not fit the format and will be rejected.\n" in text
    assert "address" not in text and "remote_user" not in text
    done = run("build", "-q", "--models", "fast", "-s", "staging", "-s", "sessions")
    assert done.exit_code == 0, done.stderr
    with duckdb.connect("warehouse/.work/build.duckdb", read_only=True) as con:
        assert asked(con, "select count(*) from staging.events") == [(600,)]


@pytest.mark.parametrize(("name", "text", "told"), [
    ("a.log", line() + "\n", "combined"),
    ("a.txt", line().rsplit(' "', 2)[0] + "\n", "common"),
    ("a.log", f'{line()} "203.0.113.7"\n', "main"),
    ("a.log", "user,at\n1,2024-01-01\n", None),
    ("a.csv", 'user,request\n1,"GET / HTTP/1.1"\n2,"GET /a HTTP/1.1"\n', None),
    ("a.log", "", None),
    ("a.log", "\x00\xff\n" * 9, None),
])  # fmt: skip
def test_the_format_is_told_from_the_lines(tmp_path, name, text, told):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert format_of(tmp_path / name) == told


def test_a_format_without_a_name_has_to_be_copied(tmp_path):
    (tmp_path / "shop.log").write_text(f"{line()} 0.013 edge-1\n" * 9)
    with pytest.raises(ConfigError) as error:
        format_of(tmp_path / "shop.log")
    assert "of none of the formats common, combined, main; allowed is the server's own" in str(
        error.value
    )
    assert '[[source]]\nname = "shop"\nkind = "weblog"\npath = "shop.log"\nlog_format = \'$remote_addr' in (
        str(error.value)
    )  # fmt: skip


def test_a_log_of_another_kind_says_that_there_are_web_logs(here):
    Path("app.log").write_text("INFO started\nINFO stopped\n")
    assert 'of a web server\'s log set kind = "weblog"' in run("init", "app.log").stderr


def test_a_damaged_packed_log_is_no_log(tmp_path):
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(line().encode() * 99)[:40])
    assert format_of(tmp_path / "a.log.gz") is None


def test_the_variables_of_the_named_formats():
    assert log_format.columns("combined") == [
        "address", "ident", "remote_user", "time_local", "request", "status", "bytes", "referrer",
        "user_agent",
    ]  # fmt: skip
