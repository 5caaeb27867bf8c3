"""Models of a user's last events in SQL: symbols from lists, a chain's states, hidden states."""

from collections.abc import Callable, Sequence

import numpy as np

from behavsql.compile import literals
from behavsql.compile.form import Form
from behavsql.models.parts.baum_welch import HiddenStates
from behavsql.models.parts.event_symbols import FIRST, KNOWN, LADDER, LATER, EventSymbols
from behavsql.quoting import literal
from behavsql.sequences import DAY, LENGTH


def over_codes(symbols: EventSymbols, form: Form, body: Callable[[str, str], str]) -> str:
    """`body` of the codes of the events, a list with the newest last, and of the silence's code."""
    role = last_events(form.list_column("role_sequence"))
    at = moments(form)

    def events(r: str, t: str) -> str:
        begins = f"_i = 1 OR {r}[_i] IS DISTINCT FROM {r}[_i - 1] OR {t}[_i] <> {t}[_i - 1]"
        first = f"CASE WHEN len({r}) < {LENGTH} THEN {FIRST} ELSE {LATER} END"
        gap = f"{KNOWN} + {_beyond(f'{t}[_i] - {t}[_i - 1]', symbols.gaps)}"
        place = " ".join(
            f"WHEN {literal(name)} THEN {i}" for i, name in enumerate(symbols.roles, 1)
        )
        code = (
            f"CASE {r}[_i] {place} ELSE 0 END * {symbols.gap_classes} + 1 + "
            f"CASE WHEN _i = 1 THEN {first} ELSE {gap} END"
        )
        numbers = f"list_filter(range(1, len({r}) + 1), lambda _i: {begins})"
        return f"list_transform({numbers}, lambda _i: {code})"

    def silence(t: str) -> str:
        return (
            f"CASE WHEN len({t}) = 0 THEN {symbols.silence_count - 1} "
            f"ELSE {_beyond(f'-{t}[-1]', symbols.silences)} END"
        )

    return form.bind(role, lambda r: form.bind(at, lambda t: (
        form.bind(events(r, t), lambda e: form.bind(silence(t), lambda s: body(e, s)))
    )))  # fmt: skip


def looked_up(
    symbols: EventSymbols, states: Sequence[np.ndarray], means: Sequence[np.ndarray], mean: float,
    form: Form,
) -> str:  # fmt: skip
    """The mean of the longest state that is known. states: sorted numbers by order, and means."""

    def found(events: str, silence: str) -> str:
        keys, base = [silence], symbols.count + 1
        for back in range(1, len(states)):
            keys.append(f"({keys[-1]} * {base} + coalesce({events}[-{back}], 0))")
        known = [
            f"{literals.numbers(value)}[list_position({literals.integers(state, 'BIGINT')}, {key})]"
            for key, state, value in zip(keys, states, means, strict=True)
        ]
        return f"coalesce({', '.join(known[::-1])}, {literal(mean)})"

    return over_codes(symbols, form, found)


def mixed(symbols: EventSymbols, hidden: HiddenStates, means: np.ndarray, form: Form) -> str:
    """The means weighted by P(state | events, silence).

    The list of K + 1 numbers that walks over the steps has one more state, in which all begin and
    to which none returns.
    """
    shows, silences = (_with_start(part) for part in hidden.emissions())
    width = len(means) + 1
    into = np.vstack([np.vstack([hidden.moves, hidden.start]).T, np.zeros(width)])
    step = "list_transform(_e.moves, lambda _w, _i: list_inner_product(_w, _s) * _p[_i])"
    begin = literals.numbers([0.0] * len(means) + [1.0])

    def answer(events: str, silence: str) -> str:
        shown = (
            f"list_append(list_transform({events}, lambda _c: _e.shows[_c]), "
            f"_e.silences[{silence} + 1])"
        )
        # Elements of a list, not constants: DuckDB would build those anew at every step.
        walked = (
            f"list_transform([{{shows: {literals.lists(shows[1:])}, "
            f"silences: {literals.lists(silences)}, moves: {literals.lists(into)}}}], "
            f"lambda _e: list_reduce({shown}, lambda _s, _p: {step}, {begin}))[1]"
        )
        weights, ones = (literals.numbers([*part, 0.0]) for part in (means, np.ones(len(means))))
        return form.bind(
            walked,
            lambda v: f"list_inner_product({v}, {weights}) / list_inner_product({v}, {ones})",
        )

    return over_codes(symbols, form, answer)


def last_events(column: str) -> str:
    """The end of a list column that models read; NULL is an empty list."""
    return f"coalesce({column}, [])[-{LENGTH}:]"


def moments(form: Form) -> str:
    """When the last events were, in BIGINT microseconds, 0 = the moment of the question."""
    days = last_events(form.list_column("days_ago_sequence"))
    return f"list_transform({days}, lambda _d: -round(coalesce(_d, 0e0) * {float(DAY)!r})::BIGINT)"


def _beyond(span: str, edges: Sequence[str]) -> str:
    """How many of the spans of LADDER a span is longer than."""
    return f"({' + '.join(['0', *(f'({span} > {LADDER[name]})::INTEGER' for name in edges)])})"


def _with_start(emissions: np.ndarray) -> np.ndarray:
    """(n, K + 1): nothing is shown in the state in which all begin."""
    return np.hstack([emissions, np.zeros((len(emissions), 1))])
