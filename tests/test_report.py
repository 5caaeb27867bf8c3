"""The page that `behavsql report` writes: what it shows, what it keeps to itself, that it fetches nothing."""

import base64
import hashlib
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from conftest import Shop, run
from pages import Page, problems

from behavsql import report
from behavsql.errors import ConfigError, WarehouseError
from behavsql.reporting import page as page_module
from behavsql.reporting.page import render
from behavsql.reporting.people import MOST_USERS
from behavsql.warehouse import connect

HOSTILE = """</title><script>alert(1)</script>"><img src=x onerror=alert(2)>'&"""
AS_OF = datetime(2024, 3, 31, 23, 59, 59, 999999)


@pytest.fixture(scope="module")
def written(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the shop, without users."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(shop.built.path, path)
    return path.read_text(encoding="utf-8")


def made(**tables: str) -> duckdb.DuckDBPyConnection:
    """A warehouse of hand-made tables: schema__name = "select ..."."""
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    for name, query in tables.items():
        schema, table = name.split("__")
        con.execute(
            f'create schema if not exists "{schema}"; create table "{schema}"."{table}" as {query}'
        )
    return con


def one_task(
    name: str = "purchase", purpose: str = "will the user buy within the horizon?"
) -> dict[str, str]:
    """The tables that a task and its published model stand in; ten test rounds of a thousand users."""
    literal = name.replace("'", "''")
    return {
        "meta__clock": f"select interval 1 day as bucket, timestamp '2024-01-01' as first_event_at, timestamp '{AS_OF}' as last_event_at, timestamp '{AS_OF}' as as_of, timestamp '{AS_OF}' as complete_until, true as has_dates",
        "meta__tasks": f"select '{literal}' as task, '{purpose.replace(chr(39), chr(39) * 2)}' as purpose, 'binary' as kind, 'log_loss' as metric, 7.0 as horizon_days, 'ready' as status, null::varchar as reason",
        "models__models": f"select 'm' as model_id, '{literal}' as task, 'lightgbm' as model, 'trees' as family, 3 as version, true as is_published, true as is_champion, false as is_worse_on_test, now()::timestamp as scored_at",
        "models__scores": f"select 'm' as model_id, '{literal}' as task, if(i < 100, 'test', 'latest') as split, i as user_id, timestamp '{AS_OF}' - interval (if(i < 100, 7, 0)) days as cutoff_at, 0.25 as score, if(i < 100, (i % 4 = 0)::double, null) as label from range(300) as t(i)",
        "report__leaderboard": f"select '{literal}' as task, * from (values ('lightgbm', 'trees', true, true, 'log_loss', 0.4, 0.38, 0.42, 1.5, 'best'), ('prevalence', 'reference', false, false, 'log_loss', 0.5, 0.49, 0.51, 0.0, 'reference'), ('lightgbm', 'trees', true, true, 'roc_auc', 0.75, 0.73, 0.77, 1.5, 'best'), ('prevalence', 'reference', false, false, 'roc_auc', 0.5, 0.5, 0.5, 0.0, 'reference')) as t(model, family, is_champion, is_published, metric, value, low, high, train_seconds, reason)",
        "report__lift": f"select '{literal}' as task, 'lightgbm' as model, i::integer as decile, 10 as count_questions, (11 - i) / 20.0 as label_mean, i * (21 - i) / 110.0 as captured_share, (21 - i) / 11.0 as lift from range(1, 11) as t(i)",
    }  # fmt: skip


# What is said.


def test_a_whole_page_is_sound(written: str) -> None:
    assert problems(written) == []


def test_the_page_is_small(written: str) -> None:
    assert 100_000 < len(written) < 3_000_000


def test_every_part_is_there_with_a_place_in_the_contents(written: str) -> None:
    page = Page(written)
    sections = [one.attributes["id"] for one in page.all("section")]
    links = [one.attributes["href"][1:] for one in page.all("a") if "nav" in one.parents]
    assert links == sections
    tasks = ["purchase", "spend", "churn", "click", "engagement", "next_visit"]
    assert sections == ["top", *(f"task-{task}" for task in tasks), "actions", "past", "users", "data", "activity",
                        "functions", "lineage", "glossary", "making"]  # fmt: skip


def test_each_task_has_its_charts(written: str) -> None:
    for task in ("purchase", "churn", "click"):
        for chart in ("deciding", "ranking", "calibration", "gain", "tenths", "importance"):
            assert f'id="{task}-{chart}-title"' in written, (task, chart)
    for task in ("spend", "engagement"):
        assert (
            f'id="{task}-gain-title"' in written and f'id="{task}-calibration-title"' not in written
        )


def test_the_ledger_on_the_page_is_that_of_the_dirt(written: str, shop: Shop) -> None:
    """Each kind of dirt that was put into the file stands there with its count."""
    data = written[written.index('id="data"') : written.index('id="activity"')]
    for rule, count in shop.dirt.items():
        assert re.search(rf">{rule.replace('_', ' ')}</td>.*?>{count:,}</td>", data), rule


def test_the_numbers_are_those_of_the_tables(written: str, shop: Shop, rows) -> None:
    (auc,) = rows(
        shop.built.path,
        "select value from report.leaderboard where task = 'churn' and is_published and metric = 'roc_auc'",
    )
    ((events, users),) = rows(
        shop.built.path, "select count(*), count(distinct user_id) from staging.events"
    )
    assert f"{auc[0]:.3f}" in written
    assert f"<b>{events:,}</b>" in written and f"<b>{users:,}</b>" in written
    ((asked, expected),) = rows(
        shop.built.path, "select count(*), sum(probability) from predictions.churn"
    )
    assert (
        f"of {asked:,} users will fall silent" in written and f"<b>{expected:,.0f}</b>" in written
    )


def test_no_user_is_on_a_page_where_none_is_named(shop: Shop, tmp_path: Path) -> None:
    with connect(shop.built.path) as con:
        page = render(con)
    assert 'class="person"' not in page and "behavsql report --user ID" in page


def test_a_report_on_one_task_shows_no_other(shop: Shop) -> None:
    with connect(shop.built.path) as con:
        page = render(con, ["churn"])
    assert 'id="task-churn"' in page and 'id="task-purchase"' not in page
    assert problems(page) == []


def test_known_answers_come_out_as_words() -> None:
    page = render(made(**one_task()))
    text = Page(page).all("body")[0].text
    assert "What 200 users will do next" in text
    assert "Within 7 days about 50 of 200 will buy." in text
    assert "In a past round 1.00 times as many came as predicted (25 against 25)." in text
    assert (
        "Its error (log loss) lies 20.0% below the best simple guess (prevalence), 16.0% to 24.0%."
        in text
    )
    assert (
        "The tenth it ranks highest holds 18.2% of the buyers: 1.82\N{MULTIPLICATION SIGN} a tenth chosen blindly."
        in text
    )
    assert problems(page) == []


def test_what_may_be_chance_is_said_and_what_is_worse_is_warned_of() -> None:
    tables = one_task()
    tables["report__leaderboard"] = tables["report__leaderboard"].replace("0.42, 1.5", "0.52, 1.5")
    assert "that may be chance" in render(made(**tables))
    tables["models__models"] = tables["models__models"].replace(
        "false as is_worse", "true as is_worse"
    )
    assert "Do not rely on it" in render(made(**tables))


def test_a_reference_that_speaks_is_called_one() -> None:
    tables = one_task()
    tables["models__models"] = tables["models__models"].replace("'trees'", "'reference'")
    page = render(made(**tables))
    assert "the guess itself speaks" in page and "purchase-gain" not in page


def test_money_is_told_first_where_it_is_known() -> None:
    profit = "select 'purchase' as task, 'lightgbm' as model, i::integer as decile, 100 as count_questions, 10 * i as count_acted, 2.0 * i as label_sum, 30.0 as success_value, 5.0 as action_cost, 100.0 * i * (8 - i) as profit, 90.0 * i * (8 - i) as low, 110.0 * i * (8 - i) as high, i = 4 as is_best from range(1, 11) as t(i)"
    page = render(made(**one_task(), report__profit=profit))
    text = Page(page).all("body")[0].text
    assert (
        "Acting on the best 4 tenths now is worth about 3,200 (2,880 to 3,520). It would have earned 1,600 (1,440 to 1,760) on the test questions, 40.0 per action."
        in text
    )
    assert 'id="purchase-profit-title"' in page
    assert problems(page) == []


def test_slices_thresholds_drift_and_advice_are_shown() -> None:
    more = {
        "report__slices": "select 'purchase' as task, 'lightgbm' as model, 'city' as segment, 'log_loss' as metric, s as slice, n as count_users, n as count_questions, n // 2 as count_positives, n < 50 as is_too_small, if(n < 50, null, .4) as value, .3 as low, .5 as high, .7 as roc_auc, .2 as predicted_mean, .2 as observed_mean from (values ('Rome', 500), ('Oslo', 300), ('Bonn', 4), ('Lyon', 30)) as t(s, n)",
        "report__thresholds": "select 'purchase' as task, 'lightgbm' as model, i / 10.0 as threshold, 100 - 10 * i as count_called, i / 10.0 as precision, 1 - i / 10.0 as recall, .1 as false_positive_rate, null::double as profit, false as is_best_profit from range(10) as t(i)",
        "report__confusion": "select 'purchase' as task, 'lightgbm' as model, 'stored' as rule, .3 as threshold, 1234 as count_true_positives, 3 as count_false_positives, 50 as count_false_negatives, 4321 as count_true_negatives, .9 as precision, .8 as recall, null::double as profit",
        "report__drift": "select 'purchase' as task, 'count_orders_30d' as feature, 0.31 as psi, 0.0 as psi_missing, 0.0 as psi_category, 0.31 as psi_shape, 0.2 as importance, 'shifted' as status",
        "report__score_drift": "select 'purchase' as task, 0.2 as mean_test, 0.3 as mean_latest, 0.12 as psi, 'moderate' as status",
        "main__model_card": "select 'purchase' as task, 'to rank users' as intended_use, 'to decide alone' as not_intended_use, 'it learned from 90 days' as limits, 1234 as count_train_rows, 17 as count_features, timestamp '2023-01-01' as train_from, timestamp '2023-12-31' as train_until, 'Oslo' as weakest_slice, 0.61 as weakest_slice_auc",
        "report__advice": "select 'purchase' as task, 'retrain' as advice, 'users changed' as reason, 'behavsql train -t purchase' as command",
        "report__stability": f"select 'purchase' as task, 'lightgbm' as model, timestamp '{AS_OF}' - interval (7 * i) days as cutoff_at, 'log_loss' as metric, .4 as value, .3 as low, .5 as high, 100 as count_questions, .2 as predicted_mean, .2 as observed_mean from range(3) as t(i)",
    }  # fmt: skip
    page = render(made(**one_task(), **more))
    assert problems(page) == []
    for key in ("slice-city", "thresholds", "drift", "stability"):
        assert f'id="purchase-{key}-title"' in page, key
    assert (
        "number of orders in the last 30 days" in page
        and "1 of the 1 features it looks at have shifted" in page
    )
    assert "retrain: users changed. Run behavsql train -t purchase." in page
    assert "To decide alone." in page and "Oslo: ROC AUC 0.610." in page
    assert "1,234 answers and 17 features, asked from 1 Jan 2023 to 31 Dec 2023." in page
    assert "Rome" in page and "Bonn" not in page and "too few users or answers: 2 groups." in page
    assert ">&lt;10</td>" in page and ">1,234</td>" in page and ">3</td>" not in page


def test_what_a_model_goes_by_is_shown_with_the_density_of_the_data() -> None:
    more = {
        "report__importance": "select 'purchase' as task, 'lightgbm' as model, f as feature, r as rank, 0.1 / r as mean_contribution_size, 0.5 / r as importance, f as feature_group, 1.0 as group_correlation, 0.02 / r as permutation_loss, 0.01 / r as permutation_low, 0.03 / r as permutation_high, 500 as count_questions from (values ('count_orders_30d', 1), ('last_city', 2)) as t(f, r)",
        "models__importance": "select 'm' as model_id, 'count_orders_30d' as feature, 0.6 as importance, 1 as rank",
        "models__modalities": "select 'purchase' as task, 'f' as model_id, * from (values ('photo', -0.02, -0.1, 0.1), ('locations', 0.01, 0.0, 0.2), ('events', 0.345, 0.2, 0.4)) as t(modality, worth, low, high)",
        "report__dependence": "select 'purchase' as task, 'lightgbm' as model, * from (values ('count_orders_30d', 1, 0.0, 1.0, '0', 0.1, 300, 0.6), ('count_orders_30d', 2, 2.0, 4.0, '3', 0.3, 150, 0.3), ('count_orders_30d', 3, 5.0, 9.0, '7', 0.9, 4, 0.01), ('count_orders_30d', 4, null, null, 'missing', 0.05, 50, 0.09), ('last_city', 1, null, null, 'Rome', 0.2, 100, 0.5), ('last_city', 2, null, null, 'Oslo', 0.1, 100, 0.5)) as t(feature, position, low, high, value, mean_prediction, count_questions, density)",
    }  # fmt: skip
    page = render(made(**one_task(), **more))
    assert problems(page) == []
    for key in (
        "importance",
        "contributions",
        "permutation",
        "inputs",
        "dependence-count_orders_30d",
        "dependence-last_city",
    ):
        assert f'id="purchase-{key}-title"' in page, key
    assert "10.0 points" in page and "Without a value: 5.00%." in page and "Rome" in page
    assert "90.0%" not in page  # of four questions
    assert re.search(
        "the events, one by one<.*0.345<.*where users are<.*photo of items<", page, re.DOTALL
    )


def test_items_and_actions_are_shown_where_there_are_any() -> None:
    tables = one_task("next_item", "which items will the user choose within the horizon?")
    tables["meta__tasks"] = (
        tables["meta__tasks"].replace("'binary'", "'choice'").replace("log_loss", "ndcg_at_10")
    )
    tables["report__leaderboard"] = (
        "select 'next_item' as task, * from (values ('blend', 'ensemble', true, true, 'ndcg_at_10', 0.32, 0.3, 0.35, 1.0, 'best'), ('own_items', 'reference', false, false, 'ndcg_at_10', 0.25, 0.23, 0.27, 0.0, ''), ('blend', 'ensemble', true, true, 'hit_rate_at_10', 0.451, 0.43, 0.47, 1.0, 'best'), ('blend', 'ensemble', true, true, 'coverage_at_10', 0.2, null, null, 1.0, 'best')) as t(model, family, is_champion, is_published, metric, value, low, high, train_seconds, reason)"
    )
    tables["models__models"] = tables["models__models"].replace("'lightgbm'", "'blend'")
    for unscored in ("models__scores", "report__lift"):
        del tables[unscored]
    more = {
        "staging__items": "select i as item_id, 'item ' || i as title from range(3) as t(i)",
        "predictions__next_item": "select u as user_id, 1 as rank, if(u < 5, 1, 2) as item_id from range(40) as t(u)",
        "predictions__next_action": "select u as user_id, if(u < 6, 'call', 'mail') as action, true as is_recommended from range(40) as t(u)",
        "report__policies": "select 'q_table' as policy, 'dr' as estimator, 1.5 as value, 1.2 as low, 1.8 as high, 1.0 as logging_value, true as is_champion, true as is_deciding, true as is_recommended, 400 as effective_sample_size, 'surely better than what was done' as reason",
        "report__action_effects": "select 'mail' as action, 0.4 as effect, 0.1 as low, 0.7 as high, 300 as count_acted, true as is_surely_worth_it",
    }  # fmt: skip
    page = render(made(**tables, **more))
    text = Page(page).all("body")[0].text
    assert problems(page) == []
    assert "45.1%" in text and "28.0% above the best simple guess (own_items)" in text
    assert "item 2" in text and "item 1" not in text  # shown to five users alone
    assert (
        "would have brought 1.50 per decision (1.20 to 1.80); what was done brought 1.00. It is recommended"
        in text
    )
    assert re.search(r"call</th><td[^>]*>&lt;10<", page) and re.search(
        r"mail</th><td[^>]*>34<", page
    )


# What is kept back.


def test_numbers_of_few_users_are_left_out() -> None:
    page = render(made(
        staging__events="select i as user_id, if(i < 7, 'cart', 'view') as role from range(500) as t(i)",
    ))  # fmt: skip
    data = page[page.index('id="data"') :]
    assert re.search(r">view</th>.*?>493</td>.*?>493</td>", data)
    assert re.search(r">cart</th><td[^>]*>7</td><td[^>]*>1.40%</td><td[^>]*>\N{EN DASH}</td>", data)


def test_how_few_are_left_out_is_for_the_configuration_to_say() -> None:
    """As asked for, else as when the warehouse was built."""
    events = "select i as user_id, if(i < 7, 'cart', 'view') as role from range(50) as t(i)"
    stored = json.dumps({"models": "fast", "privacy_k": 44})
    con = made(staging__events=events, meta__runs=f"select 1 as run_id, 'stopped' as status, '{stored}' as settings")  # fmt: skip
    for page, fewest, shown in ((render(con), 44, "\N{EN DASH}"), (render(con, k=20), 20, "43")):
        data = page[page.index('id="data"') :]
        assert re.search(rf">view</th>.*?>43</td>.*?>{shown}</td>", data)
        assert f"Users are counted where there are at least {fewest}." in data
        assert f"numbers of fewer than {fewest} users are left out" in page


def test_secrets_and_places_are_not_among_the_settings() -> None:
    stored = json.dumps(
        {"models": "fast", "warehouse": "/home/me/secret-place", "api_token": "hunter2"}
    )
    page = render(
        made(
            meta__runs=f"select 1 as run_id, 'done' as status, now()::timestamp as started_at, now()::timestamp as finished_at, '0.2.0' as behavsql_version, '2.0' as duckdb_version, '{stored}' as settings"
        )
    )
    assert "fast" in page and "secret-place" not in page and "hunter2" not in page


# What may be missing, and what may be in it.


def test_an_empty_warehouse_has_a_page() -> None:
    page = render(duckdb.connect())
    assert problems(page) == []
    assert "No prediction yet" in page and "keeps no cleaning ledger" in page


@pytest.mark.parametrize(
    "gone", ["report", "models", "staging", "sessions", "predictions", "features"]
)
def test_what_is_missing_leaves_a_sentence(shop: Shop, tmp_path: Path, gone: str) -> None:
    """As in a warehouse of an earlier version, or of other steps: the rest is shown."""
    con = duckdb.connect()
    con.execute(f"attach '{shop.built.path}' as shop (read_only)")
    for schema, name in con.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'shop'"
    ).fetchall():
        if schema != gone:
            con.execute(
                f'create schema if not exists "{schema}"; create table "{schema}"."{name}" as from shop."{schema}"."{name}"'
            )
    assert problems(render(con)) == []


