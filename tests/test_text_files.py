"""Text files as people have them: encodings, delimiters, quotes; none loses a line uncounted."""

import gzip
from pathlib import Path

import pytest
from behavsql.cli.main import app
from conftest import project, stage
from typer.testing import CliRunner

from behavsql import config
from behavsql.errors import SourceError
from behavsql.sniffing import Choices, sniff

HEAD = "user_id,ts,title\n"
NAMES = ("Zoë", "Jürgen", "Ann", "Renée", "Bob")
LINES = [
    f"{NAMES[n % 5]},2024-01-{n % 28 + 1:02d} 10:00:{n % 60:02d},thing {n}" for n in range(100)
]
TEXT = HEAD + "\n".join(LINES) + "\n"
COLUMNS = {"user_id": "user_id", "event_at": "ts", "title": "title"}


def built(folder: Path, name: str = "events.csv"):
    """The staged rows of a file, through the config that `init` writes for it."""
    output = folder / "behavsql.toml"
    result = CliRunner().invoke(app, ["init", str(folder / name), "-o", str(output)])
    assert result.exit_code == 0, result.output
    return stage(config.load(output))


def users(con) -> list[str]:
    return [user for (user,) in con.execute("select user_id from staging.users").fetchall()]


def rejected(con) -> list[tuple[str, str]]:
    return con.execute(
        "select rule, reason from staging.rejected order by source_row"
    ).fetchall()  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", None), ("utf-8-sig", None), ("latin-1", "latin-1"), ("utf-16", "utf-16"),
     ("utf-16-le", "utf-16")],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_an_encoding_is_told_and_read(tmp_path: Path, encoding: str, written, packed: bool) -> None:
    name = "events.csv.gz" if packed and "16" not in encoding else "events.csv"
    content = TEXT.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    con = built(tmp_path, name)
    assert sorted(users(con)) == sorted(NAMES)
    assert rejected(con) == []
    assert sniff([str(tmp_path / name)], Choices())[0].raw.get("encoding") == written


def test_a_header_in_latin1_names_its_columns(tmp_path: Path) -> None:
    text = TEXT.replace("user_id", "Käufer")
    (tmp_path / "events.csv").write_bytes(text.encode("latin-1"))
    found = sniff([str(tmp_path / "events.csv")], Choices(user="Käufer"))[0]
    assert found.raw["columns"]["user_id"] == "Käufer"
    with pytest.raises(SourceError) as caught:
        stage(project(tmp_path, path="events.csv", columns=COLUMNS))
    assert str(caught.value) == (
        f"{tmp_path}/events.csv: its first line is not UTF-8; allowed is what `encoding` says. "
        f'Set encoding = "latin-1" for the source, or convert the file to UTF-8.'
    )


def test_lines_that_are_not_utf8_are_rejected_by_that_name(tmp_path: Path) -> None:
    """Most is UTF-8: the few that are not must not turn the others into nonsense."""
    content = TEXT.encode().replace("Renée,2024-01-04".encode(), b"Ren\xe9e,2024-01-04")
    (tmp_path / "events.csv").write_bytes(content)
    found = sniff([str(tmp_path / "events.csv")], Choices())[0]
    assert "encoding" not in found.raw
    count = content.count(b"\xe9")
    assert (
        f"encoding: {count} lines are not UTF-8 and will be rejected; if they are Latin-1, "
        f'set encoding = "latin-1".' in found.doubts
    )
    told = rejected(built(tmp_path))
    assert len(told) == count
    assert told[0] == (
        "malformed_line",
        'events.csv line 5: is not UTF-8; if it is Latin-1, set encoding = "latin-1"',
    )


def test_windows_1252_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(TEXT.replace("Zoë", "O\u2019Neil").encode("cp1252"))
    found = sniff([str(tmp_path / "events.csv")], Choices())[0]
    assert (
        "encoding: events.csv looks like Windows-1252, which cannot be read as it is. Convert it: "
        "iconv -f windows-1252 -t utf-8 events.csv > utf8_events.csv." in found.doubts
    )
    assert "encoding: 60 lines are not UTF-8 and will be rejected." in found.doubts
    with pytest.raises(SourceError, match=r"it may be Windows-1252\. Convert it: iconv -f windows"):
        stage(project(tmp_path, path="events.csv", columns=COLUMNS, encoding="latin-1"))


