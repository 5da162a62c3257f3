"""Kernels of arithmetic."""

from __future__ import annotations

from functools import partial
from typing import Any

from gradwire_engine import quotients
from gradwire_engine.backend import NUMPY_DTYPE, filled
from gradwire_engine.registry import direct, kernel
from gradwire_proto.spec import Spec


def scaled(xp: Any, alpha: Any, x: Any) -> Any:
    """``alpha * x`` in the type of ``x``; integers wrap."""
    return x if alpha == 1 else x * xp.asarray(alpha).astype(x.dtype)


def is_integral(x: Any) -> bool:
    return x.dtype.kind in "iu"


def check_divisor(x: Any) -> None:
    """Integers have no infinity to answer with."""
    if is_integral(x) and not x.all():
        raise RuntimeError("ZeroDivisionError")


kernel("add", lambda xp, input, other, alpha, out=None: xp.add(input, scaled(xp, alpha, other), out=out))
kernel("sub", lambda xp, input, other, alpha, out=None: xp.subtract(input, scaled(xp, alpha, other), out=out))
kernel("rsub", lambda xp, input, other, alpha, out=None: xp.subtract(other, scaled(xp, alpha, input), out=out))
kernel("mul", "multiply")
kernel("neg", "negative")
kernel("positive", "positive")
direct("add", lambda input, other, alpha: ("add", input, other) if alpha == 1 else None)
direct("sub", lambda input, other, alpha: ("subtract", input, other) if alpha == 1 else None)
direct("rsub", lambda input, other, alpha: ("subtract", other, input) if alpha == 1 else None)
kernel("reciprocal", lambda xp, input, out=None: xp.true_divide(1, input, out=out))


@kernel("div")
def div(xp: Any, input: Any, other: Any, rounding_mode: str | None, out: Any = None) -> Any:
    if rounding_mode is None:
        return xp.true_divide(input, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(xp, input, other, out)
    check_divisor(other)
    if is_integral(input):
        return xp.floor_divide(input - xp.fmod(input, other), other, out=out)
    return xp.trunc(xp.true_divide(input, other, out=out), out=out)


direct("div", lambda input, other, rounding_mode: None if rounding_mode else ("true_divide", input, other))


@kernel("floor_divide")
def floor_divide(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    check_divisor(other)
    found = quotients.exactly(xp.floor, input, other)
    return xp.floor_divide(input, other, out=out) if found is None else filled(out, found[0].astype(input.dtype))


@kernel("remainder")
def remainder(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    check_divisor(other)
    found = quotients.remainder(input, other, xp.floor, other)
    return xp.remainder(input, other, out=out) if found is None else filled(out, found)


@kernel("fmod")
def fmod(xp: Any, input: Any, other: Any, out: Any = None) -> Any:
    check_divisor(other)
    found = quotients.remainder(input, other, xp.trunc, input)
    return xp.fmod(input, other, out=out) if found is None else filled(out, found)


@kernel("square")
def square(xp: Any, input: Any, out: Any = None) -> Any:
    return xp.logical_and(input, input, out=out) if input.dtype.kind == "b" else xp.square(input, out=out)


@kernel("pow")
def pow(xp: Any, input: Any, exponent: Any, spec: Spec, out: Any = None) -> Any:
    if hasattr(exponent, "dtype"):
        if is_integral(exponent):
            return filled(out, _integer_power(xp, input, exponent))
        return xp.power(input, exponent, out=out)
    input = input.astype(NUMPY_DTYPE[spec.dtype], copy=False)
    if exponent == 2:
        return xp.square(input, out=out)
    if exponent == 3:
        return xp.multiply(xp.square(input), input, out=out)
    if exponent == 0.5:
        return xp.sqrt(input, out=out)
    return xp.power(input, xp.asarray(exponent).astype(input.dtype), out=out)


@partial(direct, "pow")
def _square(input: Any, exponent: Any) -> Any:
    plain = type(exponent) in (int, float)
    return ("square", input) if plain and exponent == 2 and input.dtype.kind in "fc" else None


def _integer_power(xp: Any, input: Any, exponent: Any) -> Any:
    """Where the exponent is negative, the reciprocal rounded toward zero, which for 0 is 0 as torch has it."""
    negative = exponent < 0
    power = xp.power(input, xp.where(negative, exponent & 1, exponent))
    return xp.where(negative & (abs(input) != 1), 0, power)


@kernel("addcmul")
def addcmul(xp: Any, input: Any, tensor1: Any, tensor2: Any, value: Any, out: Any = None) -> Any:
    return xp.add(input, xp.multiply(scaled(xp, value, tensor1), tensor2), out=out)


@kernel("addcdiv")
def addcdiv(xp: Any, input: Any, tensor1: Any, tensor2: Any, value: Any, out: Any = None) -> Any:
    return xp.add(input, xp.true_divide(scaled(xp, value, tensor1), tensor2), out=out)


@kernel("lerp")
def lerp(xp: Any, input: Any, end: Any, weight: Any) -> Any:
    # from the nearer end, so that a weight of 1 gives the other one exactly
    step = end - input
    return xp.where(abs(weight) < 0.5, input + weight * step, end - step * (1 - weight))
