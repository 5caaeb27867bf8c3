"""Which column says when, how it is read as a time, and what of that the data cannot tell."""

from typing import TYPE_CHECKING

from behavsql.errors import ConfigError
from behavsql.input.mapping import has_offset
from behavsql.quoting import identifier
from behavsql.sniffing import column_names as names
from behavsql.sniffing.column_looks import HALF, MOSTLY, time_reading

if TYPE_CHECKING:
    from behavsql.sniffing.source import SourceSniffer


def take_time(sniffer: "SourceSniffer") -> bool:
    """Give `event_at` its column: the chosen one, else the best named that can be read as times."""
    named = [name for name in names.best("event_at", sniffer.types) if name not in sniffer.used]
    dated = [
        name
        for name, look in sniffer.looks.items()
        if look.is_temporal and name not in sniffer.used
    ]
    others = [
        name for name, look in sniffer.looks.items()
        if look.type == "VARCHAR" and not look.is_amount and name not in sniffer.used
    ]  # fmt: skip
    candidates = sniffer.given.get("time") or list(dict.fromkeys([*named, *dated, *others]))
    for column in candidates:
        least = HALF if column in named or "time" in sniffer.given else MOSTLY
        reading = time_reading(sniffer.con, column, sniffer.looks[column], least)
        if sniffer.choices.at_unit:
            is_counted = sniffer.choices.at_unit != "timestamp"
            is_time = sniffer.looks[column].is_number if is_counted else reading == {}
            reading = {"at_unit": sniffer.choices.at_unit} if is_time else None
        if reading is not None:
            why = "by its values" if column not in named else "by its name"
            sniffer.assign("event_at", column, "given" if "time" in sniffer.given else why)
            _note_reading(sniffer, column, reading)
            return True
    return _refuse(sniffer, [name for name in candidates if name not in others or name in named])


def _note_reading(sniffer: "SourceSniffer", column: str, reading: dict[str, str]) -> None:
    sniffer.found.raw |= {key: reading[key] for key in ("at_unit", "at_format") if key in reading}
    sniffer.found.why |= dict.fromkeys(
        reading, "given" if sniffer.choices.at_unit else "by its values"
    )
    if "doubt" in reading:
        sniffer.found.doubts.append(f"event_at: {reading['doubt']}")
    if "at_unit" not in reading and not _has_zone(sniffer, column, reading):
        sniffer.found.doubts.append("at_timezone: times without a zone are taken as UTC.")


def _has_zone(sniffer: "SourceSniffer", column: str, reading: dict[str, str]) -> bool:
    """Whether every time says its zone, or none needs one, being a mere date."""
    if format_ := reading.get("at_format"):
        return "%z" in format_ or "%H" not in format_
    type_, name = sniffer.types[column], identifier(column)
    if type_ != "VARCHAR":
        return type_ == "DATE" or "ZONE" in type_
    return sniffer.con.execute(
        f"select bool_and(length({name}) <= 10 or {has_offset(name)}) from sample"
    ).fetchall()[0][0]


def _refuse(sniffer: "SourceSniffer", candidates: list[str]) -> bool:
    """Numbers of an unknown unit are an error where there is a user; else these are facts."""
    numbers = [name for name in candidates if sniffer.looks[name].is_number]
    if "user_id" in sniffer.columns and numbers and not sniffer.choices.at_unit:
        middle = sniffer.looks[numbers[0]].middle or 0
        raise ConfigError(
            f"{sniffer.path}: {numbers[0]} holds numbers such as {middle:g}, whose unit cannot be "
            f"told; allowed are days, seconds, order, epoch, epoch_ms, epoch_us. "
            f"Add for example --at-unit days."
        )
    if "time" in sniffer.given or (candidates and sniffer.choices.at_unit):
        look = sniffer.looks[candidates[0]]
        raise ConfigError(
            f"{sniffer.path}: {candidates[0]} holds {look.type} such as {look.example!r}, which "
            f"cannot be read as {sniffer.choices.at_unit or 'a time'}; its columns are "
            f"{', '.join(sniffer.types)}. "
            f"Name another with --time, or its unit with --at-unit."
        )
    return sniffer.miss("time", "holds times")
