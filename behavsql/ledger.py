"""What the cleaning account allows: how much of a source may be refused before a build stops."""

from collections.abc import Iterator

import duckdb

from behavsql.config import INBOX, Config
from behavsql.errors import SourceError

# What is no sign of a wrong mapping, however much of it there is.
EXPECTED = (
    "('duplicate', 'outside_since_until', 'too_late', 'bot', 'bot_behaviour', 'unlisted_question', "
    "'no_consent', 'forgotten', 'past_retention')"
)
# A list bought elsewhere tells of others too; but if of nobody here, its ids are not ours.
OTHERS = "or rule = 'unknown_user' and count_kept > 0"


def check_rejected(con: duckdb.DuckDBPyConnection, config: Config) -> None:
    """SourceError if more rows of a source were refused than `max_rejected_share` allows.

    Of the inbox any share may be: it has no mapping to mend, and its rows stay.
    """
    most = config.settings.max_rejected_share
    for source, read, kept, meant in con.execute(
        "select source, max(count_rows_in), max(count_kept), "
        f"sum(count_rows_removed) filter (where rule in {EXPECTED} {OTHERS}) "
        "from staging.ledger where source <> ? group by source order by source",
        [INBOX],
    ).fetchall():
        share = (read - kept - meant) / max(read, 1)
        if share > most:
            rules = con.execute(
                "select rule, count(*) as n, any_value(reason) from staging.rejected where source = ? "
                f"and rule not in {EXPECTED} "
                "group by rule order by n desc, rule limit 3", [source]
            ).fetchall()  # fmt: skip
            told = "; ".join(
                f"{rule} {count:,} (such as {reason})" for rule, count, reason in rules
            )
            raise SourceError(
                f'source "{source}": {share:.1%} of {read:,} rows cannot be used ({told}); allowed is '
                f"max_rejected_share = {most}. Mend the mapping, or raise the setting."
            )


def remember(con: duckdb.DuckDBPyConnection, run_id: int) -> None:
    """Keep the account of this run in `meta.quality`, if it is not that of the newest one there."""
    con.execute("delete from meta.quality where run_id = ?", [run_id])
    con.execute(
        """insert into meta.quality by name
           with now as (
               select source, rule, count_rows_removed,
                   max(count_rows_in) over (partition by source) as count_rows_read,
               from staging.ledger
           )
           select ? as run_id, now()::timestamp as built_at, now.*,
           from now
           where exists (
               select source, rule, count_rows_removed, count_rows_read from now
               except
               select source, rule, count_rows_removed, count_rows_read from meta.quality
               where run_id = (select max(run_id) from meta.quality)
           )
           order by source, rule""",
        [run_id],
    )


def told(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """What a user should hear of some tables of `staging`; nothing of other tables."""
    if table == "staging.rejected":
        rules = con.execute(
            "select rule, count(*) as n from staging.rejected group by rule order by n desc, rule"
        ).fetchall()
        return ", ".join(f"{rule} {count:,}" for rule, count in rules)
    if table == "staging.source_counts":
        return ", ".join(_unread(con))
    if table == "staging.events":
        unknown = con.execute(
            "select distinct event_type from staging.events "
            "where lower(event_type) not in (select event_type from raw.types) order by 1 limit 5"
        ).fetchall()
        words = ", ".join(word for (word,) in unknown)
        return f"taken as role action, not in [types]: {words}" if words else ""
    return ""


def _unread(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """How many of the places and screen times of each source are missing though something was told."""
    for source, read, places, times in con.execute(
        "select source, count_parsed, count_unread_places, count_unread_screen_times "
        "from staging.source_counts order by source"
    ).fetchall():
        for count, what in ((places, "places"), (times, "screen times")):
            if count:
                yield f"{source}: {count:,} of {read:,} {what} cannot be read"
