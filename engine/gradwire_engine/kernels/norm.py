"""Kernels. Normalization: batch, layer, group, RMS."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine import loops
from gradwire_engine.backend import filled, handed, matmul, room
from gradwire_engine.kernels.activation import wide
from gradwire_engine.lines import large
from gradwire_engine.registry import kernel
from gradwire_engine.spread import PIECE, share
from gradwire_proto.catalog.norm import LAYOUTS, Layout


def _affine(y: Any, weight: Any, bias: Any, params: tuple[int, ...]) -> Any:
    """``y`` scaled and shifted, in its own memory."""
    if weight is not None:
        y *= weight.reshape(params)
    if bias is not None:
        y += bias.reshape(params)
    return y


def _sums(xp: Any, a: Any, dims: Any, weight: Any = None) -> Any:
    """Sums of ``a``, times a weight that broadcasts against it, over dims, which are kept. Over the last ones BLAS does
    it, a row's product with the weight being a sum of this kind."""
    n = math.prod(a.shape[d] for d in dims)
    lead = a.ndim - len(dims)
    if tuple(dims) == tuple(range(lead, a.ndim)) and a.size and (weight is None or weight.shape == a.shape[lead:]):
        row = xp.ones(n, a.dtype) if weight is None else weight.reshape(n).astype(a.dtype, copy=False)
        return matmul(xp, a.reshape(-1, n), row).reshape(*a.shape[:lead], *[1] * len(dims))
    return xp.sum(a if weight is None else a * weight, axis=tuple(dims), keepdims=True)


def _squares(xp: Any, a: Any, dims: Any) -> Any:
    """The sums of the squares over dims, which are kept."""
    n = math.prod(a.shape[d] for d in dims)
    if tuple(dims) == tuple(range(a.ndim - len(dims), a.ndim)) and a.size:
        rows = a.reshape(-1, n)
        return xp.einsum("ij,ij->i", rows, rows).reshape(*a.shape[: a.ndim - len(dims)], *[1] * len(dims))
    return xp.sum(a * a, axis=tuple(dims), keepdims=True)


def _of_params(xp: Any, a: Any, params: tuple[int, ...]) -> Any:
    """``a`` summed to the shape of the parameters."""
    n = math.prod(params)
    lead = a.ndim - len(params)
    if a.shape[lead:] == params and a.size:
        rows = a.reshape(-1, n)
        return matmul(xp, xp.ones(len(rows), a.dtype), rows).reshape(params)
    return xp.sum(a, axis=(*range(lead), *(i + lead for i, s in enumerate(params) if s == 1))).reshape(params)


def _standardize(xp: Any, input: Any, layout: Layout, weight: Any, bias: Any, eps: float, out: Any,
                 centered: bool = True) -> tuple[Any, Any, Any]:  # fmt: skip
    view, dims, params = layout
    x = wide(xp, input).reshape(view)
    shape = _looped(xp, x, dims, params, weight is not None or bias is not None, weight, bias)
    if shape is not None:
        return _by_loop(xp, input.shape, x, dims, shape, weight, bias, centered, eps, out)
    n = math.prod(view[d] for d in dims)
    mean = _sums(xp, x, dims) / n if centered else None
    y = xp.subtract(x, mean, out=room(xp, out[0], view, x.dtype)) if centered else x.copy()
    var = _squares(xp, y, dims) / n
    y *= 1 / xp.sqrt(var + eps)
    y = _affine(y, weight, bias, params)
    return handed(out[0], y, input.shape), mean if mean is None else filled(out[1], mean), filled(out[2], var)


