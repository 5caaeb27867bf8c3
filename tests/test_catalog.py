"""The catalog: headers that cannot lie, build order, layering, versions, users kept apart."""

import re
import time
from pathlib import Path

import pytest

from behavsql import catalog as module
from behavsql.catalog import (
    Catalog,
    check_lock,
    locked_versions,
    package_folder,
    render_lock,
    unbumped,
)
from behavsql.catalog.sql_file import find_sources
from behavsql.errors import SqlFileError, nearest

STAGES = (
    "0_macros", "1_staging", "2_sessions", "3_cutoffs", "4_features", "5_labels",
    "6_predictions", "7_report", "8_main",
)  # fmt: skip
EVENTS = "select user_id, event_at, 1 as item_id from raw.events"


def text(query: str, inputs: str = "raw.events", **keys: str) -> str:
    """A SQL file: purpose line 1, grain 2, inputs 3, version 4, then `keys`, then the query."""
    header = {"purpose": "what it is", "grain": "user_id", "inputs": inputs, "version": "1"} | keys
    lines = [f"-- {key}: {value}" for key, value in header.items() if value is not None]
    return "\n".join([*lines, query])


def label(**keys: str | None) -> str:
    given = {"entity": "user", "kind": "binary", "horizon": "7 days", "active_within": "28 days"}
    return text("select user_id, cutoff_at, 1 as label from raw.events", **(given | keys))


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def read(tmp_path):
    """Reads a catalog from {"1_staging/events.sql": text, ...}."""

    def read_files(files: dict[str, str]) -> Catalog:
        return Catalog.read(find_sources(write(tmp_path, files), "sql", STAGES))

    return read_files


@pytest.fixture
def refusal(read):
    """The message a set of files is refused with."""

    def message(files: dict[str, str]) -> str:
        with pytest.raises(SqlFileError) as caught:
            read(files)
        return str(caught.value)

    return message


@pytest.fixture
def layered(tmp_path, monkeypatch):
    """Loads package files with a project's files over them."""

    def load(package: dict[str, str], project: dict[str, str]) -> Catalog:
        folder = write(tmp_path / "package", package)
        for stage in STAGES:
            (folder / stage).mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(module, "package_folder", lambda: folder)
        monkeypatch.chdir(tmp_path)
        return Catalog.load(write(tmp_path / "shop" / "sql", project))

    return load


# ---- the header -----------------------------------------------------------------------------


def test_header_becomes_a_file(read):
    file = read(
        {
            "1_staging/events.sql": "-- purpose: every event,\n--          once\n"
            "-- grain:   user_id, event_at\n-- inputs:  raw.events\n-- params:  min_date\n"
            "-- check:   event_at is not null\n-- check:   user_id <> ''\n"
            "-- materialized: view\n-- version: 3\n-- Why: this comment is no header line.\n"
            "select user_id, event_at from raw.events where event_at > getvariable('min_date')"
        }
    ).files["staging.events"]
    assert file.purpose == "every event, once"
    assert (file.stage, file.schema, file.name) == ("1_staging", "staging", "events")
    assert (file.grain, file.inputs) == (("user_id", "event_at"), ("raw.events",))
    assert file.params == ("min_date",)
    assert file.checks == ("event_at is not null", "user_id <> ''")
    assert (file.version, file.materialized, file.scope) == (3, "view", "user")
    assert (file.kind, file.metric, file.roles) == (None, None, None)
    assert (file.line("purpose"), file.line("check"), file.line("checks", 1)) == (1, 6, 7)
    assert file.line("scope") == 1
    assert file.where == "sql/1_staging/events.sql"
    known = f"(version 3, digest {file.digest})"
    assert file.comment() == f"every event, once. grain: user_id, event_at {known}"


def test_a_label_header_says_what_is_asked(read):
    catalog = read({"5_labels/buy.sql": label(roles="purchase, cart", metric="log_loss")})
    (file,) = catalog.label_files()
    assert (file.entity, file.kind, file.metric) == ("user", "binary", "log_loss")
    assert (file.horizon, file.active_within) == ("7 days", "28 days")
    assert file.roles == ("purchase", "cart")
    assert file.types == ()


