"""`behavsql init`: what columns are taken for, what is refused, and that its file reads back."""

import tomllib
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from behavsql.cli.main import app
from typer.testing import CliRunner

from behavsql import config
from behavsql.errors import ConfigError, SourceError
from behavsql.init import render
from behavsql.sniffing import Choices, column_names, config_of, sniff, sniff_config

SHOP = """
    select i % 7 as customer_id, timestamp '2024-01-01' + to_hours(i) as ts,
        'item ' || i % 5 as stock_code,
        i % 3 as quantity, 2.5 as unit_price, 'a, "b"' as description, 'x' as country
    from range(40) as t(i)
"""


def parquet(folder: Path, select: str, name: str = "events.parquet") -> Path:
    duckdb.connect().execute(f"copy ({select}) to '{folder / name}' (format parquet)")
    return folder / name


def text(folder: Path, content: str, name: str = "events.csv") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def source_of(path: Path, **choices: str) -> dict:
    return sniff_config([path], **choices)["source"][0]


@pytest.mark.parametrize(
    ("part", "telling"),
    [
        (
            "user_id",
            [
                "user_id",
                "CustomerID",
                "visitorid",
                "client_id",
                "id_student",
                "account_number",
                "fullVisitorId",
            ],
        ),
        (
            "event_at",
            [
                "ts",
                "event_time",
                "created_at",
                "InvoiceDate",
                "t_seconds",
                "order_purchase_timestamp",
            ],
        ),
        (
            "item_id",
            ["item", "product_id", "SKU", "StockCode", "itemid", "page", "id_site", "page_url"],
        ),
        ("event_type", ["event", "event_type", "action", "event_name", "activity_type"]),
        ("type_flag", ["purchase", "purchased", "is_converted", "clicked", "bought"]),
        (
            "value",
            ["amount", "revenue", "spend", "TransactionAmount", "value_in_usd", "total_price"],
        ),
        ("price", ["price", "unit_price", "UnitPrice"]),
        ("quantity", ["qty", "Quantity"]),
        ("category", ["category", "category_code"]),
        ("title", ["title", "description", "product_name"]),
    ],
)
def test_names_that_tell_a_part(part: str, telling: list[str]) -> None:
    assert [name for name in telling if column_names.plays(part, name) is None] == []


def test_names_that_tell_nothing() -> None:
    for name in (
        "user_agent",
        "time_spent_ms",
        "session_id",
        "timezone",
        "order_delivered_customer_date",
        "page_views",
    ):
        assert all(column_names.plays(part, name) is None for part in column_names.PARTS), name


def test_a_shop_is_purchases_with_price_and_quantity(tmp_path: Path) -> None:
    assert source_of(parquet(tmp_path, SHOP)) == {
        "name": "events",
        "path": str(tmp_path / "events.parquet"),
        "default_type": "purchase",
        "columns": {
            "user_id": "customer_id", "event_at": "ts", "item_id": "stock_code",
            "price": "unit_price", "quantity": "quantity", "title": "description",
        },
    }  # fmt: skip


def test_the_textbook_table_with_a_flag(tmp_path: Path) -> None:
    path = text(
        tmp_path,
        "user_id,item_id,timestamp,purchase\n1,a,2024-01-01 10:00:00,0\n2,b,2024-01-02,1\n",
    )
    found = sniff_config([path])
    assert found["source"][0]["columns"] == {
        "user_id": "user_id", "event_at": "timestamp", "item_id": "item_id",
        "type_flag": "purchase",
    }  # fmt: skip
    assert found["types"] == {"purchase": "purchase", "view": "view"}
    assert "default_type" not in found["source"][0]


def test_a_flag_under_another_name_still_marks_purchases(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        "select 1 as uid, now()::timestamp as ts, i % 2 = 0 as has_bought from range(4) t(i)",
    )
    assert sniff_config([path])["types"] == {"has_bought": "purchase", "view": "view"}


