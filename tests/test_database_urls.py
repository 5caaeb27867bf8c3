"""URLs of databases: what cannot be meant, what is missing, and that no secret is ever told."""

import sys

import pytest
from database_servers import PASSWORD
from test_databases import COLUMNS, land, made
from test_databases import shop as shop

from behavsql import config
from behavsql.databases.address import of
from behavsql.errors import ConfigError

CONTRADICTIONS = {
    "has no path, and no url": {},
    "sets both path and table": {"path": "a.csv", "table": "b"},
    "has the URL of a database as its path": {"path": "postgresql://ann:s3cret@db/shop"},
    "has no table and no query": {"url": "sqlite:///a.db"},
    "has both a table and a query": {"url": "sqlite:///a.db", "table": "a", "query": "b"},
    "sets both url and delimiter": {"url": "sqlite:///a.db", "table": "a", "delimiter": ";"},
    "url names no database that is known": {"url": "oracle://ann:s3cret@db/shop", "table": "a"},
    "url has no host and port": {"url": "mysql://ann:s3cret/%@db:33o6/shop", "table": "a"},
    "url cannot be read; signs such as @": {"url": "mysql://ann:1/s3cret@db/shop", "table": "a"},
    "url has a % that no two": {"url": "postgresql://ann:s3cret%zz@db/shop", "table": "a"},
    "url has options or no database": {"url": "mysql://ann:s3cret@db/", "table": "a"},
    "url names no file": {"url": "sqlite://a.db", "table": "a"},
    "no name of a variable follows": {"url": "env:s3cret word", "table": "a"},
    "allowed": {"url": ["postgresql://ann:s3cret@db/shop"], "table": "a"},
    "path": {"url": "sqlite:///a.db?s3cret=1", "table": "a"},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_settings_that_cannot_be_meant_are_refused_without_their_secrets(tmp_path, message):
    source = {"name": "shop", "columns": COLUMNS} | CONTRADICTIONS[message]
    with pytest.raises(ConfigError) as told:
        config.from_dict({"source": [source]}, tmp_path, "behavsql.toml")
    if message not in ("allowed", "path"):
        assert message in str(told.value)
    assert "s3cret" not in str(told.value)


def test_a_url_may_stand_in_the_environment(shop, monkeypatch):
    project = made(shop, url="env:SHOP_URL")
    with pytest.raises(ConfigError, match="url is env:SHOP_URL, and there is no such variable"):
        land(project)
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    assert land(project).endswith("sqlite:///shop.db")
    monkeypatch.setenv("SHOP_URL", "postgresql://ann:s3cret@db:x/shop")
    with pytest.raises(ConfigError, match="url has no host and port") as told:
        land(project)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://ann:s3cret@127.0.0.1/shop", "adbc_driver_postgresql.dbapi", "postgres"),
        ("mariadb://ann:s3cret@127.0.0.1/shop", "connectorx", "mysql"),
        ("mysql://ann:s3cret@127.0.0.1/shop", "pymysql", "mysql"),
    ],
)
def test_a_driver_that_is_missing_is_named(tmp_path, monkeypatch, url, module, extra):
    for name in ("postgres", "mysql"):
        monkeypatch.delitem(sys.modules, f"behavsql.databases.{name}", raising=False)
        monkeypatch.delattr(f"behavsql.databases.{name}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as told:
        land(made(tmp_path, url=url))
    assert f"Run pip install 'behavsql[{extra}]'." in str(told.value)
    assert f"needs the package {module.partition('.')[0]}" in str(told.value)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    "said",
    [
        f"no user owner with {PASSWORD}",
        "cannot parse owner:s3cret%2F%25%3A%40%C3%BC",
        "bad url postgresql://owner:s3cret%2F%25%3A%40%C3%BC@h/d?password=0ther",
        "0ther",
    ],
)
def test_what_a_driver_says_is_told_without_secrets(said):
    address = of("postgresql://owner:s3cret%2F%25%3A%40%C3%BC@h/d?password=0ther", "x")
    assert "***" in address.scrubbed(said)
    assert "s3cret" not in address.scrubbed(said) and "0ther" not in address.scrubbed(said)
    assert "s3cret" not in repr(address) and address.shown == "postgresql://h/d"
