"""Every SQL file against tables worked out by hand; `sql_case_runner` has the format."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from sql_case_runner import FOLDER, Case, built_columns, catalog, parse_cases, run, same

from behavsql.catalog import Catalog, package_folder
from behavsql.errors import SqlFileError

FILES = catalog().files
PATHS = sorted(FOLDER.rglob("*.txt"))


def _table(path: Path) -> str:
    return f"{path.parent.name.partition('_')[2]}.{path.stem}"


CASES = [
    pytest.param(_table(path), case, id=f"{path.parent.name}/{path.stem}: {case.name}")
    for path in PATHS
    for case in parse_cases(path.read_text(encoding="utf-8"))
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


def test_every_column_is_worked_out_in_some_case():
    """Of tables; `event_attributes` has the columns of the source."""
    expected: dict[str, set[str]] = {}
    for param in CASES:
        table, case = param.values
        expected.setdefault(table, set()).update(case.expect.columns if case.expect else ())
    missing = {table: sorted(built_columns()[table].keys() - expected[table]) for table in FILES}
    assert {table: columns for table, columns in missing.items() if columns} == {}


# ---- sql/README.md ---------------------------------------------------------------------------

README = (package_folder() / "README.md").read_text(encoding="utf-8")


def file_table() -> str:
    """The table between the markers of sql/README.md, from the headers."""
    tables = sorted(FILES.values(), key=lambda file: (file.stage, file.name))
    files = (*catalog().macros, *tables)
    rows = [f"| `{file.stage}/{file.name}.sql` | {file.purpose} |" for file in files]
    return "\n".join(["| file | holds |", "|---|---|", *rows])


def test_the_readme_lists_every_file_with_its_purpose():
    listed = README.partition("<!-- files -->\n")[2].partition("\n<!-- /files -->")[0]
    assert listed == file_table()


def test_the_examples_of_the_readme_work_and_are_short(tmp_path):
    examples = re.findall(r"^```sql (\S+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    for path, text in examples:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text, encoding="utf-8")
        assert len(text.splitlines()) < 20
    files = Catalog.load(tmp_path).files
    big = _case(
        """
        # table cutoffs.cutoffs
        user_id | cutoff_at
        1       | 2024-03-31 end
        # table sessions.session_events
        user_id | event_id | role     | value | event_at
        1       | 1        | purchase | 101   | 2024-01-01 10:00
        1       | 2        | purchase | 100   | 2024-03-01 10:00
        1       | 3        | purchase | 101   | 2024-03-31 end
        1       | 4        | purchase | 101   | 2024-04-01 00:00
        # expect
        user_id | count_big_purchases_90d
        1       | 1
        """
    )
    cart = _case(
        """
        # table cutoffs.windows
        task | user_id | cutoff_at      | window_ends_at
        cart | 1       | 2024-03-10 end | 2024-03-17 end
        cart | 2       | 2024-03-10 end | 2024-03-17 end
        # table sessions.user_days
        user_id | day_at     | count_carts
        1       | 2024-03-17 | 1
        2       | 2024-03-10 | 1
        # expect
        user_id | label
        1       | true
        2       | false
        """
    )
    for table, case in {"features.big_purchases": big, "labels.cart": cart}.items():
        made, expected = run(files[table], case)
        assert made == expected
    assert len(examples) == 2


def _case(text: str) -> Case:
    return parse_cases("=== example\n" + dedent(text))[0]
