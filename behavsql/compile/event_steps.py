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
    held = {
        name: _rows(table, _codes(encoder.vocabularies[name], f"{name}_sequence", form), form)
        for name, table in tables.items()
    }
    values = last_events(form.list_column("value_sequence"))
    held["v"] = f"list_transform({values}, lambda _t: {FINITE.format('_t::DOUBLE')})"
    held["t"] = moments(form)
    held["w"] = literals.lists(np.vstack([numbers.kernel, numbers.bias]).T)  # (d, NUMBERS and 1)
    rows = ", ".join(f"{name}: _e.{name}[_i]" for name in tables)
    found = f"[{', '.join([*_numbers(encoder), '1e0'])}]"
    added = " + ".join(f"_n.{name}[_k]" for name in tables)
    step = (
        f"list_transform([{{x: {found}, {rows}}}], lambda _n: list_transform("
        f"_e.w, lambda _w, _k: list_inner_product(_w, _n.x) + {added}))[1]"
    )
    first = f"greatest(1, len(_e.t) - {encoder.length - 1})"
    fields = ", ".join(f"{name}: {value}" for name, value in held.items())
    return (
        f"list_transform([{{{fields}}}], lambda _e: "
        f"list_transform(range({first}, len(_e.t) + 1), lambda _i: {step}))[1]"
    )


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


def _codes(vocabulary: Vocabulary, column: str, form: Form) -> str:
    """The code of each text as `Vocabulary.codes` gives it.

    What is looked into is an element of a list: DuckDB 1 builds a constant anew for every row.
    """
    text = "_t::VARCHAR"
    code = f"{FIRST_BUCKET}"
    if vocabulary.buckets > 1:
        code += f" + ('0x' || md5({text})[:8])::BIGINT % {vocabulary.buckets}"
    if vocabulary.values:
        before = FIRST_BUCKET + vocabulary.buckets - 1
        code = f"coalesce(nullif(list_position(_d, {text}), 0) + {before}, {code})"
    code = f"CASE WHEN _t IS NULL THEN {MISSING} ELSE {code} END"
    texts = last_events(form.list_column(column))
    values = _texts(vocabulary.values) if vocabulary.values else "[]"
    return f"list_transform([{values}], lambda _d: list_transform({texts}, lambda _t: {code}))[1]"


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


def _rows(table: np.ndarray, codes: str, form: Form) -> str:
    """The row (d,) of a table for each of the codes, which count from 0."""
    held, row = literals.lists(table), "_m[_c + 1]"
    if not form.is_batch and len(table) > FEW_ROWS:
        rows = ";".join(f"[{','.join(map(str, row))}]" for row in table.astype(np.float32))
        held, row = f"string_split('{rows}', ';')", "_m[_c + 1]::FLOAT[]::DOUBLE[]"
    return f"list_transform([{held}], lambda _m: list_transform({codes}, lambda _c: {row}))[1]"
