"""`behavsql.toml`, checked: every setting typed, every unknown key refused with the nearest name."""

import os
import re
import tomllib
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from behavsql.errors import ConfigError, nearest

FILE_NAME = "behavsql.toml"
ROLES = ("view", "click", "cart", "purchase", "return", "action", "other")
UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}

# Words people use for their event types. What is on nobody's list becomes `action`, and the build
# says so. `other` is what happens to a user (a mail, an impression) or says nothing (leaving).
DEFAULT_TYPES = {
    "view": """view pageview page_view screen_view detail item_view product_view view_item visit
        search view_search_results view_item_list browse read watch homepage resource subpage url
        oucontent page folder""",
    "click": "click tap select select_item outbound_click link_click ad_click",
    "cart": """cart add_to_cart addtocart add_cart basket add_to_basket begin_checkout checkout
        add_payment_info add_shipping_info""",
    "purchase": "purchase buy bought order transaction sale paid payment invoice",
    "return": "return refund cancel cancellation cancelled chargeback",
    "other": """other leave exit logout campaign mail email sms push notification impression
        exposure remove_from_cart session_end""",
}


def parse_duration(value: object) -> timedelta:
    """Read `30 minutes`, `7 days`, `1 week` (or a timedelta) as a length of time.

    >>> parse_duration("36 hours")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(second|minute|hour|day|week)s?\s*", str(value).lower())
    if not match or int(match[1]) == 0:
        raise ValueError(
            f'"{value}" is not a length of time; allowed is a whole number above zero and one of '
            f'{", ".join(f"{unit}s" for unit in UNITS)}. Write for example "30 minutes"'
        )
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


def _day_if_day(value: object) -> object:
    """A quoted day stays a day: it must not become its own midnight."""
    is_day = isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)
    return date.fromisoformat(value) if is_day else value


Moment = Annotated[datetime | date | float, BeforeValidator(_day_if_day)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Section):
    """Which column of the source plays which part; a user may be several columns together."""

    user_id: str | list[str] | None = None
    event_at: str | None = None
    item_id: str | None = None
    event_type: str | None = None
    type_flag: str | None = None
    value: str | None = None
    price: str | None = None
    quantity: str | None = None
    category: str | None = None
    title: str | None = None

    @property
    def user_parts(self) -> list[str]:
        return [self.user_id] if isinstance(self.user_id, str) else list(self.user_id or [])

    def used(self) -> set[str]:
        single = self.model_dump(exclude={"user_id"}, exclude_none=True)
        return {*self.user_parts, *single.values()}


class Source(_Section):
    """One set of files with one shape: events, or facts about items or users."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    path: str
    kind: Literal["events", "items", "users"] = "events"
    format: Literal["auto", "csv", "parquet", "json"] = "auto"
    columns: Columns = Columns()
    default_type: str = "action"
    at_unit: Literal["timestamp", "epoch", "epoch_ms", "epoch_us", "days", "seconds", "order"] = (
        "timestamp"
    )
    at_format: str | None = None
    at_timezone: str = "UTC"
    since: Moment | None = None  # events outside are rejected, and counted
    until: Moment | None = None
    dedupe: Literal["row", "key", "none", "auto"] = "auto"
    delimiter: str | None = None
    not_products: list[str] = []
    attributes: list[str] = []

    @property
    def has_dates(self) -> bool:
        return self.at_unit not in ("days", "seconds", "order")

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        needed = {"events": ("user_id", "event_at"), "items": ("item_id",), "users": ("user_id",)}
        missing = [key for key in needed[self.kind] if not getattr(self.columns, key)]
        if missing:
            raise ValueError(
                f'source "{self.name}" of kind "{self.kind}" maps no {" and no ".join(missing)}; '
                f"add it under columns"
            )
        for key, value in (("since", self.since), ("until", self.until)):
            if value is not None and isinstance(value, float) == self.has_dates:
                allowed = "a date" if self.has_dates else f"a number of {self.at_unit}"
                raise ValueError(
                    f'source "{self.name}" sets {key} = {value}, but its times are of at_unit '
                    f'"{self.at_unit}"; allowed is {allowed}'
                )
        if self.columns.event_type and self.columns.type_flag:
            raise ValueError(
                f'source "{self.name}" sets both event_type = "{self.columns.event_type}" and '
                f'type_flag = "{self.columns.type_flag}"; keep one'
            )
        if self.columns.value and self.columns.price:
            raise ValueError(
                f'source "{self.name}" sets both value = "{self.columns.value}" and '
                f'price = "{self.columns.price}"; value is price times quantity, keep one'
            )
        return self


