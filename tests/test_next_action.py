"""From logged mails to the next best action: learned, judged, chosen by the rules, told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from actions_data import DEAF, SHOP, decisions
from clickstream import COLUMNS, clickstream
from conftest import few_files, run

from behavsql import config
from behavsql.acting import choosing
from behavsql.acting.choosing import Calibration
from behavsql.acting.decisions import Logged, load
from behavsql.acting.learning import Learner, refusal, unsupported
from behavsql.action_settings import Actions
from behavsql.errors import ConfigError
from behavsql.pipeline import build, score
from behavsql.progress import Progress

QUIET = Progress(quiet=True)
OFF = {
    name: {"enabled": False}
    for name in ("churn", "click", "engagement", "next_visit", "next_item", "spend")
}
ACTING = ("predictions.next_action", "report.policies", "report.action_effects")


def shop(folder: Path, events: pl.DataFrame, **sections: object) -> config.Config:
    events.write_parquet(folder / "events.parquet")
    columns = COLUMNS | sections.pop("columns", {})
    source = {"name": "shop", "path": "events.parquet", "columns": columns}
    settings = {"models": "fast", "threads": 1} | sections.pop("settings", {})
    told = {"source": [source], "settings": settings, "tasks": OFF} | sections
    return config.from_dict(told, folder, "shop")


def mailed(users: int = 2_000, lift: float = 40.0) -> pl.DataFrame:
    """The little shop, where a mail sells something worth `lift` to every second who gets it."""
    events = clickstream(users=users, days=120)
    mails = events.filter(pl.col("type") == "mail")
    sold = mails.filter(pl.col("user") % 2 == 0).with_columns(
        pl.lit("purchase").alias("type"), pl.col("at").dt.offset_by("26h"),
        pl.lit(lift).alias("price"), pl.lit(1).alias("quantity"), pl.lit(5).alias("item"),
    )  # fmt: skip
    late = events["at"].max()
    return pl.concat([events, sold.cast(dict(events.schema))]).filter(pl.col("at") <= late)


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        few_files(patch, *ACTING, "report.leaderboard")  # which the command reads too
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, few: None) -> config.Config:
    folder = tmp_path_factory.mktemp("shop")
    actions = {"cost": {"mail": 1.0}, "budget": 0.3, "frequency_cap": 1}
    made = shop(folder, mailed(), actions=actions)
    build(made, progress=QUIET)
    return made


def ask(project: config.Config, query: str) -> list[tuple]:
    """What the build database says; published is the first shop alone."""
    path = str(project.warehouse / ".work" / "build.duckdb")
    with duckdb.connect(path, read_only=True) as con:
        return con.execute(query).fetchall()


def test_a_mail_that_sells_is_recommended(built):
    found = ask(built, "select is_recommended, low > logging_value, gain_low > 0, "
                "normal_low < value, effective_sample_size > 10, count_clipped from report.policies "
                "where is_champion and is_deciding")  # fmt: skip
    assert found == [(True, True, True, True, True, 0)]


def test_the_effect_of_a_mail_is_what_it_sells_less_its_cost(built):
    """Half of the users buy for 40, once the mail has come: 20 - 1."""
    found = ask(built, "select low, high, is_propensity_estimated from report.action_effects")
    ((low, high, is_estimated),) = found
    assert low < 19 < high
    assert is_estimated


def test_nobody_beyond_the_rules_is_recommended(built):
    asked, chosen, worst, capped = ask(built, """
        select count(*), count(*) filter (where is_recommended),
            max(rank) filter (where is_recommended),
            count(*) filter (where is_recommended and count_actions_in_window >= 1)
        from predictions.next_action inner join actions.states
            on states.user_id = next_action.user_id and states.cutoff_at = next_action.as_of
    """)[0]  # fmt: skip
    assert chosen == worst == int(0.3 * asked)
    assert capped == 0


def test_the_rules_in_sql_are_those_that_were_judged(built):
    """The same scores through predictions.next_action and through what off-policy estimates saw."""
    rows = ask(built, """
        select next_action.score, hash(user_id), count_actions_in_window >= 1, is_recommended
        from predictions.next_action inner join actions.states using (user_id)
        where states.cutoff_at = next_action.as_of order by user_id
    """)  # fmt: skip
    score_, users, capped, recommended = map(np.array, zip(*rows, strict=True))
    zero = np.zeros(len(rows), dtype=int)
    asked = decisions(zero, zero, zero * 1.0, zero, zero, zero, 0.5, states=1, moments=1,
                      matrix=np.zeros((len(rows), 1)))  # fmt: skip
    asked = replace(asked, users=users.astype(np.uint64), is_capped=capped)
    found = choosing.chosen(asked, np.stack([score_ * 0, score_], axis=1), budget=0.3)
    np.testing.assert_array_equal(found == 1, recommended)


def test_every_decision_has_its_propensity(built):
    rows = ask(built, """
        select decisions.action, avg(propensity), bool_and(is_estimated), count(*)
        from models.action_propensities as told inner join actions.decisions as decisions
            on decisions.user_id = told.user_id and decisions.cutoff_at = told.cutoff_at
            and decisions.action = told.action
        where decisions.split = 'test' group by all order by all
    """)  # fmt: skip
    (mail, none) = rows
    assert mail[1] == pytest.approx(mail[3] / (mail[3] + none[3]), abs=0.03)
    assert mail[2] and none[2]


def test_q_values_of_each_state_are_shown(built):
    rows = ask(
        built,
        "select count(*), count(distinct state), sum(count_decisions) from models.action_values",
    )
    assert rows[0][0] == 2 * rows[0][1] > 4
    trained = "select count(*) from actions.decisions where split = 'train'"
    assert rows[0][2] == ask(built, trained)[0][0]


def test_a_second_build_does_nothing_and_score_keeps_the_policy(built):
    assert build(built, progress=QUIET).steps == ()
    before = ask(built, "from predictions.next_action order by user_id")
    assert score(built, progress=QUIET).steps == ()
    dearer = built.model_copy(update={"actions": built.actions.model_copy(update={"budget": 0.1})})
    steps = score(dearer, progress=QUIET).steps
    assert "predictions.next_action" in steps
    assert "learn actions" not in steps
    after = ask(built, "from predictions.next_action order by user_id")
    assert [row[:3] for row in after] == [row[:3] for row in before]
    assert ask(built, "select count(*) filter (where is_recommended) from predictions.next_action")[0][0] \
        == len(before) // 10  # fmt: skip
    build(built, progress=QUIET)


def test_what_is_known_at_a_decision_does_not_change_with_what_comes(built, tmp_path):
    """States of the past from events up to their moment alone."""
    moment = ask(built, "select max(cutoff_at) from actions.moments where split = 'train'")[0][0]
    few = mailed().filter(pl.col("at") <= moment, pl.col("user") < 300)
    past = shop(tmp_path, few, actions={"frequency_cap": 1})
    build(past, select=["actions.states"], progress=QUIET)
    states = "from actions.states where cutoff_at < ? order by user_id, cutoff_at"
    earlier = moment.replace(microsecond=0)
    states = states.replace("?", f"timestamp '{earlier}'")
    then, now = ask(past, states), ask(built, states)
    assert then
    assert then == [row for row in now if row[:2] in {(one[0], one[1]) for one in then}]


def test_the_build_tells_the_verdict_in_one_line(built, monkeypatch):
    monkeypatch.chdir(built.folder)
    (built.folder / "behavsql.toml").write_text(TOML, encoding="utf-8")
    told = run("build")
    (line,) = [line for line in told.stdout.splitlines() if "next_action" in line]
    assert ", recommended: its value" in line
    found = json.loads(run("build", "--json").stdout)["next_action"]
    assert found["is_recommended"] is True


def test_who_had_not_agreed_then_is_not_learned_from_but_asked_about(built, tmp_path):
    """Of the decisions of the past those agreed to alone; of who is asked now the rules say why not."""
    copy = tmp_path / "build.duckdb"
    shutil.copyfile(built.warehouse / ".work" / "build.duckdb", copy)
    with duckdb.connect(str(copy)) as con:
        con.execute("update actions.decisions set is_agreed_to = false "
                    "where user_id % 3 = 0 and (split = 'train' or split = 'latest')")  # fmt: skip
        past, latest = (
            load(con, 1.0, {}, 9, 7, 100, only=f"decisions.split {sign} 'latest'")
            for sign in ("<>", "=")
        )
        (counts,) = con.execute(
            "select count(*) filter (where split <> 'latest' and is_agreed_to), "
            "count(*) filter (where split = 'latest') from actions.decisions"
        ).fetchall()
    assert (len(past.decisions), len(latest.decisions)) == counts
    thirds = past.keys.filter(pl.col("user_id") % 3 == 0, pl.Series(past.split == "train"))
    assert len(thirds) == 0


def test_a_decision_without_a_reward_is_told_of(built, tmp_path):
    copy = tmp_path / "build.duckdb"
    shutil.copyfile(built.warehouse / ".work" / "build.duckdb", copy)
    with duckdb.connect(str(copy)) as con:
        con.execute("update actions.transitions set reward = null where user_id = 7")
        logged = load(con, 1.0, {}, 9, 7, 100, only="decisions.split <> 'latest'")
        (lacking,) = con.execute(
            "select count(*) from actions.transitions where user_id = 7"
        ).fetchall()
    assert refusal(logged).startswith(f"{lacking[0]} decisions have no reward in actions.rewards;")


TOML = """
[[source]]
name = "shop"
path = "events.parquet"
[source.columns]
user_id = "user"
item_id = "item"
event_type = "type"
event_at = "at"
price = "price"
quantity = "quantity"
category = "category"
[settings]
models = "fast"
threads = 1
[tasks]
churn.enabled = false
click.enabled = false
engagement.enabled = false
next_visit.enabled = false
next_item.enabled = false
spend.enabled = false
[actions]
cost.mail = 1.0
budget = 0.3
frequency_cap = 1
"""


# ---- logged propensities, other actions, other rewards -----------------------------------------


def test_what_the_log_says_of_propensities_is_taken(tmp_path):
    events = mailed(1_500).with_columns(pl.when(pl.col("type") == "mail").then(0.1).alias("chance"))
    made = shop(tmp_path, events, columns={"propensity": "chance"})
    build(made, select=ACTING, progress=QUIET)
    assert ask(made, """
        select action, min(propensity), max(propensity), bool_or(is_estimated)
        from models.action_propensities group by all order by all
    """) == [("mail", 0.1, 0.1, False), ("none", 0.9, 0.9, False)]  # fmt: skip


def test_a_reward_of_ones_own_is_a_sql_file(tmp_path):
    (tmp_path / "sql" / "5_actions").mkdir(parents=True)
    (tmp_path / "sql" / "5_actions" / "rewards.sql").write_text(VISITS, encoding="utf-8")
    made = shop(tmp_path, mailed(300))
    build(made, select=["actions.*"], progress=QUIET)
    with duckdb.connect(str(made.warehouse / ".work" / "build.duckdb"), read_only=True) as con:
        told = con.execute("select max(reward), count(*) from actions.transitions").fetchall()
    assert told[0][0] > 2


VISITS = """-- purpose: how many visits followed a decision within its horizon
-- grain:   user_id, cutoff_at
-- inputs:  actions.decisions, sessions.user_days
-- version: 1
select
    decisions.user_id,
    decisions.cutoff_at,
    total(days.count_sessions, true) as reward,
