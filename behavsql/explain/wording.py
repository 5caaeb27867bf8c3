"""Reasons as sentences: SQL that says each feature's value, and how it compares with the others'."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from behavsql import describe
from behavsql.explain.phrases import DAYS, WEEKDAYS, Phrase, phrase
from behavsql.frames import Table
from behavsql.models.parts.encoding import is_text
from behavsql.models.parts.explanation import EVENTS
from behavsql.quoting import literal

BASE, OTHER, RESIDUAL = "(base)", "(other)", "(residual)"
# The part of users above or below, and how it is said.
COMPARED = ((0.95, "19 in 20"), (0.9, "9 in 10"), (0.8, "4 in 5"), (2 / 3, "2 in 3"))
SPECIAL = {
    BASE: "where everybody starts",
    OTHER: "all other features together",
    RESIDUAL: "what no feature accounts for",
    EVENTS: "the last events, one by one",
    "role_sequence": "what was done in the last events, in order",
    "days_ago_sequence": "how long ago the last events were",
}
# What is said of a text, and where it is missing.
TEXTS = {
    "last_event_hour": ("last came between {}:00 and {}:59 (UTC)", "no event yet"),
    "last_event_weekday": ("last came on a {}", "no event yet"),
    "cutoff_weekday": ("asked on a {}", "asked on an unknown day"),
    "favourite_category": ("met most: {}", "no category yet"),
}


def sentence(features: Sequence[str], train: Table) -> str:
    """A SQL expression over feature, v (its number), t (its text) and usual (the user's own, or NULL).

    train: rows of train, of which some thousand suffice, to compare with.
    """
    cases = [f"when {literal(name)} then {literal(words)}" for name, words in SPECIAL.items()]
    for name in features:
        if name in SPECIAL:
            continue
        series = train.features[name]
        told = _text(name) if is_text(series.dtype) else _number(phrase(name), series)
        cases.append(f"when {literal(name)} then {told}")
    return f"case feature {' '.join(cases)} end"


def _text(name: str) -> str:
    comment = re.split("[,;]", describe.describe(name) or name.replace("_", " "))[0]
    words, missing = TEXTS.get(name, (f"{comment}: {{}}", f"{comment}: not known"))
    said = f"coalesce(map {_map(WEEKDAYS)}[t], t)" if name.endswith("_weekday") else "t"
    filled = " || ".join(
        part if part == said else literal(part) for part in _between(words.split("{}"), said)
    )
    return f"case when t is null then {literal(missing)} else {filled} end"


def _map(words: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in words.items()) + "}"


def _between(parts: Sequence[str], said: str) -> list[str]:
    found = [parts[0]]
    for part in parts[1:]:
        found += [said, part]
    return [part for part in found if part]


def _number(told: Phrase, series: pl.Series) -> str:
    """Said of v: missing, negative, none, one, or some; with how it compares but where it is missing."""
    known = np.sort(series.drop_nulls().drop_nans().to_numpy())
    cases = [f"when v is null then {literal(told.none)}"]
    if told.negative is not None:
        cases.append(f"when v < -1e-9 then {_filled(told.negative, told)}")
    if told.zero is not None:
        # What would be told as 0 is none: 0.3 days ago is less than a day ago.
        least = "1e0" if told.below == DAYS["below"] else "1e-9"
        cases.append(f"when v >= 0 and v < {least} then {literal(told.zero)}")
    if told.one is not None:
        cases.append(f"when round(v) = 1 then {literal(told.one)}")
    said = f"(case {' '.join(cases)} else {_filled(told.some, told)} end)"
    compared = _compared(told, known)
    if told.rhythm:
        days = "case when round(usual) = 1 then ' day' else ' days' end"
        own = f"', usually every ' || format('{{:,.0f}}', usual) || {days}"
        compared = f"case when usual >= 0.5 then {own} else {compared} end"
    quiet = "v is null"
    if told.negative and "{}" not in told.negative:
        quiet += " or v < -1e-9"
    return f"{said} || case when {quiet} then '' else {compared} end"


def _filled(words: str, told: Phrase) -> str:
    """The words with the number in the place of {}."""
    value = "abs(v)" if told.negative is not None else "v"
    number = f"format({literal(told.form)}, {value} * {literal(told.scale)})"
    parts = [part.replace("{{", "{").replace("}}", "}") for part in words.split("{}")]
    return " || ".join(
        part if part == number else literal(part) for part in _between(parts, number)
    )


def _compared(told: Phrase, known: np.ndarray) -> str:
    """Which part of the users of train lie on one side of v, if it is most of them."""
    count = len(known)
    if count < 20 or known[0] == known[-1]:
        return "''"
    cases = []
    for share, words in COMPARED:
        aside = int(np.floor((1 - share) * count + 1e-9))  # so many may lie on the other side
        low, high = float(known[aside]), float(known[-1 - aside])
        below, above = (literal(f", {part.format(words)}") for part in (told.below, told.above))
        cases.append(f"when v < {literal(low)} then {below} when v > {literal(high)} then {above}")
    return f"case {' '.join(cases)} else '' end"
