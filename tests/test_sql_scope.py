"""Users kept apart: which queries may run on a part of the users, and which may not."""

import duckdb
import pytest

from behavsql.catalog.sql_scope import check_user_scope
from behavsql.catalog.sql_tree import AGGREGATES, Problem, line_at, parse_select

# staging.e and staging.f are about users; staging.g is the same for all.
APART = [
    "select user_id, count(*) from staging.e group by user_id, day",
    "select e.user_id, count(*) from staging.e as e group by all",
    "select user_id, day, sum(x) from staging.e group by grouping sets ((user_id), (day, user_id))",
    "select row_number() over (partition by day, user_id order by day) from staging.e",
    "select sum(x) over w, lag(x) over w from staging.e"
    " window w as (partition by user_id order by day)",
    "select * from staging.e left join lateral"
    " (select max(x) as m from staging.f where f.user_id = e.user_id) as l on true",
    "with recursive r as (select user_id, 1 as n from staging.e"
    " union all select user_id, n + 1 from r where n < 3) select * from r",
    "select * from staging.e inner join staging.f using (user_id, day)",
    "select * from staging.e asof join staging.f on e.day >= f.day and f.user_id = e.user_id",
    "select * from staging.e as a left join staging.e as b on a.user_id = b.user_id and a.x = 1",
    "select * from staging.e inner join staging.g on g.item_id = e.item_id",
    "select * from staging.e cross join meta.tasks",
    "select * from staging.e left join raw.x on raw.x.item_id = e.item_id",
    "with g as (select max(x) as x from staging.g) select * from staging.e cross join g",
    "select item_id, count(*) from staging.g group by item_id",
    "select * from staging.e, unnest(e.items) as u(item_id)",
    "select *, (select max(l) from unnest(e.items) as u(l)) as m from staging.e",
    "select (select count(*) from staging.f where f.user_id = e.user_id) from staging.e",
    "select * from staging.e, lateral (select max(x) from staging.f where f.user_id = e.user_id)",
    "select * from staging.e where user_id in (select user_id from staging.f)",
    "select * from staging.e where exists (from staging.f where e.user_id = f.user_id)",
    "select * from staging.e where x > (select max(x) from staging.g)",
    "select distinct user_id, day from staging.e",
    "select distinct on (user_id) * from staging.e order by day",
    "select user_id from staging.e union select user_id from staging.f",
    "select day from staging.e union all select day from staging.f",
    "select * from staging.e pivot (sum(x) for y in (1, 2) group by user_id)",
    "select list_sum(items), abs(x) from staging.e order by day",
]
MIXED = {
    "select day, count(*) from staging.e group by day": "GROUP BY lacks user_id",
    "select count(*) from staging.e group by grouping sets ((user_id), ())": "GROUP BY lacks",
    "select day, count(*) from staging.e group by all": "GROUP BY ALL has no plain user_id",
    "select count(*) from staging.e": "aggregate count() without GROUP BY user_id",
    "select 1 from staging.e having max(x) > 1": "aggregate max() without GROUP BY user_id",
    "select row_number() over (order by day) from staging.e": "window row_number() lacks user_id",
    "select sum(x) over w from staging.e window w as (partition by day)": "window sum() lacks",
    "from staging.e qualify rank() over (partition by day) = 1": "window rank() lacks user_id",
    "from staging.e inner join staging.f using (day)": "a join of two user tables lacks user_id",
    "from staging.e inner join staging.f on e.day = f.day": "a join of two user tables lacks",
    "from staging.e inner join staging.f on e.user_id = f.user_id or true": "a join of two user",
    "from staging.e inner join staging.f on e.user_id > f.user_id": "a join of two user tables",
    "from staging.e inner join staging.f on e.user_id = e.user_id": "a join of two user tables",
    "from staging.e, staging.f where e.user_id = f.user_id": "a join of two user tables lacks",
    "from staging.e natural join staging.f": "a join of two user tables lacks user_id",
    "from staging.e positional join staging.f": "a join of two user tables lacks user_id",
    "from staging.g left join staging.e using (item_id)": "an outer join keeps rows of a global",
    "from staging.e full join staging.g using (item_id)": "an outer join keeps rows of a global",
    "with c as (from staging.e) from staging.f inner join c on c.x = f.x": "a join of two user",
    "select * from staging.e where x in (select x from staging.f)": "a subquery reads all users",
    "select (select count(*) from staging.f) from staging.e": "a subquery reads all users",
    "select (select max(e.x) from staging.f, staging.e where e.user_id = f.user_id) from staging.g":
        "a subquery reads all users",
    "select distinct day from staging.e": "DISTINCT lacks user_id",
    "select distinct on (day) * from staging.e": "DISTINCT lacks user_id",
    "select day from staging.e union select day from staging.f": "UNION compares rows without",
    "select day from staging.e except select day from staging.f": "EXCEPT compares rows without",
    "with recursive r as (select 1 as n from staging.e union select n + 1 from r where n < 3)"
    " select sum(n) from r": "aggregate sum() without GROUP BY user_id",
    "with recursive r as (select day from staging.e union select day + 1 from r where day < 3)"
    " select 1 from r": "UNION compares rows without",
    "select * from staging.e limit 3": "LIMIT chooses among users",
    "select * from staging.e using sample 3": "a sample chooses among users",
    "select * from staging.e tablesample 3 rows": "a sample chooses among users",
    "select * from staging.e pivot (sum(x) for y in (1, 2))": "PIVOT lacks `group by user_id`",
}  # fmt: skip


