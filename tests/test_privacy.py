"""Pseudonyms, columns left out and coarsened, events too old: what must not be is in no file."""

import hmac
import os
import re
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import Heard, project, run, stage

from behavsql import config
from behavsql.database_file import reading
from behavsql.errors import ConfigError, SourceError
from behavsql.pipeline import build, update
from behavsql.privacy import key
from behavsql.privacy.columns import coarsened
from behavsql.progress import Progress

KEY = "correct horse battery staple, twice"
EVENTS = {"user_id": "user", "event_at": "at", "event_type": "type"}
FORM = re.compile(key.FORM)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key.VARIABLE, KEY)


def hashed(user: str) -> str:
    return hmac.new(KEY.encode(), user.encode(), "sha256").hexdigest()[:32]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(path: Path) -> str:
    """Every value of every table of a DuckDB file, as text."""
    with reading(path) as con:
        tables = con.execute(
            "select database_name, schema_name, table_name from duckdb_tables() where database_name = 'file'"
        ).fetchall()
        return "\n".join(
            str(con.execute(f'from "{a}"."{b}"."{c}"').fetchall()) for a, b, c in tables
        )


def shop(folder: Path, **parts: object) -> config.Config:
    parts = {"privacy": {"pseudonyms": True}, "only": ("purchase",)} | parts
    privacy = parts.pop("privacy")
    made = project(folder, clickstream(200, 80, seed=4), **parts)
    return config.from_dict(made.model_dump(exclude_unset=True) | {"privacy": privacy}, folder, "b")


def small(folder: Path, text: str, privacy: dict | None = None, **parts: object) -> config.Config:
    (folder / "e.csv").write_text(text)
    source = {"name": "log", "path": "e.csv", "columns": EVENTS} | parts
    return config.from_dict({"source": [source], "privacy": privacy or {}}, folder, "b")


@pytest.mark.parametrize("secret", ["k" * 32, "x" * 64, "long" * 40, "ключ" * 10])
def test_sql_makes_the_hmac_that_python_makes(secret):
    users = ["17450", "", "häns|a", "it's", "x" * 300]
    with closing(duckdb.connect()) as con, key.installed(con, secret.encode()):
        for user in users:
            told = con.execute(
                f"select {key.sql_pseudonym('?')}, {key.sql_tombstone('?')}", [user, user]
            ).fetchall()  # fmt: skip
            assert told == [
                (key.pseudonym(secret.encode(), user), key.tombstone(secret.encode(), user))
            ]
        assert con.execute(f"select {key.sql_pseudonym('null::varchar')}").fetchall() == [(None,)]
    with closing(duckdb.connect()) as con, pytest.raises(duckdb.Error, match="no key"):
        con.execute(f"select {key.sql_pseudonym('range::varchar')} from range(3)").fetchall()


def test_every_source_gives_a_user_the_same_pseudonym(tmp_path):
    (tmp_path / "people.csv").write_text("who,plan\n17450,gold\n")
    (tmp_path / "survey.csv").write_text("who,at,likes\n17450,2024-01-01,cats\n")
    pl.DataFrame({"user": [17450.0, 17450.0], "at": [datetime(2024, 1, 2, 10)] * 2,
                  "type": ["view", "cart"]}).write_parquet(tmp_path / "e.parquet")  # fmt: skip
    made = config.from_dict({"privacy": {"pseudonyms": True}, "source": [
        {"name": "log", "path": "e.parquet", "columns": EVENTS},
        {"name": "people", "kind": "users", "path": "people.csv", "columns": {"user_id": "who"},
         "features": ["plan"]},
        {"name": "asked", "kind": "survey", "path": "survey.csv", "features": ["likes"],
         "columns": {"user_id": "who", "event_at": "at"}},
    ]}, tmp_path, "b")  # fmt: skip
    con = stage(made)
    user = hashed("17450")
    assert con.execute("select distinct user_id from staging.events").fetchall() == [(user,)]
    assert con.execute("select user_id from staging.users").fetchall() == [(user,)]
    assert {row[0] for row in con.execute("from staging.user_facts").fetchall()} == {user}
    assert con.execute("select count(*) from staging.rejected").fetchall() == [(0,)]