def test_types_are_words_the_query_looks_for(read, refusal):
    query = "\nwhere event_type in ('Gone', 'left')"
    (file,) = read({"5_labels/buy.sql": label(types="gone, LEFT") + query}).label_files()
    assert file.types == ("gone", "left")
    assert refusal({"5_labels/buy.sql": label(types="gone, lost") + query}) == (
        'sql/5_labels/buy.sql:9: types names "lost", which the query does not look for; allowed are'
        " words that stand in it as a text. Take it out, or add it to the query."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(EVENTS, inputz="raw.x"), ':5: unknown header key "inputz"; allowed are purpose, '),
        (text(EVENTS, inputz="raw.x"), 'scope. Did you mean "inputs"?'),
        (text(EVENTS, kind="binary"), "Only files in the labels stage may have it."),
        (text(EVENTS, purpose=None), ':1: the header lacks "purpose"; it needs purpose, grain, '),
        (text(EVENTS, version=None), ':1: the header lacks "version"'),
        (text(EVENTS, purpose=""), ":1: purpose is empty"),
        (text(EVENTS, grain="none"), ":2: grain names no column"),
        (text(EVENTS, grain="user_id,"), ':2: grain is "user_id,"; it must be different names'),
        (text(EVENTS, grain="a, a"), ':2: grain is "a, a"'),
        (text(EVENTS, version="1.2"), ':4: version is "1.2"; it must be an integer from 1 up.'),
        (text(EVENTS, version="0"), ':4: version is "0"'),
        (
            text(EVENTS, materialized="tabel"),
            ':5: materialized is "tabel"; allowed are table, view. Did you mean "table"?',
        ),
        (text(EVENTS, scope="all"), ':5: scope is "all"; allowed are user, global.'),
        ("-- version: 1\n" + text(EVENTS), ':5: header key "version" is given twice'),
        ("-- check days > 0\n" + text(EVENTS), ":1: '-- check days > 0' ends the header"),
        ("-- A comment.\n" + text(EVENTS), ":1: '-- A comment.' ends the header"),
        (EVENTS, ':1: the header lacks "purpose"'),
    ],
)
def test_header_errors_name_file_and_line(refusal, content, message):
    found = refusal({"1_staging/x.sql": content})
    assert found.startswith("sql/1_staging/x.sql:")
    assert message in found


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": None}, '1: the header lacks "kind"'),
        ({"entity": None}, '1: the header lacks "entity"'),
        ({"horizon": None}, '1: the header lacks "horizon"'),
        ({"active_within": None}, '1: the header lacks "active_within"'),
        ({"kind": "bin"}, '6: kind is "bin"; allowed are binary, count, amount, choice.'),
        ({"roles": "cart, clik"}, '9: roles is "clik"; allowed are view, click, cart,'),
    ],
)
def test_a_wrong_label_header_is_refused(refusal, keys, message):
    found = refusal({"5_labels/x.sql": label(**keys)})
    assert found.startswith(f"sql/5_labels/x.sql:{message}")


# ---- inputs and params against the query ----------------------------------------------------

READS = {
    "select * from raw.a": "raw.a",
    "from raw.a": "raw.a",
    'select * from RAW."A" as x': "raw.a",
    "with a as (select * from raw.a) select * from a": "raw.a",
    "with a as (select * from raw.a), b as (select * from a) select * from b": "raw.a",
    # A qualified name is never the CTE of that name.
    "with a as (select * from raw.b) select * from a cross join raw.a as c": "raw.a, raw.b",
    # A CTE of an inner query shadows an outer one, and ends with it.
    "with a as (select * from raw.a) select * from (with a as (select * from raw.b) from a)":
        "raw.a, raw.b",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) from r": "none",
    "select * from raw.a where x in (select x from raw.b where exists (from raw.c))":
        "raw.a, raw.b, raw.c",
    "select (select max(x) from raw.b) from raw.a": "raw.a, raw.b",
    "select 1 from raw.a union all select 2 from raw.b except select 3 from raw.c":
        "raw.a, raw.b, raw.c",
    "select * from raw.a, lateral (select * from raw.b where b.x = a.x)": "raw.a, raw.b",
    "select * from raw.a, unnest(a.list) as u(x), range(3), (values (1), (2)) as v(y)": "raw.a",
    "select * from raw.a pivot (sum(x) for y in (1, 2) group by user_id)": "raw.a",
    "select * from raw.a unpivot (v for n in (x, y))": "raw.a",
    "select case when x > (select 1 from raw.b) then 1 end from raw.a order by (from raw.c)":
        "raw.a, raw.b, raw.c",
    "select list_transform(l, lambda a: a + 1) as a from raw.b": "raw.b",
    "select 'raw.z' /* raw.y */ from raw.a -- raw.x": "raw.a",
    "values (1)": "none",
}  # fmt: skip


