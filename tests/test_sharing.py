"""The file to give away: what is in it, column by column, and what an attacker makes of it."""

from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest
from clickstream import clickstream
from conftest import prebuilt, project, run

from behavsql import config
from behavsql.database_file import reading
from behavsql.errors import ConfigError, WarehouseError
from behavsql.privacy import sharing
from behavsql.privacy.sharing import share

# Everything that may be in it. What is added to the file must be added here, and thought about.
COLUMNS = {
    "meta.about": {"k": "BIGINT", "behavsql_version": "VARCHAR"},
    "meta.tasks": {"task": "VARCHAR", "question": "VARCHAR", "status": "VARCHAR", "metric": "VARCHAR",
                   "horizon_days": "DOUBLE"},
    "report.activity": {"week_at": "DATE", "count_users": "BIGINT", "count_events": "BIGINT",
                        "count_purchases": "BIGINT", "purchase_value": "DOUBLE"},
    "report.calibration": {"task": "VARCHAR", "tenth": "BIGINT", "count_users": "BIGINT",
                           "count_questions": "BIGINT", "mean_score": "DOUBLE", "mean_label": "DOUBLE"},
    "report.leaderboard": {"task": "VARCHAR", "model": "VARCHAR", "family": "VARCHAR",
                           "is_published": "BOOLEAN", "metric": "VARCHAR", "value": "DOUBLE",
                           "low": "DOUBLE", "high": "DOUBLE"},
}  # fmt: skip
WORDS = ("task", "question", "status", "metric", "model", "family", "behavsql_version")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> config.Config:
    """A shop of 300 users whose last week has three."""
    folder = tmp_path_factory.mktemp("shop")
    events = clickstream(300, 80, seed=4)
    late = events["at"].max() + pl.duration(days=8)
    more = events.head(3).with_columns(
        at=late, user=pl.Series([1, 2, 3], dtype=events["user"].dtype)
    )
    named = pl.concat([events, more]).with_columns(
        user=pl.format("person-{}-of-shop", "user"), category=pl.lit("secret-category"),
        device=pl.lit("secret-device"),
    )  # fmt: skip
    made = project(folder, named, only=("purchase",))
    prebuilt(made)
    return made


@pytest.fixture(scope="module")
def shared(shop: config.Config) -> Path:
    path = shop.folder / "shared.duckdb"
    share(shop, path)
    return path


