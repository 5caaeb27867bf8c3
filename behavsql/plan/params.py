"""What SQL files may read through `getvariable`."""

from collections.abc import Container

import duckdb

from behavsql.config import Config
from behavsql.plan.acting import NO_CAP
from behavsql.plan.own_parts import ECONOMICS

# Settings that an ingest and meta.tasks find out: parameter -> the result that holds it.
FOUND_PARAMS = {"latest_possible_at": "raw.clock", "bucket": "meta.clock"}


def settings_params(config: Config) -> dict[str, object]:
    """The settings SQL files may read through `getvariable`, known before the build starts."""
    chosen, acting = config.settings, config.actions
    return {
        "session_gap": chosen.session_gap,
        "max_session": chosen.max_session,
        "min_date": chosen.min_date,
        "max_value": chosen.max_value,
        "max_quantity": chosen.max_quantity,
        "has_locations": any(source.columns.latitude for source in config.source),
        "has_anonymous_ids": any(source.columns.anonymous_id for source in config.source),
        "count_recommended": chosen.count_recommended,
        "max_per_category": chosen.max_per_category,
        "k": config.privacy.k,
        "is_granted_unless_told": config.is_granted_unless_told,
        "has_screen_time": any(source.columns.screen_time for source in config.source),
        ECONOMICS: config.valued(),
        "action_horizon": acting.horizon,
        "action_active_within": acting.active_within,
        "action_frequency_window": acting.frequency_window,
        "action_frequency_cap": acting.frequency_cap or NO_CAP,
        "action_budget": acting.budget,
    }


def all_params(
    con: duckdb.DuckDBPyConnection, config: Config, wanted: Container[str] = FOUND_PARAMS
) -> dict[str, object]:
    """Those, and what a build finds out: the latest time that was not in the future, the bucket.

    wanted: of the latter, those that are looked for.
    """
    params = settings_params(config)
    for name, table in FOUND_PARAMS.items():
        if name not in wanted:
            continue
        schema, _, bare = table.partition(".")
        # raw is a database of its own, meta a schema of the build's.
        known = con.execute(
            "select 1 from duckdb_tables() where table_name = ? "
            "and ? in (schema_name, database_name)", [bare, schema]
        ).fetchall()  # fmt: skip
        if known:
            params[name] = con.execute(f"select {name} from {table}").fetchall()[0][0]
    return params