@pytest.mark.parametrize(("query", "inputs"), READS.items())
def test_inputs_are_the_tables_read(read, query, inputs):
    file = read({"1_staging/x.sql": text(query, inputs, scope="global")}).files["staging.x"]
    assert ", ".join(sorted(file.inputs)) == ("" if inputs == "none" else inputs)


@pytest.mark.parametrize(("query", "inputs"), READS.items())
def test_each_table_read_must_be_declared(refusal, query, inputs):
    found = refusal({"1_staging/x.sql": text(query, "raw.other", scope="global")})
    declared = inputs.split(", ")[0]
    if declared == "none":
        assert 'x.sql:3: inputs names "raw.other", which the query does not read' in found
    else:
        assert re.search(r'x\.sql:6: the query reads table "raw\.\w"', found)
        assert "inputs: raw.other. Add it to inputs." in found


def test_missing_input_is_reported_at_its_own_line(refusal):
    query = "select é.x\nfrom raw.events as é\n\ninner join raw.b using (x)"
    found = refusal({"1_staging/x.sql": text(query, scope="global")})
    assert found.startswith('sql/1_staging/x.sql:9: the query reads table "raw.b"')


@pytest.mark.parametrize(
    ("query", "line", "message"),
    [
        ("select 1\nfrom events", 6, 'table "events" is not a CTE and not schema-qualified'),
        ("with a as (from b), b as (from raw.events) from a", 5, 'table "b" is not a CTE'),
        ("with a as (from raw.events) from (with b as (from a) from b), b", 5, 'table "b" is not'),
        ("from shop.raw.events", 5, 'table "shop.raw.events" is not a CTE'),
        ("from 'file.csv'", 5, 'table "file.csv" is not a CTE'),
        ("from read_csv('file.csv')", 5, "read_csv() in FROM hides what it reads"),
        ("select 1\nfrom query_table('raw.events')", 6, "query_table() in FROM hides"),
        ("describe raw.events", 1, "DESCRIBE, SUMMARIZE or SHOW in FROM hides"),
    ],
)
def test_tables_that_inputs_cannot_name(refusal, query, line, message):
    found = refusal({"1_staging/x.sql": text(query)})
    assert found.startswith(f"sql/1_staging/x.sql:{line}: {message}")


def test_input_without_origin(refusal):
    files = {
        "1_staging/events.sql": text(EVENTS),
        "2_sessions/x.sql": text("select user_id from staging.event", "staging.event"),
    }
    found = refusal(files)
    assert 'x.sql:3: input "staging.event" has no SQL file' in found
    assert 'Did you mean "staging.events"?' in found


@pytest.mark.parametrize("table", ["raw.x", "meta.tasks", "models.scores", "features.matrix"])
def test_inputs_of_other_origin_need_no_file(read, table):
    catalog = read({"6_predictions/x.sql": text(f"from {table}", table)})
    assert catalog.files["predictions.x"].inputs == (table,)


PARAMS = "select getvariable('a'), (select GetVariable('b') from raw.events) from raw.events"


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        (PARAMS, "a", ':6: the query reads variable "b", which the header\'s params lack'),
        (PARAMS, "a, b, bb", ':5: params names "bb", which the query does not read; it reads a'),
        ("select getvariable(x) from raw.events", "", ":6: getvariable() takes one string literal"),
        ("select getvariable('a' || 'b') from raw.events", "", ":6: getvariable() takes one"),
        ("select getvariable(1) from raw.events", "", ":6: getvariable() takes one string"),
    ],
)
def test_params_are_the_variables_read(refusal, query, params, message):
    found = refusal({"1_staging/x.sql": text(query, params=params)})
    assert found.startswith(f"sql/1_staging/x.sql{message}")


def test_params_in_every_corner(read):
    file = read({"1_staging/x.sql": text(PARAMS, params="b, a", scope="global")})
    assert file.files["staging.x"].params == ("b", "a")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select 1; select 2", "the file holds 2 statements; it must hold exactly one SELECT."),
        ("create table x (i int)", "the file holds a CREATE; it must hold exactly one SELECT."),
        ("pivot raw.events on x using sum(y)", "Write a PIVOT as `select * from t pivot (...)`."),
        ("", "the file holds no statements"),
    ],
)
def test_one_select_per_file(refusal, query, message):
    found = refusal({"1_staging/x.sql": text(query)})
    assert found.startswith("sql/1_staging/x.sql: ") and message in found