def test_a_user_of_several_columns_is_hashed_as_one(tmp_path):
    columns = EVENTS | {"user_id": ["user", "term"]}
    made = small(tmp_path, "user,term,type,at\n1,A,view,2024-01-02 10:00\n", {"pseudonyms": True},
                 columns=columns)  # fmt: skip
    con = stage(made)
    assert con.execute("select user_id from staging.events").fetchall() == [(hashed("1|A"),)]
    assert "term" not in str(con.execute("describe staging.event_attributes").fetchall())


def test_no_file_and_no_output_holds_an_id_or_the_key(tmp_path, capfd):
    events = clickstream(150, 80, seed=4).with_columns(user=pl.format("person-{}-of-shop", "user"))
    made = shop(tmp_path, settings={"threads": 1})
    events.write_parquet(tmp_path / "events.parquet")
    build(made, progress=Progress())
    for path, held in files(made.warehouse).items():
        assert b"of-shop" not in held and KEY.encode() not in held, path
    published = made.warehouse / "behaviour.duckdb"
    for path in (
        published,
        made.warehouse / ".work/build.duckdb",
        made.warehouse / ".work/raw.duckdb",
    ):
        told = texts(path)
        assert "of-shop" not in told and KEY not in told and KEY.encode().hex() not in told
        assert hashed("person-7-of-shop") in told
    assert (
        run("query", "from customers", "--json", "--warehouse", str(made.warehouse)).exit_code == 0
    )
    said = capfd.readouterr()
    assert KEY not in said.out + said.err and "of-shop" not in said.out + said.err
    with reading(published) as con:
        told = con.execute(
            "select comment from duckdb_functions() where comment is not null"
        ).fetchall()
        assert "of-shop" not in str(told)


def test_the_key_must_be_there_and_stay_the_same(tmp_path, few, monkeypatch):
    made = small(tmp_path, "user,type,at\n1,view,2024-01-02 10:00\n", {"pseudonyms": True})
    for short in ("", "short"):
        monkeypatch.setenv(key.VARIABLE, short)
        with pytest.raises(ConfigError, match=r"at least 32 characters.*openssl rand"):
            build(made, progress=Progress(quiet=True))
    monkeypatch.setenv(key.VARIABLE, KEY)
    build(made, progress=Progress(quiet=True))
    monkeypatch.setenv(key.VARIABLE, KEY + "!")
    with pytest.raises(ConfigError, match=r"another key.*check value") as error:
        build(made, progress=Progress(quiet=True))
    assert KEY not in str(error.value)


def test_the_inbox_takes_pseudonyms_and_nothing_else(tmp_path, few):
    made = shop(tmp_path, only=())
    path = build(made, progress=Progress(quiet=True)).path
    with closing(duckdb.connect(str(path))) as con:
        with pytest.raises(duckdb.ConstraintException):
            con.execute("insert into live.inbox (user_id, event_type) values ('7', 'view')")
        con.execute("insert into live.inbox (user_id, event_type, event_at) select "
                    f"'{hashed('7')}', 'purchase', max(event_at) from staging.events")  # fmt: skip
        assert con.execute(
            "select count(*) from live.events where source = 'inbox'"
        ).fetchall() == [(1,)]
    build(made, progress=Progress(quiet=True))
    with reading(path) as con:
        told = con.execute("select user_id from staging.events where source = 'inbox'").fetchall()
    assert told == [(hashed("7"),)]


