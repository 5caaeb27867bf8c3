"""Quick steps share a transaction; what is lost of them, and what is not, where one fails."""

import duckdb
import pytest

from behavsql import transactions
from behavsql.transactions import MANY_ROWS, Transactions


@pytest.fixture
def con(tmp_path):
    with duckdb.connect(str(tmp_path / "build.duckdb")) as con:
        con.execute("create table done (step varchar)")
        yield con


def done(con: duckdb.DuckDBPyConnection) -> list[str]:
    """What another connection sees, which is what was committed."""
    with con.cursor() as other:
        return [step for (step,) in other.execute("from done order by step").fetchall()]


def do(steps: Transactions, name: str) -> None:
    insert = lambda: steps.con.execute("insert into done values (?)", [name])  # noqa: E731
    with steps.step():
        insert()
        steps.members.append(insert)


def test_they_are_committed_together(con):
    steps = Transactions(con)
    do(steps, "a")
    steps.pause(rows=10)
    do(steps, "b")
    assert done(con) == []
    steps.end()
    assert done(con) == ["a", "b"] and not steps.is_open


@pytest.mark.parametrize(("longest", "rows"), [(0.0, 10), (1000.0, MANY_ROWS)])
def test_what_took_long_or_is_large_is_committed_at_once(con, monkeypatch, longest, rows):
    monkeypatch.setattr(transactions, "LONGEST", longest)
    steps = Transactions(con)
    do(steps, "a")
    steps.pause(rows)
    assert done(con) == ["a"]


def test_those_before_one_that_fails_are_done_again(con):
    steps = Transactions(con)
    do(steps, "a")
    do(steps, "b")
    with pytest.raises(duckdb.Error, match="no_such"), steps.step():
        con.execute("insert into done values ('c')")
        con.execute("from no_such")
    assert done(con) == ["a", "b"] and not steps.is_open


def test_who_interrupts_does_not_wait_for_that(con):
    steps = Transactions(con)
    do(steps, "a")
    with pytest.raises(KeyboardInterrupt), steps.step():
        raise KeyboardInterrupt
    assert done(con) == [] and not steps.is_open


def test_what_cannot_be_done_again_does_not_hide_the_failure(con):
    steps = Transactions(con)
    do(steps, "a")
    steps.members.append(lambda: con.execute("from not_there_either"))
    with pytest.raises(ZeroDivisionError), steps.step():
        raise ZeroDivisionError
    assert done(con) == [] and not steps.is_open
    do(steps, "b")
    steps.end()
    assert done(con) == ["b"]
