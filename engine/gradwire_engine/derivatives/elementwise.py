"""Derivatives of element-wise functions: exponentials, trigonometry, rounding, extremes of two; complex numbers."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.derivatives.arithmetic import unknown
from gradwire_engine.functional import conj_real as conj
from gradwire_engine.registry import vjp

# Smooth functions of one tensor.

vjp("sqrt", input=lambda g, result: g / conj(2 * result))
vjp("rsqrt", input=lambda g, result: -0.5 * g * conj(result * result * result))
vjp("exp", input=lambda g, result: g * conj(result))
vjp("exp2", input=lambda g, result: g * conj(result * math.log(2)))
vjp("expm1", input=lambda g, result: g * conj(result + 1))
vjp("log", input=lambda g, input: g / conj(input))
vjp("log2", input=lambda g, input: g / conj(input * math.log(2)))
vjp("log10", input=lambda g, input: g / conj(input * math.log(10)))
vjp("log1p", input=lambda g, input: g / conj(input + 1))
vjp("sin", input=lambda g, input: g * conj(F.cos(input)))
vjp("cos", input=lambda g, input: -g * conj(F.sin(input)))
vjp("tan", input=lambda g, result: g * conj(1 + result * result))
vjp("asin", input=lambda g, input: g * conj(F.rsqrt(1 - input * input)))
vjp("acos", input=lambda g, input: -g * conj(F.rsqrt(1 - input * input)))
vjp("atan", input=lambda g, input: g / conj(1 + input * input))
vjp("sinh", input=lambda g, input: g * conj(F.cosh(input)))
vjp("cosh", input=lambda g, input: g * conj(F.sinh(input)))
vjp("tanh", input=lambda g, result: g * conj(1 - result * result))
vjp("asinh", input=lambda g, input: g * conj(F.rsqrt(input * input + 1)))
vjp("acosh", input=lambda g, input: g * conj(F.rsqrt(input - 1) * F.rsqrt(input + 1)))
vjp("atanh", input=lambda g, input: g / conj(1 - input * input))
vjp("sigmoid", input=lambda g, result: g * conj((1 - result) * result))
vjp("deg2rad", input=lambda g: g * (math.pi / 180))
vjp("rad2deg", input=lambda g: g * (180 / math.pi))


def sinc(g: Any, input: Any) -> Any:
    x = input * math.pi
    slope = (F.cos(x) * x - F.sin(x)) / (x * input)
    return g * conj(F.where(input == 0, 0, slope))


def logit(g: Any, input: Any, eps: float | None) -> Any:
    low, high, outside = (0.0, 1.0, math.nan) if eps is None else (eps, 1 - eps, 0.0)
    return F.where((input < low) | (input > high), outside, g / (input * (1 - input)))


vjp("sinc", input=sinc)
vjp("logit", input=logit)

# Rounding and signs.

vjp("ceil", input=lambda g: F.zeros_like(g))
vjp("floor", input=lambda g: F.zeros_like(g))
vjp("trunc", input=lambda g: F.zeros_like(g))
vjp("round", input=lambda g: F.zeros_like(g))
vjp("sign", input=lambda g: F.zeros_like(g))
vjp("frac", input=lambda g: g)
vjp("frexp", input=lambda gs, exponent: gs[0] / 2.0**exponent)
vjp("abs", input=lambda g, input: g * F.sgn(input))
vjp("nan_to_num", input=lambda g, input: g * F.isfinite(input))


def sgn(g: Any, input: Any, result: Any) -> Any:
    """For complex numbers the part of ``g`` across the input's direction, over its length."""
    if not F.is_complex(result):
        return F.zeros_like(g)
    across = g - result * F.real(conj(result) * g)
    return F.where(result == 0, 0, across / F.abs(input))


vjp("sgn", input=sgn)

# Functions of two tensors and more. Of two equals each gets half.


def half_of_equals(g: Any, a: Any, b: Any) -> Any:
    return F.where(a == b, g / 2, g)


