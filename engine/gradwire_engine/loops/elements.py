"""Functions of single numbers, of single precision, as NumPy's are: of arrays that broadcast. Those that NumPy has not,
or takes several passes for, or does number by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import vectorize

from gradwire_engine.loops.compiling import SUMS_IN_PARTS
from gradwire_engine.loops.lines import HALF, ONE, ZERO, exp

F = TypeVar("F", bound=Callable[..., Any])
f4 = np.float32
# erf(x) / x as a polynomial in x ** 2 where abs(x) < 1, and log(erfc(x)) as one in x from there to 4: Chebyshev fits.
_S = tuple(map(f4, (1.12837917, -0.376126269, 0.112835975, -0.0268543288, 0.00518931194, -0.000801885499,
                    7.88249711e-05)))  # fmt: skip
_L = tuple(map(f4, (0.000303212966, -1.13016668, -0.631937094, -0.109978245, 0.0263647173, -0.00474022234,
                    0.000592769536, -4.55906223e-05, 1.61406159e-06)))  # fmt: skip
_FOUR, _THREE, _SIXTH = f4(4), f4(3), f4(1 / 6)
_S0, _S1, _S2, _S3, _S4, _S5, _S6 = _S
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _L


def _function(arguments: int) -> Callable[[F], Any]:
    signature = f"float32({','.join(['float32'] * arguments)})"
    try:
        return vectorize([signature], cache=True, fastmath=SUMS_IN_PARTS)
    except RuntimeError:  # there is no folder that it could be kept in
        return vectorize([signature], fastmath=SUMS_IN_PARTS)


@_function(1)
def sigmoid(x: Any) -> Any:
    return ONE / (ONE + exp(-x))


@_function(1)
def silu(x: Any) -> Any:
    return x / (ONE + exp(-x))


@_function(1)
def erf(x: Any) -> Any:
    """To 2.4 ulp."""
    s = x * x
    small = ((((((_S6 * s + _S5) * s + _S4) * s + _S3) * s + _S2) * s + _S1) * s + _S0) * x
    a = abs(x)
    a = _FOUR if a > _FOUR else a
    log = (((((((_L8 * a + _L7) * a + _L6) * a + _L5) * a + _L4) * a + _L3) * a + _L2) * a + _L1) * a + _L0
    large = ONE - exp(log)
    large = -large if x < ZERO else large
    return small if a < ONE else large


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
