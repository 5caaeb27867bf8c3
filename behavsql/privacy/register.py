"""`warehouse/privacy.json`: what of the key and of forgotten users must outlive every build.

    key         the check value of the key that ids were made with (key.py); none where none was
    has_pseudonyms  whether users have pseudonyms
    tombstones  of the users who were forgotten, sorted, so that their order tells nothing
    renewing    what is still to be done of beginning files anew, and `oldest`, the first day of which events
                may stand in some file, where there is a retention (renewal.py)
    kept_since  the first day that retention keeps of what is inserted
    audit       when how many were forgotten, and what had learned from them; never who

The file is small, its owner alone can read it, and no build can make it anew: back it up.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb

from behavsql.config import Config
from behavsql.database_file import PRIVATE, sync
from behavsql.errors import ConfigError, WarehouseError
from behavsql.privacy import key
from behavsql.privacy.settings import PSEUDONYM
from behavsql.warehouse import Warehouse

FILE_NAME = "privacy.json"


@dataclass
class Register:
    """See above."""

    key: str = ""
    has_pseudonyms: bool = False
    tombstones: list[str] = field(default_factory=list)
    audit: list[dict] = field(default_factory=list)
    renewing: str = ""
    oldest: str = ""
    kept_since: str = ""

    @property
    def screens(self) -> bool:
        """Whether rows are looked at before they are kept."""
        return bool(self.has_pseudonyms or self.tombstones or self.kept_since)

    @staticmethod
    def place(warehouse: Warehouse) -> Path:
        return warehouse.folder / FILE_NAME

    @classmethod
    def read(cls, warehouse: Warehouse) -> "Register":
        """An empty one where there is none; WarehouseError where it cannot be read."""
        path = cls.place(warehouse)
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise WarehouseError(
                f"{path}: cannot be read ({error}); allowed is the file as behavsql wrote it, which "
                f"keeps forgotten users out. Put a copy of it back."
            ) from None

    def write(self, warehouse: Warehouse) -> None:
        """Replace the file: whole or not at all."""
        path = self.place(warehouse)
        part = warehouse.work / f"{FILE_NAME}.part"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w") as file:
            json.dump(asdict(self) | {"tombstones": sorted(self.tombstones)}, file, indent=1)
        sync(part)
        os.replace(part, path)
        sync(path.parent)

    def check(self, secret: bytes) -> None:
        """ConfigError where the warehouse's ids were made with another key."""
        found = key.check_value(secret)
        if self.key and self.key != found:
            raise ConfigError(
                f"{key.VARIABLE}: it is another key (check value {found}) than the one that this "
                f"warehouse was made with ({self.key}); allowed is that one: with another, users would "
                f"be strangers, and forgotten ones come back. Set it, or build in a new folder: "
                f"--warehouse NAME."
            )


def needs_key(config: Config) -> str:
    """What of a config needs the key, in words; empty where nothing does."""
    if config.privacy.pseudonyms:
        return "[privacy] pseudonyms = true needs it"
    for source in config.source:
        for column, rule in source.coarsen.items():
            if rule == PSEUDONYM:
                return f'source "{source.name}" makes pseudonyms of "{column}" with it'
    return ""


def key_of(config: Config) -> bytes | None:
    """The key, checked, if the config or a forgotten user needs it; None if nothing does."""
    register = Register.read(Warehouse(config.warehouse))
    why = needs_key(config)
    if register.tombstones:
        why = why or "users were forgotten here, whom only it can keep out"
    if not why:
        return None
    secret = key.read(why)
    register.check(secret)
    return secret


def note_key(config: Config) -> None:
    """Remember which key ids are made with, and whether users have pseudonyms."""
    warehouse = Warehouse(config.warehouse)
    secret, register = key_of(config), Register.read(warehouse)
    told = (key.check_value(secret) if secret else register.key, config.privacy.pseudonyms)
    if told != (register.key, register.has_pseudonyms):
        register.key, register.has_pseudonyms = told
        register.write(warehouse)


def build_audit(con: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> None:
    """Write `meta.forgotten`: the audit, for people to ask."""
    con.execute(
        "create or replace table meta.forgotten "
        "(forgotten_at timestamp, count_users bigint, count_rows bigint, models varchar)"
    )
    names = ("forgotten_at", "count_users", "count_rows", "models")
    rows = [[entry[name] for name in names] for entry in Register.read(warehouse).audit]
    if rows:
        con.executemany("insert into meta.forgotten values (?, ?, ?, ?)", rows)