def test_tables_without_rows_are_no_error(shop: Shop) -> None:
    con = duckdb.connect()
    con.execute(f"attach '{shop.built.path}' as shop (read_only)")
    for schema, name in con.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'shop'"
    ).fetchall():
        con.execute(
            f'create schema if not exists "{schema}"; create table "{schema}"."{name}" as from shop."{schema}"."{name}" limit 0'
        )
    assert problems(render(con)) == []


def test_hostile_names_stay_text() -> None:
    tables = one_task(HOSTILE, HOSTILE)
    quoted = HOSTILE.replace("'", "''")
    tables |= {
        "staging__users": f"select '{quoted}' as user_id, timestamp '2024-01-01' as first_seen_at, timestamp '2024-02-01' as last_seen_at",
        "staging__items": f"select '{quoted}' as item_id, '{quoted}' as title",
        "staging__sources": f"select '{quoted}' as source, '{quoted}' as files, 3 as count_rows, 'row' as dedupe, true as has_time_of_day",
        "staging__ledger": f"select '{quoted}' as source, 1 as step_number, '{quoted}' as rule, 5 as count_rows_in, 2 as count_rows_removed, 3 as count_rows_out",
        "staging__events": f"select i as user_id, '{quoted}' as role from range(50) as t(i)",
        "predictions__scored": f"select '{quoted}' as user_id, '{quoted}' as task, 0.5 as score, 1 as decile, '{quoted}' as band",
        "predictions__reasons": f"select '{quoted}' as user_id, '{quoted}' as task, 1 as rank, '{quoted}' as sentence",
        "predictions__next_item": f"select '{quoted}' as user_id, 1 as rank, '{quoted}' as item_id",
        "models__importance": f"select 'm' as model_id, '{quoted}' as feature, 0.5 as importance, 1 as rank",
        "meta__lineage": f"select '{quoted}' as step, 'raw.events' as reads",
    }  # fmt: skip
    page = render(made(**tables), users=[HOSTILE])
    assert problems(page) == []
    assert len(Page(page).all("script")) == 1
    assert Page(page).all("article")[0].attributes["data-user"] == HOSTILE


