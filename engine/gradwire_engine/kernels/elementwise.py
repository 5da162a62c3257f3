"""Kernels of element-wise functions: exponentials, trigonometry, rounding, extremes of two; complex numbers."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import NUMPY_DTYPE, filled, finfo, log_add_exp, on_cpu
from gradwire_engine.masks import FEW, select
from gradwire_engine.registry import kernel
from gradwire_proto.spec import Spec


def is_float(x: Any) -> bool:
    return x.dtype.kind not in "biu"


kernel("sqrt", "sqrt")
kernel("rsqrt", lambda xp, input, out=None: xp.true_divide(1, xp.sqrt(input, out=out), out=out))
kernel("exp", "exp")
kernel("expm1", "expm1")
kernel("log", "log")
kernel("log2", "log2")
kernel("log10", "log10")
kernel("log1p", "log1p")
kernel("sin", "sin")
kernel("cos", "cos")
kernel("tan", "tan")
kernel("asin", "arcsin")
kernel("acos", "arccos")
kernel("atan", "arctan")
kernel("sinh", "sinh")
kernel("cosh", "cosh")
kernel("tanh", "tanh")
kernel("asinh", "arcsinh")
kernel("acosh", "arccosh")
kernel("atanh", "arctanh")
kernel("deg2rad", lambda xp, input, out=None: xp.multiply(input, math.pi / 180, out=out))
kernel("rad2deg", lambda xp, input, out=None: xp.multiply(input, 180 / math.pi, out=out))
kernel("abs", "absolute")
kernel("ceil", "ceil")
kernel("floor", "floor")
kernel("trunc", "trunc")
kernel("frac", lambda xp, input, out=None: xp.subtract(input, xp.trunc(input), out=out))
kernel("frexp", lambda xp, input: xp.frexp(input))
kernel("conj_physical", "conjugate")
kernel("maximum", "maximum")
kernel("minimum", "minimum")
kernel("fmax", "fmax")
kernel("fmin", "fmin")
kernel("clamp_min", "maximum")
kernel("clamp_max", "minimum")
kernel("atan2", "arctan2")
kernel("logaddexp2", lambda xp, input, other, out=None: log_add_exp(xp, input, other, out, 2))
kernel("copysign", "copysign")
kernel("nextafter", "nextafter")
kernel("heaviside", lambda xp, input, values: xp.where(input == 0, values, input > 0))
kernel("ldexp", lambda xp, input, other: input * xp.power(2, other))


@kernel("hypot")
def hypot(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    if on_cpu(input) and input.dtype == xp.float32 and input.size > FEW and input.shape == other.shape:
        a, b = input.astype(xp.float64), other.astype(xp.float64)  # NumPy's own has no vectors
        a *= a
        b *= b
        a += b
        if not xp.isnan(a).any():  # which an infinity would hide
            return filled(out, xp.sqrt(a, out=a).astype(input.dtype))
    return xp.hypot(input, other, out=out)


@kernel("exp2")
def exp2(xp: Any, input: Any, out: Any = None) -> Any:
    return xp.exp(input * math.log(2), out=out) if input.dtype.kind == "c" else xp.exp2(input, out=out)


@kernel("sigmoid")
def sigmoid(xp: Any, input: Any, out: Any = None) -> Any:
    if loops.fit(xp, input, out, single=True):
        return loops.each("sigmoid", input, out=out)
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
    up, down = (xp.multiply, xp.true_divide) if decimals > 0 else (xp.true_divide, xp.multiply)
    scale = 10.0 ** abs(decimals)
    return down(xp.rint(up(input, scale, out=out), out=out), scale, out=out)


@kernel("sgn")
def sgn(xp: Any, input: Any, out: Any = None) -> Any:
    if input.dtype.kind == "c":
        return xp.sign(input, out=out)
    if input.dtype.kind == "b":
        return xp.logical_and(input, input, out=out)
    # xp.sign would answer nan for nan, where torch says 0
    signs = xp.asarray(input > 0).view(xp.int8) - xp.asarray(input < 0).view(xp.int8)
    return filled(out, signs.astype(input.dtype))


kernel("sign", sgn)


@kernel("nan_to_num")
def nan_to_num(xp: Any, input: Any, nan: float | None, posinf: float | None, neginf: float | None) -> Any:
    if not is_float(input):
        return input.copy()
    if input.dtype.kind == "c":
        return join(xp, *(nan_to_num(xp, part, nan, posinf, neginf) for part in (input.real, input.imag)))
    if on_cpu(input) and input.size > FEW and xp.isfinite(input).all():
        return input.copy()
    most = float(finfo(input.dtype).max)
    x = select(xp, xp.isnan(input), 0.0 if nan is None else nan, input)
    x = select(xp, x == math.inf, most if posinf is None else posinf, x)
    return select(xp, x == -math.inf, -most if neginf is None else neginf, x)


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
        return log_add_exp(xp, input, other, out)
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
    return select(xp, input < 0, math.pi, select(xp, input == input, 0, input))


@kernel("view_as_real")
def view_as_real(xp: Any, input: Any) -> Any:
    first = xp.asarray(input).real
    return xp.lib.stride_tricks.as_strided(first, (*first.shape, 2), (*first.strides, first.itemsize))


@kernel("view_as_complex")
def view_as_complex(xp: Any, input: Any, spec: Spec) -> Any:
    return input.view(NUMPY_DTYPE[spec.dtype])[..., 0]
