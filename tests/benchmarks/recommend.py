"""How well recommenders do under published protocols: every item ranked, bars beside them.

    python tests/benchmarks/recommend.py FOLDER [DATA...] [--without MODEL,MODEL...]

DATA: ml100k, amazon_toys, diginetica, wikipedia_edits, online_retail. FOLDER holds a folder for each
of them (interactions.parquet and the like), but for the last, which is bundled and built as users
build it. Weights of the blend are searched on one half of valid's users, the champion is the best on
the other, and test only tells. Leave-one-out: the last item of each user is test, the one before
valid, the one before that train (it teaches the re-ranker); what was seen is not listed. diginetica:
the last 4% of the train sessions are valid. wikipedia_edits: by time, 80/10/10.
"""

import sys
import tempfile
import time
from pathlib import Path

import duckdb

from behavsql import config, demos
from behavsql.errors import ModelError
from behavsql.pipeline import build
from behavsql.progress import Progress
from behavsql.recommenders import RECOMMENDERS, RERANKER
from behavsql.recommenders.blend import Blend
from behavsql.recommenders.choices import Choices
from behavsql.recommenders.measure import gain, spread
from behavsql.recommenders.panel import Panel
from behavsql.recommenders.reranker import Reranker, lesson

BARS = {
    "ml100k": {"hit_rate_at_10": 0.195, "ndcg_at_10": 0.109},
    "amazon_toys": {"hit_rate_at_10": 0.096, "ndcg_at_10": 0.061},
    "diginetica": {"hit_rate_at_20": 0.521, "mrr_at_20": 0.185},
    "wikipedia_edits": {"mrr_at_20": 0.816},
    "online_retail": {"hit_rate_at_10": None, "ndcg_at_10": None},  # nothing is published
}
ROWS = {
    "ml100k": "select user_id as u, item_id, ts as chosen_at, row_number() over (order by ts, "
    "file_row_number) as ord from read_parquet('{folder}/interactions.parquet', file_row_number=true)",
    "amazon_toys": "select user_id as u, item_id, timestamp '2000-01-01' as chosen_at, pos as ord "
    "from '{folder}/toys_and_games.parquet'",
}


def main(folder: Path, names: list[str], without: list[str]) -> None:
    for name in names or list(BARS):
        with duckdb.connect() as con:
            con.execute("set threads = 2; set enable_progress_bar = false")
            con.execute("create temp table next_answers (question integer, item integer)")
            known, hides = _PREPARE[name](con, folder / name)
            _run(con, name, known, hides, without)


def _run(
    con: duckdb.DuckDBPyConnection,
    name: str,
    known: dict[str, str],
    hides: bool,
    without: list[str],
) -> None:
    left = {*without, *(x for x in RECOMMENDERS if hides and x.startswith("own_"))}
    panel = Panel(con, [x for x in RECOMMENDERS if x not in left], hides, threads=2)
    found, mixes, taught = {}, {}, None
    for split in ("train", "valid", "test") if "train" in known else ("valid", "test"):
        wall, cpu = time.perf_counter(), time.process_time()
        asked = f"(select question, who, place, cutoff_at, who % 2 = 0 as is_fit_half from next_questions where split = '{split}')"
        panel.fit(known[split])
        tables = panel.ask(asked)
        if split == "train":
            blend = Blend(*panel.search(tables, asked))
            taught = blend, lesson(panel, blend, tables)
        elif split == "valid":
            mixes = _mixes(panel, tables, f"(from {asked} where is_fit_half)", taught)
        if split != "train":
            members = {x: panel.judge(table, asked, known[split]) for x, table in tables.items()}
            for x, mix in mixes.items():
                members[x] = panel.judge(mix.say(panel, tables), asked, known[split])
            found[split] = members
        took = {x: round(seconds) for x, seconds in panel.seconds.items() if seconds >= 1}
        print(f"{name} {split}: {time.perf_counter() - wall:.0f} s, CPU {time.process_time() - cpu:.0f} s; "
              f"fitting {took} {panel.left_out or ''}", file=sys.stderr, flush=True)  # fmt: skip
    _tell(name, found, mixes)


