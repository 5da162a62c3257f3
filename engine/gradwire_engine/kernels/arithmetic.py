"""Kernels of arithmetic."""

from __future__ import annotations

from typing import Any

from gradwire_engine.registry import kernel


def _scaled(alpha: Any, other: Any) -> Any:
    return other if alpha == 1 else other * alpha


kernel("add", lambda xp, input, other, alpha, out=None: xp.add(input, _scaled(alpha, other), out=out))
kernel("sub", lambda xp, input, other, alpha, out=None: xp.subtract(input, _scaled(alpha, other), out=out))
kernel("rsub", lambda xp, input, other, alpha: xp.subtract(other, _scaled(alpha, input)))
kernel("mul", lambda xp, input, other, out=None: xp.multiply(input, other, out=out))
kernel("div", lambda xp, input, other, out=None: xp.true_divide(input, other, out=out))
kernel("neg", lambda xp, input, out=None: xp.negative(input, out=out))
kernel("reciprocal", lambda xp, input, out=None: xp.true_divide(1, input, out=out))


@kernel("pow")
def pow(xp: Any, input: Any, exponent: Any, out: Any = None) -> Any:
    if exponent.dtype.kind in "iu" and bool((exponent < 0).any()):
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return xp.power(input, exponent, out=out)
