"""Words for hidden states: what users in them do, how fast, how long ago, and what becomes of it."""

import numpy as np

from behavsql.models.parts.baum_welch import HiddenStates
from behavsql.models.parts.event_symbols import KNOWN, EventSymbols

MOSTLY = 0.6  # the share of a role that is named alone
TOP = 3  # symbols named for a state


def state_names(
    symbols: EventSymbols, hidden: HiddenStates, mean_label: np.ndarray, task: str, kind: str
) -> list[str]:
    """A name for each state, of the parts in which states differ; the last part is the mean label.

    "mostly view, within 30 minutes, silent for up to a day: purchase 12%"
    """
    follows = _follows(symbols, hidden)
    parts = [
        [_roles(row, symbols.roles) for row in follows.sum(axis=2)],
        [_gap(row, symbols) for row in follows.sum(axis=1)],
        [_median(row, symbols.silence_names()) for row in hidden.silences[:, :-1]],
    ]
    telling = [part for part in parts if len(set(part)) > 1]
    told = "{} {:.0%}" if kind == "binary" else "{} {:.3g} on average"
    names = []
    for state, mean in enumerate(mean_label):
        words = ", ".join(part[state] for part in telling)
        names.append(": ".join(filter(None, [words, told.format(task, mean)])))
    return [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)]


def top_symbols(symbols: EventSymbols, hidden: HiddenStates) -> list[str]:
    """For each state the symbols it shows most often after another, with their shares."""
    gaps, names = symbols.gap_classes, symbols.names()
    told = []
    for shares in _follows(symbols, hidden):
        flat = shares.ravel()
        top = [code for code in np.argsort(-flat, kind="stable")[:TOP] if flat[code] >= 0.005]
        codes = [
            (code // shares.shape[1] + 1) * gaps + KNOWN + code % shares.shape[1] for code in top
        ]
        told.append(
            ", ".join(f"{names[code]} {flat[i]:.0%}" for i, code in zip(top, codes, strict=True))
        )
    return told


def _follows(symbols: EventSymbols, hidden: HiddenStates) -> np.ndarray:
    """(K, roles, gaps) the shares of known roles after known gaps."""
    shape = len(hidden.start), len(symbols.roles) + 1, symbols.gap_classes
    shown = hidden.shows.reshape(shape)[:, 1:, KNOWN:]
    return shown / shown.sum(axis=(1, 2), keepdims=True)


def _roles(shares: np.ndarray, roles: list[str]) -> str:
    first, *rest = np.argsort(-shares, kind="stable")[:2]
    if shares[first] >= MOSTLY or not rest:
        return f"mostly {roles[first]}"
    return f"{roles[first]} and {roles[rest[0]]}"


def _gap(shares: np.ndarray, symbols: EventSymbols) -> str:
    names = symbols.names()[KNOWN : symbols.gap_classes]
    return _median(shares, [name.partition(" ")[2] for name in names])


def _median(shares: np.ndarray, names: list[str]) -> str:
    return names[int(np.searchsorted(np.cumsum(shares), shares.sum() / 2))]