def _mixes(panel: Panel, tables: dict[str, str], half: str, taught: tuple | None) -> dict:
    mixes = {"blend": Blend(*panel.search(tables, half))}
    if taught:
        shown = lesson(panel, taught[0], tables).join(
            panel.con.sql(f"select question from {half}").pl(), on="question", how="semi"
        )
        try:
            mixes[RERANKER] = Reranker.fit(*taught, shown, 7, 2)
        except ModelError as error:
            print(error, file=sys.stderr)
    return mixes


def _tell(name: str, found: dict, mixes: dict) -> None:
    bars = BARS[name]
    pick, metric = ~found["valid"]["popularity"].is_fit_half, next(reversed(bars))
    of_valid = {x: judged.mean(metric, pick) for x, judged in found["valid"].items()}
    champion = max(of_valid, key=of_valid.get)
    weights = {k: round(v, 3) for k, v in mixes["blend"].weights.items()}
    print(
        f"\n{name}: {len(found['test'][champion].who):,} questions, blend {mixes['blend'].shape} {weights}"
    )
    for x, judged in found["test"].items():
        ends = spread(judged, 7)
        told = "  ".join(
            f"{m} {judged.mean(m):.4f} [{ends[m][0]:.4f}, {ends[m][1]:.4f}]"
            + f" (bar {bar})" * bool(bar)
            for m, bar in bars.items()
        )
        lists = "  ".join(f"{k.removesuffix('_at_10')} {v:.3f}"
                          for k, v in judged.of_lists.items() if v is not None)  # fmt: skip
        print(f"  {x:20s}{'* ' if x == champion else '  '}{told}  {lists}")
    single = max((x for x in of_valid if x not in mixes), key=of_valid.get)
    for x in mixes:
        ahead = gain(found["test"][x], found["test"][single], metric, slice(None), 7)
        print(f"  {x} over {single}: {metric} {ahead.mean:+.4f} [{ahead.low:.4f}, {ahead.high:.4f}]", flush=True)  # fmt: skip


