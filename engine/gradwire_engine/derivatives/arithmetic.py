"""Derivatives of arithmetic. A complex input's gradient is the conjugate Wirtinger one, as torch has it."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp


def times(g: Any, alpha: Any) -> Any:
    return g if alpha == 1 else g * conj(alpha)


def twice(x: Any) -> Any:
    """``2 * x``, without the time it takes to make an array of a Python number."""
    return x + x


def unknown(name: str, listed: bool = True) -> Callable[[Any], Any]:
    """The formula of a derivative that nobody knows: torch's refusal.

    Args:
        name: torch's, of the op, or of the op and the argument.
        listed: whether torch's table of derivatives says so; False where the op is not in it.
    """

    def formula(given: Any) -> Any:
        if listed:
            raise NotImplementedError(f"the derivative for '{name}' is not implemented.")
        raise RuntimeError(f"derivative for aten::{name} is not implemented")

    return formula


def is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, complex))


vjp("add", input=lambda g: g, other=lambda g, alpha: times(g, alpha))
vjp("sub", input=lambda g: g, other=lambda g, alpha: -times(g, alpha))
vjp("rsub", input=lambda g, alpha: -times(g, alpha), other=lambda g: g)
vjp("mul", input=lambda g, other: g * conj(other), other=lambda g, input: g * conj(input))
vjp("neg", input=lambda g: -g)
vjp("positive", input=lambda g: g)
vjp("reciprocal", input=lambda g, result: -g * conj(result * result))
vjp("square", input=lambda g, input: twice(g * conj(input)))
vjp("floor_divide", input=unknown("floor_divide", listed=False), other=unknown("floor_divide", listed=False))
vjp("remainder", input=lambda g: g, other=lambda g, input, other: -g * F.div(input, other, rounding_mode="floor"))
vjp("fmod", input=lambda g: g, other=lambda g, input, other: -g * F.div(input, other, rounding_mode="trunc"))
vjp("addcmul", input=lambda g: g,
               tensor1=lambda g, tensor2, value: times(g, value) * conj(tensor2),
               tensor2=lambda g, tensor1, value: times(g, value) * conj(tensor1))
vjp("addcdiv", input=lambda g: g,
               tensor1=lambda g, tensor2, value: times(g, value) / conj(tensor2),
               tensor2=lambda g, tensor1, tensor2, value: -times(g, value) * conj(tensor1 / tensor2 / tensor2))
vjp("lerp", input=lambda g, weight: g * conj(1 - weight), end=lambda g, weight: g * conj(weight),
            weight=lambda g, input, end: g * conj(end - input))


def div_input(g: Any, other: Any, rounding_mode: str | None) -> Any:
    return F.zeros_like(g) if rounding_mode else g / conj(other)


def div_other(g: Any, input: Any, other: Any, rounding_mode: str | None) -> Any:
    return F.zeros_like(g) if rounding_mode else -g * conj(input / other / other)


vjp("div", input=div_input, other=div_other)


def pow_input(g: Any, input: Any, exponent: Any) -> Any:
    # 0 * inf would be nan where the power is constant.
    if is_number(exponent):
        if exponent == 2:
            return twice(g * conj(input))
        return F.zeros_like(g) if exponent == 0 else g * conj(exponent * input ** (exponent - 1))
    return F.where(exponent == 0, 0, g * conj(exponent * input ** (exponent - 1)))


def pow_exponent(g: Any, input: Any, exponent: Any, result: Any) -> Any:
    constant = (F.real(exponent) if F.is_complex(exponent) else exponent) >= 0
    if is_number(input):
        made = g * conj(result * _log(input))
        return made if input else F.where(constant, 0, made)
    if F.is_complex(result) and not F.is_complex(input):
        input = input + 0j
    return F.where((input == 0) & constant, 0, g * conj(result * F.log(input)))


def _log(x: Any) -> Any:
    if x == 0:
        return -math.inf
    if isinstance(x, complex):
        return cmath.log(x)
    return math.log(x) if x > 0 else math.nan


vjp("pow", input=pow_input, exponent=pow_exponent)