def test_syntax_error_keeps_the_caret(refusal):
    found = refusal({"1_staging/x.sql": text("select user_id\nform raw.events")})
    assert found.startswith("sql/1_staging/x.sql: Parser Error: syntax error at or near")
    _, shown, caret = [line for line in found.splitlines() if line]
    assert shown == "LINE 6: form raw.events"
    assert caret.index("^^^") == shown.index("raw")


def test_a_file_must_be_utf8(tmp_path):
    write(tmp_path, {"1_staging/x.sql": ""})
    (tmp_path / "1_staging" / "x.sql").write_bytes(b"-- purpose: caf\xe9\n")
    with pytest.raises(SqlFileError, match=r"sql/1_staging/x\.sql: the file is not UTF-8"):
        Catalog.read(find_sources(tmp_path, "sql", STAGES))


# ---- macros ---------------------------------------------------------------------------------


def macro(body: str, name: str = "twice") -> str:
    start = f"create or replace macro {name}(x, y := f(1)) as"
    return f"-- purpose: two of it\n-- version: 2\n{start} {body}"


def test_a_macro_has_a_version_and_is_known_to_who_calls_it(read):
    files = {
        "0_macros/twice.sql": macro("2 * x"),
        "1_staging/x.sql": text("select user_id, twice(1) from raw.events"),
    }
    catalog = read(files)
    (twice,) = catalog.macros
    assert (twice.name, twice.version, twice.table) == ("twice", 2, "macros.twice")
    assert twice.comment() == f"two of it (version 2, digest {twice.digest})"
    assert catalog.files["staging.x"].macros == ("twice",)
    assert catalog.order == ("staging.x",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (macro("(from raw.events)"), "the macro reads a table, a variable or another"),
        (macro("getvariable('x')"), "the macro reads a table, a variable or another"),
        (macro("other(x)"), "the macro reads a table, a variable or another"),
        (macro("2 * x", name="thrice"), "is not `create or replace macro twice(...) as"),
        (macro("table select 1"), "Parser Error"),
        (macro("2 * x") + "; select 1", "is not `create or replace macro twice(...) as"),
        ("-- grain: x\n" + macro("x"), ':1: unknown header key "grain"; allowed are purpose,'),
        (macro("x").replace("-- version: 2\n", ""), ':1: the header lacks "version"'),
    ],
)
def test_a_macro_that_breaks_the_rules_is_refused(refusal, content, message):
    files = {"0_macros/other.sql": macro("x", name="other"), "0_macros/twice.sql": content}
    found = refusal(files)
    assert found.startswith("sql/0_macros/twice.sql") and message in found


# ---- order, stages, layers ------------------------------------------------------------------


def chain(**reads: str) -> dict[str, str]:
    """Files of stage 4 that read each other."""
    return {
        f"4_features/{name}.sql": text(f"select user_id from {other}", other)
        for name, other in reads.items()
    }


def test_order_follows_inputs_then_stage_and_name(read):
    files = chain(b="features.z", a="raw.x", z="raw.x", m="features.b") | {
        "5_labels/a.sql": label(),
        "1_staging/y.sql": text(EVENTS),
    }
    order = ("staging.y", "features.a", "features.z", "features.b", "features.m", "labels.a")
    assert read(files).order == order


def test_a_circle_names_its_files(refusal):
    found = refusal(chain(a="features.b", b="features.c", c="features.a"))
    assert "files read each other in a circle" in found
    for name in "abc":
        assert f"sql/4_features/{name}.sql" in found


@pytest.mark.parametrize(
    ("place", "table", "stage"),
    [
        ("1_staging/x.sql", "features.a", 4),
        ("4_features/x.sql", "features.matrix", 6),
        ("4_features/x.sql", "models.scores", 6),
    ],
)
def test_later_stages_are_out_of_reach(refusal, place, table, stage):
    files = {place: text(f"select user_id from {table}", table)} | chain(a="raw.x")
    expected = f'sql/{place}:3: input "{table}" is not there before stage {stage}'
    assert refusal(files).startswith(expected)


