"""Derivatives. Element-wise functions of one tensor or two: exp, log, the trigonometric ones, rounding, parts of complex numbers."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp

vjp("exp", input=lambda g, result: g * conj(result))
vjp("log", input=lambda g, input: g / conj(input))
vjp("real", input=lambda g: g)
vjp("conj_physical", input=lambda g: F.conj_physical(g))
vjp("sqrt", input=lambda g, result: g / (2 * conj(result)))
vjp("sin", input=lambda g, input: g * conj(F.cos(input)))
vjp("cos", input=lambda g, input: -g * conj(F.sin(input)))
vjp("tanh", input=lambda g, result: g * conj(1 - result * result))
vjp("sigmoid", input=lambda g, result: g * conj((1 - result) * result))
vjp("abs", input=lambda g, input: g * F.sgn(input))


def sgn(g: Any, input: Any, result: Any) -> Any:
    """For complex numbers the part of ``g`` across the input's direction, over its length."""
    if not F.is_complex(result):
        return None
    across = g - result * F.real(conj(result) * g)
    return F.where(result == 0, 0, across / F.where(result == 0, 1, F.abs(input)))


vjp("sgn", input=sgn)


def half_where_equal(g: Any, mine: Any, yours: Any) -> Any:
    """What the winner of maximum or minimum gets; equals share."""
    return F.where(mine == yours, g / 2, g)


vjp("maximum", input=lambda g, input, other: F.where(input < other, 0, half_where_equal(g, input, other)),
               other=lambda g, input, other: F.where(other < input, 0, half_where_equal(g, input, other)))
vjp("minimum", input=lambda g, input, other: F.where(input > other, 0, half_where_equal(g, input, other)),
               other=lambda g, input, other: F.where(other > input, 0, half_where_equal(g, input, other)))


def clamp_input(g: Any, input: Any, min: Any, max: Any) -> Any:
    if min is not None:
        g = F.where(input >= min, g, 0)
    return g if max is None else F.where(input <= max, g, 0)


def clamp_min(g: Any, input: Any, min: Any, max: Any) -> Any:
    g = F.where(input < min, g, 0)
    return g if max is None else F.where(min < max, g, 0)


def clamp_max(g: Any, input: Any, min: Any, max: Any) -> Any:
    above = input > max
    return F.where(above if min is None else above | (max < min), g, 0)


vjp("clamp", input=clamp_input, min=clamp_min, max=clamp_max)
