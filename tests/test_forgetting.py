"""Being forgotten: in no byte of any file below warehouse/, packed or unpacked, and not back again."""

import gzip
import io
import re
import sqlite3
import zipfile
import zlib
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import prebuilt, project, run

from behavsql import config, publishing
from behavsql.database_file import reading
from behavsql.errors import BehavsqlError, ConfigError, LockedError
from behavsql.pipeline import build
from behavsql.privacy import forgetting, key, purge
from behavsql.privacy.forgetting import forget
from behavsql.progress import Progress
from behavsql.quoting import identifier

KEY = "a key that nobody guesses, and long"
BASE = 7_310_223_344_556_000  # numbers that stand nowhere by chance
QUIET = Progress(quiet=True)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setenv(key.VARIABLE, KEY)


def named(kind: str, user: int = 37) -> str:
    return f"person-{user}-of-shop" if kind == "text" else str(BASE + user)


def shop(
    folder: Path, kind: str = "text", only: tuple[str, ...] = (), **privacy: object
) -> config.Config:
    """Without a task there are no models, and all else."""
    events = clickstream(300, 80, seed=4)
    ids = pl.format("person-{}-of-shop", "user") if kind == "text" else pl.col("user") + BASE
    made = project(folder, events.with_columns(user=ids), only=only)
    return config.from_dict(made.model_dump(exclude_unset=True) | {"privacy": privacy}, folder, "b")


def tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return con.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'file' union all "
        "select schema_name, view_name from duckdb_views() where database_name = 'file' and not internal"
    ).fetchall()


def unpacked(content: bytes) -> bytes:
    """What a stored model's file holds, whatever it is packed with."""
    with suppress(zipfile.BadZipFile):
        archive = zipfile.ZipFile(io.BytesIO(content))
        return b"\0".join(archive.read(name) for name in archive.namelist())
    for unpack in (gzip.decompress, zlib.decompress):
        with suppress(OSError, zlib.error, EOFError):
            return unpack(content)
    return content


def found(folder: Path, user: str) -> list[str]:
    """Every file below a folder that holds an id in its bytes, or in its name."""
    as_number = int(user).to_bytes(8, "little") if user.isdigit() else user.encode()
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [
        str(path) for path, content in held.items()
        if user.encode() in content or as_number in content or user in path.name
    ]  # fmt: skip


def found_unpacked(folder: Path, user: str) -> list[str]:
    """Every place where it is in what is read: values of tables and views, stored models, SQL."""
    places = []
    for path in folder.rglob("*.parquet"):
        if user in str(pl.read_parquet(path).to_dicts()):
            places.append(f"{path} rows")
    for path in folder.rglob("*.duckdb"):
        places += [f"{path} {place}" for place in found_in(path, user)]
    return places


def found_in(path: Path, user: str) -> list[str]:
    places = []
    with reading(path) as con:
        for schema, table in tables(con):
            if (schema, table) == ("raw", "loaded"):
                continue
            name = identifier(schema, table)
            if con.execute(
                f"select 1 from {name} as t where contains(cast(t as varchar), ?) limit 1", [user]
            ).fetchall():
                places.append(name)
        with suppress(duckdb.CatalogException):
            for model, file, content in con.execute(
                "select model_id, file, content from models.artifacts"
            ).fetchall():
                if user.encode() in unpacked(content):
                    places.append(f"{model} {file}")
        sql = con.execute(
            "select sql from duckdb_views() union all select macro_definition from duckdb_functions()"
        )
        places += ["SQL" for (text,) in sql.fetchall() if text and user in text]
    return places


def columns_that_hold(path: Path, user: str) -> set[str]:
    """schema.table.column of the tables of a file that hold an id in any form, nested too."""
    told = set()
    with reading(path) as con:
        for schema, table in tables(con):
            name = identifier(schema, table)
            columns = [row[0] for row in con.execute(f"describe {name}").fetchall()]
            asked = ", ".join(
                f"bool_or(contains(cast({identifier(column)} as varchar), $user))"
                for column in columns
            )
            held = con.execute(f"select {asked} from {name}", {"user": user}).fetchall()[0]
            told |= {
                f"{schema}.{table}.{column}"
                for column, is_held in zip(columns, held, strict=True)
                if is_held
            }
    return told


def test_users_stand_in_columns_called_user_id_and_nowhere_else(tmp_path):
    """What makes `forget` work for tables that nobody has thought of yet."""
    made = shop(tmp_path, only=("purchase",))
    path = prebuilt(made).path
    busy = (
        pl.read_parquet(tmp_path / "events.parquet")["user"]
        .value_counts()
        .sort("count")["user"][-1]
    )
    for file in (path, made.warehouse / ".work/build.duckdb", made.warehouse / ".work/raw.duckdb"):
        held = columns_that_hold(file, busy)
        assert held, file
        assert {column.rpartition(".")[2] for column in held} <= {*purge.USER_COLUMNS}, held


