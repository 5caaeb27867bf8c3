"""`behavsql report`: one self-contained HTML file about a published warehouse."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from behavsql.errors import WarehouseError
from behavsql.warehouse import connect


def write(
    warehouse: str | Path, output: Path, *, tasks: Sequence[str] = (), users: Sequence[str] = (),
    k: int | None = None,
) -> int:  # fmt: skip
    """Write the page and return its size in bytes; an earlier one is replaced whole.

    tasks: those to show (default: all). users: ids, as text, to show with scores and reasons; no
    other user is on the page, and numbers of fewer than k are left out (None: as it was built). The file is the owner's
    alone where users are named. ConfigError for a task or a user that is not there.
    """
    from behavsql.reporting.page import render

    with connect(warehouse, udfs=False) as con:
        page = render(con, tasks, users, k).encode()
    _replace(Path(output), page, 0o600 if users else 0o644)
    return len(page)


def _replace(path: Path, content: bytes, mode: int) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, mode)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WarehouseError(
            f"{path}: cannot be written ({error.strerror}); allowed is a file in a folder you may "
            f"write to. Name another with --output."
        ) from None
