"""PostgreSQL and MariaDB that really run: types, encodings, watermarks, and what goes wrong there."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import stage
from database_servers import PASSWORD, Server, free_port, mariadb, postgres
from test_databases import land, made, names_of, rows_of

from behavsql.errors import SourceError
from behavsql.input import chunks, sources

COLUMNS = {"user_id": "user", "event_at": "at"}


@pytest.fixture(scope="module")
def pg() -> Iterator[Server]:
    with postgres() as server:
        execute_pg(server.url("postgres"), "create database shop", "create database latin "
                   "encoding 'LATIN1' template template0", "create database ascii encoding 'SQL_ASCII' template template0")  # fmt: skip
        yield server


@pytest.fixture(scope="module")
def my() -> Iterator[Server]:
    with mariadb() as server:
        yield server


def execute_pg(url: str, *statements: str) -> None:
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(url, autocommit=True) as con, con.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def execute_my(server: Server, *statements: str) -> list[tuple]:
    """Run statements in MariaDB; the rows of the last one."""
    import pymysql

    with closing(pymysql.connect(
        host="127.0.0.1", port=server.port, user=server.user, password=PASSWORD.encode(), database="shop",
        charset="utf8mb4", autocommit=True,
    )) as con, con.cursor() as cursor:  # fmt: skip
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall()


@pytest.fixture(params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> tuple[str, Callable[..., Any]]:
    """(URL, a function that executes statements) of either server."""
    if request.param == "postgresql":
        found = request.getfixturevalue("pg")
        return found.url("shop"), lambda *sql: execute_pg(found.url("shop"), *sql)
    found = request.getfixturevalue("my")
    return found.url("shop"), lambda *sql: execute_my(found, *sql)


def types_of(project) -> dict[str, str]:
    with duckdb.connect() as con:
        return sources.scan(con, project, project.source[0]).types


def of(folder: Path, url: str, **parts: object):
    return made(folder, **{"url": url, "columns": COLUMNS} | parts)


POSTGRES = {  # name -> (type, value, type here, value here)
    "at": ("timestamptz", "'2024-03-31 02:30:00.123456+05'", "TIMESTAMP WITH TIME ZONE",
           "2024-03-30 21:30:00.123456+00"),
    "local": ("timestamp", "'2024-03-31 02:30:00.5'", "TIMESTAMP", "2024-03-31 02:30:00.5"),
    "day": ("date", "'2024-02-29'", "DATE", "2024-02-29"),
    "endless": ("timestamptz", "'infinity'", "TIMESTAMP WITH TIME ZONE", None),
    "clock": ("time", "'12:30'", "VARCHAR", "12:30:00"),
    "span": ("interval", "'1 day 2 hours'", "VARCHAR", "1 day 02:00:00"),
    "user": ("bigint", "9223372036854775807", "BIGINT", "9223372036854775807"),
    "small": ("smallint", "-3", "SMALLINT", "-3"),
    "whole": ("integer", "7", "INTEGER", "7"),
    "exact": ("numeric(20,6)", "12345678901234.123456", "DECIMAL(20,6)", "12345678901234.123456"),
    "any_exact": ("numeric", "1.234567890123456789012345678901234567890", "VARCHAR",
                  "1.234567890123456789012345678901234567890"),
    "wide": ("numeric(60,2)", "1e50", "VARCHAR", "1" + "0" * 50 + ".00"),
    "rounded": ("numeric(9,-3)", "12345", "VARCHAR", "12000"),
    "no_number": ("numeric(9,2)", "'NaN'", "DECIMAL(9,2)", None),
    "real": ("real", "0.1", "FLOAT", "0.1"),
    "double": ("double precision", "0.1", "DOUBLE", "0.1"),
    "money": ("money", "12.34", "VARCHAR", "$12.34"),
    "is_new": ("boolean", "true", "BOOLEAN", "true"),
    "json": ("json", """'{"a": [1, "é"]}'""", "VARCHAR", '{"a": [1, "é"]}'),
    "jsonb": ("jsonb", """'{"a":1}'""", "VARCHAR", '{"a": 1}'),
    "uuid": ("uuid", "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'", "VARCHAR",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "text": ("text", "'café 😀'", "VARCHAR", "café 😀"),
    "empty": ("varchar(9)", "''", "VARCHAR", ""),
    "padded": ("char(5)", "'ab'", "VARCHAR", "ab"),
    "bytes": ("bytea", r"'\x00ff'", "BLOB", r"\x00\xFF"),
    "mood": ("mood", "'ok'", "VARCHAR", "ok"),
    "place": ("inet", "'127.0.0.1'", "VARCHAR", "127.0.0.1/32"),
    "vector": ("float8[]", "'{1,2.5}'", "DOUBLE[]", "[1.0, 2.5]"),
    'an "odd" name': ("text", "'x'", "VARCHAR", "x"),
}  # fmt: skip
MARIADB = {
    "at": ("timestamp(6) null", "'2024-03-31 02:30:00.123456'", "TIMESTAMP WITH TIME ZONE",
           "2024-03-30 21:00:00.123456+00"),
    "local": ("datetime(6)", "'2024-03-31 02:30:00.5'", "TIMESTAMP", "2024-03-31 02:30:00.5"),
    "day": ("date", "'2024-02-29'", "DATE", "2024-02-29"),
    "no_day": ("date", "'0000-00-00'", "DATE", None),
    "clock": ("time", "'-12:30:00'", "VARCHAR", "-12:30:00"),
    "year": ("year", "2024", "USMALLINT", "2024"),
    "user": ("bigint unsigned", "18446744073709551615", "UBIGINT", "18446744073709551615"),
    "tiny": ("tinyint", "-3", "TINYINT", "-3"),
    "medium": ("mediumint unsigned", "16777215", "UINTEGER", "16777215"),
    "is_new": ("boolean", "true", "TINYINT", "1"),
    "stars": ("tinyint(1)", "5", "TINYINT", "5"),
    "exact": ("decimal(30,10)", "12345678901234567890.0123456789", "DECIMAL(30,10)",
              "12345678901234567890.0123456789"),
    "whole": ("decimal(9,0) unsigned", "7", "DECIMAL(9,0)", "7"),
    "wide": ("decimal(65,30)", "1.5", "VARCHAR", "1.5" + "0" * 29),
    "real": ("float", "0.5", "DOUBLE", "0.5"),
    "double": ("double", "0.1", "DOUBLE", "0.1"),
    "json": ("json", """'{"a": [1, "é"]}'""", "VARCHAR", '{"a": [1, "é"]}'),
    "uuid": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "VARCHAR",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "latin": ("varchar(9) character set latin1", "'café'", "VARCHAR", "café"),
    "text": ("text character set utf8mb4", "'café 😀'", "VARCHAR", "café 😀"),
    "empty": ("varchar(9)", "''", "VARCHAR", ""),
    "bytes": ("varbinary(9)", "x'00ff'", "BLOB", r"\x00\xFF"),
    "bits": ("bit(20)", "5", "UBIGINT", "5"),
    "mood": ("enum('sad', 'ok')", "'ok'", "VARCHAR", "ok"),
    "moods": ("set('a', 'b')", "'a,b'", "VARCHAR", "a,b"),
    "an `odd` name": ("text", "'x'", "VARCHAR", "x"),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["shop", "latin"])
def test_postgres_types_arrive_as_they_are(pg, tmp_path, encoding):
    url = pg.url(encoding)
    columns = {name: told for name, told in POSTGRES.items()}
    if encoding == "latin":
        columns["text"] = ("text", "'café'", "VARCHAR", "café")
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in columns}
    execute_pg(
        url,
        "set client_encoding to 'UTF8'",
        "drop table if exists kinds",
        "do $$ begin create type mood as enum ('sad', 'ok'); exception when others then null; end $$",
        f"create table kinds ({', '.join(f'{quoted[n]} {t[0]}' for n, t in columns.items())})",
        f"insert into kinds values ({', '.join(told[1] for told in columns.values())})",
        f"insert into kinds values ({', '.join('null' for _ in columns)})",
    )
    project = of(tmp_path, url, table="public.kinds")
    land(project)
    assert types_of(project) == {name: told[2] for name, told in columns.items()}
    assert rows_of(project) == [tuple(told[3] for told in columns.values()), (None,) * len(columns)]


def test_mariadb_types_arrive_as_they_are(my, tmp_path):
    quoted = {name: "`" + name.replace("`", "``") + "`" for name in MARIADB}
    execute_my(
        my,
        "set sql_mode = ''",
        f"create table kinds ({', '.join(f'{quoted[n]} {t[0]}' for n, t in MARIADB.items())})",
        f"insert into kinds values ({', '.join(told[1] for told in MARIADB.values())})",
        f"insert into kinds values ({', '.join('null' for _ in MARIADB)})",
    )
    project = of(tmp_path, my.url("shop"), table="shop.kinds")
    land(project)
    assert types_of(project) == {name: told[2] for name, told in MARIADB.items()}
    assert rows_of(project) == [tuple(told[3] for told in MARIADB.values()), (None,) * len(MARIADB)]


def quoted(url: str, name: str) -> str:
    return f"`{name}`" if url.startswith("mysql") else f'"{name}"'


MARKS = {
    "number": ("decimal(12,3)", [f"{n}.5" for n in range(1, 9)]),
    "time": ("timestamp(6)", [f"'2024-01-0{n} 10:00:00.00000{n}'" for n in range(1, 9)]),
    "day": ("date", [f"'2024-01-0{n}'" for n in range(1, 9)]),
    "double": ("double precision", [f"{n}.1e300" for n in range(1, 9)]),
}


@pytest.mark.parametrize("kind", MARKS)
def test_only_rows_past_the_watermark_are_landed(server, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(chunks, "ROWS", 2)
    url, execute = server
    type_, values = MARKS[kind]
    user, at, mark = (quoted(url, name) for name in ("user", "at", "mark"))
    insert = f"insert into marked ({user}, {at}, {mark}) values "
    execute(
        "drop table if exists marked",
        f"create table marked ({user} int, {at} timestamp null, {mark} {type_} null)",
        # In another order than theirs; as text, 10 would come before 2.
        *(f"{insert} ({n}, '2024-01-01', {values[n]})" for n in (2, 0, 1)),
        f"{insert} (9, '2024-01-01', null)",
    )
    project = of(tmp_path, url, table="marked", watermark="mark")
    assert land(project).startswith("land shop 4 rows")
    assert land(project).startswith("land shop 0 rows")
    execute(f"{insert} (2, '2024-01-01', {values[2]}), (12, '2024-01-01', {values[2]})",
            f"{insert} (7, '2024-01-01', {values[7]})")  # fmt: skip
    assert land(project).startswith("land shop 3 rows")
    users = [row[0] for row in rows_of(project, '"user"')]
    assert sorted(map(int, users)) == [0, 1, 2, 2, 7, 9, 12]


@pytest.mark.parametrize("watermark", ["day", "user"])
def test_pages_end_within_rows_of_one_watermark(my, tmp_path, monkeypatch, watermark):
    from behavsql.databases import mysql

    monkeypatch.setattr(mysql.Mysql, "page", 4)
    monkeypatch.setattr(chunks, "ROWS", 3)
    days = [1, 1, 2, *[3] * 11, 4, 5, 5, 5, 5]
    rows = ", ".join(f"({n % 7}, '2024-01-01', '2024-01-0{day}')" for n, day in enumerate(days))
    execute_my(
        my,
        "create or replace table paged (user int, at datetime, day date)",
        f"insert into paged values {rows}",
    )
    project = of(tmp_path, my.url("shop"), table="paged", watermark=watermark)
    assert land(project).startswith("land shop 19 rows")
    assert sorted(rows_of(project)) == sorted(
        (str(n % 7), "2024-01-01 00:00:00", f"2024-01-0{day}") for n, day in enumerate(days)
    )
    assert land(project).startswith("land shop 0 rows")


def test_events_of_a_server_are_those_of_a_file(server, tmp_path):
    url, execute = server
    columns = {"user_id": "user", "event_at": "at", "event_type": "type", "value": "value",
               "item_id": "item"}  # fmt: skip
    rows = [(7, "2024-01-01 10:00:00", "view", "null", "'00123'"),
            (8, "2024-01-02 11:30:05.25", "purchase", "1234.5678", "''"),
            (8, "2024-01-02 11:30:05.25", "purchase", "1234.5678", "''")]  # fmt: skip
    names = ", ".join(quoted(url, name) for name in columns.values())
    user, at, type_, value, item = names.split(", ")
    execute(
        "drop table if exists happened",
        f"create table happened ({user} bigint, {at} timestamp(6) null, {type_} varchar(9), "
        f"{value} decimal(12, 4), {item} varchar(9))",
        *(f"insert into happened ({names}) values ({u}, {at!r}, '{t}', {v}, {i})"
          for u, at, t, v, i in rows),
    )  # fmt: skip
    text = "user,at,type,value,item\n" + "\n".join(
        ",".join([str(u), at, t, v.replace("null", ""), i.strip("'")]) for u, at, t, v, i in rows
    )
    (tmp_path / "events.csv").write_text(text)
    project = of(tmp_path, url, table="happened", columns=columns)
    if url.startswith(
        "mysql"
    ):  # which takes what is inserted for its own zone's, and means a moment
        execute(f"update happened set {at} = convert_tz({at}, '+00:00', @@session.time_zone)")
    land(project)
    kept = "select user_id, item_id, event_type, event_at, value from staging.events order by all"
    file = made(tmp_path, path="events.csv", url=None, table=None, columns=columns)
    with stage(project) as one, stage(file) as other:
        assert (found := one.execute(kept).fetchall()) == other.execute(kept).fetchall()
        assert len(found) == 2
        gone = "select rule, count_rows_removed from staging.ledger where count_rows_removed > 0"
        assert one.execute(gone).fetchall() == [("duplicate", 1)]


def refused(folder: Path, url: str, **parts: object) -> str:
    """What is said of a source that cannot be read; never with a password."""
    with pytest.raises(SourceError) as told:
        land(of(folder, url, **({} if "query" in parts else {"table": "people"}) | parts))
    assert PASSWORD not in str(told.value) and "wr0ng" not in str(told.value)
    return str(told.value)


def test_what_a_server_cannot_answer_is_said(server, tmp_path):
    url, execute = server
    user, at = quoted(url, "user"), quoted(url, "at")
    execute("drop table if exists people", f"create table people ({user} int, {at} date)",
            "insert into people values (1, '2024-01-01')")  # fmt: skip
    shown = f"{url.partition(':')[0]}://{url.rpartition('@')[2]}"
    port = url.rpartition(":")[2].partition("/")[0]
    wrong = url.replace(url.split("://")[1].partition("@")[0], "owner:wr0ng%20word")
    told = refused(tmp_path, wrong)
    assert told.startswith(f'behavsql.toml: source "shop": {shown} cannot be read: ')
    assert "password authentication failed" in told or "Access denied for user 'owner'" in told
    assert told.endswith("allowed is a database that answers. Start it, or mend `url`.")
    told = refused(tmp_path, url.replace(port, str(free_port())))
    assert "cannot be read: " in told and ("refused" in told)
    told = refused(tmp_path, url.replace("/shop", "/shpo"))
    assert "cannot be read: " in told and "shpo" in told
    told = refused(tmp_path, url, table="shop.gone" if "mysql" in url else "public.gone")
    assert f"{shown}: " in told and "gone" in told and "exist" in told
    assert "allowed is a table or query that it answers. Mend `table`" in told
    told = refused(tmp_path, url, query="select 1 as one; drop table people")
    assert "allowed is a table or query that it answers" in told
    told = refused(tmp_path, url, columns=COLUMNS | {"value": "vlaue"})
    assert f'{shown} has no column "vlaue"; its columns are user, at. Mend the mapping.' in told
    told = refused(tmp_path, url, watermark="usr")
    assert 'has no column "usr"; its columns are user, at. Mend `watermark`. Did you mean' in told
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_text_is_no_watermark_of_a_server(server, tmp_path):
    # Servers order texts by collations that nobody else knows.
    url, _ = server
    told = refused(tmp_path, url, query=f"select 1 as {quoted(url, 'user')}, '2024' as {quoted(url, 'at')}", watermark="at")  # fmt: skip
    assert 'watermark = "at" has no order that can be followed; allowed are columns of n' in told


def test_a_watermark_that_moved_back_is_an_error_of_servers_too(server, tmp_path):
    url, execute = server
    user, at = quoted(url, "user"), quoted(url, "at")
    execute("drop table if exists back", f"create table back ({user} int, {at} timestamp null)",
            "insert into back values (1, '2024-01-01'), (2, '2024-01-02')")  # fmt: skip
    project = of(tmp_path, url, table="back", watermark="user")
    land(project)
    execute(f"delete from back where {user} = 2")
    with pytest.raises(SourceError, match='the watermark "user" moved back: rows up to 2 were'):
        land(project)


@pytest.mark.parametrize("watermark", ["user", None])
def test_a_connection_that_is_lost_is_said_and_gone_on_from(
    server, tmp_path, monkeypatch, watermark
):
    monkeypatch.setattr(chunks, "ROWS", 40_000)
    url, execute = server
    if url.startswith("mysql"):
        rows = "select seq as `user`, cast('2024-01-01' as datetime) as at, repeat('x', 200) as text from seq_1_to_300000"
        kill = "select group_concat('kill ', id) from information_schema.processlist where info like '%repeat%' and id <> connection_id()"
    else:
        rows = (
            "select n as \"user\", timestamp '2024-01-01' as at, repeat('x', 200) as text "
            "from generate_series(1, 300000) as n"
        )
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%repeat%' and pid <> pg_backend_pid()"
    project = of(tmp_path, url, query=rows, **{"watermark": watermark} if watermark else {})
    written, killed = chunks.Chunks._put, []

    def put(self, *ends):
        if not killed:  # at once: little later a server may have sent all there is
            killed.append(True)
            for (statement,) in execute(kill) or ():
                execute(statement)
        return written(self, *ends)

    with monkeypatch.context() as patch:
        patch.setattr(chunks.Chunks, "_put", put)
        with pytest.raises(
            SourceError, match=r"the connection was lost after [0-9]+,[0-9]+ rows: "
        ) as told:
            land(project)
    assert PASSWORD not in str(told.value)
    assert ("it goes on from there" in str(told.value)) == bool(watermark)
    kept = len(names_of(project))
    assert bool(kept) == bool(watermark)
    line = land(project)
    assert ("land shop 300,000 rows" in line) == (watermark is None)
    with duckdb.connect() as con:
        relation = sources.scan(con, project, project.source[0]).relation
        counts = f'select count(*), count(distinct "user") from {relation}'
        assert con.execute(counts).fetchall() == [(300_000, 300_000)]


def test_nothing_can_be_written_to_a_server(pg, my, tmp_path):
    execute_pg(pg.url("shop"), "create table if not exists touched (n int)",
               "create or replace function touch() returns int language sql volatile as "
               "'insert into touched values (1) returning n'")  # fmt: skip
    query = 'select touch() as "user", now() as at'
    told = refused(tmp_path, pg.url("shop"), query=query)
    assert "cannot execute INSERT in a read-only transaction" in told
    execute_my(my, "create table if not exists touched (n int)", "drop function if exists touch",
               "create function touch() returns int modifies sql data begin insert into touched "
               "values (1); return 1; end")  # fmt: skip
    query = "select touch() as `user`, now() as at"
    told = refused(tmp_path, my.url("shop"), query=query)
    assert "Cannot execute statement in a READ ONLY transaction" in told
    assert execute_my(my, "select count(*) from touched") == ((0,),)


def test_text_without_an_encoding_is_an_error_unless_it_is_utf8(pg, tmp_path):
    url = pg.url("ascii")
    execute_pg(url, "create table if not exists people (\"user\" int, at date, name text)",
               "truncate people", "insert into people values (1, '2024-01-01', 'café')")  # fmt: skip
    project = of(tmp_path, url, table="people")
    land(project)
    assert rows_of(project) == [("1", "2024-01-01", "café")]
    execute_pg(url, r"insert into people values (2, '2024-01-01', E'caf\xe9')")
    told = refused(tmp_path, url)
    assert 'invalid byte sequence for encoding "UTF8": 0xe9; allowed is a' in told
    name = "convert_from(convert(name::bytea, 'LATIN1', 'UTF8'), 'SQL_ASCII') as name"
    query = f'select "user", at, {name} from people where "user" = 2'
    project = of(tmp_path, url, query=query)
    land(project)
    assert rows_of(project) == [("2", "2024-01-01", "café")]


def test_no_password_gets_into_the_warehouse(pg, tmp_path):
    from conftest import Heard

    from behavsql.pipeline import build

    execute_pg(pg.url("shop"), "drop table if exists secretly",
               "create table secretly as select n as \"user\", timestamp '2024-01-01' + n * interval '1 hour' as at "
               "from generate_series(1, 400) as n")  # fmt: skip
    heard = Heard()
    build(of(tmp_path, pg.url("shop"), table="secretly"), select=("staging",), progress=heard)
    secrets = [part.encode() for part in (PASSWORD, pg.url("").split("//")[1].partition("@")[0])]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    for content in (*(path.read_bytes() for path in files), "\n".join(heard.lines).encode()):
        assert not any(secret in content for secret in secrets)
