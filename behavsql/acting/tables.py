"""Where policies, what they are worth and what they say of users are stored: the `models` schema."""

import duckdb
import polars as pl

TABLES = """
create schema if not exists models;
create table if not exists models.policies (
    policy varchar, split varchar, estimator varchar, value double, low double, high double,
    normal_low double, normal_high double, logging_value double, gain double, gain_low double,
    gain_high double, effective_sample_size double, count_decisions bigint, count_clipped bigint,
    largest_weight double, acted_share double, is_champion boolean, is_deciding boolean,
    is_recommended boolean, reason varchar, unsupported_share double
);
alter table models.policies add column if not exists unsupported_share double;
create table if not exists models.action_effects (
    action varchar, effect double, low double, high double, count_acted bigint,
    count_left_alone bigint, mean_propensity double, is_propensity_estimated boolean,
    reached_share double, count_clipped bigint
);
create table if not exists models.action_balance (
    action varchar, feature varchar, difference_before double, difference double,
    standard_error double
);
create table if not exists models.propensity_bins (
    action varchar, bin bigint, count_decisions bigint, mean_propensity double, acted_share double,
    low double, high double
);
create table if not exists models.action_values (
    state varchar, action varchar, value double, count_decisions bigint
);
create table if not exists models.policy_files (policy varchar, file varchar, content blob);
"""
# Their users are of the ids' own type.
PER_USER = {
    "action_propensities": "null::varchar as action, null::double as propensity, "
    "null::boolean as is_estimated",
    "action_gains": "null::varchar as action, null::varchar as policy, null::double as score, "
    "null::double as expected_gain, null::double as low, null::double as high",
}
SHOWN = (
    "policies", "action_effects", "action_balance", "propensity_bins", "action_values", "policy_files",
)  # fmt: skip
SUMMARY = "policy.json"  # the file that says how the policy is used


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """Create the tables where they are missing, or where users are of another type by now."""
    con.execute(TABLES)
    for name, columns in PER_USER.items():
        types = con.execute(
            "select distinct data_type from duckdb_columns() where column_name = 'user_id' and "
            "database_name = current_database() and (schema_name, table_name) in "
            "(('models', ?), ('staging', 'events'))", [name]
        ).fetchall()  # fmt: skip
        replace = "or replace table" if len(types) > 1 else "table if not exists"
        con.execute(
            f"create {replace} models.{name} as select user_id, event_at as cutoff_at, {columns} "
            "from staging.events limit 0"
        )


def replace_rows(con: duckdb.DuckDBPyConnection, name: str, rows: pl.DataFrame | None) -> None:
    """Put rows in the place of all that `models.<name>` holds."""
    con.execute(f"delete from models.{name}")
    if rows is None or not len(rows):
        return
    con.register("new_rows", rows.to_arrow())
    con.execute(f"insert into models.{name} by name from new_rows")
    con.unregister("new_rows")


def store_files(con: duckdb.DuckDBPyConnection, policy: str, files: dict[str, bytes]) -> None:
    """Replace the policy that is kept."""
    con.execute("delete from models.policy_files")
    for file, content in files.items():
        con.execute("insert into models.policy_files values (?, ?, ?)", [policy, file, content])


def load_files(con: duckdb.DuckDBPyConnection) -> tuple[str | None, dict[str, bytes]]:
    """(the kept policy's name, its files); None if there is none."""
    rows = con.execute("select policy, file, content from models.policy_files").fetchall()
    return (rows[0][0] if rows else None), {file: content for _, file, content in rows}


def forget(con: duckdb.DuckDBPyConnection, but_reason: str | None = None) -> None:
    """Empty all of them; `but_reason` stays as the one line that says why there is no policy."""
    for name in (*SHOWN, *PER_USER):
        con.execute(f"delete from models.{name}")
    if but_reason:
        con.execute(
            "insert into models.policies (policy, split, estimator, is_champion, is_deciding, "
            "is_recommended, reason) values ('nobody', 'test', 'refused', true, true, false, ?)", [but_reason]
        )  # fmt: skip
