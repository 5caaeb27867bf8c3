"""Which config and which warehouse a command means."""

from pathlib import Path

from behavsql import config
from behavsql.config import Config

BUNDLED = "retail"


def has_config() -> bool:
    """Whether there is a config in the current folder."""
    return Path(config.FILE_NAME).exists()


def choose_config(
    path: Path | None,
    warehouse: Path | None = None,
    models: str | None = None,
    demo: str | None = None,
    partitions: int | None = None,
    time_budget: str | None = None,
    tune: bool | None = None,
) -> Config:
    """The named demo's config, else `path`, else ./behavsql.toml, else the bundled sample's.

    What else is given, unless None, wins over the settings of the file.
    """
    settings = {
        "models": models, "partitions": partitions, "time_budget": time_budget, "tune": tune
    }  # fmt: skip
    folder = str(warehouse.absolute()) if warehouse else None
    if demo or not (path or has_config()):
        from behavsql.demos import demo_config

        return demo_config(demo or BUNDLED, Path(folder) if folder else None, **settings)
    return config.load(path, warehouse=folder, **settings)


def separated(given: list[str] | None) -> list[str]:
    """The names of an option that is repeated, or holds several between commas.

    >>> separated(["gru,transformer", "hmm"]), separated(None)
    (['gru', 'transformer', 'hmm'], [])
    """
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()]


def models_of(path: Path | None) -> str | None:
    """The model set that a config file asks for; None where there is no file to write it into."""
    return choose_config(path).settings.models if path or has_config() else None


def choose_warehouse(path: Path | None, warehouse: Path | None) -> Path:
    """Where a command that only reads finds the published file."""
    return warehouse or choose_config(path).warehouse


def shown(path: Path) -> str:
    """A path as people write it from where they are."""
    full, here = path.absolute(), Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)