def _leave_one_out(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[dict[str, str], bool]:
    con.execute(f"create temp table raw as {ROWS[folder.name].format(folder=folder)}")
    con.execute("""
        create temp table placed as
        select u::integer as who, item_id, chosen_at, u as visit,
            (row_number() over whose)::integer as place, count(*) over (partition by u) as n
        from raw window whose as (partition by u order by ord)
    """)
    _items(con, "placed", "place <= n - 2")
    con.execute("""
        create temp table next_choices as select who, place, item, chosen_at, visit, n
        from placed inner join next_items using (item_id) order by who, place;
        create temp table next_questions as
        select (who * 3 + back)::integer as question, who, (place - 1)::integer as place,
            lag_at as cutoff_at, ['test', 'valid', 'train'][back + 1] as split
        from (select *, lag(chosen_at) over (partition by who order by place) as lag_at from next_choices)
        inner join (values (0), (1), (2)) as ends (back) on place = n - back
        where n >= 3 + back // 2;
        insert into next_answers select question, item from next_questions as asked
        inner join next_choices as chosen on chosen.who = asked.who and chosen.place = asked.place + 1
    """)
    columns = "select who, place, item, chosen_at, visit from next_choices where place <= n -"
    return {"train": f"({columns} 3)", "valid": f"({columns} 2)", "test": f"({columns} 1)"}, True


def _sessions(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[dict[str, str], bool]:
    con.execute(f"""
        create temp table train as
        select session_id::integer as who, pos, item_id from '{folder}/train_sessions.parquet';
        create temp table given as
        select (10000000 + example_id)::integer as who, unnest(prefix) as item_id, target,
            generate_subscripts(prefix, 1) as pos
        from '{folder}/test_examples.parquet' where example_id % 4 = 0
    """)
    _items(con, "train", "true")
    con.execute("""
        create temp table next_choices as
        select who, (row_number() over (partition by who order by pos))::integer as place, item,
            timestamp '2000-01-01' + to_seconds(who) as chosen_at, who as visit
        from (select who, item_id, pos from train union all select who, item_id, pos from given)
        inner join next_items using (item_id) order by who, place
    """)
    cut = con.execute("select quantile_disc(who, 0.96) from train").fetchall()[0][0]
    con.execute(f"""
        create temp table next_questions as
        select who as question, who, (max(place) - if(who < 10000000, 1, 0))::integer as place,
            max(chosen_at) as cutoff_at, if(who < 10000000, 'valid', 'test') as split
        from next_choices where who > {cut} group by who
        having max(place) > 1 or who >= 10000000;
        insert into next_answers
        select question, item from next_questions as asked inner join next_choices as chosen
            on chosen.who = asked.who and chosen.place = asked.place + 1 where split = 'valid'
        union all
        select distinct who, item from given inner join next_items on next_items.item_id = target
    """)
    return {"valid": f"(from next_choices where who <= {cut})",
            "test": "(from next_choices where who < 10000000)"}, False  # fmt: skip


def _by_time(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[dict[str, str], bool]:
    con.execute(f"""
        create temp table placed as
        select user_id::integer as who, item_id, row_number() over (order by ord)::integer as nth,
            timestamp '2000-01-01' + to_microseconds((t_seconds * 1e6)::bigint) as chosen_at,
            user_id * 1000 + floor(t_seconds / 86400)::integer as visit
        from '{folder}/interactions.parquet'
    """)
    ends = con.execute(
        "select (0.8 * count(*))::integer, (0.9 * count(*))::integer from placed"
    ).fetchall()[0]
    _items(con, "placed", f"nth <= {ends[0]}")
    con.execute(f"""
        create temp table next_choices as
        select who, (row_number() over (partition by who order by nth))::integer as place, item,
            chosen_at, visit, nth
        from placed inner join next_items using (item_id) order by who, place;
        create temp table next_questions as
        select nth as question, who, place - 1 as place, chosen_at as cutoff_at,
            if(nth <= {ends[1]}, 'valid', 'test') as split
        from next_choices where nth > {ends[0]};
        insert into next_answers select nth, item from next_choices where nth > {ends[0]}
    """)
    columns = "select who, place, item, chosen_at, visit from next_choices where nth <="
    return {"valid": f"({columns} {ends[0]})", "test": f"({columns} {ends[1]})"}, False


def _items(con: duckdb.DuckDBPyConnection, table: str, known: str) -> None:
    con.execute(f"""
        create temp table next_items as
        select (row_number() over (order by count(*) filter (where {known}) desc, item_id))::integer
            as item, item_id, null::varchar as category, null::varchar as title,
            null::varchar as description
        from {table} group by item_id
    """)


def _product(con: duckdb.DuckDBPyConnection, _: Path) -> tuple[dict[str, str], bool]:
    """The bundled sample as it is built for the one task, by time; shown again is what was seen."""
    own = demos.demo_config("retail", Path(tempfile.mkdtemp(), "retail"), models="fast")
    off = {task: config.TaskSettings(enabled=task == "next_item") for task in (
        "churn", "click", "dropout", "engagement", "next_item", "next_visit", "purchase", "spend")}  # fmt: skip
    own = own.model_copy(update={"tasks": off})
    build(own, progress=Progress(quiet=True))
    con.execute(f"attach '{own.warehouse}/.work/build.duckdb' as built (read_only); use built")
    choices = Choices.load(con, "next_item", "auto", 7)
    return {split: choices.known(split) for split in choices.until}, choices.hides_seen


_PREPARE = {
    "online_retail": _product,
    "ml100k": _leave_one_out,
    "amazon_toys": _leave_one_out,
    "diginetica": _sessions,
    "wikipedia_edits": _by_time,
}

if __name__ == "__main__":
    given = sys.argv[2:]
    at = given.index("--without") if "--without" in given else len(given)
    main(Path(sys.argv[1]), given[:at], [x for part in given[at + 1 :] for x in part.split(",")])