def test_the_policy_allows_this_style_and_this_script_and_no_request(written: str) -> None:
    page = Page(written)
    (policy,) = (
        one.attributes["content"]
        for one in page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    )
    for kind in ("style", "script"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", written, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy


def test_what_is_shipped_names_no_address() -> None:
    for name in (
        "page.html",
        "blocks.html",
        "overview.html",
        "people.html",
        "section.html",
        "style.css",
        "page.js",
    ):
        assert not re.search(
            r"https?:|//[a-z]+\.|\bfetch\b|XMLHttp|import\s*\(|url\(", page_module._read(name)
        ), name


# The users who are named, the file, the command.


def test_a_user_who_is_named_is_shown(shop: Shop, tmp_path: Path, rows) -> None:
    ((user, probability),) = rows(
        shop.built.path,
        "select user_id, probability from predictions.churn order by probability desc limit 1",
    )
    path = tmp_path / "report.html"
    report.write(shop.built.path, path, users=[str(user), "1", str(user)])
    page = Page(path.read_text())
    found = [one.attributes["data-user"] for one in page.all("article")]
    assert found == [str(user), "1"]
    assert f"{probability:.1%}" in page.all("article")[0].text
    assert path.stat().st_mode & 0o777 == 0o600
    assert page.all("input", id="who") and problems(path.read_text()) == []


def test_an_unknown_user_or_task_is_refused(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(ConfigError, match='there is no user "nobody"; allowed are those of'):
        report.write(shop.built.path, path, users=["nobody"])
    with pytest.raises(
        ConfigError, match=r'no task "purchas"; allowed are .*Did you mean "purchase"'
    ):
        report.write(shop.built.path, path, tasks=["purchas"])
    with pytest.raises(ConfigError, match=rf"allowed are up to {MOST_USERS}"):
        report.write(shop.built.path, path, users=[str(n) for n in range(MOST_USERS + 1)])
    assert [*tmp_path.iterdir()] == []


def test_a_page_replaces_an_earlier_one_and_leaves_nothing_else(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("earlier")
    size = report.write(shop.built.path, path, tasks=["churn"])
    assert path.stat().st_size == size and [one.name for one in tmp_path.iterdir()] == [
        "report.html"
    ]
    with pytest.raises(WarehouseError, match="cannot be written"):
        report.write(shop.built.path, tmp_path / "gone" / "report.html")


def test_the_same_warehouse_gives_the_same_page(shop: Shop) -> None:
    pages = []
    for _ in range(2):
        with connect(shop.built.path) as con:
            pages.append(render(con))
    assert pages[0] == pages[1]


def test_the_command_writes_the_page_and_says_where(shop: Shop, here: Path) -> None:
    folder = str(shop.built.path.parent)
    done = run("report", "--warehouse", folder, "-t", "churn", "--user", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout == "" and "report.html:" in done.stderr and "1 named user" in done.stderr
    told = json.loads(run("report", "--warehouse", folder, "-o", "other.html", "--json").stdout)
    assert (
        told["file"] == "other.html" and told["count_bytes"] == (here / "other.html").stat().st_size
    )
    assert run("report", "--warehouse", folder, "-t", "nothing").exit_code == 2
    assert run("report", "--warehouse", str(here)).exit_code == 1


def test_data_without_dates_is_counted_in_days() -> None:
    tables = one_task()
    start = datetime(2000, 1, 1)
    tables["meta__clock"] = (
        f"select interval 1 day as bucket, timestamp '{start}' as first_event_at, timestamp '{start + timedelta(days=226)}' as last_event_at, timestamp '{start + timedelta(days=226)}' as as_of, timestamp '{start + timedelta(days=226)}' as complete_until, false as has_dates"
    )  # fmt: skip
    page = render(made(**tables))
    assert "As of day 226" in page and "2000" not in Page(page).all("header")[0].text