def test_words_get_their_roles_and_unknown_ones_are_marked_as_guesses(tmp_path: Path) -> None:
    words = "['View', 'addtocart', 'transaction', 'redeem']"
    path = parquet(
        tmp_path,
        f"select i as uid, now()::timestamp as ts, {words}[i % 4 + 1] as event from range(8) t(i)",
    )
    found = sniff([str(path)], Choices())
    assert config_of(found)["types"] == {
        "addtocart": "cart", "redeem": "action", "transaction": "purchase", "view": "view",
    }  # fmt: skip
    assert 'redeem = "action"  # a guess: no list knows the word\n' in render(found)
    assert any("redeem taken as role action" in doubt for doubt in found[0].doubts)


@pytest.mark.parametrize(
    ("moment", "unit"),
    [("1433221332", "epoch"), ("1433221332117", "epoch_ms"), ("1433221332117000", "epoch_us")],
)
def test_epochs_are_told_by_their_size(tmp_path: Path, moment: str, unit: str) -> None:
    path = text(tmp_path, f"timestamp,visitorid\n{moment},1\n{moment},2\n")
    found = sniff([str(path)], Choices())[0]
    assert found.raw["at_unit"] == unit
    assert found.rows[0][found.shown.index("event_at")].replace(microsecond=0) == datetime(
        2015, 6, 2, 5, 2, 12
    )


def test_dates_written_another_way_get_their_format(tmp_path: Path) -> None:
    rows = "".join(f"1,12/{day}/2010 8:26\n" for day in range(1, 30))
    found = sniff([str(text(tmp_path, "CustomerID,InvoiceDate\n" + rows))], Choices())[0]
    assert found.raw["at_format"] == "%m/%d/%Y %H:%M"
    assert found.rows[1][found.shown.index("event_at")] == datetime(2010, 12, 2, 8, 26)


def test_day_and_month_that_cannot_be_told_apart_are_said(tmp_path: Path) -> None:
    found = sniff([str(text(tmp_path, "user,date\n1,01/02/2010\n2,03/04/2010\n"))], Choices())[0]
    assert found.raw["at_format"] == "%d/%m/%Y"
    assert 'event_at: "mm/dd/yyyy" would fit as well as "dd/mm/yyyy" (at_format).' in found.doubts


def test_choices_win(tmp_path: Path) -> None:
    select = (
        "select 'm' as module, i as student, 'x' as page, i as day, i as clicks from range(9) t(i)"
    )
    assert source_of(
        parquet(tmp_path, select), user="module,student", time="day", at_unit="days",
        quantity="clicks", default_type="click",
    ) == {
        "name": "events",
        "path": str(tmp_path / "events.parquet"),
        "at_unit": "days",
        "default_type": "click",
        "columns": {
            "user_id": ["module", "student"], "event_at": "day", "item_id": "page",
            "quantity": "clicks",
        },
    }  # fmt: skip


def test_counted_time_needs_its_unit(tmp_path: Path) -> None:
    path = parquet(tmp_path, "select 1 as user_id, 232514 as t_seconds")
    with pytest.raises(ConfigError) as caught:
        sniff_config([path])
    assert str(caught.value) == (
        f"{path}: t_seconds holds numbers such as 232514, whose unit cannot be told; allowed are "
        f"days, seconds, order, epoch, epoch_ms, epoch_us. Add for example --at-unit days."
    )
    assert source_of(path, at_unit="seconds")["at_unit"] == "seconds"


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("select 1 as a, now()::timestamp as ts",
         "no column is named after users; its columns are a, ts. Name it with --user COLUMN."),
        ("select 1 as user_id, 'x' as b",
         "no column holds times; its columns are user_id, b. "
         "Name it with --time COLUMN (a mere position: --at-unit order)."),
    ],
)  # fmt: skip
def test_no_user_or_no_time_names_the_columns_and_the_option(
    tmp_path: Path, select: str, message: str
) -> None:
    path = parquet(tmp_path, select)
    with pytest.raises(ConfigError) as caught:
        sniff_config([path])
    assert str(caught.value) == f"{path}: {message}"


def test_a_chosen_column_must_exist(tmp_path: Path) -> None:
    path = parquet(tmp_path, SHOP)
    with pytest.raises(
        ConfigError, match=r'--user: .* has no column "custmer_id"; .* Did you mean "customer_id"?'
    ):
        sniff_config([path], user="custmer_id")


