"""Functions of single numbers, of single precision, as NumPy's are: of arrays that broadcast. Those that NumPy has not,
or takes several passes for, or does number by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import vectorize

from gradwire_engine.loops.compiling import SUMS_IN_PARTS, kept
from gradwire_engine.loops.lines import HALF, ONE, ZERO, exp

F = TypeVar("F", bound=Callable[..., Any])
f4 = np.float32
_THREE, _SIXTH = f4(3), f4(1 / 6)


def _function(arguments: int) -> Callable[[F], Any]:
    signature = f"float32({','.join(['float32'] * arguments)})"
    return lambda f: kept(lambda **options: vectorize([signature], fastmath=SUMS_IN_PARTS, **options)(f))


@_function(1)
def sigmoid(x: Any) -> Any:
    return ONE / (ONE + exp(-x))


@_function(1)
def silu(x: Any) -> Any:
    return x / (ONE + exp(-x))


@_function(1)
def hardswish(x: Any) -> Any:
    a = x + _THREE
    a = ZERO if a < ZERO else a
    a = _THREE + _THREE if a > _THREE + _THREE else a
    return x * (a * _SIXTH)


@_function(3)
def bent(d: Any, limit: Any, scale: Any) -> Any:
    """Of a distance: a parabola up to the limit, and the line that it goes on as."""
    m = limit if d > limit else d
    return (d - HALF * m) * m * scale
