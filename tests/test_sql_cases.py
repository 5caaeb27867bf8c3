"""Every SQL file against tables small enough to work out by hand; `sql_case_runner` has the format."""

import re
from pathlib import Path

import pytest
from sql_case_runner import FOLDER, catalog, read_cases, run, same

from behavsql.errors import SqlFileError

FILES = catalog().files
PATHS = sorted(FOLDER.rglob("*.txt"))


def _table(path: Path) -> str:
    return f"{path.parent.name.partition('_')[2]}.{path.stem}"


CASES = [
    pytest.param(_table(path), case, id=f"{path.parent.name}/{path.stem}: {case.name}")
    for path in PATHS
    for case in read_cases(path)
]


def _shown(rows: list[tuple], columns: list[str]) -> str:
    """Rows as text, one value a line, so that a difference names its column."""
    return "\n".join(
        f"row {number} {column} = {value!r}"
        for number, row in enumerate(rows, 1)
        for column, value in zip(columns, row, strict=True)
    )


@pytest.mark.parametrize(("table", "case"), CASES)
def test_a_file_makes_the_expected_rows(table, case):
    if case.error:
        with pytest.raises(SqlFileError, match=re.escape(case.error)):
            run(FILES[table], case)
        return
    made, expected = run(FILES[table], case)
    if not same(made, expected):
        assert _shown(made, case.expect.columns) == _shown(expected, case.expect.columns)


def test_every_file_has_cases_and_every_case_file_a_file():
    files = {f"{file.stage}/{file.name}" for file in FILES.values()}
    assert {f"{path.parent.name}/{path.stem}" for path in PATHS} == files
