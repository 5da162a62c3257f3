"""Kernels of element-wise functions: exponentials, trigonometry, rounding, extremes of two; complex numbers."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, finfo
from gradwire_engine.registry import kernel
from gradwire_proto.spec import Spec


def is_float(x: Any) -> bool:
    return x.dtype.kind not in "biu"


kernel("sqrt", lambda xp, input, out=None: xp.sqrt(input, out=out))
kernel("rsqrt", lambda xp, input, out=None: xp.true_divide(1, xp.sqrt(input, out=out), out=out))
kernel("exp", lambda xp, input, out=None: xp.exp(input, out=out))
kernel("expm1", lambda xp, input, out=None: xp.expm1(input, out=out))
kernel("log", lambda xp, input, out=None: xp.log(input, out=out))
kernel("log2", lambda xp, input, out=None: xp.log2(input, out=out))
kernel("log10", lambda xp, input, out=None: xp.log10(input, out=out))
kernel("log1p", lambda xp, input, out=None: xp.log1p(input, out=out))
kernel("sin", lambda xp, input, out=None: xp.sin(input, out=out))
kernel("cos", lambda xp, input, out=None: xp.cos(input, out=out))
kernel("tan", lambda xp, input, out=None: xp.tan(input, out=out))
kernel("asin", lambda xp, input, out=None: xp.arcsin(input, out=out))
kernel("acos", lambda xp, input, out=None: xp.arccos(input, out=out))
kernel("atan", lambda xp, input, out=None: xp.arctan(input, out=out))
kernel("sinh", lambda xp, input, out=None: xp.sinh(input, out=out))
kernel("cosh", lambda xp, input, out=None: xp.cosh(input, out=out))
kernel("tanh", lambda xp, input, out=None: xp.tanh(input, out=out))
kernel("asinh", lambda xp, input, out=None: xp.arcsinh(input, out=out))
kernel("acosh", lambda xp, input, out=None: xp.arccosh(input, out=out))
kernel("atanh", lambda xp, input, out=None: xp.arctanh(input, out=out))
kernel("deg2rad", lambda xp, input, out=None: xp.multiply(input, math.pi / 180, out=out))
kernel("rad2deg", lambda xp, input, out=None: xp.multiply(input, 180 / math.pi, out=out))
kernel("abs", lambda xp, input, out=None: xp.absolute(input, out=out))
kernel("ceil", lambda xp, input, out=None: xp.ceil(input, out=out))
kernel("floor", lambda xp, input, out=None: xp.floor(input, out=out))
kernel("trunc", lambda xp, input, out=None: xp.trunc(input, out=out))
kernel("frac", lambda xp, input, out=None: xp.subtract(input, xp.trunc(input), out=out))
kernel("frexp", lambda xp, input: xp.frexp(input))
kernel("conj_physical", lambda xp, input, out=None: xp.conjugate(input, out=out))
kernel("maximum", lambda xp, input, other, out=None: xp.maximum(input, other, out=out))
kernel("minimum", lambda xp, input, other, out=None: xp.minimum(input, other, out=out))
kernel("fmax", lambda xp, input, other, out=None: xp.fmax(input, other, out=out))
kernel("fmin", lambda xp, input, other, out=None: xp.fmin(input, other, out=out))
kernel("clamp_min", lambda xp, input, min, out=None: xp.maximum(input, min, out=out))
kernel("clamp_max", lambda xp, input, max, out=None: xp.minimum(input, max, out=out))
kernel("atan2", lambda xp, input, other, out=None: xp.arctan2(input, other, out=out))
kernel("hypot", lambda xp, input, other, out=None: xp.hypot(input, other, out=out))
kernel("logaddexp2", lambda xp, input, other, out=None: xp.logaddexp2(input, other, out=out))
kernel("copysign", lambda xp, input, other, out=None: xp.copysign(input, other, out=out))
kernel("nextafter", lambda xp, input, other, out=None: xp.nextafter(input, other, out=out))
kernel("heaviside", lambda xp, input, values: xp.where(input == 0, values, input > 0))
kernel("ldexp", lambda xp, input, other: input * xp.power(2, other))


@kernel("exp2")
def exp2(xp: Any, input: Any, out: Any = None) -> Any:
    return xp.exp(input * math.log(2), out=out) if input.dtype.kind == "c" else xp.exp2(input, out=out)


@kernel("sigmoid")
def sigmoid(xp: Any, input: Any, out: Any = None) -> Any:
    e = xp.exp(xp.negative(input, out=out), out=out)
    return xp.true_divide(1, xp.add(e, 1, out=out), out=out)


@kernel("logit")
def logit(xp: Any, input: Any, eps: float | None) -> Any:
    p = input if eps is None else clamp(xp, input, eps, 1 - eps)
    return xp.log(p / (1 - p))


@kernel("sinc")
def sinc(xp: Any, input: Any) -> Any:
    x = input * math.pi
    zero = x == 0
    return xp.where(zero, 1, xp.sin(x) / xp.where(zero, 1, x))


@kernel("round")
def round(xp: Any, input: Any, decimals: int, out: Any = None) -> Any:
    if not is_float(input):
        return xp.positive(input, out=out)
    if not decimals:
        return xp.rint(input, out=out)
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return xp.true_divide(xp.rint(input * scale), scale, out=out)
    return xp.multiply(xp.rint(input / scale), scale, out=out)


@kernel("sgn")
def sgn(xp: Any, input: Any, out: Any = None) -> Any:
    if input.dtype.kind == "c":
        return xp.sign(input, out=out)
    if input.dtype.kind == "b":
        return xp.logical_and(input, input, out=out)
    # xp.sign would answer nan for nan, where torch says 0
    return xp.subtract(input > 0, input < 0, out=out, dtype=input.dtype)


kernel("sign", sgn)


@kernel("nan_to_num")
def nan_to_num(xp: Any, input: Any, nan: float | None, posinf: float | None, neginf: float | None) -> Any:
    if not is_float(input):
        return input.copy()
    if input.dtype.kind == "c":
        return join(xp, *(nan_to_num(xp, part, nan, posinf, neginf) for part in (input.real, input.imag)))
    most = float(finfo(input.dtype).max)
    x = xp.where(xp.isnan(input), 0.0 if nan is None else nan, input)
    x = xp.where(x == math.inf, most if posinf is None else posinf, x)
    return xp.where(x == -math.inf, -most if neginf is None else neginf, x)


@kernel("clamp")
def clamp(xp: Any, input: Any, min: Any, max: Any, out: Any = None) -> Any:
    if max is None:
        return xp.maximum(input, min, out=out)
    if min is not None:
        input = xp.maximum(input, min)  # not in place: max may share the memory
    return xp.minimum(input, max, out=out)


@kernel("logaddexp")
def logaddexp(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    if input.dtype.kind != "c":
        return xp.logaddexp(input, other, out=out)
    less = input.real < other.real
    low, high = xp.where(less, input, other), xp.where(less, other, input)
    return xp.add(high, xp.log1p(xp.exp(low - high)), out=out)


def join(xp: Any, real: Any, imag: Any) -> Any:
    """``real + 1j * imag`` without the nan that infinities would make of it."""
    made = xp.empty(xp.broadcast(real, imag).shape, xp.result_type(real.dtype, xp.complex64))
    made.real, made.imag = real, imag
    return made


kernel("complex", lambda xp, real, imag: join(xp, real, imag))
kernel("polar", lambda xp, abs, angle: join(xp, abs * xp.cos(angle), abs * xp.sin(angle)))
kernel("real", lambda xp, input: input.real if input.dtype.kind == "c" else input)
kernel("imag", lambda xp, input: input.imag)


@kernel("angle")
def angle(xp: Any, input: Any) -> Any:
    if input.dtype.kind == "c":
        return xp.arctan2(input.imag, input.real)
    return xp.where(input < 0, math.pi, xp.where(input == input, 0, input))


@kernel("view_as_real")
def view_as_real(xp: Any, input: Any) -> Any:
    first = xp.asarray(input).real
    return xp.lib.stride_tricks.as_strided(first, (*first.shape, 2), (*first.strides, first.itemsize))


@kernel("view_as_complex")
def view_as_complex(xp: Any, input: Any, spec: Spec) -> Any:
    return input.view(NUMPY_DTYPE[spec.dtype])[..., 0]
