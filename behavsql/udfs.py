"""Every stored model as a vectorised function of one connection: `py_predict_<task>__<model>(f)`.

f is a row by name. Nothing of this is in the file: what is published must not depend on Python.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import duckdb

from behavsql.errors import BehavsqlError, ModelError, nearest
from behavsql.parity import Published, load

if TYPE_CHECKING:
    import pyarrow as pa

    from behavsql.calibration import Calibrator
    from behavsql.models.base import Model

PREFIX = "py_predict_"

_MODELS = """
select models.model_id, models.task, tasks.kind, models.model, models.family, models.version,
    models.is_published, models.trained_at
from models.models as models
inner join meta.tasks as tasks on tasks.task = models.task
where tasks.kind <> 'choice'
order by models.model_id
"""

# What was registered stays as long as the process: DuckDB does not hold a function itself, and a
# cursor that outlives its connection would call what is gone. Connections to one state of a file
# share their functions, and with them the models.
_STORES: dict[object, "Store"] = {}
_STORES_LOCK = threading.Lock()


@dataclass
class Store:
    """The models of one state of a file, each loaded when it is first called."""

    catalog: str  # under which name connections attach the file
    functions: dict[str, Callable] = field(default_factory=dict)
    connections: "WeakSet[duckdb.DuckDBPyConnection]" = field(default_factory=WeakSet)
    _loaded: "dict[str, tuple[Model, Calibrator]]" = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def model(self, one: Published) -> "tuple[Model, Calibrator]":
        """Read through a cursor of an open connection: a file published since holds other models."""
        with self._lock:
            if one.model_id not in self._loaded:
                with self._cursor() as cursor:  # which starts outside the attached file
                    loaded = load(cursor, one, f"{self.catalog}.models.artifacts")
                self._loaded[one.model_id] = loaded
            return self._loaded[one.model_id]

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        for con in list(self.connections):
            try:
                return con.cursor()
            except duckdb.ConnectionException:  # closed, but somebody still holds it
                continue
        raise ModelError(
            "the connection that behavsql.connect returned is gone; a model is loaded through it. "
            "Keep it as long as its cursors are used."
        )

    def unload(self) -> None:
        """Forget the models, unless a connection may still ask for them."""
        with self._lock:
            if not self.connections:
                self._loaded.clear()


def register(con: duckdb.DuckDBPyConnection, file: Path, catalog: str) -> None:
    """Add a function per model, and `py_predict_<task>` for the published one of each task.

    Loads no model, and adds nothing where the file holds none or is of a version without them.
    """
    try:
        rows = con.execute(_MODELS).fetchall()
    except duckdb.Error:  # no such table or column
        return
    stat = file.stat()
    state = (str(file.resolve()), stat.st_ino, stat.st_mtime_ns, tuple(rows))
    with _STORES_LOCK:
        store = _STORES.setdefault(state, Store(catalog))
        for *model, is_published, _ in rows:
            one = Published(*model)
            for name in (one.model_id, one.task) if is_published else (one.model_id,):
                store.functions.setdefault(PREFIX + name, _function(PREFIX + name, one, store))
        store.connections.add(con)
        for other in _STORES.values():
            other.unload()
    for name, function in store.functions.items():
        # Without types, because a struct type would refuse a row with more columns than it names.
        con.create_function(name, function, None, "DOUBLE", type="arrow", null_handling="special")


def _function(name: str, one: Published, store: Store) -> Callable:
    # A lambda, because DuckDB would evaluate annotations whose modules are not imported yet.
    return lambda *arguments: _answer(arguments, name, one, store)


def _answer(
    arguments: "tuple[pa.ChunkedArray, ...]", name: str, one: Published, store: Store
) -> "pa.Array":
    """What DuckDB asks for up to 2,048 rows at a time, from several threads."""
    try:
        return _predict(arguments, one, store)
    except BehavsqlError as error:
        message = str(error)
    except Exception as error:  # whatever a library says of values it did not expect
        first = next(iter(str(error).splitlines()), "")
        message = (
            f"model {one.model_id} failed ({type(error).__name__}: {first}); allowed are features as "
            f"features.latest has them. If it fails with those too, report this."
        )
    raise ModelError(f"{name}(f): {message}")


def _predict(arguments: "tuple[pa.ChunkedArray, ...]", one: Published, store: Store) -> "pa.Array":
    """Scores (n,), NULL where the row is; ModelError if the argument is no row or lacks a feature."""
    import numpy as np
    import pyarrow as pa

    rows = arguments[0]
    if len(arguments) > 1 or not (pa.types.is_struct(rows.type) or pa.types.is_null(rows.type)):
        given = ", ".join(str(argument.type) for argument in arguments)
        raise ModelError(
            f"got {given if len(given) < 80 else 'other arguments'}; allowed is one row by name. "
            f"Write {PREFIX}{one.model_id}(f) from features.latest as f."
        )
    if pa.types.is_null(rows.type):
        return pa.nulls(len(rows), pa.float64())
    rows = rows.chunk(0) if rows.num_chunks == 1 else rows.combine_chunks()
    model, calibrator = store.model(one)
    score = calibrator.transform(model.predict(_table(rows, model, one)))
    missing = np.asarray(rows.is_null()) if rows.null_count else None
    return pa.array(score, pa.float64(), mask=missing, from_pandas=False)


def _table(rows: "pa.StructArray", model: "Model", one: Published) -> object:
    """The features the model reads, by name in any case, whatever stands beside them."""
    import polars as pl
    import pyarrow as pa

    from behavsql import frames

    wanted = model.features(one.task)
    places = {column.name.lower(): place for place, column in enumerate(rows.type)}
    absent = [name for name in wanted if name.lower() not in places]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise ModelError(
            f"f has no column {absent[0]!r}{more}; allowed is a row with each of the {len(wanted)} "
            f"features that model {one.model_id} reads, NULL where unknown."
            f"{nearest(absent[0], places)} Pass a row of features.latest or features.matrix."
        )
    names = wanted or (rows.type[0].name,)  # any, to say how many rows there are
    columns = [rows.field(places[name.lower()]) for name in names]
    frame = pl.DataFrame(pa.RecordBatch.from_arrays(columns, list(names)))
    return frames.unlabelled(frame, one.task, one.kind)
