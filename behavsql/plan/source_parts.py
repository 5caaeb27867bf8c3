"""What an ingest is made from: every source's mapping and files, as parts of a step."""

import os

from behavsql.config import Config
from behavsql.databases import address
from behavsql.input import sources
from behavsql.plan.changes import Parts, digest, text
from behavsql.privacy.register import Register, needs_key
from behavsql.source import Source
from behavsql.warehouse import Warehouse


def source_parts(config: Config) -> Parts:
    """Each file's size and time, each key of each source's mapping, the roles of words, what to do with bots.

    A file is known by its name in the project, so that a project which moves is still the same.
    """
    parts = {}
    for source in config.source:
        origin = f"source {source.name}"
        for path in sources.find_files(config, source):
            stat = path.stat()
            name = path.name if source.url else os.path.relpath(path, config.folder)
            parts[f"{origin}: file {name}"] = f"{stat.st_size} {stat.st_mtime_ns}"
        parts |= {f"{origin}: {key}": value for key, value in _mapping(source).items()}
    parts |= {f"types.{word}": role for word, role in config.types.items()}
    parts["settings.bots"] = config.settings.bots
    parts |= entering_parts(config)
    parts["actions.types"] = text(config.action_words())
    return parts | {"types": digest(sorted(config.roles().items()))}


def entering_parts(config: Config) -> Parts:
    """What is made of users, and who does not enter: nothing where nothing was said."""
    parts = {}
    if days := config.privacy.retention_days:
        parts["privacy.retention_days"] = str(days)
    if config.privacy.pseudonyms:
        parts["privacy.pseudonyms"] = "true"
    known = Register.read(Warehouse(config.warehouse))
    if needs_key(config):
        parts["privacy.key"] = known.key  # its check value
    if known.tombstones:
        parts["privacy.forgotten"] = f"{len(known.tombstones)} users, {digest(known.tombstones)}"
    return parts


def _mapping(source: Source) -> Parts:
    found = source.model_dump(exclude_none=True, exclude={"name", "url"})
    if source.url:  # without its password, which no table may hold
        found["url"] = address.shown(source.url.get_secret_value())
    columns = found.pop("columns")
    found |= {f"columns.{key}": value for key, value in columns.items()}
    return {key: text(value) for key, value in found.items()}