def test_a_label_cannot_read_the_matrix(refusal):
    """The matrix is joined from the labels too."""
    label = text("select user_id from features.matrix", "features.matrix", grain="user_id")
    keys = "-- entity:  user\n-- kind:    binary\n-- horizon: 7 days\n-- active_within: 7 days\n"
    files = {"5_labels/x.sql": label.replace("-- version", f"{keys}-- version")} | chain(a="raw.x")
    told = 'sql/5_labels/x.sql:3: input "features.matrix" is not there before stage 6'
    assert refusal(files).startswith(told)


def test_the_matrix_is_read_as_its_feature_files(read):
    grain = "user_id, cutoff_at"
    matrix = text("select user_id from features.matrix", "features.matrix")
    catalog = read(
        {
            "1_staging/events.sql": text(EVENTS),
            "4_features/a.sql": text("from staging.events", "staging.events", grain=grain),
            "4_features/b.sql": text("from raw.x", "raw.x", grain="cutoff_at, user_id"),
            "4_features/other.sql": text("from raw.x", "raw.x", grain="item_id", scope="global"),
            "6_predictions/p.sql": matrix,
            "8_main/c.sql": text("from predictions.p", "predictions.p"),
        }
    )
    assert [file.name for file in catalog.feature_files()] == ["a", "b"]
    assert catalog.parents("features.a") == ("staging.events",)
    assert catalog.parents("predictions.p") == ("features.a", "features.b")


def test_a_project_overrides_and_adds(layered):
    package = chain(a="raw.x", b="features.a", c="raw.x")
    mine = {"4_features/b.sql": text("from features.a", "features.a", version="9")}
    catalog = layered(package, mine | chain(bb="features.b"))
    assert catalog.order == ("features.a", "features.b", "features.bb", "features.c")
    file = catalog.files["features.b"]
    assert (file.version, file.where) == (9, "shop/sql/4_features/b.sql")
    assert catalog.files["features.a"].where == "sql/4_features/a.sql"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("4_feature/x.sql", "shop/sql/4_feature: this folder is no stage; allowed are 0_macros,"),
        ("4_feature/x.sql", 'Did you mean "4_features"?'),
        ("x.sql", "shop/sql/x.sql: this file lies in no stage folder"),
        ("4_features/My-table.sql", '"My-table" cannot name a table'),
        ("4_features/matrix.sql", 'the table "matrix" is generated from all feature files'),
    ],
)
def test_project_files_in_the_wrong_place(layered, name, message):
    with pytest.raises(SqlFileError, match=re.escape(message)):
        layered({}, {"1_staging/fine.sql": text(EVENTS), name: text(EVENTS)})


def test_a_missing_project_folder_adds_nothing(tmp_path):
    assert Catalog.load(tmp_path / "none").order == Catalog.load().order


def test_a_folder_called_sql_without_a_stage_belongs_to_something_else(layered):
    assert layered({}, {"migrations/x.sql": "drop table x", "notes.sql": "select 1"}).order == ()


# ---- digests and versions -------------------------------------------------------------------


@pytest.fixture
def query_digest(read):
    def of(query: str, **keys: str) -> str:
        catalog = read({"1_staging/x.sql": text(query, scope="global", **keys)})
        return catalog.files["staging.x"].digest

    return of


def test_digest_covers_the_header_that_matters(query_digest, read):
    plain = query_digest(EVENTS)
    assert re.fullmatch(r"[0-9a-f]{16}", plain)
    assert query_digest(EVENTS, purpose="other words", version="2") == plain
    assert query_digest(EVENTS, check="a  >  1") == query_digest(EVENTS, check="a > 1 -- !")
    changes = [{"check": "a > 1"}, {"check": "a > 2"}, {"grain": "x"}, {"materialized": "view"}]
    digests = {query_digest(EVENTS, **change) for change in changes}
    assert len(digests | {plain}) == 5
    labels = [{}, {"kind": "count"}, {"horizon": "8 days"}, {"roles": "cart"}, {"metric": "auc"}]
    found = {read({"5_labels/x.sql": label(**keys)}).files["labels.x"].digest for keys in labels}
    assert len(found) == 5


