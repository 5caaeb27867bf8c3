"""Files that are not what they should be, each through the real command line: what it says of them."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest
from conftest import run

from behavsql import config
from behavsql.input import json_lines, sources

HEAD = "user_id,event,ts,price\n"
ROWS = [
    f"u{n % 7},{'view' if n % 3 else 'purchase'},2024-01-{n % 28 + 1:02d} 10:00:{n % 60:02d},{n}.5"
    for n in range(90)
]
TEXT = HEAD + "\n".join(ROWS) + "\n"
CONFIG = """
[settings]
models = "fast"
[[source]]
name = "shop"
path = "{path}"
{source}
[source.columns]
{columns}
"""
COLUMNS = 'user_id = "user_id"\nevent_at = "ts"\nevent_type = "event"\nprice = "price"'


def write(name: str, content: bytes | str) -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def staged(path: str, source: str = "", columns: str = COLUMNS):
    """`behavsql build` of one file, as far as its rows are judged."""
    write("behavsql.toml", CONFIG.format(path=path, source=source, columns=columns))
    return run("build", "-q", "-s", "staging")


def parquet() -> bytes:
    buffer = io.BytesIO()
    pl.read_csv(TEXT.encode()).write_parquet(buffer)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2]


def noisy() -> bytes:
    """Text that packs badly, so that half of it has more than one block."""
    return (
        HEAD + "".join(f"{os.urandom(8).hex()},view,2024-01-01,1\n" for _ in range(9000))
    ).encode()


FILES = {
    "empty.csv": (b"", "the file is empty; allowed is a file with a header and rows."),
    "blank.csv": (b"\n\n\n", "has no header; allowed is text whose first line names the columns."),
    "text.parquet": (
        TEXT.encode(),
        "is text (CSV?) and not Parquet; allowed is what its name or format says. Rename it to "
        'text.csv, or set format = "csv".',
    ),
    "columns.csv": (
        parquet,
        'is Parquet and not CSV; allowed is format = "parquet" or a name that ends in .parquet. '
        "Rename it to columns.parquet, or set the format.",
    ),
    "half.parquet": (
        lambda: torn(parquet()),
        "is cut short: its Parquet footer is missing; allowed is the whole file. "
        "Copy or download it again.",
    ),
    "packed.csv": (
        gzip.compress(TEXT.encode()),
        "is packed with gzip and its name does not say so; allowed is a name that ends in .gz. "
        "Rename it to packed.csv.gz.",
    ),
    "plain.csv.gz": (
        TEXT.encode(),
        "its name ends in .gz and it is not packed with gzip; allowed is what the name says. "
        "Rename it to plain.csv.",
    ),
    "torn.csv.gz": (
        torn(gzip.compress(TEXT.encode())),
        "the gzip stream is broken (Compressed file ended before the end-of-stream marker was "
        "reached); allowed is a whole one. Copy or download the file again.",
    ),
    "archive.csv": (
        zipped("events.csv"),
        "is a ZIP archive and not CSV; allowed are CSV, JSON and Parquet. Unpack it.",
    ),
    "book.csv": (
        zipped("[Content_Types].xml", "xl/workbook.xml"),
        "is an Excel workbook and not CSV; allowed are CSV, JSON and Parquet. "
        "Export it as CSV or Parquet.",
    ),
    "book.xlsx": (
        zipped("xl/workbook.xml"),
        "cannot tell the format from '.xlsx'; allowed are .csv, .json, .jsonl, .ndjson, .parquet, "
        ".pq, .tsv, .txt. Export it as CSV.",
    ),
    "junk.csv": (
        lambda: b"\x01\x00" + os.urandom(5000),
        "is binary and not CSV; allowed are CSV, JSON and Parquet. Export it as CSV or Parquet.",
    ),
    "junk.parquet": (
        lambda: b"\x01\x00" + os.urandom(5000),
        "is binary and not Parquet; allowed is what its name or format says. "
        "Export it as Parquet or CSV.",
    ),
    "page.csv": (
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        "is a web page and not CSV; allowed are CSV, JSON and Parquet.",
    ),
    "objects.csv": (
        b'[{"user_id": 1, "ts": "2024-01-01"}]',
        'holds JSON and not CSV; allowed is format = "json" or a name that ends in .json. '
        "Rename it to objects.json, or set the format.",
    ),
    "numbers.json": (
        b"[1, 2]",
        "holds no JSON objects; allowed is one object a line, or a list of them. Check the file.",
    ),
    "none.json": (b"[]", "holds no JSON objects; allowed is one object a line"),
    "big.csv": (
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        "is UTF-16 text, big-endian; allowed are UTF-8, Latin-1 and little-endian UTF-16, as "
        "`encoding` says. Convert it: iconv -f utf-16 -t utf-8 big.csv > utf8_big.csv.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_event_log_says_what_it_is(here: Path, name: str) -> None:
    content, told = FILES[name]
    write(name, content() if isinstance(content, Callable) else content)
    result = run("init", name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {here / name}: {told}")
    assert result.stderr.count("\n") == 1
    result = staged(name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {name}: {told}")
    assert result.stderr.count("\n") == 1
    assert not Path("warehouse/behaviour.duckdb").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("torn.csv.gz", lambda: torn(gzip.compress(noisy())),
         "cannot be read: its gzip stream ends too early; allowed is a whole one. "
         "Copy or download the file again."),
        ("torn.json", lambda: b'{"user_id": 1', "cannot be read: Invalid Input Error: Malformed JSON"),
    ],
)  # fmt: skip
def test_a_file_that_breaks_off_while_it_is_read(here: Path, name: str, content, told: str) -> None:
    write(name, content())
    assert run("init", name).stderr.startswith(f"Error: {here / name}: {told}")
    assert staged(name).stderr.startswith(f'Error: {name}: source "shop" {told}')


LINES = "".join(
    json.dumps(dict(zip(HEAD.strip().split(","), row.split(","), strict=True))) + "\n"
    for row in ROWS
)


@pytest.mark.parametrize(("name", "pack"), [
    ("events.jsonl", bytes), ("events.ndjson.gz", gzip.compress),
])  # fmt: skip
def test_a_line_that_is_no_json_is_counted(here: Path, name: str, pack: Callable) -> None:
    """As the last one of a file that is still being written; and what has nothing in it."""
    spoilt = LINES.replace("\n", '\n{"user_id": "u1, \n\n{}\n', 1).encode()
    write(name, pack(spoilt + '{"user_id": "u\u00e9'.encode()[:-1]))
    assert "lines: 2 are no JSON and will be rejected" in run("init", name).stderr
    Path("behavsql.toml").unlink()
    assert staged(name).exit_code == 0
    with duckdb.connect("warehouse/.work/build.duckdb", read_only=True) as con:
        found = con.execute(
            "select source_row, rule, reason from staging.rejected order by 1"
        ).fetchall()
        kept = con.execute("select count_parsed, count_kept from staging.source_counts").fetchall()
    assert kept == [(90, 90)]
    assert found == [
        (91, "malformed_line", f"{name} line 2: is no JSON"),
        (92, "malformed_line", f"{name} line 3: has no field that is told"),
        (93, "malformed_line", f"{name} line 94: is not UTF-8"),
    ]


def test_an_update_may_ask_for_the_columns_of_torn_lines(here: Path) -> None:
    """As it does beside new files, in a transaction, which an error would end."""
    write("events.jsonl", LINES + '{"user')
    columns = {"user_id": "user_id", "event_at": "ts"}
    told = {"source": [{"name": "shop", "path": "events.jsonl", "columns": columns}]}
    made = config.from_dict(told, here, "behavsql.toml")
    with duckdb.connect() as con:
        con.execute("begin")
        found = sources.scan(con, made, made.source[0], for_types=True)
        assert [*found.types] == HEAD.strip().split(",")
        assert con.execute(f"select count(*) from {found.relation}").fetchall() == [(90,)]


def test_good_lines_of_json_are_read_as_they_are(here: Path) -> None:
    write("events.jsonl", LINES)
    write("events.json", json.dumps([json.loads(line) for line in LINES.splitlines()], indent=1))
    with duckdb.connect() as con:
        for name in ("events.jsonl", "events.json"):
            assert json_lines.relation(con, [name], "as it is") == "as it is"


def test_lines_that_no_quoting_fits(here: Path) -> None:
    write("events.csv", TEXT.replace("u3,", '"u3,', 1))
    told = staged("events.csv", 'quote = "\\""\ndelimiter = ","').stderr
    assert told == (
        'Error: events.csv: source "shop" cannot be read: no delimiter and quoting fits its lines; '
        "allowed is text with the same columns in every line. Check the file, or set `delimiter` "
        "and `quote`.\n"
    )


def test_a_header_without_rows(here: Path) -> None:
    write("events.csv", HEAD)
    assert run("init", "events.csv").stderr == (
        f"Error: {here}/events.csv: has a header but no rows; allowed is at least one. "
        f"Check the file.\n"
    )
    assert staged("events.csv").stderr.startswith(
        'Error: events.csv: source "shop" has a header but no rows; allowed is at least one.'
    )


def test_a_folder_is_no_file_and_what_is_not_there_is_said(here: Path) -> None:
    Path("log").mkdir()
    results = [run("init", name) for name in ("log", "no", "no*.csv")]
    assert [result.exit_code for result in results] == [2, 2, 2]
    of_config = staged("log")
    assert of_config.exit_code == 1
    for result in (results[0], of_config):
        assert "log: is a folder; allowed are files. Write for example" in result.stderr
    assert "there is no such file; allowed is a path or a quoted glob" in results[1].stderr
    assert "no*.csv: no file matches; allowed is a path or a glob" in results[2].stderr
    assert 'source "shop": no file matches no.csv; allowed is' in staged("no.csv").stderr


def test_what_a_file_is_called_does_not_matter_where_the_format_is_said(here: Path) -> None:
    write("events.parquet", TEXT)
    assert staged("events.parquet", 'format = "csv"').exit_code == 0
    write("events.csv", parquet())
    assert staged("events.csv", 'format = "parquet"').exit_code == 0


# Mappings


def test_a_missing_column_names_those_there_are(here: Path) -> None:
    write("events.csv", TEXT)
    assert staged("events.csv", columns=COLUMNS.replace('"ts"', '"tss"')).stderr == (
        'Error: behavsql.toml: source "shop": events.csv has no column "tss"; its columns are '
        'user_id, event, ts, price. Mend the mapping. Did you mean "ts"?\n'
    )
    told = staged("events.csv", 'delimiter = ";"').stderr
    assert "its columns are user_id,event,ts,price. Mend `delimiter`." in told


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ('user_id = "ts"\nevent_at = "user_id"', "unparsable_time 90 (such as not a time: u0)"),
        ('user_id = "user_id"\nevent_at = "ts"\nprice = "event"',
         "unparsable_value 90 (such as not a number: purchase)"),
        ('user_id = "user_id"\nevent_at = "price"', "unparsable_time 90 (such as not a time: 0.5)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
def test_a_wrong_mapping_stops_the_build_with_what_it_met(
    here: Path, name: str, columns: str, rule: str
) -> None:
    write(name, TEXT if name.endswith("csv") else parquet())
    assert staged(name, columns=columns).stderr == (
        f'Error: source "shop": 100.0% of 90 rows cannot be used ({rule}); allowed is '
        f"max_rejected_share = 0.2. Mend the mapping, or raise the setting.\n"
    )


@pytest.mark.parametrize("type_", [
    pl.Int64, pl.Binary, pl.List(pl.Int64),
    *(pytest.param(type_, marks=pytest.mark.slow) for type_ in (pl.Boolean, pl.Time)),
])  # fmt: skip
def test_a_column_of_any_type_can_be_mapped_wrong(here: Path, type_: pl.DataType) -> None:
    """No type of a Parquet file makes the build fail in DuckDB's words."""
    odd = {"b": [True] * 3, "t": [1, 2, 3], "y": [b"x"] * 3, "l": [[1]] * 3}
    values = odd["l" if type_ == pl.List else {pl.Boolean: "b", pl.Binary: "y"}.get(type_, "t")]
    frame = pl.DataFrame({"user_id": [1, 2, 3], "odd": pl.Series(values).cast(type_)})
    frame.with_columns(ts=pl.lit("2024-01-01")).write_parquet("events.parquet")
    time = staged("events.parquet", columns='user_id = "user_id"\nevent_at = "odd"')
    assert "100.0% of 3 rows cannot be used (unparsable_time 3 (such as not a time: " in time.stderr
    for unit in ("epoch", "days"):
        columns = 'user_id = "odd"\nevent_at = "ts"'
        told = staged("events.parquet", f'at_unit = "{unit}"', columns).stderr
        assert "unparsable_time 3 (such as not a time: 2024-01-01)" in told
    columns = 'user_id = "user_id"\nevent_at = "ts"\nvalue = "odd"'
    value = staged("events.parquet", columns=columns)
    assert value.exit_code == (0 if type_ == pl.Int64 else 1)
    assert type_ == pl.Int64 or "unparsable_value 3 (such as not a number: " in value.stderr


