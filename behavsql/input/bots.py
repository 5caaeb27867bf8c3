"""Which visitors are no people: known crawlers, told by their user agents."""

import duckdb

from behavsql.quoting import literal

# Patterns in one regular expression: one by one takes ten times as long, all 1,500 at once
# outgrow the matcher's cache and take forty times as long.
TOGETHER = 100


def mark_bots(con: duckdb.DuckDBPyConnection) -> int:
    """Write `raw.bots` (user_agent VARCHAR, each once): the agents in `raw.events` of known crawlers.

    Only distinct agents are looked at, and capital letters count, as they do in the list. NULL and
    the empty text are nobody's agent and so no bot. Returns how many agents were written.

    Source: crawler-user-agents, M. Monperrus and others, MIT licence: patterns of crawlers, HTTP
    libraries and monitors.
    """
    con.execute(f"""create or replace table raw.bots as {_crawlers("raw.events")}""")
    return con.execute("select count(*) from raw.bots").fetchall()[0][0]


def add_bots(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Add to `raw.bots` the crawlers among the user agents of a table of new rows."""
    con.execute(
        f"insert into raw.bots from ({_crawlers(table)}) where user_agent not in (from raw.bots)"
    )


def _crawlers(table: str) -> str:
    """The query for the agents in a table that are known crawlers."""
    return f"""
        with agents as (
            select distinct cast(user_agent as varchar) as user_agent
            from {table}
            where user_agent is not null
        )
        select user_agent
        from agents
        where user_agent <> '' and ({_is_crawler("user_agent")})
        order by user_agent"""


def _is_crawler(column: str) -> str:
    """The condition that some pattern of the list is found in the column."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    # The list keeps to what Go's regexp reads, which is what DuckDB's reads.
    patterns = [f"(?:{entry['pattern']})" for entry in CRAWLER_USER_AGENTS_DATA]
    groups = ["|".join(patterns[at : at + TOGETHER]) for at in range(0, len(patterns), TOGETHER)]
    return " or ".join(f"regexp_matches({column}, {literal(group)})" for group in groups)
