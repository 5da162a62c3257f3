"""Derivatives of arithmetic. A complex input's gradient is the conjugate Wirtinger one, as torch has it."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp


def times(g: Any, alpha: Any) -> Any:
    return g if alpha == 1 else g * conj(alpha)


vjp("add", input=lambda g: g, other=lambda g, alpha: times(g, alpha))
vjp("sub", input=lambda g: g, other=lambda g, alpha: -times(g, alpha))
vjp("rsub", input=lambda g, alpha: -times(g, alpha), other=lambda g: g)
vjp("mul", input=lambda g, other: g * conj(other), other=lambda g, input: g * conj(input))
vjp("div", input=lambda g, other: g / conj(other), other=lambda g, input, other: -g * conj(input / other / other))
vjp("neg", input=lambda g: -g)
vjp("reciprocal", input=lambda g, result: -g * conj(result * result))


def pow_input(g: Any, input: Any, exponent: Any) -> Any:
    if isinstance(exponent, (bool, int, float, complex)):
        # 0 * inf would be nan where the power vanishes.
        return None if exponent == 0 else g * conj(exponent * input ** (exponent - 1))
    return g * conj(F.where(exponent == 0, 0, exponent * input ** (exponent - 1)))


def pow_exponent(g: Any, input: Any, exponent: Any, result: Any) -> Any:
    if isinstance(input, (bool, int, float, complex)):
        if input == 0:
            return g * F.where(exponent == 0, float("-inf") if False else 0, result * 0)
        import cmath
        import math

        log = cmath.log(input) if isinstance(input, complex) or input < 0 else math.log(input)
        return g * conj(result * log)
    return g * conj(F.where(input == 0, 0, result * F.log(F.where(input == 0, 1, input))))


vjp("pow", input=pow_input, exponent=pow_exponent)
