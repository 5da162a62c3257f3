"""Kernels. Activations: relu and its relatives, softmax, gelu, gates."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import NUMPY_DTYPE, special
from gradwire_engine.registry import kernel


def wide(xp: Any, x: Any) -> Any:
    """Half precision as float32: sums and exponentials of halves lose what torch keeps."""
    return x.astype(xp.float32) if x.dtype.itemsize == 2 else x


kernel("relu", lambda xp, input, out=None: xp.maximum(input, 0, out=out))
kernel("threshold", lambda xp, input, threshold, value: xp.where(input <= threshold, input.dtype.type(value), input))
kernel("threshold_backward", lambda xp, grad, input, threshold: xp.where(input <= threshold, grad.dtype.type(0), grad))
kernel("leaky_relu", lambda xp, input, negative_slope: xp.where(input > 0, input, input * negative_slope))
kernel("leaky_relu_backward", lambda xp, grad, input, negative_slope: xp.where(input > 0, grad, grad * negative_slope))
kernel("hardtanh", lambda xp, input, min_val, max_val, out=None: xp.clip(input, min_val, max_val, out=out))
kernel("hardtanh_backward", lambda xp, grad, input, min_val, max_val:
       xp.where((input > min_val) & (input < max_val), grad, grad.dtype.type(0)))  # fmt: skip
kernel("hardsigmoid", lambda xp, input: xp.clip(input / 6 + 0.5, 0, 1))
kernel("hardswish", lambda xp, input: input * xp.clip(input / 6 + 0.5, 0, 1))
kernel("hardshrink", lambda xp, input, lambd: xp.where(abs(input) <= lambd, input.dtype.type(0), input))
kernel("hardshrink_backward", lambda xp, grad, input, lambd:
       xp.where((input >= -lambd) & (input <= lambd), grad.dtype.type(0), grad))  # fmt: skip
kernel("softshrink", lambda xp, input, lambd: input - xp.clip(input, -lambd, lambd))
kernel("prelu_kernel", lambda xp, input, weight: xp.where(input > 0, input, input * weight))
kernel("log_sigmoid", lambda xp, input: xp.minimum(input, 0) - xp.log1p(xp.exp(-abs(input))))


@kernel("elu")
def elu(xp: Any, input: Any, alpha: float, scale: float, input_scale: float) -> Any:
    below = xp.expm1(xp.minimum(input, 0) * input_scale) * (alpha * scale)
    return xp.where(input > 0, input * scale, below)


@kernel("silu")
def silu(xp: Any, input: Any) -> Any:
    return input / (xp.exp(-input) + 1)


@kernel("softplus")
def softplus(xp: Any, input: Any, beta: float = 1, threshold: float = 20) -> Any:
    scaled = input * beta
    return xp.where(scaled > threshold, input, xp.log1p(xp.exp(xp.minimum(scaled, threshold))) / beta)


@kernel("mish")
def mish(xp: Any, input: Any) -> Any:
    return input * xp.tanh(softplus(xp, input))


def _bell(xp: Any, x: Any, approximate: str) -> tuple[Any, Any]:
    """The normal distribution function at x, or its approximation, and x times its derivative."""
    if approximate == "none":
        below = special(xp).erf(x * math.sqrt(0.5))
        below += 1
        below *= 0.5
        slope = xp.exp(x * x * -0.5)
        slope *= x
        slope *= 1 / math.sqrt(2 * math.pi)
        return below, slope
    square = x * x
    t = xp.tanh((square * 0.044715 + 1) * x * math.sqrt(2 / math.pi))
    slope = (1 - t * t) * (square * (3 * 0.044715) + 1) * x
    slope *= 0.5 * math.sqrt(2 / math.pi)
    t += 1
    t *= 0.5
    return t, slope


@kernel("gelu")
def gelu(xp: Any, input: Any, approximate: str) -> Any:
    x = wide(xp, input)
    if approximate == "none":
        y = special(xp).erf(x * math.sqrt(0.5))
    else:
        y = xp.tanh((x * x * 0.044715 + 1) * x * math.sqrt(2 / math.pi))
    y += 1
    y *= x
    y *= 0.5
    return y


@kernel("gelu_backward")
def gelu_backward(xp: Any, grad: Any, input: Any, approximate: str) -> Any:
    below, slope = _bell(xp, wide(xp, input), approximate)
    below += slope
    return below * grad


def along(x: Any, dim: int) -> Any:
    """``dim`` as an axis that a 0-d array has too: none."""
    return dim if x.ndim else ()


def _below_max(xp: Any, input: Any, dim: int, dtype: Any) -> Any:
    x = wide(xp, input if dtype is None else input.astype(NUMPY_DTYPE[dtype]))
    return x - xp.max(x, axis=along(x, dim), keepdims=True) if x.size else x


@kernel("softmax")
def softmax(xp: Any, input: Any, dim: int, dtype: Any = None) -> Any:
    y = xp.exp(_below_max(xp, input, dim, dtype))
    return y / xp.sum(y, axis=along(y, dim), keepdims=True)


@kernel("softmax_backward")
def softmax_backward(xp: Any, grad: Any, output: Any, dim: int) -> Any:
    part = grad * output
    return part - output * xp.sum(part, axis=along(part, dim), keepdims=True)


@kernel("log_softmax")
def log_softmax(xp: Any, input: Any, dim: int, dtype: Any = None) -> Any:
    x = _below_max(xp, input, dim, dtype)
    return x - xp.log(xp.sum(xp.exp(x), axis=along(x, dim), keepdims=True))


@kernel("log_softmax_backward")
def log_softmax_backward(xp: Any, grad: Any, output: Any, dim: int) -> Any:
    return grad - xp.exp(output) * xp.sum(grad, axis=along(grad, dim), keepdims=True)
