"""`behavsql.toml`, checked: every setting typed, every unknown key refused with the nearest name."""

import os
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from behavsql import contradictions, fact_settings, model_options
from behavsql.action_settings import Actions
from behavsql.errors import ConfigError, nearest
from behavsql.privacy.settings import Privacy, problem_of_pseudonyms
from behavsql.roles import DEFAULT_TYPES, ROLES
from behavsql.section import Duration, Section, refuse
from behavsql.source import Columns, Source

FILE_NAME = "behavsql.toml"
INBOX = "inbox"  # the source that live.inbox is
# What the patterns of the sections below allow, in words.
PATTERNS = {
    "name": "a letter, then letters, digits and _",
    "memory_limit": 'a size such as "4 GB"',
    "publish_mode": 'a mode such as "0640"',
}


class Settings(Section):
    """Everything that has a sensible default."""

    warehouse: str = "warehouse"
    models: Literal["fast", "standard", "all"] = "standard"
    seed: int = 7
    session_gap: Duration = timedelta(minutes=30)
    max_session: Duration = timedelta(hours=24)
    min_date: date = date(1990, 1, 1)
    max_value: float = Field(1e9, gt=0, le=1e13)
    max_quantity: float = Field(1e6, gt=0, le=1e13)
    bots: Literal["reject", "keep"] = "reject"  # told by user_agent, where a source has one
    late_days: int = Field(7, ge=0, le=36_500)  # an update takes events that are no older than that
    max_rejected_share: float = Field(0.2, ge=0, le=1)
    max_train_rows: int = Field(2_000_000, ge=1_000)
    max_train_cutoffs: int = Field(24, ge=3)
    memory_limit: str | None = Field(None, pattern=r"^\d+(\.\d+)? ?(MB|GB|MiB|GiB)$")
    threads: int | None = Field(None, ge=1)
    pretrain_size: Literal["small", "base", "large"] = "small"
    pretrained: str | None = (
        None  # a saved model, or another warehouse, that pre-training goes on from
    )
    time_budget: Duration | None = None  # for all trainings of a run together
    tune: bool = False  # search the models' options
    trials: int = Field(30, ge=1, le=10_000)  # of each model, where it is tuned
    search: Literal["tpe", "random"] = "tpe"
    select_features: bool = False  # train on the features that are worth it, instead of all
    seen_items: Literal["auto", "keep", "drop"] = "auto"  # whether they are recommended again
    count_recommended: int = Field(20, ge=1, le=40)  # items of a list
    diversity: float = Field(0.0, ge=0, le=0.9)  # what a list may lose for items less alike
    max_per_category: int | None = Field(None, ge=1)  # of a list
    backtest: bool = (
        False  # train anew on the past of earlier moments, to see how it would have gone
    )
    partitions: int = Field(1, ge=1, le=256)  # parts of the users that are worked on at once
    publish_mode: str = Field("0640", pattern=r"^0[0-7]{3}$")


class TaskSettings(Section):
    """What a project overrides of a task's own header."""

    enabled: bool = True
    horizon: Duration | None = None
    active_within: Duration | None = None
    success_value: float | None = Field(None, gt=0, le=1e13)  # of a number: of one unit of it
    action_cost: float | None = Field(None, ge=0, le=1e13)


class Economics(Section):
    """What yes-or-no tasks are worth, in the source's currency; a task may have its own."""

    success_value: float = Field(gt=0, le=1e13)  # of acting on a user whose answer is yes
    action_cost: float = Field(ge=0, le=1e13)  # of acting on a user, whatever the answer


class ExplainSettings(Section):
    """What is told of predictions, and what a counterfactual may change."""

    reasons: int = Field(5, ge=0, le=20)  # of each user, at most; 0: none are written
    locked: list[
        str
    ] = []  # patterns of features no counterfactual changes, beside those that never
    changeable: list[str] = []  # patterns of features it may change all the same


