"""`behavsql update`: what comes of new rows alone is what a build of everything makes, row for row."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from updating import (
    DAYS,
    DIARY,
    SHOP,
    START,
    advance,
    copied,
    differences,
    insert,
    pretend,
    project,
    write,
)

from behavsql.warehouse import Warehouse

USERS, ITEMS = 12, 8
WORDS = ("view", "view", "click", "cart", "purchase", "return")
HOUR = timedelta(hours=1)
BASE = [
    (1 + n % (USERS - 2), 1 + n % (ITEMS - 1), n % len(WORDS), (n * 37) % (24 * DAYS), n % 9, 0)
    for n in range(500)
]

# A row is told by small numbers, which shrink well: user, item, word, hour, price, device.
rows = st.lists(
    st.tuples(
        st.integers(0, USERS), st.integers(0, ITEMS), st.integers(0, len(WORDS) - 1),
        st.integers(0, 24 * DAYS - 1), st.integers(-1, 9), st.integers(0, 1),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


def shop_row(told: tuple[int, ...]) -> tuple:
    """User 0 and a negative price are mistakes; one of the devices is a crawler's."""
    user, item, word, hour, price, device = told
    return (
        f"u{user}" if user else None, f"i{item}" if item else None, WORDS[word],
        START + hour * HOUR, price, f"c{item % 3}" if item else None, ("phone", "curl/8.0")[device],
    )  # fmt: skip


def diary_row(told: tuple[int, ...]) -> tuple:
    user, item, _, hour, *_ = told
    return (f"u{user}" if user else None, f"i{item}" if item else None, "view",
            (START + hour * HOUR).date())  # fmt: skip


def web_line(told: tuple[int, ...]) -> str:
    """A line of a log; one of the prices asks for robots.txt, one of the devices names no browser."""
    user, item, _, hour, price, device = told
    page, agent = "robots.txt" if price == 9 else item, ("Mozilla/5.0 Firefox/130.0", "-")[device]
    return (
        f"203.0.113.{user} - - [{START + hour * HOUR:%d/%b/%Y:%H:%M:%S} +0000] "
        f'"GET /{page} HTTP/1.1" 200 9 "{"-" if price % 2 else "/"}" "{agent}"\n'
    )


def begun(folder: Path, **chosen: object):
    """A project of sixty days, built; its tasks keep the windows they have."""
    write(folder / "shop1.csv", map(shop_row, BASE), SHOP)
    write(folder / "diary1.csv", map(diary_row, BASE[::9]), DIARY)
    (folder / "web1.log").write_text("".join(map(web_line, BASE[::7])))
    write(folder / "items.csv", [(f"i{n}", f"k{n % 2}") for n in range(1, ITEMS)], "item category")
    write(folder / "people.csv", [(f"u{n}", "FR" if n % 2 else "DE") for n in range(1, USERS)],
          "user country")  # fmt: skip
    made = project(folder, **chosen)
    advance(made, by_update=False)
    pretend(made)
    advance(made, by_update=False)
    return made


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory):
    return begun(tmp_path_factory.mktemp("start"))


batches = st.fixed_dictionaries({
    "shop": rows, "diary": st.one_of(st.just([]), rows), "inbox": st.one_of(st.just([]), rows),
    "web": st.one_of(st.just([]), rows), "days": st.integers(0, 9), "again": st.integers(0, 20),
})  # fmt: skip


def arrive(folder: Path, number: int, batch: dict) -> None:
    """New files of all sources and new rows in the inbox: late, early, repeated, mistaken."""
    later = HOUR * 24 * batch["days"]
    shop = [shop_row(told) for told in batch["shop"]]
    shop = [(*row[:3], row[3] + later, *row[4:]) for row in shop]
    repeated = [shop_row(row) for row in BASE[: batch["again"]]]
    write(folder / f"shop{number}.csv", [*shop, *shop[:2], *repeated], SHOP)
    if batch["diary"]:
        write(folder / f"diary{number}.csv", map(diary_row, batch["diary"]), DIARY)
    if batch["web"]:
        (folder / f"web{number}.log").write_text("".join(map(web_line, batch["web"])))
    if batch["inbox"]:
        insert(folder / "warehouse", [(*shop_row(told)[:4],) for told in batch["inbox"]])


def test_a_robot_is_told_by_an_update_too(start, tmp_path):
    """By the first line of a new file, in all that it did before."""
    made = copied(start, tmp_path / "updated")
    (made.folder / "web2.log").write_text(web_line((3, 1, 0, 24 * DAYS - 1, 9, 0)))
    assert advance(made, by_update=True) == ""
    with duckdb.connect(Warehouse(made.warehouse).build, read_only=True) as con:
        told = con.execute(
            "select reason, count(*) > 1 from staging.rejected where rule = 'bot_behaviour' "
            "and source = 'web' group by reason"
        ).fetchall()
    assert told == [("a program: asked for robots.txt", True)]


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=st.lists(batches, min_size=1, max_size=2))
def test_an_update_is_a_build_of_everything(start, stream):
    """Over late, repeated and disordered events, new users and items, robots, windows that move, an inbox."""
    check_stream(start, stream)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=st.lists(batches, min_size=1, max_size=4))
def test_many_updates_are_builds_of_everything(start, stream):
    check_stream(start, stream)


def check_stream(start, stream: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = copied(start, Path(folder, "updated"))
        for number, batch in enumerate(stream, 2):
            arrive(made.folder, number, batch)
            assert advance(made, by_update=True) == ""
        whole = copied(made, Path(folder, "whole"))
        shutil.copy2(Warehouse(start.warehouse).build, Warehouse(whole.warehouse).build)
        shutil.copy2(Warehouse(start.warehouse).raw, Warehouse(whole.warehouse).raw)
        assert advance(whole, by_update=False) == ""
        assert differences(made, whole) == []
