"""Figures and dates as people read them: three digits that matter, thousands apart, units said."""

# ruff: noqa: RUF001, RUF002 - the dash and the minus are meant

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta

NONE = "–"
EPOCH = datetime(2000, 1, 1)  # where data without dates begins


def _finite(value: object) -> float | None:
    """The number, or None for what is none: NULL, NaN, infinities, text."""
    try:
        number = float(value)  # also of a Decimal
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def count(value: object) -> str:
    """A whole number.

    >>> count(541909), count(None)
    ('541,909', '–')
    """
    number = _finite(value)
    return NONE if number is None else f"{round(number):,}"


def figure(value: object) -> str:
    """A measured value with three digits; what is larger keeps its thousands.

    >>> [figure(value) for value in (0.404404, 3.73018, 20177.3, -0.00012, 0, 12.0, None)]
    ['0.404', '3.73', '20,177', '−0.00012', '0', '12.0', '–']
    """
    number = _finite(value)
    if number is None:
        return NONE
    if number == 0 or abs(number) >= 1_000:
        return _signed(f"{round(number):,}")
    if abs(number) < 1e-6:
        return _signed(f"{number:.1e}")
    digits = 2 - math.floor(math.log10(abs(number)))
    if digits > 4:  # 0.00012, not 0.000120
        return _signed(f"{number:.{min(digits, 8)}f}".rstrip("0"))
    return _signed(f"{number:.{max(digits, 0)}f}")


def tick(value: object) -> str:
    """A round value of an axis, as short as it is; thousands as k, millions as M.

    >>> tick(0.4), tick(2500), tick(3_000_000), tick(0.0)
    ('0.4', '2.5k', '3M', '0')
    """
    number = float(value)
    for by, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= by:
            return _signed(f"{number / by:g}{letter}")
    return _signed(f"{number:g}")


def percent(value: object) -> str:
    """A round share of an axis.

    >>> percent(0.4), percent(0.025)
    ('40%', '2.5%')
    """
    return _signed(f"{float(value) * 100:.6g}%")


def _signed(text: str) -> str:
    """A number with a minus that is as wide as a digit."""
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def about(value: object) -> str:
    """A large number that is not exact: three digits, and words from a million on.

    >>> about(658_422), about(1_910_562), about(200.4), about(0.37), about(2.6e9)
    ('658,000', '1.91 million', '200', '0.370', '2.60 billion')
    """
    number = _finite(value)
    if number is None:
        return NONE
    for by, word in ((1e9, "billion"), (1e6, "million")):
        if abs(number) >= by:
            return f"{figure(number / by)} {word}"
    if abs(number) >= 1_000:
        return _signed(f"{round(number, 2 - math.floor(math.log10(abs(number)))):,.0f}")
    return figure(number) if abs(number) < 10 else _signed(f"{number:,.0f}")


def share(value: object) -> str:
    """A share of one as a percentage with three digits.

    >>> [share(value) for value in (0.304609, 0.4, 1, 0, 0.0042, 0.00001, 0.99999, -0.0902, None)]
    ['30.5%', '40.0%', '100%', '0%', '0.42%', '0.001%', '99.999%', '−9.02%', '–']
    """
    number = _finite(value)
    if number is None:
        return NONE
    percent_ = number * 100
    if percent_ in (0.0, 100.0):
        return f"{percent_:.0f}%"
    if 99.95 <= percent_ < 100:  # nearly all is not all
        return f"{min(percent_, 99.999):.3f}%"
    if abs(percent_) < 0.01:
        return _signed(f"{percent_:.1g}%")
    digits = 0 if abs(percent_) >= 100 else 1 if abs(percent_) >= 10 else 2
    return _signed(f"{percent_:.{digits}f}%")


def times(value: object) -> str:
    """How many times as much.

    >>> times(3.043), times(12.34), times(None)
    ('3.04×', '12.3×', '–')
    """
    number = _finite(value)
    return NONE if number is None else f"{figure(number)}×"


def between(low: object, high: object, form=figure) -> str:
    """An interval, or nothing where it is unknown.

    >>> between(0.3847, 0.4242), between(None, 1)
    ('0.385 to 0.424', '')
    """
    if _finite(low) is None or _finite(high) is None:
        return ""
    return f"{form(low)} to {form(high)}"


def size(bytes_: int) -> str:
    """How much a file takes.

    >>> size(120476), size(3_400_000)
    ('120 kB', '3.4 MB')
    """
    return f"{bytes_ / 1e6:,.1f} MB" if bytes_ >= 1e6 else f"{bytes_ / 1e3:,.0f} kB"


def seconds(value: object) -> str:
    """How long something took.

    >>> seconds(0.042), seconds(3.5), seconds(200), seconds(0)
    ('42 ms', '3.50 s', '3.3 min', '0 s')
    """
    number = _finite(value)
    if number is None:
        return NONE
    if 0 < number < 1:
        return f"{number * 1000:.0f} ms"
    return f"{figure(number)} s" if number < 100 else f"{number / 60:.1f} min"


def days(value: object, unit: str = "day") -> str:
    """A length of time.

    >>> days(7.0), days(1), days(0.5)
    ('7 days', '1 day', '12 hours')
    """
    number = _finite(value)
    if number is None:
        return NONE
    if unit == "day" and number < 1:
        return days(number * 24, "hour")
    return f"{number:.3g} {unit}{'' if number == 1 else 's'}"


def plural(number: int, one: str, many: str = "") -> str:
    """A counted thing.

    >>> plural(1, "task"), plural(1200, "user")
    ('1 task', '1,200 users')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def words(items: list[str], last: str = "and") -> str:
    """An enumeration.

    >>> words(["a", "b", "c"])
    'a, b and c'
    """
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def place(moment: datetime) -> float:
    """Where a moment stands on an axis of seconds, in no time zone.

    >>> moment(place(datetime(2024, 2, 29, 12)))
    datetime.datetime(2024, 2, 29, 12, 0)
    """
    return (moment - EPOCH).total_seconds()


def moment(seconds_: float) -> datetime:
    """The moment at a place of `place`."""
    return EPOCH + timedelta(seconds=seconds_)


class Clock:
    """How moments are written: as dates, or as days from the start where the data has no dates."""

    def __init__(self, clock: Mapping[str, object] | None) -> None:
        clock = clock or {}
        self.has_dates = clock.get("has_dates") is not False
        bucket = clock.get("bucket") or timedelta(days=1)
        self.by_hours = bucket < timedelta(days=1)
        self.as_of = clock.get("as_of")
        self.first = clock.get("first_event_at")
        self.last = clock.get("last_event_at")

    def when(self, moment: object) -> str:
        """The day of a moment; with the hour where the data spans hours."""
        if not isinstance(moment, (datetime, date)):
            return NONE
        moment = moment if isinstance(moment, datetime) else datetime(*moment.timetuple()[:3])
        if not self.has_dates:
            passed = moment - EPOCH
            return f"day {count(passed.days)}" + (
                f", hour {passed.seconds // 3600}" if self.by_hours else ""
            )
        text = f"{moment.day} {moment:%b %Y}"
        return f"{text}, {moment:%H:%M}" if self.by_hours else text

    def short(self, moment: datetime) -> str:
        """The same for an axis."""
        if not self.has_dates:
            return f"day {count((moment - EPOCH).days)}"
        return f"{moment.day} {moment:%b}" + (f" {moment:%H}h" if self.by_hours else "")