def test_a_third_of_garbage_stops_the_build_with_its_counts(here: Path) -> None:
    rows = [*ROWS[:60], *["1,2"] * 10, *["u1,view,soon,1"] * 10, *[",view,2024-01-01,1"] * 10]
    write("events.csv", HEAD + "\n".join(rows) + "\n")
    result = staged("events.csv")
    assert result.exit_code == 1
    assert result.stderr == (
        'Error: source "shop": 33.3% of 90 rows cannot be used (malformed_line 10 (such as '
        "events.csv line 62: Expected Number of Columns: 4 Found: 2); missing_user 10 (such as no "
        "user id); unparsable_time 10 (such as not a time: soon)); allowed is max_rejected_share = "
        "0.2. Mend the mapping, or raise the setting.\n"
    )
    told = run("init", "events.csv", "-o", "other.toml").stderr
    assert "note: user_id: 10 rows have none and will be rejected." in told
    assert "note: event_at: 10 rows hold no readable time and will be rejected." in told
    assert "note: lines: 10 have another shape than the rest and will be rejected." in told


def test_mixed_types_are_read_row_by_row(here: Path) -> None:
    records = [
        {"user_id": 1, "ts": "2024-01-01", "price": 2},
        {"user_id": "b", "ts": "2024-01-02", "price": "3.5"},
        {"user_id": "b", "ts": 7, "price": {"of": 1}},
        {"user_id": None, "ts": "2024-01-03", "price": True},
    ]
    write("events.json", json.dumps(records))
    columns = 'user_id = "user_id"\nevent_at = "ts"\nprice = "price"'
    told = staged("events.json", columns=columns).stderr
    assert "50.0% of 4 rows cannot be used (missing_user 1 (such as no user id); " in told
    assert "unparsable_time 1 (such as not a time: 7)" in told


