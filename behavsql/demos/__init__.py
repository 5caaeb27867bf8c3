"""Bundled real data sets, each a Parquet file and the config that reads it."""

import importlib.resources
import tomllib
from pathlib import Path

from behavsql.config import Config, from_dict
from behavsql.errors import ConfigError

DEMOS = {
    "retail": "a gift shop's year of purchases: who buys again, who falls silent, how much",
    "courses": "three online courses by the day: who goes on, who falls silent, what comes next",
}


def demo_config(name: str, warehouse: Path | None = None, **overrides: object) -> Config:
    """The config of a bundled data set, as if it lay in the current folder.

    So it builds into ./warehouse (unless one is named) and takes SQL files from ./sql. Raises
    ConfigError for a name that is not in DEMOS.
    """
    if name not in DEMOS:
        raise ConfigError(
            f'demo: there is no "{name}"; allowed are {", ".join(DEMOS)}. Choose one.'
        )
    files = Path(str(importlib.resources.files("behavsql.demos")))
    data = tomllib.loads((files / f"{name}.toml").read_text(encoding="utf-8"))
    for source in data["source"]:
        source["path"] = str(files / source["path"])
    place = str(warehouse) if warehouse else None
    return from_dict(data, Path(), f"demo {name}", warehouse=place, **overrides)
