"""The generated clickstream's mails: is the lift found that they truly have?

    python tests/benchmarks/uplift.py FOLDER [--models standard]

FOLDER holds events.parquet and truth.parquet of the generated clickstream. Each week a tenth of the users who are
still there gets a mail, at random, that brings 0.75 visits more within three days (fewer to who
leaves for good meanwhile). The reward is the count of visits within a week. The log is read twice: with the
propensity of 0.1 mapped, and without it, so that it has to be estimated. Those who have left cannot
be told from those who are merely away, and never get a mail: how many these are has to be found too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import duckdb
import polars as pl

from behavsql import config
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.quoting import literal

LIFT = 0.75  # visits
VISITS = """-- purpose: how many visits, the mail itself apart, followed a decision within its horizon
-- grain:   user_id, cutoff_at
-- inputs:  actions.decisions, sessions.session_events
-- version: 1
select
    decisions.user_id,
    decisions.cutoff_at,
    cast(count(distinct events.session_id) as double) as reward,
from actions.decisions as decisions
left join sessions.session_events as events
    on events.user_id = decisions.user_id
    and events.event_at > decisions.cutoff_at
    and events.event_at <= decisions.window_ends_at
    and events.role <> 'other'
where decisions.split <> 'latest'
group by decisions.user_id, decisions.cutoff_at
"""
# Of each user who could be acted upon: there at nine o'clock, and for how much of the three days.
TRUTH = """
select avg({lift} * greatest(0, least(1, (epoch(alive_until) - epoch(sent_at)) / 259200))),
    avg(cast(alive_until > sent_at as double))
from (select *, cutoff_at + interval '1 microsecond' + interval '9 hours' as sent_at
      from actions.decisions where split = 'test') as decisions
inner join read_parquet({truth}) as truth on truth.user_id = decisions.user_id
"""


def run(folder: Path, out: Path, models: str, has_propensity: bool) -> None:
    """Build up to the policy and print what it says beside the truth."""
    events = pl.scan_parquet(folder / "events.parquet").with_columns(
        pl.when(pl.col("event_type") == "campaign").then(0.1).alias("chance")
    )
    out.mkdir()
    events.sink_parquet(out / "events.parquet")
    (out / "sql" / "5_actions").mkdir(parents=True)
    (out / "sql" / "5_actions" / "rewards.sql").write_text(VISITS, encoding="utf-8")
    columns = {"user_id": "user_id", "event_at": "ts", "event_type": "event_type",
               "item_id": "item_id", "value": "price", "user_agent": "user_agent"}  # fmt: skip
    if has_propensity:
        columns["propensity"] = "chance"
    project = config.from_dict(
        {"source": [{"name": "clicks", "path": "events.parquet", "columns": columns}],
         # Two visits that are minutes apart are two: steps within one take less.
         "settings": {"models": models, "threads": 2, "session_gap": "5 minutes"},
         "actions": {"budget": 0.3}}, out, "uplift",
    )  # fmt: skip
    build(
        project, select=["report.policies", "report.action_effects"], progress=Progress(quiet=True)
    )
    with duckdb.connect(str(project.warehouse / ".work" / "build.duckdb"), read_only=True) as con:
        print(f"\n--- propensity {'logged' if has_propensity else 'estimated'}")
        truth = TRUTH.format(lift=LIFT, truth=literal(str(folder / "truth.parquet")))
        lift, share = con.execute(truth).fetchall()[0]
        effect, low, high, acted, reached = con.execute(
            "select effect, low, high, count_acted, reached_share from report.action_effects"
        ).fetchall()[0]
        found = "found" if low <= lift <= high else "MISSED"
        print(f"lift {effect:.3f} [{low:.3f}, {high:.3f}] visits of {acted:,} mails; truth {lift:.3f} "
              f"({share:.1%} of the eligible were there, {reached:.1%} found): {found}")  # fmt: skip
        for row in con.execute(
            "select policy, round(value, 4), round(low, 4), round(high, 4), round(logging_value, 4), "
            "round(gain, 4), round(gain_low, 4), round(gain_high, 4), round(effective_sample_size), "
            "round(acted_share, 3), is_champion, is_recommended "
            "from report.policies where is_deciding order by policy"
        ).fetchall():
            print("  ", *row)
        seconds = con.execute("select seconds from meta.builds where step = 'learn actions'")
        print(f"   learned in {seconds.fetchall()[-1][0]:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="standard")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for has_propensity in (True, False):
            started = time.perf_counter()
            name = "logged" if has_propensity else "estimated"
            run(options.folder, Path(scratch, name), options.models, has_propensity)
            print(f"   {time.perf_counter() - started:.1f} s in all")


if __name__ == "__main__":
    main()