@pytest.mark.parametrize("kind", ["text", pytest.param("number", marks=pytest.mark.slow)])
def test_after_forget_no_byte_is_left(tmp_path, kind):
    made, user = shop(tmp_path, kind, ("purchase",)), named(kind)
    path = prebuilt(made).path
    with closing(duckdb.connect(str(path))) as con:
        con.execute("insert into live.inbox (user_id, event_type, event_at) select user_id, 'view', "
                    "max(event_at) from staging.events where user_id in (?, ?) group by user_id",
                    [user, named(kind, 38)])  # fmt: skip
    build(made, progress=QUIET)  # a version is kept
    with reading(path) as con:
        before = con.execute("select model_id, version, trained_at from models.models").fetchall()
    (tmp_path / "warehouse/.work/build.duckdb.damaged-1").write_text(f"lost {user}")
    assert len(found(made.warehouse, user)) >= 4 and found_unpacked(made.warehouse, user)
    with reading(path) as reader:  # whoever reads goes on
        done = forget(made, [user], progress=QUIET)
        assert reader.execute("select count(*) from staging.events").fetchall()
    assert done.rows["inbox"] == 1 and done.rows["staging.events"] > 1 and done.models
    assert found(made.warehouse, user) == [] == found_unpacked(made.warehouse, user)
    with reading(path) as con:
        trained = con.execute("select model_id, version, trained_at from models.models").fetchall()
        assert trained == before  # not anew
        audit = con.execute("select count_users, count_rows, models from meta.forgotten").fetchall()
        assert audit == [(1, sum(done.rows.values()), ", ".join(done.models))]
        kept = con.execute("select user_id from staging.events where source = 'inbox'").fetchall()
        assert [str(row[0]) for row in kept] == [named(kind, 38)]
        removed = con.execute(
            "select count_rows_removed from staging.ledger where source = 'shop' and rule = 'forgotten'"
        ).fetchall()
    events = pl.read_parquet(tmp_path / "events.parquet")
    assert removed == [(len(events.filter(pl.col("user").cast(str) == user)),)]
    assert done.withheld == {"shop": removed[0][0]}
    assert found(made.warehouse, named(kind, 38))


def test_a_forgotten_user_is_kept_out_only_with_the_key(tmp_path, few, monkeypatch):
    made = shop(tmp_path)
    prebuilt(made)
    forget(made, [named("text")], progress=QUIET)
    for wrong, told in (("", "is not set"), (KEY + "?", "another key")):
        monkeypatch.setenv(key.VARIABLE, wrong)
        with pytest.raises(ConfigError, match=told):
            build(made, full=True, progress=QUIET)
        with pytest.raises(ConfigError, match=told):
            forget(made, ["other"], progress=QUIET)
    register = (made.warehouse / "privacy.json").read_text()
    assert "person" not in register and KEY not in register
    assert oct((made.warehouse / "privacy.json").stat().st_mode)[-3:] == "600"
    monkeypatch.setenv(key.VARIABLE, KEY)
    build(made, full=True, progress=QUIET)
    assert found(made.warehouse, named("text")) == []


@pytest.mark.parametrize("by", ["id", pytest.param("pseudonym", marks=pytest.mark.slow)])
def test_a_user_with_a_pseudonym_is_forgotten_by_either(tmp_path, few, by):
    made = shop(tmp_path, pseudonyms=True)
    build(made, progress=QUIET)
    called = key.pseudonym(KEY.encode(), named("text"))
    assert found(made.warehouse, called)
    forget(made, [called if by == "pseudonym" else named("text")], progress=QUIET)
    assert found(made.warehouse, called) == []
    # Pseudonyms taken back: the tombstone holds.
    plain = config.from_dict(made.model_dump(exclude_unset=True) | {"privacy": {}}, tmp_path, "b")
    build(plain, progress=QUIET)
    assert found(made.warehouse, named("text")) == []


def test_another_id_that_looks_alike_stays():
    with closing(duckdb.connect()) as con:
        con.execute("create table a (user_id bigint); insert into a values (7), (8);"
                    "create schema s; create table s.b (user_id varchar); insert into s.b values ('007'), ('7')")  # fmt: skip
        assert purge.take_out(con, ["007"]) == {"s.b": 1}
        assert purge.take_out(con, ["7"]) == {"main.a": 1, "s.b": 1}
        assert con.execute("select count(*) from a").fetchall() == [(1,)]


def test_nothing_is_done_while_somebody_writes(tmp_path, few):
    made = shop(tmp_path)
    path = prebuilt(made).path
    held = (made.warehouse / ".work/build.duckdb").read_bytes()
    with closing(duckdb.connect(str(path))), pytest.raises(LockedError):
        forget(made, [named("text")], progress=QUIET)
    assert not (made.warehouse / "privacy.json").exists()
    assert (made.warehouse / ".work/build.duckdb").read_bytes() == held


