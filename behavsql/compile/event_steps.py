"""The events before a question in SQL as a network over events reads them: a list of numbers each."""

from collections.abc import Mapping

import numpy as np

from behavsql.compile import literals
from behavsql.compile.errors import CompileError
from behavsql.compile.event_symbols import last_events, moments
from behavsql.compile.form import FINITE, Form
from behavsql.models.parts.dense_layers import Dense
from behavsql.models.parts.sequence_encoder import (
    FARTHEST,
    FIRST_BUCKET,
    MISSING,
    NUMBERS,
    SequenceEncoder,
    Vocabulary,
)
from behavsql.quoting import literal
from behavsql.sequences import DAY

# Rows of a table that one row's planning is worth: each takes 35 us as numbers, 4 us as text, of
# which only the events' own are read, for 5 us each time.
FEW_ROWS = 100


def embedded(
    encoder: SequenceEncoder, tables: Mapping[str, np.ndarray], numbers: Dense, form: Form
) -> str:
    """DOUBLE[][]: what stands for each of the last events, oldest first.

    That is the sum of a row of each table, (codes, d) by the name of the text that is looked up in
    it, and of the linear layer `numbers` over NUMBERS.
    """
    lists = {
        name: _each(f"{name}_sequence", _row(table, encoder.vocabularies[name], form), form)
        for name, table in tables.items()
    }
    lists["v"] = _each("value_sequence", FINITE.format("_t::DOUBLE"), form)
    lists["t"] = moments(form)
    rows = ", ".join(f"{name}: _e.{name}[_i]" for name in tables)
    found = f"[{', '.join([*_numbers(encoder), '1e0'])}]"
    weights = literals.lists(np.vstack([numbers.kernel, numbers.bias]).T)  # (d, NUMBERS and 1)
    added = " + ".join(f"_n.{name}[_k]" for name in tables)
    step = (
        f"list_transform([{{x: {found}, {rows}}}], lambda _n: list_transform("
        f"{weights}, lambda _w, _k: list_inner_product(_w, _n.x) + {added}))[1]"
    )
    first = f"greatest(1, len(_e.t) - {encoder.length - 1})"
    held = ", ".join(f"{name}: {listed}" for name, listed in lists.items())
    return (
        f"list_transform([{{{held}}}], lambda _e: "
        f"list_transform(range({first}, len(_e.t) + 1), lambda _i: {step}))[1]"
    )


def _each(column: str, changed: str, form: Form) -> str:
    """What becomes of each `_t` of a list column."""
    return f"list_transform({last_events(form.list_column(column))}, lambda _t: {changed})"


def _numbers(encoder: SequenceEncoder) -> list[str]:
    """Each of NUMBERS of the event `_i`."""
    gap = "ln(1e0 + greatest(_e.t[_i] - _e.t[_i - 1], 0) / 1e6)"
    ago = f"ln(1e0 + greatest(-_e.t[_i] / {float(DAY)!r}, 0e0) * 24e0)"
    logged = "sign(_e.v[_i]) * ln(1e0 + abs(_e.v[_i]))"
    scaled = {
        name: _scaled(number, encoder.scales[name])
        for name, number in {"gap": gap, "ago": ago, "value": logged}.items()
    }
    found = {
        "gap": f"CASE WHEN _i = 1 THEN 0e0 ELSE {scaled['gap']} END",
        "ago": scaled["ago"],
        "value": f"CASE WHEN _e.v[_i] IS NULL THEN 0e0 ELSE {scaled['value']} END",
        "is_known": "(_e.v[_i] IS NOT NULL)::DOUBLE",
    }
    return [found[name] for name in NUMBERS]


def _scaled(number: str, scale: tuple[float, float]) -> str:
    mean, std = map(literal, scale)
    return f"greatest(least(({number} - {mean}) / {std}, {FARTHEST!r}e0), -{FARTHEST!r}e0)"


def _code(vocabulary: Vocabulary, text: str) -> str:
    """The code of a text as `Vocabulary.codes` gives it."""
    bucket = f"{FIRST_BUCKET}"
    if vocabulary.buckets > 1:
        bucket += f" + ('0x' || md5({text})[:8])::BIGINT % {vocabulary.buckets}"
    if vocabulary.values:
        place = f"nullif(list_position({_texts(vocabulary.values)}, {text}), 0)"
        bucket = f"coalesce({place} + {FIRST_BUCKET + vocabulary.buckets - 1}, {bucket})"
    return f"CASE WHEN {text} IS NULL THEN {MISSING} ELSE {bucket} END"


def _texts(values: tuple[str, ...]) -> str:
    """A list of texts as one literal, for the thousand that a vocabulary may have."""
    whole = "".join(values)
    if "\0" in whole:
        raise CompileError(
            "an id of the events holds a character of code 0; SQL has no text with it. "
            "Take it out of the source."
        )
    separator = next(chr(code) for code in range(31, 0x110000) if chr(code) not in whole)
    return f"string_split({literal(separator.join(values))}, {literal(separator)})"


def _row(table: np.ndarray, vocabulary: Vocabulary, form: Form) -> str:
    """The row (d,) of a table for the text `_t`."""
    place = f"{_code(vocabulary, '_t::VARCHAR')} + 1"
    if form.is_batch or len(table) <= FEW_ROWS:
        return f"{literals.lists(table)}[{place}]"
    rows = ";".join(f"[{','.join(map(str, row))}]" for row in table.astype(np.float32))
    return f"string_split('{rows}', ';')[{place}]::FLOAT[]::DOUBLE[]"