@pytest.fixture(scope="module")
def problems():
    """Problems of a query, as the check lists them."""
    with duckdb.connect() as connection:

        def found(query: str) -> list[Problem]:
            return check_user_scope(parse_select(connection, query, "x.sql"), {"staging.g"})

        yield found


@pytest.mark.parametrize("query", APART)
def test_queries_that_keep_users_apart_pass(problems, query):
    assert problems(query) == []


@pytest.mark.parametrize(("query", "message"), MIXED.items())
def test_queries_that_mix_users_are_refused(problems, query, message):
    assert [problem.text for problem in problems(query) if problem.text.startswith(message)]


def test_the_same_on_global_tables_alone(problems):
    for query in MIXED:
        everywhere = query.replace("staging.e", "staging.g").replace("staging.f", "meta.f")
        assert problems(everywhere) == [], query


def test_every_problem_is_found_in_text_order(problems):
    query = "select count(*)\nfrom staging.e\ninner join staging.f\n    on true\nlimit 1"
    found = [(line_at(query, problem.at), problem.text[:12]) for problem in problems(query)]
    assert found == [(1, "LIMIT choose"), (1, "aggregate co"), (3, "a join of tw")]


def test_partitions_agree_where_the_check_is_silent():
    """What the check passes gives the same rows on two halves of the users as on all at once."""
    with duckdb.connect() as connection:
        connection.execute("create schema staging; create schema meta; create schema raw")
        connection.execute("create table meta.tasks as select 'buy' as task")
        for table in ("staging.g", "raw.x"):
            connection.execute(
                f"create table {table} as"
                " select range % 3 as item_id, range % 2 as l, range as x from range(5)"
            )
        whole, halves = [], []
        for users, rows in (("0, 1", whole), ("0", halves), ("1", halves)):
            _make_users(connection, users)
            rows += [
                (index, row)
                for index, query in enumerate(APART)
                if "staging.e" in query
                for row in connection.execute(query).fetchall()
            ]
    assert sorted(map(repr, whole)) == sorted(map(repr, halves))


def _make_users(connection: duckdb.DuckDBPyConnection, remainders: str) -> None:
    for table, shift in (("staging.e", 0), ("staging.f", 1)):
        connection.execute(
            f"""create or replace table {table} as
            select range % 7 as user_id, range // 7 as day, (range + {shift}) % 4 as x,
                range % 3 as item_id, [range % 3, range % 2] as items, range % 2 + 1 as y
            from range(60) where range % 7 % 2 in ({remainders})"""
        )


def test_aggregates_are_duckdbs():
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select distinct function_name from duckdb_functions()"
            " where function_type = 'aggregate'"
        ).fetchall()
    assert {name for (name,) in rows} <= AGGREGATES