def test_what_is_dropped_or_coarsened_reaches_no_file(tmp_path):
    events = clickstream(150, 80, seed=4).with_columns(
        email=pl.format("u{}@example.org", "user"), ip=pl.lit("203.0.113.77"),
        born=pl.lit(date(1981, 7, 23)), income=pl.lit(43_217), phone=pl.lit("555-0199"),
    )  # fmt: skip
    made = shop(
        tmp_path, privacy={}, drop=["email"],
        coarsen={"ip": "/24", "born": "year", "income": 1000, "phone": "pseudonym"},
    )  # fmt: skip
    events.write_parquet(tmp_path / "events.parquet")
    build(made, progress=Progress(quiet=True))
    for path, held in files(made.warehouse).items():
        for secret in (b"@example.org", b"203.0.113.77", b"555-0199"):
            assert secret not in held, (path, secret)
    with reading(made.warehouse / "behaviour.duckdb") as con:
        told = con.execute(
            "select distinct ip, born, income, phone from staging.event_attributes"
        ).fetchall()
        columns = str(con.execute("describe staging.event_attributes").fetchall())
    assert told == [("203.0.113.0", "1981", 43_000, hashed("555-0199"))]
    assert "email" not in columns


@pytest.mark.parametrize(
    ("value", "rule", "kept"),
    [
        ("203.0.113.77", "/24", "203.0.113.0"),
        ("203.0.113.77", "/8", "203.0.0.0"),
        ("2001:DB8:a:b::7", "/24", "2001:db8:a::"),
        ("::1", "/24", "::"),
        ("no address", "/16", None),
        ("1981-07-23", "year", "1981"),
        ("1981-07-23 12:30", "month", "1981-07"),
        ("1981-07-23 12:30", "week", "1981-07-20"),
        ("yesterday", "day", None),
        ("1981-07-23 12:30", "hour", datetime(1981, 7, 23, 12)),
        ("57", 10, 50),
        ("-57", 10, -60),
        ("0.37", 0.25, 0.25),
        ("much", 10, None),
        ("52.520008", "2 decimals", 52.52),
        (None, "/24", None),
        (None, "pseudonym", None),
    ],
)
def test_a_rule_keeps_what_it_says_and_misses_what_it_cannot_read(value, rule, kept):
    sql = coarsened("x", {"x": "VARCHAR"}, rule)
    with closing(duckdb.connect()) as con, key.installed(con, KEY.encode()):
        assert con.execute(f"select {sql} from (select ?::varchar as x)", [value]).fetchall() == [
            (kept,)
        ]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"drop": ["user"]}, 'drops "user" and maps it as user_id'),
        ({"drop": ["a"], "coarsen": {"a": 10}}, 'both drops and coarsens "a"'),
        ({"coarsen": {"a": "little"}}, '"little" coarsens nothing'),
        ({"coarsen": {"a": 0}}, "is no step"),
        ({"coarsen": {"user": "pseudonym"}}, "pseudonyms = true"),
        ({"coarsen": {"at": "year"}}, 'allowed are "day" and "hour"'),
        ({"url": "sqlite:///a.db", "path": None, "table": "t", "watermark": "user"}, "watermark"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(tmp_path, parts, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        small(tmp_path, "", {"pseudonyms": True}, **parts)


def test_a_misspelt_column_is_not_passed_over(tmp_path):
    text = "user,type,at,email\n1,view,2024-01-02 10:00,a@b\n"
    for parts in ({"drop": ["e-mail"]}, {"coarsen": {"e-mail": "pseudonym"}}):
        with pytest.raises(SourceError, match=r'no column "e-mail".*Did you mean "email"'):
            stage(small(tmp_path, text, **parts))


def test_events_past_retention_do_not_enter_and_are_counted(tmp_path, few):
    made = shop(tmp_path, privacy={"retention_days": 30}, only=())
    build(made, progress=Progress(quiet=True))
    with reading(made.warehouse / ".work/raw.duckdb") as con:
        first, last = con.execute("select min(event_at), max(event_at) from loaded").fetchall()[0]
    assert timedelta(days=29) < last - first <= timedelta(days=31)
    with reading(made.warehouse / "behaviour.duckdb") as con:
        told = con.execute(
            "select count_rows_in, count_rows_removed from staging.ledger where rule = 'past_retention'"
        ).fetchall()
        kept = con.execute("select count(*) from staging.events").fetchall()[0][0]
    rows = len(clickstream(200, 80, seed=4))
    assert told == [(rows, rows - kept)] and 0 < kept < rows


def test_an_update_keeps_out_what_is_too_old_and_reads_all_again_before_it_piles_up(
    tmp_path, quick, few
):
    events = clickstream(300, 80, seed=4).sort("at")
    made = shop(tmp_path, privacy={"retention_days": 60}, path="events*.parquet")
    cut = events["at"].max() - timedelta(days=12)
    events.filter(pl.col("at") < cut).write_parquet(tmp_path / "events.parquet")
    build(made, progress=Progress(quiet=True))
    old = events.head(5).with_columns(at=events["at"].min() - timedelta(days=9))
    soon = events.filter((pl.col("at") >= cut) & (pl.col("at") < cut + timedelta(days=1)))
    pl.concat([soon, old]).write_parquet(tmp_path / "events2.parquet")
    heard = Heard()
    update(made, progress=heard)
    assert not any("read again" in line for line in heard.lines)
    withheld = "select count_rows_removed from staging.ledger where rule = 'past_retention'"
    with reading(made.warehouse / "behaviour.duckdb") as con:
        before = events.filter(pl.col("at") < cut)
        first = (before["at"].max() - timedelta(days=60)).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        too_old = len(before.filter(pl.col("at") < first))
        assert con.execute(withheld).fetchall() == [(too_old + 5,)]
    events.filter(pl.col("at") >= cut + timedelta(days=1)).write_parquet(
        tmp_path / "events3.parquet"
    )
    update(made, progress=heard)
    assert any("older than retention_days" in line for line in heard.lines)


def test_rows_of_a_database_are_landed_with_pseudonyms_and_without_what_is_dropped(tmp_path, few):
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("create table events (id integer, user, term, type, at, email, income)")
        con.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", [
            (n, f"person-{n % 3}-of-shop", "A", "view", f"2024-01-0{n} 10:00", "a@example.org", 1234)
            for n in range(1, 6)
        ])  # fmt: skip
        con.commit()
    source = {"name": "db", "url": "sqlite:///shop.db", "table": "events", "watermark": "id",
              "columns": EVENTS | {"user_id": ["user", "term"]}, "drop": ["email"],
              "coarsen": {"income": 100}}  # fmt: skip
    made = config.from_dict({"privacy": {"pseudonyms": True}, "source": [source]}, tmp_path, "b")
    build(made, progress=Progress(quiet=True))
    for path, held in files(made.warehouse).items():
        assert b"of-shop" not in held and b"@example" not in held, path
    landed = made.warehouse / ".work/landing/db"
    rows = duckdb.sql(f"from read_parquet('{landed}/*.parquet')").pl()
    assert "email" not in rows.columns and set(rows["income"]) == {1200}
    assert set(rows["user"]) == {hashed(f"person-{n}-of-shop|A") for n in range(3)}
    with reading(made.warehouse / ".work/raw.duckdb") as con:
        users = {row[0] for row in con.execute("select user_id from loaded").fetchall()}
    assert users == set(rows["user"])
    assert oct(landed.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in landed.iterdir()} == {"600"}


def test_quotes_in_names_and_values_of_the_settings_reach_no_sql(tmp_path):
    text = 'user,type,at,"an ""odd"" col\'umn","x;drop"\n1,view,2024-01-02 10:00,5,6\n'
    made = small(tmp_path, text, drop=["x;drop"], coarsen={'an "odd" col\'umn': 10})
    con = stage(made)
    assert con.execute("from staging.event_attributes").fetchall()[0][-1] == 0
    assert os.environ[key.VARIABLE] == KEY


def test_the_command_says_what_a_user_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("behavsql.toml").write_text(
        '[privacy]\npseudonyms = true\n[[source]]\nname = "a"\npath = "a.csv"\n'
        'columns = { user_id = "u", event_at = "at" }\n'
    )
    assert run("pseudonym", "17450").output == f"{hashed('17450')}\n"
    assert hashed("8") in run("pseudonym", "17450", "8", "--json").output
    Path("behavsql.toml").write_text(Path("behavsql.toml").read_text().replace("true", "false"))
    told = run("pseudonym", "17450")
    assert told.exit_code == 2