def test_utf16_without_the_setting_says_which(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(SourceError) as caught:
        stage(project(tmp_path, path="events.csv", columns=COLUMNS))
    assert str(caught.value) == (
        f"{tmp_path}/events.csv: is UTF-16 text; allowed are UTF-8, Latin-1 and little-endian "
        f'UTF-16, as `encoding` says. Set encoding = "utf-16" for the source.'
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_told_and_written(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "events.csv").write_text(TEXT.replace(",", delimiter), encoding="utf-8")
    assert sorted(users(built(tmp_path))) == sorted(NAMES)
    loaded = config.load(tmp_path / "behavsql.toml").source[0]
    assert loaded.delimiter == (None if delimiter == "," else delimiter)


# Quotes. DuckDB's sniffer looks at the first rows only, and one open quote there turns quoting off.


def quoted(count: int, **changed: str) -> str:
    lines = [f'{n % 5},2024-01-01 10:00:{n % 60:02d},"a, ""{n}"""' for n in range(count)]
    for place, line in changed.items():
        lines[int(place[1:])] = line
    return HEAD + "\n".join(lines) + "\n"


def titles(con) -> list[str]:
    return [title for (title,) in con.execute("select title from raw.events").fetchall()]


def test_quoting_survives_a_quote_that_does_not_close(tmp_path: Path) -> None:
    text = quoted(80, _3='3,2024-01-01 10:00:00,"open')
    (tmp_path / "events.csv").write_text(text, encoding="utf-8")
    con = built(tmp_path)
    assert titles(con)[0] == 'a, "0"'
    lines, kept = len(text.splitlines()) - 1, len(titles(con))
    told = rejected(con)
    assert lines - kept == len(told) <= 2
    assert all(rule == "malformed_line" for rule, _ in told)


def test_a_quote_that_only_comes_late_still_quotes(tmp_path: Path) -> None:
    lines = [f"{n % 5},2024-01-01 10:00:00,{n}" for n in range(30_000)]
    lines[-5] = '1,2024-01-01 10:00:00,"a, b"'
    (tmp_path / "events.csv").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    con = stage(project(tmp_path, path="events.csv", columns=COLUMNS))
    assert len(titles(con)) == 30_000 and "a, b" in titles(con)


def test_quotes_that_are_letters_stay_letters(tmp_path: Path) -> None:
    lines = [f'{n % 5},2024-01-01 10:00:00,{n} x 12" pipe' for n in range(50)]
    lines[7] = '1,2024-01-01 10:00:00,"odd'
    (tmp_path / "events.csv").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    con = built(tmp_path)
    assert titles(con)[6:8] == ['6 x 12" pipe', '"odd']
    found = sniff([str(tmp_path / "events.csv")], Choices())[0]
    assert "quote: quotes do not come in pairs; they are read as letters." in found.doubts
    assert config.load(tmp_path / "behavsql.toml").source[0].quote == ""


def test_a_late_open_quote_that_would_swallow_the_rest_stops_the_build(tmp_path: Path) -> None:
    """The lines after it cannot be counted, so they must not be dropped."""
    lines = [f"{n % 5},2024-01-01 10:00:00,{'x' * 40}{n}" for n in range(40_000)]
    lines[30_000] = '1,2024-01-01 10:00:00,"open'
    (tmp_path / "events.csv").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    told = (
        "events.csv line 30002: opens a quote that never closes, so that the lines after it are "
        "lost; allowed are quotes in pairs."
    )
    with pytest.raises(SourceError) as caught:
        stage(project(tmp_path, path="events.csv", columns=COLUMNS))
    assert told in str(caught.value) and 'set quote = ""' in str(caught.value)
    with pytest.raises(SourceError) as caught:
        sniff([str(tmp_path / "events.csv")], Choices())
    assert told in str(caught.value)
    con = stage(project(tmp_path, path="events.csv", columns=COLUMNS, quote=""))
    assert len(titles(con)) == 40_000


@pytest.mark.parametrize(
    ("line", "title"),
    [('1,2024-01-01,"a \\"b\\", c"', 'a "b", c'), ('1,2024-01-01,"two\nlines"', "two\nlines"),
     ("1,2024-01-01,it's", "it's")],
)  # fmt: skip
def test_quotes_written_in_other_ways_are_read(tmp_path: Path, line: str, title: str) -> None:
    plain = "".join(f"{n},2024-01-02,plain\n" for n in range(20))
    (tmp_path / "events.csv").write_text(HEAD + line + "\n" + plain, encoding="utf-8")
    assert titles(built(tmp_path))[0] == title


def test_several_files_with_an_open_quote_keep_their_columns_apart(tmp_path: Path) -> None:
    (tmp_path / "part1.csv").write_text(quoted(30, _3='3,2024-01-01,"open'), encoding="utf-8")
    (tmp_path / "part2.csv").write_text(quoted(30), encoding="utf-8")
    con = stage(project(tmp_path, path="part*.csv", columns=COLUMNS))
    assert 58 <= len(titles(con)) <= 59
    assert set(users(con)) == {0, 1, 2, 3, 4}
