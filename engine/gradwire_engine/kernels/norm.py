"""Kernels. Normalization: batch, layer, group, RMS."""

from __future__ import annotations

import math
from typing import Any

from gradwire_engine.backend import filled, handed, matmul, room, summed
from gradwire_engine.kernels.activation import wide
from gradwire_engine.lines import SHORT, large
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


def _standardize(xp: Any, input: Any, layout: Layout, weight: Any, bias: Any, eps: float,
                 out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    view, dims, params = layout
    x = wide(xp, input).reshape(view)
    n = math.prod(view[d] for d in dims)
    if dims == tuple(range(len(view) - len(dims), len(view))) and large(xp, x):
        return _by_rows(xp, input, x.reshape(-1, n), layout, weight, bias, eps, out)
    if dims[:1] == (0,) and _by_planes(xp, x):
        return _by_channels(xp, x, layout, weight, bias, eps, out)
    mean = _sums(xp, x, dims) / n
    y = xp.subtract(x, mean, out=room(xp, out[0], view, x.dtype))
    var = _squares(xp, y, dims) / n
    y *= 1 / xp.sqrt(var + eps)
    y = _affine(y, weight, bias, params)
    return handed(out[0], y, input.shape), filled(out[1], mean), filled(out[2], var)


def _by_rows(xp: Any, input: Any, x: Any, layout: Layout, weight: Any, bias: Any, eps: float,
             out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same of a large array, some rows at a time, which stay in the cache and which the cores share."""
    view, dims, params = layout
    rows, n = x.shape
    each = params == tuple(view[d] for d in dims)  # else a group's channels have a weight, its rows several
    y = room(xp, out[0], view, x.dtype)
    target = y.reshape(rows, n)
    unit = 1 if each else view[1]
    mean, var = xp.empty((rows, 1), x.dtype), xp.empty((rows, 1), x.dtype)

    def some(start: int, stop: int) -> None:
        part, made = x[start:stop], target[start:stop]
        mean[start:stop] = summed(xp, part, 1)[:, None] / n
        xp.subtract(part, mean[start:stop], out=made)
        var[start:stop, 0] = xp.einsum("ij,ij->i", made, made) / n
        made *= 1 / xp.sqrt(var[start:stop] + eps)
        if each:
            _affine(made, weight, bias, (n,))
        else:
            _affine(made.reshape(-1, *view[1:]), weight, bias, params)

    share(some, rows, unit * max(1, PIECE // (n * unit)))
    few = (*view[: len(view) - len(dims)], *[1] * len(dims))
    return handed(out[0], y, input.shape), filled(out[1], mean.reshape(few)), filled(out[2], var.reshape(few))


def _by_planes(xp: Any, x: Any) -> bool:
    """Whether an array is large, and each channel of a sample long enough to be summed by itself."""
    return large(xp, x) and math.prod(x.shape[2:]) >= SHORT


def _by_channels(xp: Any, x: Any, layout: Layout, weight: Any, bias: Any, eps: float,
                 out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same of a large batch, some channels at a time."""
    view, _, params = layout
    batch, channels = view[:2]
    y = room(xp, out[0], view, x.dtype)
    flat, target = x.reshape(batch, channels, -1), y.reshape(batch, channels, -1)
    n = batch * flat.shape[2]
    mean, var = xp.empty((1, channels, 1), x.dtype), xp.empty((1, channels, 1), x.dtype)

    def some(start: int, stop: int) -> None:
        at = slice(start, stop)
        part, made = flat[:, at], target[:, at]
        mean[0, at, 0] = summed(xp, summed(xp, part, 2), 0) / n
        y = part - mean[:, at]
        var[0, at, 0] = summed(xp, xp.einsum("ijk,ijk->ij", y, y), 0) / n
        scale = 1 / xp.sqrt(var[:, at] + eps)
        if weight is not None:
            scale *= weight.reshape(-1, 1)[at]
        xp.multiply(y, scale, out=made)
        if bias is not None:
            made += bias.reshape(-1, 1)[at]

    share(some, channels, max(1, PIECE // n))
    few = (1, *params)
    return handed(out[0], y, view), filled(out[1], mean.reshape(few)), filled(out[2], var.reshape(few))


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
    _, dims, params = LAYOUTS["rms_norm"](input.shape, normalized_shape)
    x = wide(xp, input)
    y = x * x
    square = xp.mean(y, axis=dims, keepdims=True)
    y = xp.multiply(x, 1 / xp.sqrt(square + eps), out=y)
    return _affine(y, weight, None, params), square


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
    last = tuple(range(x.ndim - len(dim), x.ndim))
    if not fixed and tuple(dim) == last and params in ((0,), x.shape[x.ndim - len(dim) :]) and large(xp, x):
        return _back_by_rows(xp, g, x, mean, r, weight, n, params, out)
    if mean is not None and _by_planes(xp, x):
        if tuple(dim) == (0, *range(2, x.ndim)):
            return _back_by_channels(xp, g, x, mean, r, weight, n, params, fixed, out)
        if not fixed and tuple(dim) == last and params in ((0,), (*x.shape[1:3], *[1] * (x.ndim - 3))):
            return _back_by_groups(xp, g, x, mean, r, weight, n, params, out)
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


def _back_by_rows(xp: Any, g: Any, x: Any, mean: Any, r: Any, weight: Any, n: int, params: tuple[int, ...],
                  out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same of a large array's rows, as forward. The sums for the parameters are those of the pieces' sums."""
    rows, step = x.size // n, max(1, PIECE // n)
    into = room(xp, out[0], x.shape, x.dtype)
    a, b, made, scale = (v.reshape(rows, -1) for v in (g, x, into, r))
    middle = None if mean is None else mean.reshape(rows, 1)
    line = None if weight is None else weight.reshape(n)
    parts = None if params == (0,) else xp.empty((2, -(-rows // step), n), x.dtype)

    def some(start: int, stop: int) -> None:
        here, there = a[start:stop], made[start:stop]
        y = b[start:stop] * scale[start:stop] if middle is None else b[start:stop] - middle[start:stop]
        if middle is not None:
            y *= scale[start:stop]
        if parts is not None:
            parts[0, start // step] = xp.einsum("ij,ij->j", here, y)
            parts[1, start // step] = summed(xp, here, 0)
        if line is None:
            there[...] = here
        else:
            xp.multiply(here, line, out=there)
        slope = xp.einsum("ij,ij->i", there, y)[:, None] / n
        y *= slope
        shift = None if middle is None else summed(xp, there, 1)[:, None] / n
        there -= y
        if shift is not None:
            there -= shift
        there *= scale[start:stop]

    share(some, rows, step)
    if parts is None:
        grad_weight = grad_bias = xp.zeros(0, x.dtype)
    else:
        grad_weight, grad_bias = (summed(xp, p, 0).reshape(params) for p in parts)
    return handed(out[0], into, x.shape), filled(out[1], grad_weight), filled(out[2], grad_bias)


def _back_by_channels(xp: Any, g: Any, x: Any, mean: Any, r: Any, weight: Any, n: int, params: tuple[int, ...],
                      fixed: bool, out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same of a large batch, some channels at a time; each has sums and parameters of its own."""
    batch, channels = x.shape[:2]
    into = room(xp, out[0], x.shape, x.dtype)
    a, b, made = (v.reshape(batch, channels, -1) for v in (g, x, into))
    middle, scale = (v.reshape(channels, 1) for v in (mean, r))
    sums = xp.empty((2, channels), x.dtype)
    line = scale if weight is None else scale * weight.reshape(channels, 1)

    def some(start: int, stop: int) -> None:
        at = slice(start, stop)
        here, there = a[:, at], made[:, at]
        y = b[:, at] - middle[at]
        y *= scale[at]
        sums[0, at] = summed(xp, xp.einsum("ijk,ijk->ij", here, y), 0)
        sums[1, at] = summed(xp, summed(xp, here, 2), 0)
        if fixed:
            xp.multiply(here, line[at], out=there)
            return
        y *= sums[0, at, None] / n
        xp.subtract(here, y, out=there)
        there -= sums[1, at, None] / n
        there *= line[at]

    share(some, channels, max(1, PIECE // n))
    grad_weight, grad_bias = xp.zeros((2, 0), x.dtype) if params == (0,) else sums.reshape(2, *params)
    return handed(out[0], into, x.shape), filled(out[1], grad_weight), filled(out[2], grad_bias)


def _back_by_groups(xp: Any, g: Any, x: Any, mean: Any, r: Any, weight: Any, n: int, params: tuple[int, ...],
                    out: Any) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same of groups of channels, some samples at a time: a channel's sums make those of its group."""
    batch, groups, each = x.shape[:3]
    into = room(xp, out[0], x.shape, x.dtype)
    a, b, made = (v.reshape(batch, groups, each, -1) for v in (g, x, into))
    middle, scale = (v.reshape(batch, groups, 1, 1) for v in (mean, r))
    sums = xp.empty((2, batch, groups, each), x.dtype)
    line = xp.ones((groups, each), x.dtype) if weight is None else weight.reshape(groups, each)

    def some(start: int, stop: int) -> None:
        at = slice(start, stop)
        here, there = a[at], made[at]
        y = b[at] - middle[at]
        y *= scale[at]
        sums[0, at] = xp.einsum("ijkl,ijkl->ijk", here, y)
        sums[1, at] = summed(xp, here, 3)
        slope, shift = ((s[at] * line).sum(axis=2)[..., None, None] / n for s in sums)
        y *= slope
        y += shift
        xp.multiply(here, line[..., None], out=there)
        there -= y
        there *= scale[at]

    share(some, batch, max(1, PIECE // (x.size // batch)))
    grad_weight, grad_bias = xp.zeros((2, 0), x.dtype) if params == (0,) else sums.sum(axis=1).reshape(2, *params)
    return handed(out[0], into, x.shape), filled(out[1], grad_weight), filled(out[2], grad_bias)