class Config(Section):
    """A whole project: where its files lie, what they mean, what to ask of them."""

    settings: Settings = Settings()
    source: list[Source] = Field(min_length=1)
    types: dict[str, Literal[ROLES]] = {}
    tasks: dict[str, TaskSettings] = {}
    economics: Economics | None = None
    actions: Actions = Actions()
    privacy: Privacy = Privacy()
    explain: ExplainSettings = ExplainSettings()
    models: dict[str, dict[str, model_options.Value]] = {}  # options of models, by their names
    attribution: str = ""  # whom to thank for the data; printed by the build
    folder: Path = Field(Path(), exclude=True)
    origin: str = Field(FILE_NAME, exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        names = [source.name for source in self.source]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f'two sources are named "{twice[0]}"; give each its own name')
        if INBOX in names:
            raise ValueError(
                f'source "{INBOX}" is what live.inbox is read as; give it another name'
            )
        refuse(fact_settings.shared_names(self.source))
        if not any(source.is_events for source in self.source):
            raise ValueError('no source of kind "events"; predictions need one')
        refuse(contradictions.of_settings(self.settings))
        refuse(contradictions.of_actions(self.actions.types, self.types))
        refuse(contradictions.of_economics(self))
        refuse(model_options.problems(self.models))
        for source in self.source:
            source._is_pseudonymous = self.privacy.pseudonyms
            if source.is_pseudonymous and (problem := problem_of_pseudonyms(source)):
                raise ValueError(problem)
        return self

    @property
    def warehouse(self) -> Path:
        """The folder that holds the published file and its work folder."""
        return self.folder / self.settings.warehouse

    def valued(self) -> list[dict[str, object]]:
        """What success and action are worth: of all yes-or-no tasks (task None), and of single ones."""
        told = [(None, self.economics), *sorted(self.tasks.items())]
        return [
            {"task": task, "success_value": own.success_value, "action_cost": own.action_cost}
            for task, own in told if own and (own.success_value, own.action_cost) != (None, None)
        ]  # fmt: skip

    @property
    def is_granted_unless_told(self) -> bool:
        """What users agreed to of whom no source of consent speaks; where there is none, all do."""
        is_asked = any(source.kind == "consent" for source in self.source)
        return not is_asked or self.privacy.unknown_consent == "granted"

    def roles(self) -> dict[str, str]:
        """Word (lower case) -> role: the defaults and the sources' kinds, overruled by `[types]`."""
        words = {word: role for role, text in DEFAULT_TYPES.items() for word in text.split()}
        for source in self.source:
            words |= source.words
        # What is done to users is no activity of theirs.
        words |= {word.lower(): "other" for word in self.actions.types or ()}
        return words | {word.lower(): role for word, role in self.types.items()}

    def action_words(self) -> list[str]:
        """The words of events that are done to users: mails and the like."""
        return self.actions.words(self.roles())


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
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is not UTF-8 at byte {error.start}; allowed is TOML in UTF-8. Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}. Mend that line.") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); allowed is a TOML file. Choose another."
        ) from None
    return from_dict(data, folder=path.parent, origin=str(path), **overrides)


def from_dict(data: dict, folder: Path, origin: str, **overrides: object) -> Config:
    """Check a config that is already in memory; see `load`."""
    if not isinstance(data.get("settings", {}), dict):
        raise ConfigError(
            f"{origin}: settings is {data['settings']!r}; allowed is a [settings] section. Mend it."
        )
    settings = dict(data.get("settings", {}))
    for name in Settings.model_fields:
        if f"BEHAVSQL_{name.upper()}" in os.environ:
            settings[name] = os.environ[f"BEHAVSQL_{name.upper()}"]
    settings |= {name: value for name, value in overrides.items() if value is not None}
    try:
        config = Config.model_validate(data | {"settings": settings})
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}") from None
    return config.model_copy(update={"folder": folder, "origin": origin})


def _explain(error: ValidationError) -> str:
    """The first problem in full sentences; an unknown key gets its nearest neighbour."""
    problem = error.errors()[0]
    kind, location = problem["type"], problem["loc"]
    where = ".".join(str(part) for part in location)
    if location == ("source",):
        wrong = "there is no source" if kind in ("missing", "too_short") else "source is no list"
        return (
            f"{wrong}; allowed is at least one [[source]] with a name, a path and columns. "
            f"Let `behavsql init FILE` write it."
        )
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1])
        hint = nearest(str(location[-1]), known) or " Remove it, or mend its name."
        return f"unknown key {where}; allowed are {', '.join(sorted(known))}.{hint}"
    if kind == "missing":
        has = "it takes both" if location[0] == "economics" else f"every {location[0]} has one"
        return f"{where} is missing; {has}. Add it."
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if kind == "string_pattern_mismatch":
        message = f"allowed is {PATTERNS.get(str(location[-1]), 'another text')}"
    # Of a value of no type that an option may have, the first of those types is told.
    if location[:1] == ("models",) and len(location) > 3:
        where = ".".join(map(str, location[:3]))
        message = "allowed are a number, a word, true or false, and a list of words"
    value = None if location[-1:] == ("url",) else problem.get("input")  # it may hold a password
    if kind != "value_error" and isinstance(value, (str, int, float, list)):
        message = f"it is {value!r}; {message[0].lower()}{message[1:]}"
    if where and not message.startswith("source "):
        message = f"{where}: {message}"
    return message if message.endswith("?") else f"{message}."


def _keys_at(location: tuple) -> list[str]:
    sections = {
        "settings": Settings, "source": Source, "tasks": TaskSettings, "economics": Economics,
        "privacy": Privacy, "explain": ExplainSettings, "actions": Actions,
    }  # fmt: skip
    if not location:
        return [key for key in Config.model_fields if not Config.model_fields[key].exclude]
    if "columns" in location:
        return list(Columns.model_fields)
    return list(sections.get(str(location[0]), Config).model_fields)
