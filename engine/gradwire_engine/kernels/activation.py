"""Kernels. Activations: relu and its relatives, softmax, gelu, gates."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import NUMPY_DTYPE, filled, handed, in_blocks, normal_odds, room
from gradwire_engine.lines import by_lines
from gradwire_engine.masks import kept, select, without
from gradwire_engine.registry import kernel


def wide(xp: Any, x: Any) -> Any:
    """Half precision as float32: sums and exponentials of halves lose what torch keeps."""
    return x.astype(xp.float32) if x.dtype.itemsize == 2 else x


def rectified(xp: Any, x: Any, slope: Any) -> Any:
    """``x`` where positive, else ``slope`` times ``x``, without a branch."""
    if isinstance(slope, float) and 0 < slope <= 1:
        return xp.maximum(x, x * slope)
    return xp.maximum(x, 0) + xp.minimum(x, 0) * slope


kernel("relu", lambda xp, input, out=None: xp.maximum(input, 0, out=out))
kernel("threshold", lambda xp, input, threshold, value: select(xp, input <= threshold, input.dtype.type(value), input))
kernel("leaky_relu", lambda xp, input, negative_slope: rectified(xp, input, negative_slope))
kernel("leaky_relu_backward", lambda xp, grad, input, negative_slope:
       kept(xp, grad, input > 0) + without(xp, grad, input > 0) * negative_slope)  # fmt: skip
kernel("hardtanh", lambda xp, input, min_val, max_val, out=None: xp.clip(input, min_val, max_val, out=out))
kernel("hardtanh_backward", lambda xp, grad, input, min_val, max_val:
       kept(xp, grad, (input > min_val) & (input < max_val)))  # fmt: skip
kernel("hardsigmoid", lambda xp, input: xp.clip(input / 6 + 0.5, 0, 1))
kernel("hardswish", lambda xp, input: loops.each("hardswish", input) if loops.fit(xp, input, single=True)
       else input * xp.clip(input / 6 + 0.5, 0, 1))  # fmt: skip
kernel("hardshrink", lambda xp, input, lambd: select(xp, abs(input) <= lambd, input.dtype.type(0), input))
kernel("hardshrink_backward", lambda xp, grad, input, lambd:
       without(xp, grad, (input >= -lambd) & (input <= lambd)))  # fmt: skip
kernel("softshrink", lambda xp, input, lambd: input - xp.clip(input, -lambd, lambd))
kernel("prelu_kernel", lambda xp, input, weight: rectified(xp, input, weight))
kernel("log_sigmoid", lambda xp, input: xp.minimum(input, 0) - xp.log1p(xp.exp(-abs(input))))


@kernel("elu")
def elu(xp: Any, input: Any, alpha: float, scale: float, input_scale: float) -> Any:
    return xp.maximum(input, 0) * scale + xp.expm1(xp.minimum(input, 0) * input_scale) * (alpha * scale)


@kernel("silu")
def silu(xp: Any, input: Any, out: Any = None) -> Any:
    if loops.fit(xp, input, out, single=True):
        return loops.each("silu", input, out=out)
    return xp.divide(input, xp.exp(-input) + 1, out=out)


@kernel("softplus")
def softplus(xp: Any, input: Any, beta: float = 1, threshold: float = 20) -> Any:
    scaled = input * beta
    return select(xp, scaled > threshold, input, xp.log1p(xp.exp(xp.minimum(scaled, threshold))) / beta)


@kernel("mish")
def mish(xp: Any, input: Any) -> Any:
    return input * xp.tanh(softplus(xp, input))


@kernel("threshold_backward")
def threshold_backward(xp: Any, grad: Any, input: Any, threshold: Any, out: Any = None) -> Any:
    if grad.shape == input.shape and loops.fit(xp, input, grad, out):
        from gradwire_engine.loops import lines

        return along(xp, lines.threshold_back, (grad, input), input.dtype.type(threshold), out=out)
    return without(xp, grad, input <= threshold, out)


GELU_TANH = 0.044715
"""The cubic term in gelu's approximation."""


def _gelu(xp: Any, x: Any, approximate: str, out: Any) -> Any:
    if approximate == "none":
        odds = normal_odds(xp, x)
    else:  # (1 + tanh(y)) / 2 is 1 / (1 + exp(-2 y))
        odds = x * x
        odds *= -2 * math.sqrt(2 / math.pi) * GELU_TANH
        odds += -2 * math.sqrt(2 / math.pi)
        odds *= x
        odds = xp.exp(odds)
    odds += 1
    return xp.divide(x, odds, out=out)


def along(xp: Any, loop: Any, arrays: tuple[Any, ...], *options: Any, out: Any = None) -> Any:
    """What a loop makes element by element of arrays of one shape."""
    made = xp.empty(arrays[0].shape, arrays[0].dtype) if out is None or not out.flags.c_contiguous else out
    loops.over(loop, made.size, 1, *(xp.ascontiguousarray(a).reshape(-1) for a in arrays), *options, made.reshape(-1))
    return filled(out, made)