class Settings(_Section):
    """Everything that has a sensible default."""

    warehouse: str = "warehouse"
    models: Literal["fast", "standard", "all"] = "standard"
    seed: int = 7
    session_gap: Duration = timedelta(minutes=30)
    max_session: Duration = timedelta(hours=24)
    min_date: date = date(1990, 1, 1)
    max_value: float = Field(1e9, gt=0, le=1e13)
    max_quantity: float = Field(1e6, gt=0, le=1e13)
    max_rejected_share: float = Field(0.2, ge=0, le=1)
    max_train_rows: int = Field(2_000_000, ge=1_000)
    max_train_cutoffs: int = Field(24, ge=3)
    memory_limit: str | None = Field(None, pattern=r"^\d+(\.\d+)? ?(MB|GB|MiB|GiB)$")
    threads: int | None = Field(None, ge=1)
    publish_mode: str = Field("0640", pattern=r"^0[0-7]{3}$")


class TaskSettings(_Section):
    """What a project overrides of a task's own header."""

    enabled: bool = True
    horizon: Duration | None = None
    active_within: Duration | None = None


class Config(_Section):
    """A whole project: where its files lie, what they mean, what to ask of them."""

    settings: Settings = Settings()
    source: list[Source] = Field(min_length=1)
    types: dict[str, Literal[ROLES]] = {}
    tasks: dict[str, TaskSettings] = {}
    attribution: str = ""  # whom to thank for the data; printed by the build
    folder: Path = Field(Path(), exclude=True)
    origin: str = Field(FILE_NAME, exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        names = [source.name for source in self.source]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'two sources are named "{twice[0]}"; give each its own name')
        if not any(source.kind == "events" for source in self.source):
            raise ValueError('no source of kind "events"; predictions need one')
        if self.settings.max_session < self.settings.session_gap:
            raise ValueError(
                f"max_session ({self.settings.max_session}) is shorter than session_gap "
                f"({self.settings.session_gap}); a session lasts at least one gap"
            )
        return self

    @property
    def warehouse(self) -> Path:
        """The folder that holds the published file and its work folder."""
        return self.folder / self.settings.warehouse

    def roles(self) -> dict[str, str]:
        """Word (lower case) -> role: the defaults, overruled by `[types]`."""
        words = {word: role for role, text in DEFAULT_TYPES.items() for word in text.split()}
        return words | {word.lower(): role for word, role in self.types.items()}


def load(path: Path | None = None, **overrides: object) -> Config:
    """Read a config file; `overrides` and then `BEHAVSQL_<SETTING>` variables win over its settings.

    Raises ConfigError naming the file, the key, the value and what is allowed.
    """
    path = Path(path or FILE_NAME)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. Write one with `behavsql init FILE`."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}. Mend that line.") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); allowed is a TOML file. Choose another."
        ) from None
    return from_dict(data, folder=path.parent, origin=str(path), **overrides)


def from_dict(data: dict, folder: Path, origin: str, **overrides: object) -> Config:
    """Check a config that is already in memory; see `load`."""
    settings = dict(data.get("settings", {}))
    for name in Settings.model_fields:
        if f"BEHAVSQL_{name.upper()}" in os.environ:
            settings[name] = os.environ[f"BEHAVSQL_{name.upper()}"]
    settings |= {name: value for name, value in overrides.items() if value is not None}
    try:
        config = Config.model_validate(data | {"settings": settings})
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}.") from None
    return config.model_copy(update={"folder": folder, "origin": origin})


def _explain(error: ValidationError) -> str:
    """The first problem in one sentence; an unknown key gets its nearest neighbour."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(problem["loc"][:-1])
        hint = nearest(str(problem["loc"][-1]), known)
        return f"unknown key {where}; allowed are {', '.join(sorted(known))}.{hint}".rstrip(".")
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    shown = f" (it is {value!r})" if isinstance(value, (str, int, float)) else ""
    return f"{where}: {message[0].lower()}{message[1:]}{shown}" if where != "the file" else message


def _keys_at(location: tuple) -> list[str]:
    sections = {"settings": Settings, "source": Source, "tasks": TaskSettings}
    if not location:
        return [key for key in Config.model_fields if not Config.model_fields[key].exclude]
    if "columns" in location:
        return list(Columns.model_fields)
    return list(sections.get(str(location[0]), Config).model_fields)