def test_a_lock_names_every_version_and_reads_back(read):
    catalog = read(chain(a="raw.x", b="features.a") | {"0_macros/twice.sql": macro("2 * x")})
    lock = render_lock(catalog)
    assert lock == render_lock(catalog)
    assert [line.split('"')[1] for line in lock.splitlines() if line.startswith('"')] == [
        "features.a", "features.b", "macros.twice",
    ]  # fmt: skip
    locked = locked_versions(lock)
    assert locked["macros.twice"] == (2, catalog.macros[0].digest)
    assert check_lock(catalog, locked) == []


def test_a_lock_that_disagrees_with_the_files_is_told_line_by_line(read):
    before = locked_versions(render_lock(read(chain(a="raw.x", b="raw.x", c="raw.x", d="raw.x"))))
    changed = text("select user_id, 2 from raw.x", "raw.x")
    after = read(
        chain(e="raw.x")
        | {
            "4_features/a.sql": changed,
            "4_features/b.sql": text("select user_id, 2 from raw.x", "raw.x", version="2"),
            "4_features/c.sql": text("select user_id from raw.x", "raw.x"),
        }
    )
    before["features.c"] = before["features.c"]._replace(version=5)
    before["features.gone"] = before.pop("features.d")
    problems = check_lock(after, before)
    fix = "Run `behavsql sql lock`."
    digests = f"{before['features.a'].digest} -> {after.files['features.a'].digest}"
    assert problems[:2] == unbumped(after, before)
    assert problems == [
        f"sql/4_features/a.sql:4: the file changed (digest {digests}) and its version is still 1;"
        " new rows need a new one. Write 2.",
        "sql/4_features/c.sql:4: version is 1, but was 5; a version only rises. Write 6.",
        f"sql/4_features/b.sql:4: version is 2, versions.toml still says 1. {fix}",
        f"sql/4_features/d.sql: features.d is not in versions.toml. {fix}",
        f"sql/4_features/e.sql: features.e is not in versions.toml. {fix}",
        'versions.toml: "features.gone" has no SQL file.'
        f"{nearest('features.gone', after.order)} {fix}",
    ]


# ---- users kept apart: sql_scope has its own tests ------------------------------------------


def test_a_query_that_mixes_users_is_refused_at_its_line(read, refusal):
    query = "select user_id,\n    sum(x) over (order by day)\nfrom raw.events"
    files = {"4_features/x.sql": text(query)}
    assert refusal(files) == (
        "sql/4_features/x.sql:6: window sum() lacks user_id in PARTITION BY; in scope user every"
        " row is about one user. Add user_id, or write `-- scope: global`."
    )
    read({"4_features/x.sql": text(query, scope="global")})


def test_global_files_may_be_joined_without_user(read, refusal):
    files = {
        "4_features/items.sql": text("select item_id from raw.items", "raw.items", scope="global"),
        "4_features/seen.sql": text(EVENTS),
        "4_features/x.sql": text(
            "from features.seen inner join features.items using (item_id)",
            "features.seen, features.items",
        ),
    }
    read(files)
    files["4_features/items.sql"] = text("select item_id from raw.items", "raw.items")
    assert "x.sql:5: a join of two user tables lacks user_id" in refusal(files)


def test_a_macro_that_folds_rows_is_an_aggregate(refusal):
    files = {
        "0_macros/total.sql": macro("sum(x)", name="total"),
        "1_staging/x.sql": text("select total(x) from raw.events"),
    }
    assert "x.sql:5: aggregate total() without GROUP BY user_id" in refusal(files)


def test_other_entities_and_late_stages_may_mix_users(read):
    query = "select count(*) as label from raw.events"
    late = {"7_report/x.sql": text(query)}
    about_items = label(entity="item").replace("select user_id, cutoff_at, 1 as label", query[:24])
    assert len(read(late | {"5_labels/x.sql": about_items}).files) == 2


# ---- the package ----------------------------------------------------------------------------


def test_the_package_loads_fast_and_in_order():
    started = time.process_time()
    catalog = Catalog.load()
    spent = time.process_time() - started
    place = {name: index for index, name in enumerate(catalog.order)}
    for name in catalog.order:
        assert all(place[parent] < place[name] for parent in catalog.parents(name))
    assert spent < 1.0, f"{spent:.2f} s; 0.1 s is usual"


def test_the_lock_agrees_with_the_packages_files() -> None:
    """A digest that moved without its version, or a lock that was not rewritten, fails here."""
    text = (package_folder() / "versions.toml").read_text(encoding="utf-8")
    assert check_lock(Catalog.load(), locked_versions(text)) == []
