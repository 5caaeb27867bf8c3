"""Tokens and digests: what counts as a change of a SQL file."""

import itertools
import json

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavsql.catalog import package_folder
from behavsql.catalog.sql_header import Header, digest, tokens

QUERY = "select user_id, 'A' as \"Name\", 1.50 as x from raw.events where x->>'k' = $$b$$"
SAME = [
    QUERY.upper().replace("'K'", "'k'").replace('"NAME"', '"Name"').replace("$$B$$", "$$b$$"),
    QUERY.replace(" ", "\n\t "),
    QUERY.replace(", ", "/* one /* in */ two */,--'\n"),
    QUERY + " ;\n",
    QUERY.replace(" = ", "="),
]
OTHER = [
    ("'A'", "'a'"), ('"Name"', '"name"'), ("1.50", "1.5"), ("user_id", "users_id"),
    ("$$b$$", "$$B$$"), ("->>", "->"), ("'A'", "'A '"), ("x from", "y from"),
]  # fmt: skip


@pytest.mark.parametrize("query", SAME)
def test_digest_ignores_layout_comments_and_keyword_case(query):
    assert tokens(query) == tokens(QUERY)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_digest_sees_literals_names_and_operators(old, new):
    header = Header("x.sql", {}, {})
    assert digest(QUERY.replace(old, new), header) != digest(QUERY, header)


BLANKS = st.lists(
    st.sampled_from([" ", "\n", "\t", " -- it's 'odd'\n", '/* select " */', "/*/* deep */*/"]),
    min_size=1,
).map("".join)


@settings(deadline=None)
@given(st.data())
def test_any_blanks_between_tokens_keep_tokens_and_tree(data):
    words = tokens(QUERY)
    spaced = "".join(word + data.draw(BLANKS) for word in words)
    assert tokens(spaced) == words
    with duckdb.connect() as connection:
        trees = connection.execute(
            "select json_serialize_sql(unnest($1))", [[QUERY, spaced]]
        ).fetchall()
    assert without_places(json.loads(trees[0][0])) == without_places(json.loads(trees[1][0]))


def without_places(node: object) -> object:
    if isinstance(node, dict):
        return {k: without_places(v) for k, v in node.items() if not k.startswith("query_loc")}
    return [without_places(item) for item in node] if isinstance(node, list) else node


def test_tokens_of_the_package_are_duckdbs():
    for stage in package_folder().iterdir():
        for path in stage.iterdir() if stage.is_dir() else ():
            if path.name.endswith(".sql"):
                sql = path.read_text(encoding="utf-8").encode("ascii", "replace").decode()
                starts = [at for at, _ in duckdb.tokenize(sql)] + [len(sql)]
                pieces = [sql[a:b].strip() for a, b in itertools.pairwise(starts)]
                theirs = "".join(piece for piece in pieces if not piece.startswith(("--", "/*")))
                assert "".join(tokens(sql)).lower() == theirs.lower().rstrip(";"), path.name