vjp("maximum", input=lambda g, input, other: F.where(input < other, 0, half_of_equals(g, input, other)),
               other=lambda g, input, other: F.where(other < input, 0, half_of_equals(g, input, other)))
vjp("minimum", input=lambda g, input, other: F.where(input > other, 0, half_of_equals(g, input, other)),
               other=lambda g, input, other: F.where(other > input, 0, half_of_equals(g, input, other)))
vjp("fmax", input=lambda g, input, other: F.where((input >= other) | F.isnan(other), g, 0),
            other=lambda g, input, other: F.where((input >= other) | F.isnan(other), 0, g))
vjp("fmin", input=lambda g, input, other: F.where((input <= other) | F.isnan(other), g, 0),
            other=lambda g, input, other: F.where((input <= other) | F.isnan(other), 0, g))
vjp("clamp_min", input=lambda g, input, min: F.where(input >= min, g, 0),
                 min=lambda g, input, min: F.where(input < min, g, 0))
vjp("clamp_max", input=lambda g, input, max: F.where(input <= max, g, 0),
                 max=lambda g, input, max: F.where(input > max, g, 0))


def inverse_square(x: Any, y: Any) -> Any:
    """1 over the squared distance from the origin, 0 there."""
    square = x * x + y * y
    return F.where(square == 0, 0, 1 / square)


def clamp_input(g: Any, input: Any, min: Any, max: Any) -> Any:
    if min is not None:
        g = F.where(input >= min, g, 0)
    return g if max is None else F.where(input <= max, g, 0)


def clamp_min(g: Any, input: Any, min: Any, max: Any) -> Any:
    below = input < min
    return F.where(below if max is None else below & (min < max), g, 0)


def clamp_max(g: Any, input: Any, min: Any, max: Any) -> Any:
    above = input > max
    return F.where(above if min is None else above | (max < min), g, 0)


vjp("clamp", input=clamp_input, min=clamp_min, max=clamp_max)
vjp("atan2", input=lambda g, input, other: g * inverse_square(input, other) * other,
             other=lambda g, input, other: -g * inverse_square(input, other) * input)
vjp("hypot", input=lambda g, result, input: g * input / result, other=lambda g, result, other: g * other / result)
vjp("logaddexp", input=lambda g, input, other: g / conj(1 + F.exp(other - input)),
                 other=lambda g, input, other: g / conj(1 + F.exp(input - other)))
vjp("logaddexp2", input=lambda g, input, other: g / (1 + F.exp2(other - input)),
                  other=lambda g, input, other: g / (1 + F.exp2(input - other)))
vjp("copysign", input=lambda g, input, result: F.where(input == 0, 0, g * F.sgn(input) * F.sgn(result)),
                other=lambda g: F.zeros_like(g))
vjp("nextafter", input=lambda g, input, other: F.where(input == other, 0, g), other=lambda g: F.zeros_like(g))
vjp("heaviside", input=unknown("heaviside", listed=False), values=unknown("heaviside", listed=False))
vjp("ldexp", input=lambda g, other: g * conj(2.0**other), other=lambda g, result: g * conj(result * math.log(2)))

# Complex numbers and their parts.

vjp("real", input=lambda g: g)
vjp("imag", input=lambda g: g * 1j)
vjp("complex", real=lambda g: F.real(g), imag=lambda g: F.imag(g))
vjp("polar", abs=lambda g, angle: F.real(g) * F.cos(angle) + F.imag(g) * F.sin(angle),
             angle=lambda g, result: F.imag(conj(result) * g))
vjp("conj_physical", input=lambda g: F.conj_physical(g))
vjp("view_as_real", input=lambda g: F.complex(F.select(g, -1, 0), F.select(g, -1, 1)))
vjp("view_as_complex", input=lambda g: F.view_as_real(g))


def angle(g: Any, input: Any) -> Any:
    """A quarter turn ahead of the input, over its length."""
    if not F.is_complex(input):
        return F.zeros_like(g)
    return F.where(input == 0, 0, g * 1j / conj(F.where(input == 0, 1, input)))


vjp("angle", input=angle)
