"""The two steps of a build: a policy is learned, and asked about each user."""

import json
import os
from collections.abc import Callable

import duckdb
import numpy as np
import polars as pl

from behavsql.acting import tables
from behavsql.acting.balance import calibration
from behavsql.acting.choosing import Calibration
from behavsql.acting.decisions import Decisions, Logged, load
from behavsql.acting.learning import LEAST_ACTED, Judged, Learner, refusal
from behavsql.config import Config
from behavsql.plan.acting import NO_CAP
from behavsql.policies import POLICY_SETS, policy_class
from behavsql.progress import counted


def learn(con: duckdb.DuckDBPyConnection, config: Config, say: Callable[[str], None]) -> str:
    """Learn policies from the log and store the best with what it is worth; what came of it, told.

    Where that cannot be, nothing is kept of earlier ones either.
    """
    tables.prepare(con)
    if not con.execute("from staging.actions limit 1").fetchall():
        tables.forget(con)
        words = ", ".join(config.action_words())
        return f"skipped: no event is called {words}" if words else "skipped: disabled"
    logged = _load(con, config, only="decisions.split <> 'latest'")
    for action, count in logged.left_out.items() if len(logged.decisions.actions) > 1 else ():
        say(f"{action} is left out: {counted(count, 'decision')} to learn from, "
            f"allowed is {LEAST_ACTED['train']} or more")  # fmt: skip
    reason = refusal(logged)
    if reason:
        tables.forget(con, reason)
        return f"refused: {reason}"
    settings = config.settings
    threads = settings.threads or os.cpu_count() or 1
    learner = Learner(logged, config.actions, POLICY_SETS[settings.models], settings.seed, threads)
    return _store(con, learner)


def _load(con: duckdb.DuckDBPyConnection, config: Config, **known: object) -> Logged:
    actions = config.actions
    return load(
        con, actions.value, actions.costs(), actions.frequency_cap or NO_CAP, config.settings.seed,
        LEAST_ACTED["train"], **known,
    )  # fmt: skip


def _store(con: duckdb.DuckDBPyConnection, learner: Learner) -> str:
    policies = learner.policies()
    tables.replace_rows(con, "policies", policies)
    tables.replace_rows(con, "action_effects", learner.action_effects())
    tables.replace_rows(con, "action_propensities", learner.propensities())
    tables.replace_rows(con, "action_balance", learner.balance.table())
    tables.replace_rows(con, "propensity_bins", calibration(learner.test))
    shown = [one.policy.table() for one in learner.judged]
    tables.replace_rows(con, "action_values", next((t for t in shown if t is not None), None))
    best = learner.champion
    summary = {
        "columns": learner.train.columns, "actions": learner.train.actions,
        "calibration": best.calibration.to_list(),
    }  # fmt: skip
    files = best.policy.save() | {tables.SUMMARY: json.dumps(summary).encode()}
    tables.store_files(con, best.policy.name, files)
    row = policies.filter("is_champion", "is_deciding").row(0, named=True)
    word = "recommended" if row["is_recommended"] else "not recommended"
    told = f"{best.policy.name} {word}: {row['reason']}"
    if learner.reached < 1:
        told += f"; {learner.reached:.0%} of those meant to get something could be reached"
    return told


def weigh(con: duckdb.DuckDBPyConnection, config: Config) -> tuple[int, str]:
    """Ask the kept policy about each user who may be acted upon now; (rows, what there is to say)."""
    tables.prepare(con)
    name, files = tables.load_files(con)
    con.execute("delete from models.action_gains")
    if name is None:
        return 0, "no policy"
    summary = json.loads(files[tables.SUMMARY])
    there = {row[0] for row in con.execute("describe actions.states").fetchall()}
    lacking = set(summary["columns"]) - there
    if lacking:
        told = ", ".join(sorted(lacking))
        return 0, f"the policy was learned from {told}, which actions.states lacks now; build again"
    logged = _load(
        con, config, columns=summary["columns"], actions=tuple(summary["actions"]),
        only="decisions.split = 'latest'",
    )  # fmt: skip
    judged = Judged(
        policy_class(name).load(files), Calibration.from_list(summary["calibration"]), float("nan")
    )
    rows = _gains(judged, logged.decisions, logged.keys)
    tables.replace_rows(con, "action_gains", rows)
    return len(rows), ""


def _gains(judged: Judged, asked: Decisions, keys: pl.DataFrame) -> pl.DataFrame:
    """A row for each user and action, doing nothing apart."""
    scores, said = judged.scores(asked), judged.policy.gains(asked)
    expected, low, high = judged.calibration.gains(np.where(np.isfinite(said), said, 0.0))
    parts = []
    for place, action in enumerate(asked.actions[1:], 1):
        columns = {"score": scores, "expected_gain": expected, "low": low, "high": high}
        parts.append(keys.with_columns(
            pl.lit(action).alias("action"), pl.lit(judged.policy.name).alias("policy"),
            *(pl.Series(name, values[:, place]) for name, values in columns.items()),
        ))  # fmt: skip
    return pl.concat(parts).sort("user_id", "action")
