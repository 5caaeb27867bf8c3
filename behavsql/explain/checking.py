"""Whether the reasons that are stored still add up to the scores that are shown."""

from collections.abc import Iterator

import duckdb

from behavsql.parity import Published
from behavsql.quoting import identifier

ADDED = 1e-6  # of the score, relative where it is above 1


def compare(con: duckdb.DuckDBPyConnection, one: Published) -> Iterator[str]:
    """Where base, reasons, others and residual of a user are not `predictions.<task>`; none: no reasons."""
    measure = "probability" if one.kind == "binary" else "amount"
    again = f'Run `behavsql build -s "explain {one.task}+"`.'
    try:
        found = con.execute(
            f"select count(*), count(*) filter ((abs(told.parts - shown.{measure}) <= {ADDED} "
            f"* greatest(1, abs(shown.{measure}))) is not true), count(told.user_id) "
            f"from {identifier('predictions', one.task)} as shown full outer join ("
            "select user_id, sum(contribution) as parts from predictions.reasons "
            "where task = ? group by user_id) as told using (user_id)", [one.task]
        ).fetchall()  # fmt: skip
    except duckdb.CatalogException:  # built by an earlier version: the plan says what is due
        return
    except duckdb.Error as error:
        yield f"predictions.reasons: {str(error).splitlines()[0]}. {again}"
        return
    ((rows, differ, told),) = found
    if told and differ:
        yield (
            f"predictions.reasons: those of {one.task} do not add up to the score for {differ:,} of "
            f"{rows:,} users; allowed is {ADDED:g}. {again}"
        )