from actions.decisions as decisions
left join sessions.user_days as days
    on days.user_id = decisions.user_id
    and days.day_at > decisions.cutoff_at
    and days.day_at <= decisions.window_ends_at
where decisions.split <> 'latest'
group by decisions.user_id, decisions.cutoff_at
"""


def test_without_actions_it_is_skipped_in_one_line(tmp_path, capsys):
    made = shop(tmp_path, clickstream(users=100).filter(pl.col("type") != "mail"))
    build(made, select=ACTING, progress=Progress())
    told = [line for line in capsys.readouterr().err.splitlines() if "learn actions" in line]
    assert len(told) == 1
    assert "skipped: no event is called campaign, mail" in told[0]
    assert ask(made, "select (from predictions.next_action select count(*)), "
               "(from report.policies select count(*))") == [(0, 0)]  # fmt: skip


def test_too_few_of_them_are_refused_with_the_numbers(tmp_path):
    made = shop(tmp_path, clickstream(users=250))
    build(made, select=ACTING, progress=QUIET)
    ((policy, estimator, reason),) = ask(
        made, "select policy, estimator, reason from report.policies"
    )
    assert (policy, estimator) == ("nobody", "refused")
    assert "allowed is" in reason
    assert ask(made, "select count(*) from predictions.next_action") == [(0,)]


def test_text_ids_and_two_kinds_of_actions_and_partitions(tmp_path):
    events = mailed(3_000).with_columns(
        pl.format("user '{}\"", pl.col("user")).alias("user"),
        pl.when((pl.col("type") == "mail") & (pl.col("user") % 5 < 2)).then(pl.lit("Push \"x\"'s"))
        .otherwise("type").alias("type"),
    )  # fmt: skip
    made = shop(tmp_path, events, actions={"types": ["mail", "push \"x\"'s"]},
                settings={"partitions": 2})  # fmt: skip
    build(made, select=ACTING, progress=QUIET)
    assert ask(made, "select action from report.action_effects order by 1") == [
        ("mail",), ("push \"x\"'s",)]  # fmt: skip
    assert ask(made, "select count(*) > 100, count(distinct user_id) = count(*) "
               "from predictions.next_action") == [(True, True)]  # fmt: skip


@pytest.mark.parametrize(
    ("actions", "types", "told"),
    [
        ({"types": ["none"]}, {}, '"none" is what doing nothing is called'),
        ({"types": ["mail"], "cost": {"push": 1}}, {}, 'actions.cost: "push" is no action'),
        ({"types": ["view"]}, {"view": "view"}, "which .types. calls view"),
        ({"budget": 2}, {}, "actions.budget: it is 2"),
        ({"bugdet": 1}, {}, "unknown key actions.bugdet.*budget"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, actions, types, told):
    with pytest.raises(ConfigError, match=told):
        shop(tmp_path, clickstream(users=5), actions=actions, types=types)


def test_an_action_is_no_activity_of_the_user(tmp_path):
    made = shop(tmp_path, clickstream(users=5), actions={"types": ["coupon"]})
    assert made.roles()["coupon"] == "other"
    assert made.action_words() == ["coupon"]


# ---- the learner on a process whose truth is known ------------------------------------------------


def learned(process, users: int, seed: int) -> Learner:
    log, _ = process.log(users=users, moments=10, propensity=0.3, seed=seed)
    split = np.where(log.moment < 6, "train", np.where(log.moment < 8, "valid", "test"))
    keys = pl.DataFrame({"user_id": log.users, "cutoff_at": log.moment})
    logged = Logged(log, split, log.users % 2 == 0, keys, {})
    return Learner(logged, Actions(), ("nobody", "everybody", "t_learner", "q_table"), seed, 1)


def test_where_actions_do_nothing_no_policy_is_recommended():
    """Of ten logs; by chance one in forty intervals lies above."""
    wrong = 0
    for seed in range(10):
        rows = learned(DEAF, 1_500, seed).policies()
        verdicts = rows.filter("is_champion", "is_deciding")["is_recommended"]
        wrong += verdicts.sum()
    assert wrong <= 1


def test_what_was_never_tried_is_not_recommended():
    """At the moments of test nobody got anything: the log cannot tell what mails would bring."""
    log, _ = SHOP.log(users=1_500, moments=10, propensity=0.3)
    split = np.where(log.moment < 6, "train", np.where(log.moment < 8, "valid", "test"))
    few = np.where((split == "test") & (log.users % 50 > 0), 0, log.action)
    keys = pl.DataFrame({"user_id": log.users, "cutoff_at": log.moment})
    reward = log.reward + 3 * few  # mails pay, or nobody would get one
    unlogged = replace(log, action=few, reward=reward, logged=np.full(len(log), np.nan))
    logged = Logged(unlogged, split, log.users % 2 == 0, keys, {})
    rows = Learner(logged, Actions(), ("everybody",), 1, 1).policies().filter("is_deciding")
    assert rows["unsupported_share"][0] > 0.2
    assert not rows["is_recommended"][0]
    assert unsupported(0.96, 0.01).startswith("96% of what it would do was hardly ever done")


def test_calibration_says_what_gains_mean():
    """A policy whose words are twice the truth and one too much; intervals hold as often as they say."""
    log, _ = SHOP.log(users=400, moments=1)
    points = np.array([[0.0, -1.0], [0.0, 1.0], [0.0, 4.0]])  # said; true are -1, 0 and 1.5
    held = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.normal(size=400)
        effect = np.stack([truth * 0, truth + random.normal(size=400)], axis=1)
        found = Calibration.of(log, np.stack([truth * 0, 2 * truth + 1], axis=1), effect)
        _, low, high = (side[:, 1] for side in found.gains(points))
        held.append((low <= [-1, 0, 1.5]) & (high >= [-1, 0, 1.5]))
    assert 0.9 < np.mean(held) < 0.985
    again = Calibration.from_list(json.loads(json.dumps(found.to_list())))
    np.testing.assert_array_equal(again.gains(points), found.gains(points))


def test_a_policy_that_ranks_the_wrong_way_gives_everybody_the_mean():
    log, _ = SHOP.log(users=2_000, moments=1)
    truth = np.random.default_rng(4).normal(size=2_000)
    effect = np.stack([truth * 0, truth + 1], axis=1)
    expected, low, high = Calibration.of(log, -effect, effect).gains(-effect)
    np.testing.assert_allclose(expected[:, 1], effect[:, 1].mean())
    assert (low[:, 1] < expected[:, 1]).all()
    assert (high[:, 1] > expected[:, 1]).all()
