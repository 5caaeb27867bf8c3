"""The ids of items, by which what was learned finds them again whatever their numbers are now."""

import duckdb
import numpy as np

from behavsql.recommenders.base import ITEMS


def ids(con: duckdb.DuckDBPyConnection) -> np.ndarray:
    """(n,) text: the id of item 1, 2, ..."""
    rows = con.execute(f"select item_id::varchar as item_id from {ITEMS} order by item")
    return rows.fetchnumpy()["item_id"].astype(str)


def places(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) where each of `wanted` stands in `stored`; -1 where it does not."""
    order = np.argsort(stored)
    at = order[np.searchsorted(stored, wanted, sorter=order).clip(max=len(order) - 1)]
    return np.where(stored[at] == wanted, at, -1)