def test_it_has_the_columns_that_are_listed_and_nothing_else(shared):
    with reading(shared) as con:
        rows = con.execute(
            "select schema_name || '.' || table_name, column_name, data_type, comment "
            "from duckdb_columns() where database_name = 'file'"
        ).fetchall()
        views = con.execute(
            "select count(*) from duckdb_views() where database_name = 'file' and not internal"
        ).fetchall()
        functions = con.execute(
            "select count(*) from duckdb_functions() where database_name = 'file' and not internal"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, type_, comment in rows:
        found.setdefault(table, {})[column] = type_
        assert comment, (table, column)
    assert found == COLUMNS
    assert views == functions == [(0,)]


def test_its_texts_are_names_of_ours_and_its_bytes_hold_no_value_of_the_data(shop, shared):
    held = shared.read_bytes()
    for secret in (b"of-shop", b"secret-category", b"secret-device"):
        assert secret not in held
    with reading(shared) as con:
        for table, columns in COLUMNS.items():
            texts = [name for name, type_ in columns.items() if type_ == "VARCHAR"]
            assert set(texts) <= set(WORDS)
            told = str(con.execute(f"from {table}").fetchall())
            assert "person" not in told and "secret" not in told


def test_no_cell_is_of_fewer_than_k_users_and_counts_are_rounded(shop, shared):
    with reading(shared) as con, closing(duckdb.connect()) as own:
        own.execute(f"attach '{shop.warehouse / 'behaviour.duckdb'}' as shop (read_only)")
        for table, columns in COLUMNS.items():
            for column in columns:
                if column.startswith("count_"):
                    wrong = f"select count(*) from {table} where {column} % 10 <> 0 or {column} < 0"
                    assert con.execute(wrong).fetchall() == [(0,)], (table, column)
        small = own.execute(
            "select week_at from shop.report.activity where count_users < 10 order by all"
        ).fetchall()
        empty = con.execute(
            "select week_at from report.activity where count_users is null order by all"
        ).fetchall()
        assert small == empty and small
        told = con.execute(
            "select count(*) from report.activity where count_users is null "
            "and coalesce(count_events, count_purchases, purchase_value) is not null"
        ).fetchall()
        assert told == [(0,)]


def test_of_few_who_have_the_answer_nothing_is_told(shop, shared):
    """Nobody of a tenth bought, or nearly all: which of them is then known of each."""
    with reading(shared) as con, closing(duckdb.connect()) as own:
        own.execute(f"attach '{shop.warehouse / 'behaviour.duckdb'}' as shop (read_only)")
        rows = dict(con.execute("select tenth, mean_label from report.calibration").fetchall())
        cells = own.execute("""
            with ranked as (
                select user_id, label, ntile(10) over (order by score, user_id, cutoff_at) as tenth
                from shop.models.scores semi join shop.models.models as m using (model_id)
                where split = 'test' and model_id in (from (select model_id from shop.models.models where is_published))
            )
            select tenth, count(distinct user_id) filter (where label <> 0) as some,
                count(distinct user_id) filter (where label = 0) as none
            from ranked group by tenth
        """).fetchall()
    assert len(cells) == 10
    for tenth, some, none in cells:
        if 0 < some < 10 or 0 < none < 10 or some + none < 10:
            assert rows[tenth] is None


def test_the_difference_of_all_and_the_rest_does_not_tell_the_small_cell(shop, shared):
    """An attacker who knows the true total takes the told cells from it."""
    with reading(shared) as con, closing(duckdb.connect()) as own:
        own.execute(f"attach '{shop.warehouse / 'behaviour.duckdb'}' as shop (read_only)")
        total = own.execute("select sum(count_events) from shop.report.activity").fetchall()[0][0]
        hidden = own.execute(
            "select sum(count_events) from shop.report.activity where count_users < 10"
        ).fetchall()[0][0]
        told, cells = con.execute(
            "select sum(count_events), count(count_events) from report.activity"
        ).fetchall()[0]
    # What is left is known to half of k for each cell: no better than that it is small.
    assert cells >= 5 and abs((total - told) - hidden) <= 5 * cells
    assert any(
        round(exact / 10) * 10 != exact
        for exact in [total, hidden]
    )  # fmt: skip


def test_a_larger_k_tells_less(shop, tmp_path):
    more = shop.model_copy(update={"privacy": shop.privacy.model_copy(update={"k": 100})})
    share(more, tmp_path / "more.duckdb")
    with reading(tmp_path / "more.duckdb") as con:
        assert con.execute("select k from meta.about").fetchall() == [(100,)]
        told = con.execute(
            "select count_users from report.activity where count_users is not null"
        ).fetchall()
        assert {count % 100 for (count,) in told} <= {0}


def test_an_error_says_what_to_do_and_leaves_nothing_half_made(shop, shared, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"there is no folder .*nowhere; allowed is a file in one"
    ):
        share(shop, tmp_path / "nowhere" / "given.duckdb")
    with pytest.raises(ConfigError, match="is there already"):
        share(shop, shared)
    nowhere = shop.model_copy(update={"folder": tmp_path})
    with pytest.raises(WarehouseError, match="behavsql build"):
        share(nowhere, tmp_path / "a.duckdb")
    monkeypatch.setitem(sharing._TABLES, "report.more", ("more", "select 1/0 from source.nothing"))
    with pytest.raises(duckdb.Error):
        share(shop, tmp_path / "b.duckdb")
    assert list(tmp_path.glob("*")) == []


def test_the_command_says_what_is_in_it(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(shop.folder)
    Path("behavsql.toml").write_text(
        '[[source]]\nname = "shop"\npath = "events.parquet"\ncolumns = { user_id = "user", event_at = "at" }\n'
    )
    told = run("publish", "--share", str(tmp_path / "x.duckdb"))
    assert told.exit_code == 0 and "sums over at least 10 users" in told.output
    assert (
        "report.activity" in run("publish", "--share", str(tmp_path / "y.duckdb"), "--json").output
    )