def _looped(xp: Any, x: Any, dims: Any, params: tuple[int, ...], weighted: bool,
            *others: Any) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:  # fmt: skip
    """The loop that takes ``x``, and the shapes in which it takes that and the parameters; None where none does."""
    if not x.size or not loops.fit(xp, x, *others):
        return None
    n = math.prod(x.shape[d] for d in dims)
    if dims[0] == 0 and x.ndim > len(dims):
        inner = math.prod(x.shape[2:])
        of_batch = inner >= LEAST and len(dims) == x.ndim - 1
        return ("channels", (len(x), x.shape[1], inner), (x.shape[1],)) if of_batch else None
    if tuple(dims) != tuple(range(x.ndim - len(dims), x.ndim)):
        return None
    if not weighted:
        return "groups", (x.size // n, 1, n), (1, 1)
    if len(params) == len(dims):
        return "rows", (x.size // n, n), (n,)
    channels = math.prod(params) // params[0]
    return "groups", (x.size // n, channels, n // channels), (params[0], channels)


LEAST = 16
"""Elements that a channel of a sample has at least where a loop goes over channels, which lie apart."""


def _by_loop(xp: Any, shape: tuple[int, ...], x: Any, dims: Any, how: Any, weight: Any, bias: Any, centered: bool,
             eps: float, out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    from gradwire_engine.loops import norms

    name, sizes, params = how
    w, b = (xp.full(params, value, x.dtype) if a is None else xp.ascontiguousarray(a).reshape(params)
            for a, value in ((weight, 1), (bias, 0)))  # fmt: skip
    y = room(xp, out[0], x.shape, x.dtype)
    few = tuple(1 if d in dims else s for d, s in enumerate(x.shape))
    mean, var = (room(xp, o, few, x.dtype) for o in out[1:])
    given = (xp.ascontiguousarray(x).reshape(sizes), w, b)
    made = (y.reshape(sizes), mean.reshape(-1), var.reshape(-1))
    if name == "channels":
        loops.over(norms.channels, sizes[1], sizes[0] * sizes[2], *given, eps, *made)
    else:
        loops.over(getattr(norms, name), sizes[0], x.size // sizes[0], *given, centered, eps, *made)
    return handed(out[0], y, shape), handed(out[1], mean, few), handed(out[2], var, few)


@kernel("layer_norm")
def layer_norm(xp: Any, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float,
               out: Any = (None, None, None)) -> Any:  # fmt: skip
    return _standardize(xp, input, LAYOUTS["layer_norm"](input.shape, normalized_shape), weight, bias, eps, out)


@kernel("group_norm")
def group_norm(xp: Any, input: Any, num_groups: int, weight: Any, bias: Any, eps: float,
               out: Any = (None, None, None)) -> Any:  # fmt: skip
    return _standardize(xp, input, LAYOUTS["group_norm"](input.shape, num_groups), weight, bias, eps, out)


@kernel("batch_norm")
def batch_norm(xp: Any, input: Any, weight: Any, bias: Any, eps: float) -> Any:
    y, mean, var = _standardize(xp, input, LAYOUTS["batch_norm"](input.shape), weight, bias, eps, (None, None, None))
    return y, mean.reshape(-1), var.reshape(-1)


@kernel("rms_norm")
def rms_norm(xp: Any, input: Any, normalized_shape: Any, weight: Any, eps: float) -> Any:
    y, _, square = _standardize(xp, input, LAYOUTS["rms_norm"](input.shape, normalized_shape), weight, None, eps,
                                (None, None, None), centered=False)  # fmt: skip
    return y, square


@kernel("batch_norm_eval")
def batch_norm_eval(xp: Any, input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any,
                    eps: float) -> Any:  # fmt: skip
    _, _, params = LAYOUTS["batch_norm_eval"](input.shape)
    scale = 1 / xp.sqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    x, middle = wide(xp, input), running_mean.reshape(params)
    if not large(xp, x):
        return _affine(x - middle, scale, bias, params)
    y = xp.empty(x.shape, xp.result_type(x, middle))

    def some(start: int, stop: int) -> None:
        _affine(xp.subtract(x[start:stop], middle, out=y[start:stop]), scale, bias, params)

    share(some, len(x), max(1, PIECE * len(x) // x.size))
    return y


@kernel("batch_norm_update_")
def batch_norm_update_(xp: Any, running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: float,
                       count: int) -> None:  # fmt: skip
    running_mean[...] = running_mean * (1 - momentum) + mean * momentum
    # The running variance is of the population, hence the correction.
    running_var[...] = running_var * (1 - momentum) + var * (momentum * count / max(count - 1, 1))


@kernel("norm_backward")
def norm_backward(xp: Any, grad: Any, input: Any, mean: Any, var: Any, weight: Any, dim: Any, params: Any,
                  eps: float, fixed: bool = False, out: Any = (None, None, None)) -> tuple[Any, Any, Any]:  # fmt: skip
    g, x, params = wide(xp, grad), wide(xp, input), tuple(params)
    n = math.prod(x.shape[d] for d in dim)
    r = 1 / xp.sqrt(var + eps)
    how = None if (fixed and dim[0] != 0) or (mean is None and dim[0] == 0) else _looped(
        xp, x, dim, params, params != (0,), g, mean, r, weight)  # fmt: skip
    if how is not None:
        return _back_by_loop(xp, g, x, mean, r, weight, how, params, fixed, out)
    y = x * r if mean is None else x - mean
    if mean is not None:
        y *= r
    into = xp.multiply(g, y, out=room(xp, out[0], x.shape, x.dtype))
    if params == (0,):
        grad_weight = grad_bias = xp.zeros(0, input.dtype)
    else:
        grad_weight, grad_bias = _of_params(xp, into, params), _of_params(xp, g, params)
    slope = shift = None
    if not fixed:
        slope = _sums(xp, into, dim, weight) / n
        shift = None if mean is None else _sums(xp, g, dim, weight) / n
    if weight is None:
        into[...] = g
    else:
        xp.multiply(g, weight, out=into)
    if slope is not None:
        y *= slope
        into -= y
    if shift is not None:
        into -= shift
    into *= r
    return handed(out[0], into, input.shape), filled(out[1], grad_weight), filled(out[2], grad_bias)


def _back_by_loop(xp: Any, g: Any, x: Any, mean: Any, r: Any, weight: Any, how: Any,
                  params: tuple[int, ...], fixed: bool, out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    from gradwire_engine.loops import norms

    name, sizes, shape = how
    into = room(xp, out[0], x.shape, x.dtype)
    a, b, made = (xp.ascontiguousarray(v).reshape(sizes) for v in (g, x, into))
    scale = xp.ascontiguousarray(r).reshape(-1)
    middle = xp.zeros_like(scale) if mean is None else xp.ascontiguousarray(mean).reshape(-1)
    line = xp.ones(shape, x.dtype) if weight is None else xp.ascontiguousarray(weight).reshape(shape)
    given = (a, b, middle, scale, line)
    if name == "channels":
        sums = xp.empty((2, *shape), x.dtype)
        loops.over(norms.channels_back, sizes[1], sizes[0] * sizes[2], *given, fixed, made, sums)
    else:
        width = x.size // sizes[0]
        some = max(1, loops.STEP // width)
        sums = xp.zeros((2, -(-sizes[0] // some), *shape), x.dtype)
        loops.over(getattr(norms, f"{name}_back"), sizes[0], width, *given, mean is not None, some, made, sums)
        sums = sums.sum(axis=1)
    grad_weight, grad_bias = xp.zeros((2, 0), x.dtype) if params == (0,) else sums.reshape(2, *params)
    return handed(out[0], into, x.shape), filled(out[1], grad_weight), filled(out[2], grad_bias)
