"""Kernels of comparisons, logic and bits."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.registry import kernel

kernel("eq", lambda xp, input, other: xp.equal(input, other))
kernel("ne", lambda xp, input, other: xp.not_equal(input, other))
kernel("lt", lambda xp, input, other: xp.less(input, other))
kernel("le", lambda xp, input, other: xp.less_equal(input, other))
kernel("gt", lambda xp, input, other: xp.greater(input, other))
kernel("ge", lambda xp, input, other: xp.greater_equal(input, other))

kernel("isnan", lambda xp, input: xp.isnan(input))
kernel("isinf", lambda xp, input: xp.isinf(input))
kernel("isfinite", lambda xp, input: xp.isfinite(input))
kernel("isposinf", lambda xp, input: xp.equal(input, math.inf))
kernel("isneginf", lambda xp, input: xp.equal(input, -math.inf))
kernel("isreal", lambda xp, input: input.imag == 0 if input.dtype.kind == "c" else xp.ones(input.shape, bool))
kernel("signbit", lambda xp, input: input < 0 if input.dtype.kind in "biu" else xp.signbit(input))


@kernel("isclose")
def isclose(xp: Any, input: Any, other: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    close = input == other
    if equal_nan:
        close |= xp.isnan(input) & xp.isnan(other)
    if input.dtype.kind in "biu":
        input, other = input.astype(xp.float64), other.astype(xp.float64)
    error = abs(input - other)
    return close | (xp.isfinite(error) & (error <= atol + rtol * abs(other)))


def truth(x: Any) -> Any:
    """Whether each element counts as true; the array libraries' own logic knows no complex numbers."""
    return x if x.dtype.kind == "b" else x != 0


kernel("logical_and", lambda xp, input, other: xp.logical_and(truth(input), truth(other)))
kernel("logical_or", lambda xp, input, other: xp.logical_or(truth(input), truth(other)))
kernel("logical_xor", lambda xp, input, other: xp.logical_xor(truth(input), truth(other)))
kernel("logical_not", lambda xp, input: xp.equal(input, 0))

kernel("bitwise_and", "bitwise_and")
kernel("bitwise_or", "bitwise_or")
kernel("bitwise_xor", "bitwise_xor")
kernel("bitwise_not", "bitwise_not")
kernel("bitwise_left_shift", "left_shift")
kernel("bitwise_right_shift", "right_shift")
kernel("gcd", "gcd")
kernel("lcm", "lcm")
