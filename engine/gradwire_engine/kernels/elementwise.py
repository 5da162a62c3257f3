"""Kernels. Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from typing import Any

from gradwire_engine.registry import kernel

kernel("exp", lambda xp, input, out=None: xp.exp(input, out=out))
kernel("log", lambda xp, input, out=None: xp.log(input, out=out))
kernel("real", lambda xp, input: xp.real(input))
kernel("conj_physical", lambda xp, input, out=None: xp.conjugate(input, out=out))
kernel("sqrt", lambda xp, input, out=None: xp.sqrt(input, out=out))
kernel("sin", lambda xp, input, out=None: xp.sin(input, out=out))
kernel("cos", lambda xp, input, out=None: xp.cos(input, out=out))
kernel("tanh", lambda xp, input, out=None: xp.tanh(input, out=out))
kernel("abs", lambda xp, input, out=None: xp.absolute(input, out=out))
kernel("sgn", lambda xp, input, out=None: xp.sign(input, out=out))
kernel("maximum", lambda xp, input, other, out=None: xp.maximum(input, other, out=out))
kernel("minimum", lambda xp, input, other, out=None: xp.minimum(input, other, out=out))


@kernel("sigmoid")
def sigmoid(xp: Any, input: Any, out: Any = None) -> Any:
    e = xp.exp(xp.negative(input, out=out), out=out)
    return xp.true_divide(1, xp.add(e, 1, out=out), out=out)


@kernel("clamp")
def clamp(xp: Any, input: Any, min: Any, max: Any, out: Any = None) -> Any:
    if min is not None:
        input = xp.maximum(input, min, out=out)
    return input if max is None else xp.minimum(input, max, out=out)