def test_a_chosen_time_that_is_none_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, SHOP)
    with pytest.raises(
        ConfigError, match="country holds VARCHAR such as 'x', which cannot be read as a time"
    ):
        sniff_config([path], time="country")


def test_value_and_price_together_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, SHOP)
    with pytest.raises(
        ConfigError, match='sets both value = "unit_price" and price = "unit_price"'
    ):
        sniff_config([path], value="unit_price", price="unit_price")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "the file is empty"),
        ("header.csv", "user_id,ts\n", "has a header but no rows"),
        ("events.xlsx", "x", "cannot tell the format from '.xlsx'"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        text(tmp_path, content, name)
    with pytest.raises(SourceError, match=message):
        sniff_config([tmp_path / name])


def test_a_file_that_is_not_there_is_usage(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.csv", "there is no such file"),
        (tmp_path / "no*.csv", "no file matches"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            sniff_config([path])


def test_an_id_that_repeats_stands_in_for_the_user_and_is_called_a_guess(tmp_path: Path) -> None:
    select = "select '10.0.0.' || i % 4 as ip, now()::timestamp as ts from range(20) t(i)"
    found = sniff([str(parquet(tmp_path, select))], Choices())[0]
    assert found.raw["columns"]["user_id"] == "ip"
    assert found.why["user_id"] == "a guess: an id with 5.0 rows each"


def test_many_rows_of_nobody_raise_the_share_that_stops_a_build(tmp_path: Path) -> None:
    select = "select if(i % 4 > 0, i, null) as user_id, now()::timestamp as ts from range(40) t(i)"
    assert sniff_config([parquet(tmp_path, select)])["settings"] == {"max_rejected_share": 0.3}


@pytest.mark.parametrize(("broken", "is_told"), [(5, False), (40, True)])
def test_more_unusable_rows_than_a_build_allows_are_told(
    tmp_path: Path, broken: int, is_told: bool
) -> None:
    """A quarter has no user, which raises the share that is allowed to 30%."""
    rows = "".join(
        f"{'' if i % 4 == 0 else i % 7},{'never' if i >= 100 - broken else '2024-01-02'}\n"
        for i in range(100)
    )
    found = sniff([str(text(tmp_path, "user_id,time\n" + rows))], Choices(time="time"))[0]
    usable = sum(i % 4 > 0 for i in range(100 - broken))
    told = (
        f"rejected: {100 - usable}% of the rows: more than max_rejected_share (30%) allows, so a build "
        "will stop; filter them, or raise it under [settings]."
    )
    assert (told in found.doubts) == is_told
    assert (f"# note: {told}\n" in render([found])) == is_told


def test_data_without_dates_are_told_where_their_days_come_from(tmp_path: Path) -> None:
    path = text(tmp_path, "user_id,day\n1,0\n1,3\n2,5\n")
    told = "event_at: no dates; a build counts from an arbitrary day, 2000-01-01."
    assert told in sniff([str(path)], Choices(time="day", at_unit="days"))[0].doubts
    dated = text(tmp_path, "user_id,day\n1,2024-01-01\n1,2024-01-04\n", "dated.csv")
    assert told not in sniff([str(dated)], Choices(time="day"))[0].doubts


def test_files_of_one_shape_become_one_source_and_facts_another(tmp_path: Path) -> None:
    for month in ("01", "02"):
        parquet(tmp_path, SHOP, f"sales_{month}.parquet")
    items = parquet(
        tmp_path, "select 'item 1' as item_id, 'toys' as category, 3 as weight", "items.parquet"
    )
    found = sniff_config([*sorted(tmp_path.glob("sales*")), items])
    assert [(source["name"], source["path"]) for source in found["source"]] == [
        ("sales_0", f"{tmp_path}/sales_0*.parquet"),
        ("items", str(items)),
    ]
    assert found["source"][1]["kind"] == "items"
    assert found["source"][1]["attributes"] == ["weight"]


def test_the_written_file_reads_back_as_what_was_understood(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    select = f'select *, \'caf\u00e9 "x"\' as "event name" from ({SHOP})'
    parquet(tmp_path, select, "my shop.parquet")
    result = CliRunner().invoke(app, ["init", "my shop.parquet", "--type", "event name"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote behavsql.toml; next: behavsql build\n"
    written = Path("behavsql.toml").read_text(encoding="utf-8")
    found = sniff(["my shop.parquet"], Choices(type="event name"))
    found[0].raw["path"] = "my shop.parquet"
    assert tomllib.loads(written) == config_of(found)
    loaded = config.load(Path("behavsql.toml"))
    assert loaded.source[0].columns.event_type == "event name"
    assert loaded.types == {'café "x"': "action"}


def test_it_tells_what_it_understood_with_three_rows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path, SHOP)
    told = CliRunner().invoke(app, ["init", "events.parquet"]).stderr
    assert "events.parquet: 40 rows, 7 users, 2024-01-01 to 2024-01-02" in told
    assert "  user_id     customer_id  by its name        0 | 1 | 2\n" in told
    assert "  value       unit_price   by its name        0 | 2.5 | 5\n" in told
    assert "  note: at_timezone: times without a zone are taken as UTC.\n" in told
    assert "  not used: country\n" in told


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path, SHOP)
    Path("behavsql.toml").write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(app, ["init", "events.parquet"])
    assert result.exit_code == 2
    assert (
        "behavsql.toml: the file exists; allowed is a new one, nothing is overwritten."
        in result.stderr
    )
    assert Path("behavsql.toml").read_text(encoding="utf-8") == "mine"


def test_a_dry_run_prints_the_file_and_writes_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path, SHOP)
    result = CliRunner().invoke(app, ["init", "events.parquet", "--dry-run"])
    assert tomllib.loads(result.stdout)["source"][0]["path"] == "events.parquet"
    assert not Path("behavsql.toml").exists()


def test_a_file_in_latin1_is_read_as_such(tmp_path: Path) -> None:
    rows = "".join(f"Jürgen{n},2024-01-0{n % 9 + 1}\n" for n in range(50))
    (tmp_path / "events.csv").write_bytes(f"user_id,timestamp\n{rows}".encode("latin-1"))
    found = sniff([str(tmp_path / "events.csv")], Choices())[0]
    assert found.raw["encoding"] == "latin-1"
    assert found.why["encoding"] == "a guess: 50 letters are not UTF-8"
    assert found.rows[0][0] == "Jürgen0"


SINCE = "user_id,plan,spent,valid_from,valid_to\n1,gold,2.5,2024-01-01,2024-02-01\n2,blue,3,2024-01-02,\n"
FACTS = {
    "asked": ("user_id,answered_at,question,answer\n1,2024-01-01,age,31\n2,2024-01-02,age,40\n", {
        "kind": "survey",
        "columns": {"question": "question", "answer": "answer", "user_id": "user_id",
                    "event_at": "answered_at"},
    }),
    "segments": (SINCE, {
        "kind": "attributes", "features": ["plan", "spent"],
        "columns": {"valid_from": "valid_from", "valid_to": "valid_to", "user_id": "user_id"},
    }),
    "segments_by_day": (SINCE.replace("2024-01-01", "31/01/2024").replace("2024-01-02", "02/01/2024")
                        .replace("2024-02-01", "29/02/2024"), {
        "kind": "attributes", "at_format": "%d/%m/%Y", "features": ["plan", "spent"],
        "columns": {"valid_from": "valid_from", "valid_to": "valid_to", "user_id": "user_id"},
    }),
    "prices": ("sku,effective_from,price,product_name,stars\na,2024-01-01,2.5,Tea,3\nb,2024-01-02,3,Cup,4\n", {
        "kind": "items", "features": ["stars"],
        "columns": {"valid_from": "effective_from", "item_id": "sku", "price": "price",
                    "title": "product_name"},
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_facts_with_a_time_are_told_by_their_columns(tmp_path: Path, name: str) -> None:
    content, expected = FACTS[name]
    facts = text(tmp_path, content, f"{name}.csv")
    found = sniff([str(parquet(tmp_path, SHOP)), str(facts)], Choices())
    assert found[1].raw == expected | {"name": name, "path": str(facts)}
    assert f"# {found[1].facts}" in render(found)
    config.from_dict(config_of(found), tmp_path, "behavsql.toml")


def test_facts_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"holds facts and no events; .* Name a file of events too"
    ):
        sniff([str(text(tmp_path, SINCE))], Choices())
