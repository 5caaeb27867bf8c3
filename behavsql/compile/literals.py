"""Numbers by the thousand as one SQL literal, which costs next to nothing to plan."""

from collections.abc import Iterable, Sequence

import numpy as np


def numbers(values: Iterable[float], type_: str = "DOUBLE") -> str:
    """A list as one string cast to `type_[]`; every bit is kept.

    >>> numbers([1, 2.5])
    "('[1.0,2.5]'::DOUBLE[])"
    """
    return f"('[{','.join(repr(float(value)) for value in values)}]'::{type_}[])"


def integers(values: Iterable[int], type_: str = "INTEGER") -> str:
    """
    >>> integers([1, 2])
    "('[1,2]'::INTEGER[])"
    """
    return f"('[{','.join(str(int(value)) for value in values)}]'::{type_}[])"


def array(values: Sequence[float], type_: str = "DOUBLE") -> str:
    """An array of fixed size, `DOUBLE[n]`.

    >>> array([1, 2.5])
    "('[1.0,2.5]'::DOUBLE[2])"
    """
    return f"('[{','.join(repr(float(value)) for value in values)}]'::{type_}[{len(values)}])"


def matrix(values: np.ndarray, type_: str = "DOUBLE") -> str:
    """(n, m) as a list of n arrays: `DOUBLE[m][]`."""
    rows = ",".join("[" + ",".join(repr(float(v)) for v in row) + "]" for row in values)
    return f"('[{rows}]'::{type_}[{values.shape[1]}][])"