@kernel("gelu")
def gelu(xp: Any, input: Any, approximate: str, out: Any = None) -> Any:
    if loops.fit(xp, input, out, single=True):
        from gradwire_engine.loops import lines

        return along(xp, lines.gelu, (input,), approximate == "tanh", out=out)
    return in_blocks(xp, lambda x, out: _gelu(xp, x, approximate, out), wide(xp, input), out=out)


@kernel("gelu_backward")
def gelu_backward(xp: Any, grad: Any, input: Any, output: Any, approximate: str, out: Any = None) -> Any:
    """With p the part of the input that gelu let through, p + x p'; p' is the normal density, or that of a logistic
    distribution of the polynomial in x, for which it is p (1 - p) times twice the derivative of that."""

    if grad.shape == input.shape and loops.fit(xp, input, grad, output, out, single=True):
        from gradwire_engine.loops import lines

        return along(xp, lines.gelu_back, (grad, input, output), approximate == "tanh", out=out)

    def f(g: Any, x: Any, y: Any, out: Any) -> Any:
        part = xp.asarray(y / x)
        xp.copyto(part, 0.5, where=x == 0)
        slope = x * x
        if approximate == "none":
            slope *= -0.5
            slope = xp.exp(slope)
            slope *= 1 / math.sqrt(2 * math.pi)
        else:
            slope *= 2 * math.sqrt(2 / math.pi) * 3 * GELU_TANH
            slope += 2 * math.sqrt(2 / math.pi)
            slope *= part * (1 - part)
        slope *= x
        slope += part
        return xp.multiply(slope, g, out=out)

    if input.dtype.itemsize == 2:
        input = wide(xp, input)
        output = _gelu(xp, input, approximate, None)  # that which was rounded would tell little
    return in_blocks(xp, f, wide(xp, grad), input, output, out=out)


def _typed(xp: Any, input: Any, dtype: Any) -> Any:
    if dtype is not None:
        input = (input.real if input.dtype.kind == "c" else input).astype(NUMPY_DTYPE[dtype])
    return wide(xp, input)


def _by_lines(xp: Any, loop: str, f: Any, dim: int, *arrays: Any, out: Any) -> Any:
    """A loop over the last dimension, where it is that and fits, else the same of any lines in array functions."""
    first = arrays[0]
    if not first.size or dim % max(1, first.ndim) != first.ndim - 1 or not loops.fit(xp, *arrays, single=True):
        return by_lines(xp, f, dim, *arrays, out=out)
    from gradwire_engine.loops import lines

    n = first.shape[-1]
    made = room(xp, out, first.shape, first.dtype)
    flat = (xp.ascontiguousarray(a).reshape(-1, n) for a in arrays)
    loops.over(getattr(lines, loop), first.size // n, n, *flat, made.reshape(-1, n))
    return handed(out, made, first.shape)


def _softmax(xp: Any, x: Any, axis: Any) -> Any:
    y = xp.asarray(x - xp.max(x, axis=axis, keepdims=True)) if x.size else x.copy()
    y = xp.exp(y, out=y)
    y /= xp.sum(y, axis=axis, keepdims=True)
    return y


@kernel("softmax")
def softmax(xp: Any, input: Any, dim: int, dtype: Any = None, out: Any = None) -> Any:
    return _by_lines(xp, "softmax", _softmax, dim, _typed(xp, input, dtype), out=out)


def _softmax_backward(xp: Any, grad: Any, output: Any, axis: Any) -> Any:
    y = xp.asarray(grad * output)
    total = xp.sum(y, axis=axis, keepdims=True)
    y = xp.subtract(grad, total, out=y)
    return xp.multiply(y, output, out=y)


@kernel("softmax_backward")
def softmax_backward(xp: Any, grad: Any, output: Any, dim: int, out: Any = None) -> Any:
    return _by_lines(xp, "softmax_back", _softmax_backward, dim, grad, output, out=out)


def _log_softmax(xp: Any, x: Any, axis: Any) -> Any:
    y = xp.asarray(x - xp.max(x, axis=axis, keepdims=True)) if x.size else x.copy()
    y -= xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True))
    return y


@kernel("log_softmax")
def log_softmax(xp: Any, input: Any, dim: int, dtype: Any = None, out: Any = None) -> Any:
    return _by_lines(xp, "log_softmax", _log_softmax, dim, _typed(xp, input, dtype), out=out)


def _log_softmax_backward(xp: Any, grad: Any, output: Any, axis: Any) -> Any:
    y = xp.asarray(xp.exp(output))
    y *= xp.sum(grad, axis=axis, keepdims=True)
    return xp.subtract(grad, y, out=y)


@kernel("log_softmax_backward")
def log_softmax_backward(xp: Any, grad: Any, output: Any, dim: int, out: Any = None) -> Any:
    return _by_lines(xp, "log_softmax_back", _log_softmax_backward, dim, grad, output, out=out)
