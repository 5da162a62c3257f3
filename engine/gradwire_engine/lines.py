"""Functions of the lines along one dimension of large arrays: some lines at a time, which stay in the cache and which
the cores share, short ones side by side, since NumPy takes sums of many short ones one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire_engine.backend import filled
from gradwire_engine.spread import PIECE, share

SHORT = 64
"""Elements up to which a line is short, and neighbours up to which lines are few."""


def large(xp: Any, a: Any) -> bool:
    """Whether an array is worth more than one piece."""
    return xp is np and a.size >= 2 * PIECE


def by_lines(xp: Any, f: Callable[..., Any], dim: int, *arrays: Any, out: Any = None) -> Any:
    """``f(xp, *arrays, axis)``, which makes an array of their shape and treats each line along ``dim`` by itself."""
    first = arrays[0]
    # Of a 0-d array the line has no dimension.
    if xp is not np or first.size < 1024 or any(a.shape != first.shape for a in arrays):
        return filled(out, f(xp, *arrays, axis=dim if first.ndim else ()))
    dim %= first.ndim
    n, inner = first.shape[dim], math.prod(first.shape[dim + 1 :])
    outer = first.size // (n * inner)
    turn = inner < SHORT and (inner > 1 or n < SHORT) and outer > 1
    if outer == 1 or (first.size < PIECE and not turn):  # parts of columns would be read with gaps
        return filled(out, f(xp, *arrays, axis=dim))
    flat = [np.ascontiguousarray(a).reshape(outer, n, inner) for a in arrays]
    dtype = np.result_type(*arrays)
    made = np.empty(first.shape, dtype) if out is None or out.dtype != dtype or not out.flags.c_contiguous else out
    target = made.reshape(outer, n, inner)

    def some(start: int, stop: int) -> None:
        if turn:
            parts = [np.ascontiguousarray(a[start:stop].transpose(1, 0, 2)).reshape(n, -1) for a in flat]
            target[start:stop] = f(np, *parts, axis=0).reshape(n, -1, inner).transpose(1, 0, 2)
        else:
            target[start:stop] = f(np, *[a[start:stop] for a in flat], axis=1)

    share(some, outer, max(1, PIECE // (n * inner)))
    return filled(out, made)
