"""The events before each question: those of features.sequences, whichever way they come."""

import numpy as np
import polars as pl
import pytest
from clickstream import clickstream
from conftest import QUICK, project

from behavsql import frames, sequences
from behavsql.models import MODEL_SETS
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.sequences import COLUMNS, Sequences

ROWS = pl.DataFrame(
    {
        "role_sequence": [["view", "cart", "purchase"], [], None, ["view"]],
        "item_sequence": [["a", None, "b"], [], None, ["c"]],
        "category_sequence": [["x", "x", None], [], None, [None]],
        "value_sequence": [[None, float("nan"), 2.5], [], None, [0.0]],
        "days_ago_sequence": [[2.5, 1.0, 0.25], [], None, [0.0]],
    },
    schema_overrides={"category_sequence": pl.List(pl.String)},
)


def texts(some: Sequences, name: str, length: int) -> list[list]:
    """The window of every question, None where padding or missing."""
    column = some.events[name].to_list()
    return [[column[i] if i >= 0 else None for i in row] for row in some.windows(length).tolist()]


def test_lists_become_windows_with_the_newest_event_last():
    some = Sequences.from_lists(ROWS)
    assert texts(some, "role", 4) == [
        [None, "view", "cart", "purchase"], [None] * 4, [None] * 4, [None, None, None, "view"],
    ]  # fmt: skip
    assert texts(some, "item", 2) == [[None, "b"], [None] * 2, [None] * 2, [None, "c"]]
    assert texts(some, "value", 3)[0] == [None, None, 2.5]
    assert some.days_ago(some.windows(3)).tolist() == [
        [2.5, 1.0, 0.25], [0, 0, 0], [0, 0, 0], [0, 0, 0]
    ]  # fmt: skip


def test_rows_keeps_the_order_and_tells_what_is_seen():
    some = Sequences.from_lists(ROWS)
    last = some.rows(np.array([False, True, False, True]))
    assert len(last) == 2 and texts(last, "item", 1) == [[None], ["c"]]
    assert some.seen().tolist() == [True] * 4 and last.seen().tolist() == [False] * 3 + [True]


def test_no_event_at_all():
    some = Sequences.from_lists(ROWS[1:3])
    assert some.events.height == 0 and some.windows(3).tolist() == [[-1] * 3] * 2
    assert some.days_ago(some.windows(3)).tolist() == [[0.0] * 3] * 2


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    made = project(tmp_path_factory.mktemp("made"), clickstream(60, 70, seed=4), only=("purchase",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_SETS, "fast", QUICK[:1])
        return build(made, progress=Progress(quiet=True)).path


def test_training_reads_what_features_sequences_shows(built, rows):
    from behavsql.warehouse import connect

    with connect(built, udfs=False) as con:
        asked = frames.load(con, "purchase", "binary", 10**6, 7, with_sequences=True)
        con.register("asked", asked.keys.with_row_index("row").to_arrow())
        lists = con.sql(
            "select shown.* from asked left join features.sequences as shown "
            "using (user_id, cutoff_at) order by asked.row"
        ).pl()
    loaded, shown = asked.table.sequences, frames.unlabelled(lists, "purchase", "binary").sequences
    assert len(loaded) == len(shown) == len(asked.table)
    assert (loaded.stop - loaded.start).max() == sequences.LENGTH
    assert loaded.events.height < shown.events.height, "events stand once"
    windows = loaded.windows()
    assert loaded.days_ago(windows).tolist() == shown.days_ago(shown.windows()).tolist()
    for name in ("role", "item", "category", "value"):
        assert texts(loaded, name, 50) == texts(shown, name, 50)
    half = asked.table.rows(asked.split("train"))
    assert len(half.sequences) == len(half)
    seen = loaded.events["at"].to_numpy()[half.sequences.seen()]
    assert seen.max() <= half.sequences.cutoff.max()


def test_a_row_without_lists_has_no_sequences():
    table = frames.unlabelled(pl.DataFrame({"a": [1.0]}), "purchase", "binary")
    assert table.sequences is None
    with_lists = frames.unlabelled(ROWS.with_columns(a=pl.lit(1.0)), "purchase", "binary")
    assert with_lists.features.columns == ["a"] and not {*COLUMNS} & {*with_lists.features.columns}


def test_who_is_asked_now_is_read_from_features_latest(built):
    from behavsql.warehouse import connect

    with connect(built, udfs=False) as con:
        found, whole = (
            frames.load(con, "purchase", "binary", 10**6, 7, only)
            for only in (frames.LATEST, f"({frames.LATEST})")
        )
    assert len(found.table) and found.keys.equals(whole.keys)
    assert found.table.features.equals(whole.table.features)
