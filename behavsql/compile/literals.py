"""Numbers by the thousand as one SQL literal, which costs next to nothing to plan."""

from collections.abc import Iterable

import numpy as np


def text(values: Iterable[float]) -> str:
    """A list as DuckDB casts it; every bit is kept.

    >>> text([1, 2.5])
    '[1.0,2.5]'
    """
    return f"[{','.join(repr(float(value)) for value in values)}]"


def numbers(values: Iterable[float], type_: str = "DOUBLE") -> str:
    """A list as one string cast to `type_[]`.

    >>> numbers([1, 2.5])
    "('[1.0,2.5]'::DOUBLE[])"
    """
    return f"('{text(values)}'::{type_}[])"


def integers(values: Iterable[int], type_: str = "INTEGER") -> str:
    """
    >>> integers([1, 2])
    "('[1,2]'::INTEGER[])"
    """
    return f"('[{','.join(str(int(value)) for value in values)}]'::{type_}[])"


def lists(values: np.ndarray) -> str:
    """(n, m) as a list of n lists: `DOUBLE[][]`. Lambdas would copy arrays at each of their elements."""
    return f"('[{','.join(map(text, values))}]'::DOUBLE[][])"
