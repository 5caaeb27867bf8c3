"""What the cleaning account allows: how much of a source may be refused before a build stops."""

import duckdb

from behavsql.config import Config
from behavsql.errors import SourceError


def check_rejected(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    """SourceError if more rows of a source were refused than `max_rejected_share` allows."""
    most = config.settings.max_rejected_share
    for source, read, kept, meant in con.execute(
        "select source, max(count_rows_in), max(count_kept), "
        "sum(count_rows_removed) filter (where rule in ('duplicate', 'outside_since_until')) "
        "from staging.ledger group by source order by source"
    ).fetchall():
        # Duplicates, and what since and until leave out, are no sign of a wrong mapping.
        share = (read - kept - meant) / max(read, 1)
        if share > most:
            rules = con.execute(
                "select rule, count(*) as n, any_value(reason) from staging.rejected where source = ? "
                "and rule not in ('duplicate', 'outside_since_until') "
                "group by rule order by n desc, rule limit 3", [source]
            ).fetchall()  # fmt: skip
            told = "; ".join(
                f"{rule} {count:,} (such as {reason})" for rule, count, reason in rules
            )
            raise SourceError(
                f'source "{source}": {share:.1%} of {read:,} rows cannot be used ({told}); allowed is '
                f"max_rejected_share = {most}. Mend the mapping, or raise the setting."
            )
