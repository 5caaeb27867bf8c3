"""How long lists for everybody take, and one user's by the function: generated choices, no warehouse.

    python tests/benchmarks/recommend_scale.py [USERS] [ITEMS] [MODEL,MODEL...]

Prints seconds and CPU seconds of one fit, of the lists of a blend of all for everybody, of
predictions.next_item, of recommend() for single users, and the peak of the process's memory.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from behavsql import item_functions, model_tables, transform
from behavsql.catalog import Catalog
from behavsql.recommenders import COMBINED, RECOMMENDER_SETS, publishing
from behavsql.recommenders.blend import Blend
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.panel import Panel
from behavsql.tasks import Task

MEMORY = "6GB"
EVENTS = 20  # of a user
GENERATED = """
create schema sessions; create schema staging; create schema cutoffs; create schema labels;
create table staging.items as
select i as item_id, 'item ' || i as title, 'kind ' || i % 50 as category, null::varchar as description
from range({items}) as t (i);
create table staging.users as select u as user_id from range({users}) as t (u);
create table sessions.session_events as
select user_id, row_number() over (partition by user_id order by event_at) as event_id,
    event_at, event_at::date::varchar as session_id, 'view' as role,
    -- Popular items have small numbers; every other step goes on near the user's own place.
    case when hash(user_id, n) % 2 = 0
        then floor({items} * pow(hash(n, user_id, 1) / 18446744073709551616.0, 3))::bigint
        else (hash(user_id) % {items} + n * 17 + hash(user_id, n, 2) % 2) % {items}
    end as item_id,
from (
    select u as user_id, n, timestamp '2024-01-01'
        + to_seconds((n * 5 * 86400 + hash(u, n, 3) % (5 * 86400))::bigint) as event_at
    from range({users}) as t (u) cross join range({events}) as s (n)
)
order by user_id, event_id;
create view staging.events as from sessions.session_events;
create view sessions.item_events as select user_id, event_id, event_at, item_id from sessions.session_events;
create table cutoffs.splits as select 'next_item' as task, split, cutoff_at
from (values ('train', timestamp '2024-03-01'), ('valid', timestamp '2024-03-10'),
    ('test', timestamp '2024-03-25'), ('latest', timestamp '2024-04-10')) as t (split, cutoff_at);
create table cutoffs.cutoffs as
select user_id, cutoff_at from staging.users cross join cutoffs.splits;
create table cutoffs.populations as
select task, user_id, cutoff_at, split from cutoffs.cutoffs inner join cutoffs.splits using (cutoff_at);
create table labels.next_item as
select user_id, cutoff_at, list(distinct item_id) as label
from cutoffs.cutoffs inner join sessions.session_events using (user_id)
where event_at > cutoff_at and event_at <= cutoff_at + interval '7 days'
    and cutoff_at in (timestamp '2024-03-10', timestamp '2024-03-25')
group by user_id, cutoff_at;
"""


def main(users: int, items: int, names: tuple[str, ...]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(str(Path(folder, "x.duckdb"))) as con,
    ):
        con.execute(
            f"set threads = 2; set memory_limit = '{MEMORY}'; set enable_progress_bar = false"
        )
        catalog = Catalog.load()
        clock = Clock()
        con.execute(GENERATED.format(users=users, items=items, events=EVENTS))
        clock.told(f"{users:,} users, {items:,} items, {users * EVENTS:,} choices generated")
        transform.prepare(con, catalog)
        model_tables.prepare(con)
        task = Task("next_item", "choice", "ndcg_at_10")
        choices = Choices.load(con, task.name, "keep", 7)
        panel = Panel(con, names, hides_seen=False, threads=2)
        panel.fit(choices.known("latest"))
        clock.told(f"{', '.join(names)}: fitted")
        publishing.publish(con, task, panel, choices, Blend(dict.fromkeys(names, 1.0)))
        clock.told("a blend of them all, lists of 40 for everybody")
        transform.set_params(con, {"count_recommended": 20, "max_per_category": None})
        for name in ("next_item_rules", "next_item"):
            transform.run_file(con, catalog.files[f"predictions.{name}"])
        clock.told("predictions.next_item, top 20")
        item_functions.create(con)
        con.execute("checkpoint")
        took = []
        for user in range(0, users, max(users // 50, 1)):
            started = time.perf_counter()
            con.execute("from recommend($user, k := 10)", {"user": user}).fetchall()
            took.append(time.perf_counter() - started)
        rows = con.execute("select count(*) from predictions.next_item").fetchall()[0][0]
        print(f"{rows:,} rows; recommend(user): median {statistics.median(took) * 1e3:.1f} ms; peak "
              f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")  # fmt: skip


class Clock:
    """Seconds, and seconds of CPU, since it was last asked."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), sum(os.times()[:2])

    def told(self, what: str) -> None:
        wall, cpu = time.perf_counter(), sum(os.times()[:2])
        print(f"{what}: {wall - self.wall:.0f} s, CPU {cpu - self.cpu:.0f} s", flush=True)
        self.wall, self.cpu = wall, cpu


if __name__ == "__main__":
    given = sys.argv[1:]
    chosen = tuple(given[2].split(",")) if len(given) > 2 else RECOMMENDER_SETS["fast"]
    chosen = tuple(name for name in chosen if name not in COMBINED)
    main(int(given[0]) if given else 200_000, int(given[1]) if len(given) > 1 else 10_000, chosen)