# What init is told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--price", "event"),
         "--price: event holds VARCHAR such as 'purchase', which is no number; its columns are "
         "user_id, event, ts, price. Name another."),
        (("--quantity", "ts"), "--quantity: ts holds VARCHAR such as '2024-01-01 10:00:00', which is "),
        (("--user", "ts", "--time", "user_id"),
         "--user: ts holds times such as '2024-01-01 10:00:00', which name no user; its columns are"),
        (("--time", "user_id"), "user_id holds VARCHAR such as 'u0', which cannot be read as a time"),
        (("--at-unit", "weeks"), "--at-unit: it is 'weeks'; allowed are timestamp, epoch, epoch_ms, "),
        (("--item", "prise"), '--item: {here}/events.csv has no column "prise"; its columns are'),
    ],
)  # fmt: skip
def test_init_flags_an_option_that_cannot_be_meant(here: Path, options: tuple, told: str) -> None:
    write("events.csv", TEXT)
    result = run("init", "events.csv", *options)
    assert result.exit_code == 2
    assert told.format(here=here) in result.stderr
    assert not Path("behavsql.toml").exists()


# Folders


@pytest.mark.parametrize(
    ("place", "why"),
    [("events.csv/behavsql.toml", "Not a directory"), ("/proc/behavsql.toml", "No such file")],
)
def test_init_says_where_it_cannot_write(here: Path, place: str, why: str) -> None:
    write("events.csv", TEXT)
    result = run("init", "events.csv", "-o", place)
    assert (result.exit_code, result.stdout) == (2, "")
    told = result.stderr.splitlines()[-1]
    assert told.startswith(f"Error: {place}: cannot be written ({why}")
    assert told.endswith(
        "; allowed is a place you may write to. Write elsewhere with --output FILE."
    )
    assert "is a folder; allowed is a new file" in run("init", "events.csv", "-o", str(here)).stderr


def test_other_commands_say_where_they_cannot_write(here: Path) -> None:
    write("sql", "a file")
    write("events.csv", TEXT)
    for command in (("sql", "new", "features", "loyalty"), ("build", "--warehouse", "events.csv")):
        write("behavsql.toml", CONFIG.format(path="events.csv", source="", columns=COLUMNS))
        result = run(*command)
        assert result.exit_code in (1, 2)
        assert "cannot be written (" in result.stderr
        assert "unexpected" not in result.stderr and result.stderr.count("\n") == 1


def test_any_other_file_trouble_is_told_with_its_file(here: Path, monkeypatch) -> None:
    from behavsql.cli import places

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "warehouse/.work/candidate.duckdb")

    monkeypatch.setattr(places, "choose_warehouse", full)
    assert run("tasks").stderr == (
        "Error: warehouse/.work/candidate.duckdb: No space left on device; allowed is a place you "
        "may read and write, with room left. Check its permissions and the disk.\n"
    )
