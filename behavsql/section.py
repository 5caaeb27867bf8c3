"""What the sections of `behavsql.toml` are made of: the base class, lengths of time, moments."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


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


def refuse(problems: Iterator[str]) -> None:
    """ValueError, which pydantic expects, with the first problem."""
    if problem := next(problems, None):
        raise ValueError(problem)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