@pytest.mark.parametrize(
    "place", ["put", *(pytest.param(name, marks=pytest.mark.slow)
                      for name in ("rewrite", "_make_anew", "_withheld"))]
)  # fmt: skip
def test_cut_short_anywhere_it_is_done_by_doing_it_again(tmp_path, few, monkeypatch, place):
    made, user = shop(tmp_path), named("text")
    path = prebuilt(made).path

    def dies(*_: object, **__: object) -> None:
        raise BehavsqlError("cut short")

    owner = {"rewrite": purge, "put": publishing}.get(place, forgetting)
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, dies)
        with pytest.raises(BehavsqlError, match="cut short"):
            forget(made, [user], progress=QUIET)
    if place in ("_make_anew", "_withheld"):
        assert found(made.warehouse, user) == []
    with reading(path) as con:  # whole, whichever it is
        assert con.execute("select count(*) > 0 from main.customers").fetchall() == [(True,)]
    forget(made, [user], progress=QUIET)
    assert found(made.warehouse, user) == []


def test_rows_landed_of_a_database_forget_too(tmp_path, few):
    user = named("text")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("create table events (id integer, user, type, at)")
        con.executemany("insert into events values (?, ?, 'view', ?)", [
            (n, named("text", n % 40), f"2024-0{1 + n % 5}-1{n % 9} 10:00") for n in range(300)
        ])  # fmt: skip
        con.commit()
    source = {"name": "db", "url": "sqlite:///shop.db", "table": "events", "watermark": "id",
              "columns": {"user_id": "user", "event_at": "at", "event_type": "type"}}  # fmt: skip
    made = config.from_dict({"settings": {"models": "fast"}, "source": [source]}, tmp_path, "b")
    build(made, progress=QUIET)
    assert found(made.warehouse, user)
    done = forget(made, [user], progress=QUIET)
    assert found(made.warehouse, user) == [] and done.withheld == {"db": done.rows["landed db"]}
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("insert into events values (299, ?, 'view', '2024-05-18 10:00')", [user])
        con.execute("insert into events values (301, ?, 'view', '2024-05-18 10:00')", [user])
        con.commit()
    build(made, progress=QUIET)
    assert found(made.warehouse, user) == []
    assert run("check", "-c", str(tmp_path / "none")).exit_code == 2


def test_the_command_says_what_it_did_and_never_who(tmp_path, few, monkeypatch):
    made = shop(tmp_path, only=("purchase",))
    prebuilt(made)
    (made.warehouse / "report.html").write_text(f"<p>{named('text')} will buy")
    monkeypatch.chdir(tmp_path)
    text = '[settings]\nmodels = "fast"\nthreads = 2\n[[source]]\nname = "shop"\npath = "events.parquet"\n'
    columns = made.source[0].columns.model_dump(exclude_none=True)
    listed = ", ".join(f'{name} = "{column}"' for name, column in columns.items())
    off = "".join(
        f"[tasks.{name}]\nenabled = false\n"
        for name, task in made.tasks.items()
        if not task.enabled
    )
    Path("behavsql.toml").write_text(f"{text}columns = {{ {listed} }}\n{off}")
    told = run("forget", named("text"), "-q")
    assert told.exit_code == 0, told.output
    assert "1 user forgotten" in told.stdout and "not trained anew: purchase / " in told.stdout
    assert "report.html" in told.stdout and "person-37" not in told.stdout
    assert not re.search("error|Traceback", told.output)
    again = run("forget", named("text"), "-q", "--json")
    assert '"rows": {}' in again.stdout


def test_what_a_forgotten_user_did_under_a_cookie_is_gone_too(tmp_path, few):
    rows = [
        ("", "cookie-one-of-shop", "view", 1), ("", "cookie-one-of-shop", "view", 2),
        ("person-1-of-shop", "cookie-one-of-shop", "purchase", 2), ("", "cookie-one-of-shop", "view", 3),
        ("person-2-of-shop", "cookie-two-of-shop", "view", 2), ("", "cookie-two-of-shop", "view", 4),
    ]  # fmt: skip
    lines = "".join(
        f"{user},{cookie},{type_},2024-01-0{day} 10:00\n" for user, cookie, type_, day in rows
    )
    (tmp_path / "e.csv").write_text(f"user,cookie,type,at\n{lines}")
    source = {"name": "web", "path": "e.csv", "columns": {
        "user_id": "user", "anonymous_id": "cookie", "event_type": "type", "event_at": "at"}}  # fmt: skip
    made = config.from_dict({"settings": {"models": "fast"}, "source": [source]}, tmp_path, "b")
    path = build(made, progress=QUIET).path
    assert found(made.warehouse, "person-1-of-shop") and found(made.warehouse, "cookie-one-of-shop")
    done = forget(made, ["person-1-of-shop"], progress=QUIET)
    assert done.withheld == {"web": 4}
    for one in ("person-1-of-shop", "cookie-one-of-shop"):
        assert found(made.warehouse, one) == [] == found_unpacked(made.warehouse, one)
    with reading(path) as con:
        left = con.execute("select user_id, count(*) from staging.events group by all").fetchall()
    assert left == [("person-2-of-shop", 2)]
